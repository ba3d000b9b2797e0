// next.config.mjs - a folder of static files, from tools that lie above this one.
import { fileURLToPath } from 'node:url';

export default { output: 'export', turbopack: { root: fileURLToPath(new URL('../../..', import.meta.url)) } };

// site.mjs - `npm run site`, after the builds: puts the demo page together in dist/site, a folder of plain files for
// any static server and any path. What the page loads keeps its place in the repository; index.html, sw.js and the
// manifest go to the top, and site.js is written there: the files with their hashes and sizes, for the service worker
// and the About tab, and the headers that the service worker or a server adds.
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const root = fileURLToPath(new URL('..', import.meta.url));
const out = join(root, 'dist', 'site');
const top = ['index.html', 'sw.js', 'manifest.webmanifest'];

/** Files of a folder of the repository whose names match. */
const list = (folder, pattern) => readdirSync(join(root, folder)).filter((name) => pattern.test(name)).map((name) => `${folder}/${name}`);

function sources() {
  const model = `weights/${readFileSync(join(root, 'weights/default'), 'utf8').trim()}`;
  return [
    ...list('web', /(?<!-node)\.js$/),
    ...list('web/demo', /\.(js|css|svg|txt)$|^icon.*\.png$|^index\.html$|\.webmanifest$/),
    ...list('build-wasm', /^fillmask(-relaxed)?\.wasm$/),
    ...list(model, /\.(json|txt|safetensors)$|^README\.md$/),
  ];
}

/** Its content security policy is the page's own, so that workers, which a page's meta elements do not reach, obey it. */
function headers() {
  const page = readFileSync(join(root, 'web/demo/index.html'), 'utf8');
  const policy = /http-equiv="Content-Security-Policy"\s+content="([^"]+)"/.exec(page);
  if (!policy) throw new Error('web/demo/index.html has no content security policy.');
  return {
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-embedder-policy': 'require-corp',
    'cross-origin-resource-policy': 'same-origin',
    'content-security-policy': policy[1],
  };
}

if (!existsSync(join(root, 'build-wasm/fillmask.wasm'))) {
  console.error('build-wasm/fillmask.wasm is missing; `npm run site` builds it first.');
  process.exit(1);
}
rmSync(out, { recursive: true, force: true });
const files = {};
for (const source of sources()) {
  const name = source.replace('web/demo/', '');
  const path = top.includes(name) ? name : source;
  const bytes = readFileSync(join(root, source));
  mkdirSync(dirname(join(out, path)), { recursive: true });
  cpSync(join(root, source), join(out, path));
  if (path === 'sw.js') continue; // browsers keep it themselves
  files[path] = { sha256: createHash('sha256').update(bytes).digest('base64'), bytes: bytes.length, gzip: gzipSync(bytes, { level: 9 }).length };
}
writeFileSync(join(out, 'site.js'), `globalThis.site = ${JSON.stringify({ headers: headers(), files }, null, 1)};\n`);
const sum = (name) => Object.values(files).reduce((total, file) => total + file[name], 0);
console.log(`dist/site: ${Object.keys(files).length + 2} files, ${(sum('bytes') / 1e6).toFixed(1)} MB`);

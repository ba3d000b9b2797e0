// serve.mjs - a small static server for the demo page: `node tools/serve.mjs [--port N] [--host H]` serves dist/site until
// Ctrl-C. It adds the headers that cross-origin isolation needs, without which everything works on one thread.
import { readFileSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const TYPES = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.md': 'text/markdown; charset=utf-8',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
  '.wasm': 'application/wasm',
  '.webmanifest': 'application/manifest+json',
};

/**
 * Serves the files that a folder has now, and nothing else.
 * @param {{folder: string, host?: string, port?: number, path?: string, headers?: Record<string, string>}} options
 *   path: where the folder appears, with a slash at both ends; port 0 for any that is free
 * @returns {Promise<{address: string, server: import('node:http').Server}>}
 */
export async function serve({ folder, host = '127.0.0.1', port = 0, path = '/', headers = {} }) {
  const found = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  const files = new Map(found.map((entry) => {
    const file = join(entry.parentPath ?? entry.path, entry.name); // the second in Node.js before 20.12 alone
    return [path + relative(folder, file).split(sep).map(encodeURIComponent).join('/'), file];
  }));
  files.set(path, files.get(`${path}index.html`));
  const server = createServer(async ({ method, url }, response) => {
    const file = files.get(url.split('?')[0]);
    const bytes = file && (await readFile(file).catch(() => null));
    if (!bytes || !['GET', 'HEAD'].includes(method)) return response.writeHead(bytes ? 405 : 404, headers).end();
    response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream', 'content-length': bytes.length, 'cache-control': 'no-cache', ...headers });
    response.end(method === 'HEAD' ? undefined : bytes);
  });
  await new Promise((resolve, reject) => server.once('error', reject).listen(port, host, resolve));
  return { address: `http://${host}:${server.address().port}${path}`, server };
}

/** The headers that the site asks for. @param {string} folder */
export function siteHeaders(folder) {
  const { headers } = JSON.parse(/\{.*\}/s.exec(readFileSync(join(folder, 'site.js'), 'utf8'))[0]);
  return headers;
}

async function main() {
  const { values } = parseArgs({ options: { port: { type: 'string', default: '8080' }, host: { type: 'string', default: '127.0.0.1' } } });
  const folder = fileURLToPath(new URL('../dist/site', import.meta.url));
  const options = { folder, host: values.host, headers: siteHeaders(folder) };
  const { address, server } = await serve({ ...options, port: Number(values.port) }).catch((error) => {
    if (error.code !== 'EADDRINUSE') throw error;
    return serve(options);
  });
  console.log(`The demo page is at ${address} (Ctrl-C ends it).`);
  for (const signal of ['SIGINT', 'SIGTERM'])
    process.on(signal, () => {
      server.close();
      server.closeAllConnections();
    });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();

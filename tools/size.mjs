// size.mjs - `npm run size`: what a page loads of the package but the model, after gzip -9.
import { readdirSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const root = new URL('../', import.meta.url);
const size = (path) => gzipSync(readFileSync(new URL(path, root)), { level: 9 }).length;

/** Bytes of each file: the scripts of entry and worker, and the larger one of the two WebAssembly files. */
export function sizes() {
  const scripts = new Set();
  const visit = (path) => {
    if (scripts.has(path)) return;
    scripts.add(path);
    const text = readFileSync(new URL(`web/${path}`, root), 'utf8');
    for (const [, from] of text.matchAll(/(?:^|\n)(?:import|export)[^;]*?from '\.\/([^']+)'|import\('\.\/([^']+)'\)/g)) if (from) visit(from);
    for (const [, lazy] of text.matchAll(/import\('\.\/([^']+)'\)/g)) visit(lazy);
  };
  visit('index.js');
  visit('worker.js');
  const all = [...scripts].map((path) => [`web/${path}`, size(`web/${path}`)]);
  const wasm = readdirSync(new URL('build-wasm/', root)).filter((name) => /^fillmask.*\.wasm$/.test(name));
  const largest = wasm.map((name) => [`build-wasm/${name}`, size(`build-wasm/${name}`)]).sort((a, b) => b[1] - a[1])[0];
  return [...all.sort((a, b) => b[1] - a[1]), largest];
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const all = sizes();
  for (const [path, bytes] of all) console.log(`${String(bytes).padStart(8)}  ${path}`);
  console.log(`${String(all.reduce((sum, [, bytes]) => sum + bytes, 0)).padStart(8)}  in all, after gzip -9`);
}

// size.mjs - `npm run size`: what a page loads of the package but the model, after gzip -9.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { bundle } from './bundle.mjs';

const root = new URL('../', import.meta.url);
const size = (bytes) => gzipSync(bytes, { level: 9 }).length;

/** Bytes of each file: the scripts of entry and worker, and the larger one of the two WebAssembly files. */
export async function sizes() {
  const texts = await bundle();
  const scripts = new Set();
  const visit = (name) => {
    if (scripts.has(name)) return;
    scripts.add(name);
    for (const [, from] of texts.get(name).matchAll(/["']\.\/([\w-]+\.js)["']/g)) visit(from);
  };
  visit('index.js');
  const all = [...scripts].map((name) => [`build-js/${name}`, size(texts.get(name))]);
  const wasm = readdirSync(new URL('build-wasm/', root)).filter((name) => /^fillmask(-relaxed)?\.wasm$/.test(name));
  const [largest] = wasm.map((name) => [`build-wasm/${name}`, size(readFileSync(new URL(`build-wasm/${name}`, root)))]).sort((a, b) => b[1] - a[1]);
  return [...all.sort((a, b) => b[1] - a[1]), largest];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const all = await sizes();
  for (const [path, bytes] of all) console.log(`${String(bytes).padStart(8)}  ${path}`);
  console.log(`${String(all.reduce((sum, [, bytes]) => sum + bytes, 0)).padStart(8)}  in all, after gzip -9`);
}

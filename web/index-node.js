// index-node.js - the entry of the package for Node.js.
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { setHost } from './api.js';

export { dispose, FillmaskError, loadModel, Model, pipeline, Tokenizer } from './api.js';

const base = () => pathToFileURL(`${process.cwd()}/`).href;

function wasmOf(given) {
  const absolute = (url) => url && new URL(url, base()).href;
  if (typeof given === 'string' || given instanceof URL) return { simd128: absolute(given) };
  return {
    simd128: absolute(given?.simd128) ?? new URL('../build-wasm/fillmask.wasm', import.meta.url).href,
    relaxed: given ? absolute(given.relaxed) : new URL('../build-wasm/fillmask-relaxed.wasm', import.meta.url).href,
  };
}

setHost({
  base,
  folder: (name) => (existsSync(name) ? pathToFileURL(name).href : null),
  start: (options) => (heard, died) => {
    const worker = new Worker(options.workerUrl ? new URL(options.workerUrl, base()) : new URL('./worker-node.js', import.meta.url));
    worker.on('message', heard);
    worker.on('error', (error) => died(`The worker of Fillmask failed (${error.message}).`));
    worker.on('exit', (code) => died(`The worker of Fillmask ended (exit code ${code}).`));
    worker.unref();
    worker.postMessage({ engine: { wasm: wasmOf(options.wasmUrl), threads: options.threads ?? Math.min(availableParallelism(), 8) } });
    return {
      post: (message) => worker.postMessage(message),
      close: () => void worker.terminate(),
      hold: (busy) => (busy ? worker.ref() : worker.unref()),
    };
  },
});

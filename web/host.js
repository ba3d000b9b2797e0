// host.js - what the package needs in browsers: a worker and its files by URL.
import { abortNotes } from './client.js';
import { FillmaskError } from './errors.js';

/** Where bundlers see the files that belong to the package. Turbopack makes paths of these URLs. */
const files = () => ({
  simd128: new URL('../build-wasm/fillmask.wasm', import.meta.url).href,
  relaxed: new URL('../build-wasm/fillmask-relaxed.wasm', import.meta.url).href,
});

const base = () => globalThis.document?.baseURI ?? globalThis.location.href;

function wasmOf(given) {
  const absolute = (url) => url && new URL(url, base()).href;
  if (typeof given === 'string' || given instanceof URL) return { simd128: absolute(given) };
  return { simd128: absolute(given.simd128), relaxed: absolute(given.relaxed) };
}

function createWorker(url) {
  try {
    if (url) return new Worker(new URL(url, base()), { type: 'module', name: 'fillmask' });
    return new Worker(new URL('./worker.js', import.meta.url), { type: 'module', name: 'fillmask' });
  } catch (error) {
    throw new FillmaskError('E_UNSUPPORTED',
      `The worker could not be started (${error.message}); workers must come from the page's own origin: copy the package there and give workerUrl, or give createWorker.`);
  }
}

/** @type {import('./loader.js').Host} */
export const host = {
  devices: ['wasm', 'webgpu'],
  base,
  folder: (name) => (/^\.{0,2}\//.test(name) ? new URL(name, base()).href : null),
  start: (options) => (heard, died) => {
    const worker = options.createWorker?.() ?? createWorker(options.workerUrl);
    const notes = globalThis.crossOriginIsolated ? abortNotes() : { note() {} };
    worker.onmessage = ({ data }) => heard(data);
    worker.onmessageerror = () => died('A message of the worker could not be read.');
    worker.onerror = (event) => {
      event.preventDefault?.();
      died(`The worker of Fillmask failed (${event.message || 'its script could not be loaded'}).`);
    };
    const threads = options.threads ?? Math.min(globalThis.navigator?.hardwareConcurrency || 1, 8);
    worker.postMessage({ engine: { wasm: wasmOf(options.wasmUrl ?? files()), threads, instructionSet: options.instructionSet, device: options.device, gpu: { powerPreference: options.powerPreference }, aborted: notes.shared } });
    return {
      post: (message) => worker.postMessage(message),
      abort(id) {
        notes.note(id);
        worker.postMessage({ abort: id });
      },
      close: () => worker.terminate(),
    };
  },
};

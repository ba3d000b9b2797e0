// host-node.js - host.js for Node.js: the native program, or a worker.
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { abortNotes } from './client.js';
import { FillmaskError } from './errors.js';
import { findNative, startNative } from './native.js';

const base = () => pathToFileURL(`${process.cwd()}/`).href;

function wasmOf(given) {
  const absolute = (url) => url && new URL(url, base()).href;
  if (typeof given === 'string' || given instanceof URL) return { simd128: absolute(given) };
  return {
    simd128: absolute(given?.simd128) ?? new URL('../build-wasm/fillmask.wasm', import.meta.url).href,
    relaxed: given ? absolute(given.relaxed) : new URL('../build-wasm/fillmask-relaxed.wasm', import.meta.url).href,
  };
}

/** The program that computes with these options; if none, WebAssembly does. @param {import('./api.js').EngineOptions} options */
function nativeFor({ device = 'auto', wasmUrl, workerUrl, createWorker }) {
  if (device === 'wasm' || device === 'webgpu' || (device === 'auto' && (wasmUrl ?? workerUrl ?? createWorker))) return undefined;
  const { program, problem } = findNative();
  if (device === 'native' && !program) throw new FillmaskError('E_UNSUPPORTED', `There is no native program: ${problem}. Build it, set FILLMASK_BIN, or take device "wasm".`);
  return program;
}

const startWorker = (options) => (heard, died) => {
  const script = options.workerUrl ? new URL(options.workerUrl, base()) : new URL('./worker-node.js', import.meta.url);
  const worker = new Worker(script, { execArgv: [] }); // --input-type, for one, is for the main script alone
  const notes = abortNotes();
  worker.on('message', heard);
  worker.on('error', (error) => died(`The worker of Fillmask failed (${error.message}).`));
  worker.on('exit', (code) => died(`The worker of Fillmask ended (exit code ${code}).`));
  worker.unref();
  const threads = options.threads ?? Math.min(availableParallelism(), 8);
  worker.postMessage({ engine: { wasm: wasmOf(options.wasmUrl), threads, instructionSet: options.instructionSet, device: options.device, gpu: { powerPreference: options.powerPreference, adapter: options.adapter }, aborted: notes.shared } });
  return {
    post: (message) => worker.postMessage(message),
    abort(id) {
      notes.note(id);
      worker.postMessage({ abort: id });
    },
    close: () => void worker.terminate(),
    hold: (busy) => (busy ? worker.ref() : worker.unref()),
  };
};

/** @type {import('./loader.js').Host} */
export const host = {
  devices: ['native', 'wasm', 'webgpu'],
  adapters: true,
  base,
  folder: (name) => (existsSync(name) ? pathToFileURL(name).href : null),
  start(options) {
    const program = nativeFor(options);
    return program ? startNative(program, options) : startWorker(options);
  },
};

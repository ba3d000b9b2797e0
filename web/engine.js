// engine.js - the WebAssembly core as a JavaScript class: loading, memory, threads, errors. It fetches nothing, knows
// no file names and creates no workers by itself: whoever uses it hands in the bytes and a factory for threads, so that
// the same file serves browsers and Node.js. What is done with a model is asked in JSON (core/service/service.h).
//
// The core computes on the thread that calls it. In a browser that should be a worker: a page's main thread would
// freeze for as long as a forward pass takes, and may not wait for threads.
import { FillmaskError } from './errors.js';

/** The interface between this file and wasm/api.c; both must be from the same version. */
const ABI = 7;

/** Page counts (64 KiB each) that are tried as the memory's maximum: 4, 2, 1 and 0.5 GiB. */
const MAXIMA = [65536, 32768, 16384, 8192];
const FIRST_PAGES = 256;
const STACK = 1 << 18; // bytes, of each thread but the first
const CHUNK = 1 << 20; // bytes of a file that are in the core's memory at once

const DTYPES = { fp32: 0, f32: 0, fp16: 1, f16: 1, bf16: 2, q8: 3, int8: 3 };
const AS_STORED = -1;

/**
 * @typedef {Uint8Array | ArrayBuffer | string} Bytes  A string stands for its UTF-8.
 * @typedef {Bytes | Response | ReadableStream<Uint8Array> | AsyncIterable<Uint8Array>} ByteSource
 *
 * @typedef {object} TokenizerFiles  Either of json and vocab; json is used where both are given.
 * @property {Bytes} [json] tokenizer.json
 * @property {Bytes} [vocab] vocab.txt
 * @property {Bytes} [config] tokenizer_config.json
 *
 * @typedef {object} ModelFiles
 * @property {Bytes} [config] config.json; without it, what is opened is the tokenizer alone
 * @property {TokenizerFiles} tokenizer
 * @property {ByteSource | null} [weights] model.safetensors, of which the core keeps what it computes with, as it comes.
 *   Without weights the model starts from random ones, to be trained.
 * @property {boolean} [checked] whether the stream says at its end if it is damaged, and so is read to there
 * @property {string} [dtype] what the weights become as they come, one of DTYPES; as stored unless given
 * @property {AbortSignal} [signal]
 *
 * @typedef {object} Thread  A Worker of a browser or of node:worker_threads that runs worker.js or worker-node.js.
 * @property {(message: any) => void} postMessage
 * @property {() => any} terminate
 *
 * @typedef {object} EngineOptions
 * @property {WebAssembly.Module | Bytes | Response | Promise<Response>} wasm fillmask.wasm or fillmask-relaxed.wasm
 * @property {number} [threads=1] the calling thread included
 * @property {() => Thread} [createThread] needed for more than one thread
 * @property {number} [maximumMemory] bytes; the largest that the system grants up to 4 GiB unless given
 * @property {string} [instructionSet] "scalar" for the plain reference; the fastest unless given
 * @property {import('./gpu.js').Gpu} [gpu] for the models that useGpu() gives it
 */

/** Throws if there is no such type of weights. @param {string} dtype */
export function checkDtype(dtype) {
  if (!Object.hasOwn(DTYPES, dtype))
    throw new FillmaskError('E_ARGUMENT', `dtype is "${dtype}"; it must be one of ${Object.keys(DTYPES).join(', ')}.`);
}

/**
 * Whether this machine's JavaScript runs relaxed SIMD, and so fillmask-relaxed.wasm.
 * @returns {boolean}
 */
export function hasRelaxedSimd() {
  // A function of one v128 that applies f32x4.relaxed_madd to it.
  return WebAssembly.validate(new Uint8Array([
    0, 97, 115, 109, 1, 0, 0, 0, 1, 6, 1, 96, 1, 123, 1, 123, 3, 2, 1, 0, 10, 13, 1, 11, 0, 32, 0, 32, 0, 32, 0, 253,
    133, 2, 11,
  ]));
}

/**
 * Whether it runs 128-bit SIMD, without which there is nothing here for it.
 * @returns {boolean}
 */
export function hasSimd() {
  // A function that splats a number into a v128 and gives a lane of it back.
  return WebAssembly.validate(new Uint8Array([
    0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 127, 3, 2, 1, 0, 10, 11, 1, 9, 0, 65, 0, 253, 17, 253, 27, 0, 11,
  ]));
}

/**
 * Whether threads can share the core's memory: in Node.js, and on pages that are cross-origin isolated (see the headers
 * Cross-Origin-Opener-Policy and Cross-Origin-Embedder-Policy). Everything works on one thread elsewhere.
 * @returns {boolean}
 */
export function canUseThreads() {
  const inNode = typeof globalThis.process === 'object' && Boolean(globalThis.process.versions?.node);
  return inNode || (globalThis.crossOriginIsolated === true && typeof globalThis.document === 'undefined');
}

/** The core: a memory, its threads, and the models in it. */
export class Engine {
  /** @type {any} */
  #x; // the instance's exports
  /** @type {{buffer: any}} */
  #memory;
  /** @type {Thread[]} */
  #threads = [];
  #instructionSet;
  /** @type {import('./gpu.js').Gpu | undefined} */
  #gpu;
  /** @type {FillmaskError | null} */
  #trouble = null; // why nothing works any more
  /** @type {((done: number, total: number) => boolean) | undefined} */
  #progress; // of the request under way

  /**
   * Instantiates the core and starts its threads.
   * @param {EngineOptions} options
   * @returns {Promise<Engine>}
   */
  static async create({ wasm, threads = 1, createThread, maximumMemory, instructionSet = 'auto', gpu }) {
    if (!hasSimd()) throw new FillmaskError('E_UNSUPPORTED', 'This browser lacks WebAssembly SIMD; use one from 2023 or later.');
    const module = await compile(wasm);
    const memory = createMemory(maximumMemory);
    const engine = new Engine(memory, instructionSet, gpu);
    const foreign = () => new FillmaskError('E_MISMATCH', 'The .wasm file does not belong to this version of the package; use the files of one release.');
    const instance = await WebAssembly.instantiate(module, imports(memory, (done, total) => engine.#tell(done, total), gpu)).catch((error) => {
      throw error instanceof WebAssembly.LinkError || error instanceof TypeError ? foreign() : error;
    });
    engine.#x = instance.exports;
    if (engine.#x.api_abi?.() !== ABI) throw foreign();
    engine.#x._initialize();
    if (gpu) gpu.kernels = engine.#text(engine.#call('api_kernels'));
    if (threads > 1 && createThread && canUseThreads()) await engine.#startThreads(module, threads, createThread);
    return engine;
  }

  /** Not to be called; use Engine.create(). */
  constructor(memory, instructionSet, gpu) {
    this.#memory = memory;
    this.#gpu = gpu;
    this.#instructionSet = instructionSet;
  }

  /** Threads that compute, the calling one included. */
  get threads() {
    return this.#threads.length + 1;
  }

  /** Bytes of the core's memory. It grows and is only given back by close(). */
  get memoryBytes() {
    return this.#memory.buffer.byteLength;
  }

  /** Whether the machine computes what the core expects, in a short numeric test. @returns {boolean} */
  check() {
    return this.#call('api_check') === 1;
  }

  /**
   * Opens a model.
   * @param {ModelFiles} files
   * @returns {Promise<number>} that requests name it by
   */
  async open({ config, tokenizer, weights = null, checked, dtype, signal }) {
    const files = [tokenizer?.json, tokenizer?.vocab, tokenizer?.config];
    if (config === undefined || config === null) return this.#with(files, (parts) => this.#number('api_tokenizer', ...parts));
    const model = this.#with([...files, config, this.#instructionSet], (parts) => this.#number('api_begin', ...parts, DTYPES[dtype] ?? AS_STORED));
    try {
      let wrong;
      if (weights === null) this.#number('api_push', model, 0, 0);
      else for await (const part of partsOf(weights)) {
        signal?.throwIfAborted();
        try {
          if (!wrong) this.#inChunks(part, (at, size) => this.#number('api_push', model, at, size));
        } catch (error) {
          if (!checked || !['E_FORMAT', 'E_UNSUPPORTED'].includes(error.code)) throw error;
          wrong = error; // unless the stream says something else
        }
      }
      if (wrong) throw wrong;
      signal?.throwIfAborted();
    } catch (error) {
      if (!this.#trouble) this.#call('api_drop', model);
      throw error;
    }
    return this.#number('api_end', model);
  }

  /** SHA-256 of bytes that come in parts. @returns {import('./downloads.js').Hasher} */
  hasher() {
    const hash = this.#number('api_hash', 0, 0, 0);
    return {
      add: (bytes) => this.#inChunks(bytes, (at, size) => this.#call('api_hash', hash, at, size)),
      end: () => {
        const digest = this.#text(this.#call('api_hash', hash, 0, 0));
        this.#call('api_free', hash);
        return digest;
      },
    };
  }

  /**
   * A model's weights as a model.safetensors file.
   * @param {number} model
   * @param {{dtype?: string}} [options]
   * @returns {Uint8Array}
   */
  save(model, { dtype = 'fp32' } = {}) {
    checkDtype(dtype);
    return this.#take(this.#number('api_save', model, DTYPES[dtype]));
  }

  /**
   * A training's checkpoint, as a file. With a GPU it is to be asked for by later().
   * @param {number} training
   * @returns {Uint8Array}
   */
  checkpoint(training) {
    return this.#take(this.#number('api_checkpoint', training));
  }

  /**
   * Lets a training go on from a checkpoint.
   * @param {number} training
   * @param {Bytes} bytes
   */
  resume(training, bytes) {
    const [at, size] = this.#put(bytes);
    try {
      this.#number('api_resume', training, at, size);
    } finally {
      if (!this.#trouble) this.#call('api_free', at);
    }
  }

  /**
   * Carries out a request on what is open; see core/service/service.h.
   * @param {string} op
   * @param {object} [args]
   * @param {(done: number, total: number) => boolean} [progress] false stops it, which throws E_ABORTED
   * @returns {any}
   */
  call(op, args = {}, progress) {
    this.#progress = progress;
    const [at, size] = this.#put(JSON.stringify({ op, ...args }));
    try {
      return JSON.parse(decoder.decode(this.#take(this.#number('api_call', at, size))));
    } finally {
      if (!this.#trouble) this.#call('api_free', at);
    }
  }

  /**
   * Does something where a GPU may compute: waits for its answers, and does it again.
   * @template Result
   * @param {() => Result} work
   * @returns {Promise<Result>}
   */
  async later(work) {
    for (;;) {
      try {
        return work();
      } catch (error) {
        if (error.code !== 'PENDING') throw error;
        await this.#gpu?.settled();
      }
    }
  }

  /**
   * Lets the GPU compute for a model, or the processor again. Its trainings are closed.
   * @param {number} model
   * @param {boolean} use
   */
  useGpu(model, use) {
    this.#number('api_use_gpu', model, use ? this.#gpu?.limit : 0);
  }

  /**
   * Ends the threads and gives all memory back; the GPU stays open. Whatever is under way fails with E_CLOSED. Can be
   * called twice.
   */
  close() {
    for (const thread of this.#threads) thread.terminate();
    this.#threads = [];
    this.#trouble ??= new FillmaskError('E_CLOSED', 'The engine was closed; create another one.');
    this.#x = null;
    this.#memory = { buffer: new ArrayBuffer(0) };
  }

  // ---- threads ----

  async #startThreads(module, threads, createThread) {
    try {
      const started = [];
      for (let number = 1; number < threads; number++) {
        const thread = createThread();
        this.#threads.push(thread);
        const at = this.#alloc(STACK);
        started.push(ready(thread));
        thread.postMessage({ thread: { module, memory: this.#memory, stack: (at + STACK) & ~15, number } });
      }
      await Promise.all(started);
      this.#call('api_threads', threads);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  // ---- calls and memory ----

  #tell(done, total) {
    return this.#progress?.(done, total) === false ? 0 : 1;
  }

  #call(name, ...values) {
    if (this.#trouble) throw this.#trouble;
    try {
      return this.#x[name](...values);
    } catch (error) {
      this.#trouble = new FillmaskError('E_CRASHED', `The core failed (${error.message}); the next call starts it again.`);
      throw this.#trouble;
    }
  }

  /** A call whose result is 0 if it failed. */
  #number(name, ...values) {
    const result = this.#call(name, ...values) >>> 0;
    if (!result) throw this.#error();
    return result;
  }

  #error() {
    return new FillmaskError(this.#text(this.#call('api_error')), this.#text(this.#call('api_error_text')));
  }

  #alloc(size) {
    return this.#number('api_alloc', size);
  }

  /** Copies bytes into the core; the result is to be freed. */
  #put(bytes) {
    const data = bytesOf(bytes);
    const at = this.#alloc(data.length);
    new Uint8Array(this.#memory.buffer, at, data.length).set(data);
    return [at, data.length];
  }

  /** A NUL-terminated text that stays the core's. */
  #text(at) {
    const bytes = new Uint8Array(this.#memory.buffer);
    const from = at >>> 0;
    return decoder.decode(bytes.slice(from, bytes.indexOf(0, from)));
  }

  /** A copy of the core's last result, which is freed. */
  #take(at) {
    const bytes = new Uint8Array(this.#memory.buffer, at, this.#call('api_size') >>> 0).slice();
    this.#call('api_free', at);
    return bytes;
  }

  /** Puts bytes into the core while something is done with them; NULL for those that are not there. */
  #with(files, use) {
    const held = [];
    try {
      for (const bytes of files) held.push(...(bytes === undefined || bytes === null ? [0, 0] : this.#put(bytes)));
      return use(held);
    } finally {
      for (let i = 0; i < held.length && !this.#trouble; i += 2) this.#call('api_free', held[i]);
    }
  }

  /** The same with bytes of any number, some at a time. */
  #inChunks(bytes, use) {
    for (let from = 0; from < bytes.length; from += CHUNK) this.#with([bytes.subarray(from, from + CHUNK)], ([at, size]) => use(at, size));
  }
}

// ---- helpers ----

const encoder = new TextEncoder();
const decoder = new TextDecoder();

function bytesOf(data) {
  if (typeof data === 'string') return encoder.encode(data);
  return data instanceof ArrayBuffer ? new Uint8Array(data) : data;
}

/**
 * The imports of an instance.
 * @param {WebAssembly.Memory} memory
 * @param {(done: number, total: number) => number} [progress]
 * @param {import('./gpu.js').Gpu} [gpu]
 * @returns {any}
 */
export function imports(memory, progress = () => 1, gpu) {
  const print_number = (value, precision, general, at) => {
    const text = encoder.encode(general ? inShort(value, precision || 1) : value.toFixed(precision));
    new Uint8Array(memory.buffer, at >>> 0, text.length).set(text);
    return text.length;
  };
  const read_number = (at, size) => Number(decoder.decode(new Uint8Array(memory.buffer, at >>> 0, size >>> 0).slice()));
  const players = gpu?.imports(() => memory.buffer) ?? { gpu_play() {}, gpu_finish: () => 2, gpu_close() {}, gpu_half: () => 0 };
  return { env: { memory, emscripten_notify_memory_growth() {}, now: () => performance.now(), progress, print_number, read_number, ...players } };
}

/** A number as C's %g writes it. */
function inShort(value, digits) {
  const [mantissa, exponent] = value.toExponential(digits - 1).split('e');
  const trimmed = (text) => (text.includes('.') ? text.replace(/\.?0+$/, '') : text);
  if (!(exponent >= -4 && exponent < digits)) return trimmed(mantissa) + (exponent ? `e${exponent.replace(/^(.)(.)$/, '$10$2')}` : '');
  return trimmed(value.toFixed(digits - 1 - exponent));
}

async function compile(wasm) {
  const source = await wasm;
  if (source instanceof WebAssembly.Module) return source;
  if (typeof Response === 'undefined' || !(source instanceof Response)) return WebAssembly.compile(source);
  if (!source.ok) throw new FillmaskError('E_IO', `${source.url || 'The .wasm file'}: the server answered ${source.status}.`);
  // Streaming wants the media type application/wasm, which some servers do not send.
  if (source.headers.get('content-type') === 'application/wasm') return WebAssembly.compileStreaming(source);
  return WebAssembly.compile(await source.arrayBuffer());
}

function createMemory(bytes) {
  const maxima = bytes ? [Math.min(Math.max(Math.ceil(bytes / 65536), FIRST_PAGES), MAXIMA[0])] : MAXIMA;
  for (const maximum of maxima) {
    try {
      return new WebAssembly.Memory({ initial: FIRST_PAGES, maximum, shared: true });
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
    }
  }
  throw new FillmaskError('E_MEMORY', `The system grants no memory of ${Math.min(...maxima) / 16} MiB; close other pages or programs.`);
}

/** Resolves when a thread says that it is about to serve. @param {any} thread */
function ready(thread) {
  const listen = (/** @type {string} */ event, /** @type {(event: any) => void} */ use) => (thread.addEventListener ? thread.addEventListener(event, use) : thread.on(event, use));
  return /** @type {Promise<void>} */ (new Promise((resolve, reject) => {
    listen('message', () => {
      thread.unref?.(); // in Node.js, so that idle threads do not keep the process alive
      resolve();
    });
    listen('error', (event) => reject(new FillmaskError('E_UNSUPPORTED', `A thread could not be started (${event.message ?? 'its script failed to load'}).`)));
  }));
}

/** @param {any} source @returns {any} */
function partsOf(source) {
  if (source instanceof Uint8Array || source instanceof ArrayBuffer || typeof source === 'string') return [bytesOf(source)];
  if (source instanceof Response && !source.ok) throw new FillmaskError('E_IO', `${source.url || 'The weights'}: the server answered ${source.status}.`);
  return parts(source);
}

/** The parts of a stream; not all browsers can iterate one. @param {any} source */
export async function* parts(source) {
  const stream = source instanceof Response ? source.body : source;
  if (typeof stream.getReader !== 'function') {
    yield* stream;
    return;
  }
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

// engine.js - the WebAssembly core as a JavaScript class: loading, memory, threads, errors. It fetches nothing, knows
// no file names and creates no workers by itself: whoever uses it hands in the bytes and a factory for threads, so that
// the same file serves browsers and Node.js.
//
// The core computes on the thread that calls it. In a browser that should be a worker: a page's main thread would
// freeze for as long as a forward pass takes, and may not wait for threads.

import { FillmaskError } from './errors.js';

/** The interface between this file and wasm/api.c; both must be from the same version. */
const ABI = 1;

/** Page counts (64 KiB each) that are tried as the memory's maximum: 4, 2, 1 and 0.5 GiB. */
const MAXIMA = [65536, 32768, 16384, 8192];
const FIRST_PAGES = 256;
const STACK = 1 << 18; // bytes, of each thread but the first

const CODES = ['', 'E_ARGUMENT', 'E_IO', 'E_FORMAT', 'E_LIMIT', 'E_MEMORY', 'E_UNSUPPORTED', 'E_ABORTED'];
const DTYPES = ['f32', 'f16', 'bf16', 'int8'];

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
 * @property {Bytes} config config.json
 * @property {TokenizerFiles} tokenizer
 * @property {ByteSource | null} [weights] model.safetensors, streamed straight into the core's memory. Without weights
 *   the model starts from random ones, to be trained.
 * @property {number} [weightsSize] their size in bytes, if a stream is given and it is known: saves copying
 * @property {AbortSignal} [signal]
 * @property {(loaded: number, total: number) => void} [onProgress] bytes of the weights; total is 0 if unknown
 *
 * @typedef {object} ModelInfo
 * @property {number} vocab_size
 * @property {number} hidden
 * @property {number} layers
 * @property {number} heads
 * @property {number} feed_forward
 * @property {number} positions tokens of the longest text, [CLS] and [SEP] included
 * @property {number} parameters
 * @property {'f32' | 'f16' | 'bf16' | 'int8'} dtype what the weights were stored as
 * @property {string} instruction_set
 * @property {number} threads
 * @property {{pad: number, unk: number, cls: number, sep: number, mask: number}} special ids
 * @property {string} mask_token
 *
 * @typedef {object} Filling
 * @property {number} score probability over the whole vocabulary
 * @property {number} token id
 * @property {string} token_str
 * @property {string} sequence the text as given, with this mask replaced
 * @property {number} start of the mask in the text, in UTF-16 code units
 * @property {number} end exclusive
 *
 * @typedef {object} Encoding
 * @property {Uint32Array} ids
 * @property {string[]} tokens
 * @property {[number, number][]} offsets UTF-16 code units, end exclusive; [0, 0] for [CLS] and [SEP] that were added
 * @property {(number | null)[]} words index of each token's word or punctuation mark, null for special tokens
 *
 * @typedef {object} TrainOptions  The defaults are the command line's.
 * @property {number} [length=128] tokens of a chunk
 * @property {number} [batch=64] chunks of a step
 * @property {number} [steps] instead of epochs
 * @property {number} [epochs=1]
 * @property {number} [learning_rate=5e-5] its peak; falls linearly to zero
 * @property {number} [warmup=0] steps of linear warm-up, or a share of all steps if below 1
 * @property {number} [weight_decay=0.01]
 * @property {number} [clip=1] largest norm of the gradients, 0 for none
 * @property {number} [dropout] what the config says unless given
 * @property {number} [mask_rate=0.15]
 * @property {boolean} [whole_words=false]
 * @property {number} [seed=42]
 * @property {number} [limit=0] chunks drawn from the texts at most, 0 for all
 * @property {number} [micro_tokens=2048] tokens of a forward pass at most; less takes less memory
 * @property {'normal' | 'neighbours'} [init] forget the model's weights and start from random ones
 *
 * @typedef {object} TrainReport  Of the last step.
 * @property {number} step steps made
 * @property {number} steps of the whole training
 * @property {number} epoch
 * @property {number} loss mean over the masked tokens, nats
 * @property {number} learning_rate
 * @property {number | null} norm of the gradients before clipping; null if it is not finite, and the step was skipped
 * @property {number} tokens of the training so far
 * @property {number} masked tokens of the step
 *
 * @typedef {object} Evaluation
 * @property {number} loss mean over the masked tokens, nats
 * @property {number} perplexity
 * @property {number} accuracy share of the masked tokens that are ranked first
 * @property {number} top5_accuracy and among the first five
 * @property {number} mask_accuracy as accuracy, of the tokens that were replaced by [MASK]
 * @property {number} nats_per_character
 * @property {number} masked_tokens
 * @property {number} chunks
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
 * @property {number} [sliceMs=40] how long the core computes before other events of the calling thread get a turn
 * @property {string} [instructionSet] "scalar" for the plain reference; the fastest unless given
 */

/**
 * Whether this engine runs relaxed SIMD, and so fillmask-relaxed.wasm.
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
 * Whether threads can share the core's memory: in Node.js, and on pages that are cross-origin isolated (see the headers
 * Cross-Origin-Opener-Policy and Cross-Origin-Embedder-Policy). Everything works on one thread elsewhere.
 * @returns {boolean}
 */
export function canUseThreads() {
  const inNode = typeof globalThis.process === 'object' && Boolean(globalThis.process.versions?.node);
  return inNode || (globalThis.crossOriginIsolated === true && typeof globalThis.document === 'undefined');
}

/** The core and at most one model in it. Calls that need the model wait for one another. */
export class Engine {
  #x; // the instance's exports
  #memory;
  #threads;
  #sliceMs;
  #instructionSet;
  #model = 0;
  #info = null;
  #tokens = []; // texts of tokens that were asked for
  #trainers = new Set();
  #turn = Promise.resolve();
  #trouble = null; // why nothing works any more

  /**
   * Instantiates the core and starts its threads.
   * @param {EngineOptions} options
   * @returns {Promise<Engine>}
   */
  static async create({ wasm, threads = 1, createThread, maximumMemory, sliceMs = 40, instructionSet = 'auto' }) {
    const module = await compile(wasm);
    const memory = createMemory(maximumMemory);
    const { exports } = await WebAssembly.instantiate(module, imports(memory));
    if (typeof exports.api_abi !== 'function' || exports.api_abi() !== ABI)
      throw new FillmaskError('E_MISMATCH', 'The .wasm file does not belong to this version of engine.js; use the two of one release.');
    exports._initialize();
    const engine = new Engine(exports, memory, sliceMs, instructionSet);
    if (threads > 1 && createThread && canUseThreads()) await engine.#startThreads(module, threads, createThread);
    return engine;
  }

  /** Not to be called; use Engine.create(). */
  constructor(exports, memory, sliceMs, instructionSet) {
    this.#x = exports;
    this.#memory = memory;
    this.#sliceMs = sliceMs;
    this.#instructionSet = instructionSet;
    this.#threads = [];
  }

  /** Threads that compute, the calling one included. */
  get threads() {
    return this.#threads.length + 1;
  }

  /** Bytes of the core's memory. It grows and is only given back by close(). */
  get memoryBytes() {
    return this.#memory.buffer.byteLength;
  }

  /** The open model's shape, or null. @returns {ModelInfo | null} */
  get info() {
    return this.#info;
  }

  /**
   * Opens a model. One that is open, and its trainers, are closed first.
   * @param {ModelFiles} files
   * @returns {Promise<ModelInfo>}
   */
  open({ config, tokenizer, weights = null, weightsSize = 0, signal, onProgress }) {
    return this.#inTurn(async () => {
      this.#unload();
      const held = [];
      const hold = (bytes) => {
        if (bytes === undefined || bytes === null) return [0, 0];
        const [at, size] = this.#put(bytes);
        held.push(at);
        return [at, size];
      };
      try {
        const parts = [config, tokenizer?.json, tokenizer?.vocab, tokenizer?.config, this.#instructionSet].flatMap(hold);
        const [at, size] = weights === null ? [0, 0] : await this.#receive(weights, weightsSize, signal, onProgress);
        const model = this.#call('api_open', ...parts, at, size) >>> 0; // takes the weights over, whatever the result
        if (!model) throw this.#error();
        this.#model = model;
        this.#info = JSON.parse(this.#text(this.#call('api_info', model)));
        return this.#info;
      } finally {
        if (!this.#trouble) for (const at of held) this.#call('api_free', at);
      }
    });
  }

  /** Closes the model and its trainers, and keeps the engine. @returns {Promise<void>} */
  unload() {
    return this.#inTurn(async () => this.#unload());
  }

  /**
   * The most probable tokens for every [MASK] of a text: a list for each mask, in the order of the text.
   * @param {string} text
   * @param {{top_k?: number}} [options]
   * @returns {Promise<Filling[][]>}
   */
  fill(text, { top_k = 5 } = {}) {
    return this.#inTurn(async () => {
      const result = this.#withText(text, (at, size) => this.#words(this.#call('api_fill', this.#need(), at, size, count(top_k, 'top_k'))));
      const scores = new Float32Array(result.buffer);
      const masks = [];
      let i = 0;
      for (let mask = result[i++]; mask > 0; mask--) {
        const [start, end, fillings] = result.subarray(i, i + 3);
        i += 3;
        masks.push(Array.from({ length: fillings }, () => {
          const token = result[i++], score = scores[i++], token_str = this.token(token);
          return { score, token, token_str, sequence: replaced(text, start, end, token_str), start, end };
        }));
      }
      return masks;
    });
  }

  /**
   * @param {string} text
   * @param {{special?: boolean}} [options] special: with [CLS] and [SEP], which is the default
   * @returns {Encoding}
   */
  encode(text, { special = true } = {}) {
    const all = this.#withText(text, (at, size) => this.#words(this.#call('api_encode', this.#need(), at, size, special ? 1 : 0)));
    const n = all.length / 4;
    const ids = all.slice(0, n);
    return {
      ids,
      tokens: Array.from(ids, (id) => this.token(id)),
      offsets: Array.from(ids, (_, i) => [all[n + i], all[2 * n + i]]),
      words: Array.from(ids, (_, i) => (all[3 * n + i] === 0xffffffff ? null : all[3 * n + i])),
    };
  }

  /**
   * The text of ids, as transformers' decode gives it.
   * @param {ArrayLike<number>} ids
   * @param {{skip_special_tokens?: boolean, clean_up?: boolean}} [options]
   * @returns {string}
   */
  decode(ids, { skip_special_tokens = false, clean_up = true } = {}) {
    const [at] = this.#put(new Uint8Array(Uint32Array.from(ids).buffer));
    try {
      const text = this.#call('api_decode', this.#need(), at, ids.length, skip_special_tokens ? 1 : 0, clean_up ? 1 : 0) >>> 0;
      if (!text) throw this.#error();
      return this.#take(text, (bytes) => decoder.decode(bytes));
    } finally {
      this.#call('api_free', at);
    }
  }

  /** The text of one token. @param {number} id @returns {string} */
  token(id) {
    const model = this.#need();
    if (this.#tokens[id] === undefined) {
      const text = this.#call('api_token', model, id);
      if (!text) throw this.#error();
      this.#tokens[id] = this.#text(text);
    }
    return this.#tokens[id];
  }

  /** The id of a token's exact text, or undefined. @param {string} token @returns {number | undefined} */
  tokenId(token) {
    const id = this.#withText(token, (at, size) => this.#call('api_token_id', this.#need(), at, size));
    return id < 0 ? undefined : id;
  }

  /**
   * The model's weights as a model.safetensors file.
   * @param {{dtype?: 'f32' | 'f16' | 'bf16' | 'int8'}} [options]
   * @returns {Promise<Uint8Array>}
   */
  save({ dtype = 'f32' } = {}) {
    return this.#inTurn(async () => {
      const type = DTYPES.indexOf(dtype);
      if (type < 0) throw new FillmaskError('E_ARGUMENT', `dtype is "${dtype}"; it must be one of ${DTYPES.join(', ')}.`);
      const file = this.#call('api_save', this.#need(), type) >>> 0;
      if (!file) throw this.#error();
      return this.#take(file, (bytes) => bytes.slice());
    });
  }

  /**
   * Prepares a training of the open model on texts. The model itself stays as it is until Trainer.apply(), and can be
   * used between the slices of a training.
   * @param {Iterable<string> | AsyncIterable<string>} texts one document each
   * @param {TrainOptions & {signal?: AbortSignal}} [options]
   * @returns {Promise<Trainer>}
   */
  trainer(texts, { signal, ...options } = {}) {
    return this.#inTurn(async () => {
      const model = this.#need();
      const corpus = await this.#corpus(texts, signal);
      const handle = this.#withText(JSON.stringify(options), (at, size) => this.#call('api_trainer', model, corpus, at, size) >>> 0);
      if (!handle) throw this.#error();
      const alive = () => {
        if (!trainer.open) throw closed('trainer');
      };
      const trainer = new Trainer({
        advance: async (abort) => {
          if ((await this.#advance('api_trainer_advance', handle, abort, alive)) === 2) return null;
          return JSON.parse(this.#text(this.#call('api_trainer_report', handle)));
        },
        apply: () => this.#inTurn(async () => {
          alive();
          this.#check(this.#call('api_trainer_apply', handle));
          this.#info = JSON.parse(this.#text(this.#call('api_info', model)));
        }),
        close: () => {
          this.#trainers.delete(trainer);
          if (!this.#trouble) this.#call('api_trainer_close', handle);
        },
      });
      this.#trainers.add(trainer);
      return trainer;
    });
  }

  /**
   * How well the model predicts masked tokens of texts. The masks are drawn from a fixed seed, so that results of the
   * same texts can be compared.
   * @param {Iterable<string> | AsyncIterable<string>} texts one document each
   * @param {{length?: number, limit?: number, signal?: AbortSignal, onProgress?: (done: number, total: number) => void}}
   *   [options] length: tokens of a chunk, 128 unless given; limit: chunks at most, 0 for all
   * @returns {Promise<Evaluation>}
   */
  evaluate(texts, { length = 128, limit = 0, signal, onProgress } = {}) {
    return this.#inTurn(async () => {
      const model = this.#need();
      const corpus = await this.#corpus(texts, signal);
      const job = this.#call('api_evaluation', model, corpus, count(length, 'length'), count(limit, 'limit')) >>> 0;
      if (!job) throw this.#error();
      const report = () => JSON.parse(this.#text(this.#call('api_evaluation_report', job)));
      try {
        while ((await this.#advance('api_evaluation_advance', job, signal)) !== 2) {
          const { done, total } = report();
          onProgress?.(done, total);
        }
        const { done, total, ...evaluation } = report();
        return evaluation;
      } finally {
        if (!this.#trouble) this.#call('api_evaluation_close', job);
      }
    });
  }

  /** Ends the threads and gives all memory back. Whatever is under way fails with E_CLOSED. Can be called twice. */
  close() {
    if (this.#threads) for (const thread of this.#threads) thread.terminate();
    this.#threads = [];
    this.#trouble ??= closed('engine');
    this.#x = null;
    this.#model = 0;
    this.#info = null;
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

  // ---- the model in use ----

  #need() {
    if (this.#trouble) throw this.#trouble;
    if (!this.#model) throw new FillmaskError('E_ARGUMENT', 'No model is open; open one first.');
    return this.#model;
  }

  #unload() {
    for (const trainer of this.#trainers) trainer.close();
    if (this.#model) this.#call('api_close', this.#model);
    this.#model = 0;
    this.#info = null;
    this.#tokens = [];
  }

  /** Runs a task when those before it are done, whether they failed or not. */
  #inTurn(task) {
    const result = this.#turn.then(() => {
      if (this.#trouble) throw this.#trouble;
      return task();
    });
    this.#turn = result.catch(() => {});
    return result;
  }

  /** Calls a step function until it says something else than 0, or the signal is aborted; returns what it said. */
  async #advance(name, handle, signal, alive = () => {}) {
    for (;;) {
      signal?.throwIfAborted();
      alive();
      for (const end = performance.now() + this.#sliceMs; ;) {
        const said = this.#call(name, handle);
        if (said < 0) throw this.#error();
        if (said > 0) return said;
        if (performance.now() >= end) break;
      }
      await pause();
    }
  }

  /** Tokenises documents; the handle goes to a trainer or an evaluation, which takes it over. */
  async #corpus(texts, signal) {
    const corpus = this.#call('api_corpus', this.#need()) >>> 0;
    if (!corpus) throw this.#error();
    try {
      let end = performance.now() + this.#sliceMs;
      for await (const text of typeof texts === 'string' ? [texts] : texts) {
        this.#withText(text, (at, size) => this.#check(this.#call('api_corpus_add', corpus, at, size)));
        if (performance.now() < end) continue;
        await pause();
        signal?.throwIfAborted();
        end = performance.now() + this.#sliceMs;
      }
      signal?.throwIfAborted();
      return corpus;
    } catch (error) {
      if (!this.#trouble) this.#call('api_corpus_close', corpus);
      throw error;
    }
  }

  // ---- calls and memory ----

  #call(name, ...values) {
    if (this.#trouble) throw this.#trouble;
    try {
      return this.#x[name](...values);
    } catch (error) {
      this.#trouble = new FillmaskError('E_CRASHED', `The core failed (${error.message}); create another engine.`);
      throw this.#trouble;
    }
  }

  #error() {
    return new FillmaskError(CODES[this.#call('api_error')], this.#text(this.#call('api_error_text')));
  }

  #check(status) {
    if (status < 0) throw this.#error();
    return status;
  }

  #alloc(size) {
    const at = this.#call('api_alloc', size) >>> 0;
    if (!at) throw this.#error();
    return at;
  }

  /** Copies bytes into the core; the result is to be freed. */
  #put(bytes) {
    const data = bytesOf(bytes);
    const at = this.#alloc(data.length);
    new Uint8Array(this.#memory.buffer, at, data.length).set(data);
    return [at, data.length];
  }

  #withText(text, use) {
    const [at, size] = this.#put(String(text));
    try {
      return use(at, size);
    } finally {
      if (!this.#trouble) this.#call('api_free', at);
    }
  }

  /** A NUL-terminated text that stays the core's. */
  #text(at) {
    const bytes = new Uint8Array(this.#memory.buffer);
    const from = at >>> 0;
    return decoder.decode(bytes.slice(from, bytes.indexOf(0, from)));
  }

  /** The last result of the core, which `read` must copy before it is freed. */
  #take(at, read) {
    try {
      // TextDecoder and others refuse shared memory, so they get a copy.
      return read(new Uint8Array(this.#memory.buffer, at, this.#call('api_size') >>> 0).slice());
    } finally {
      this.#call('api_free', at);
    }
  }

  #words(result) {
    const at = result >>> 0;
    if (!at) throw this.#error();
    return this.#take(at, (bytes) => new Uint32Array(bytes.buffer));
  }

  /** Moves a source into one buffer of the core, which the caller owns. */
  async #receive(source, expected, signal, onProgress) {
    const whole = source instanceof Uint8Array || source instanceof ArrayBuffer || typeof source === 'string' ? bytesOf(source) : null;
    if (!whole && source instanceof Response) {
      if (!source.ok) throw new FillmaskError('E_IO', `${source.url || 'The weights'}: the server answered ${source.status}.`);
      expected ||= Number(source.headers.get('content-length')) || 0;
    }
    let room = whole ? whole.length : expected || 1 << 20;
    let size = 0;
    let at = this.#alloc(room);
    try {
      for await (const part of whole ? [whole] : chunks(source)) {
        signal?.throwIfAborted();
        if (size + part.length > room) {
          room = Math.max(size + part.length, room * 2);
          const larger = this.#alloc(room);
          const memory = new Uint8Array(this.#memory.buffer);
          memory.copyWithin(larger, at, at + size);
          this.#call('api_free', at);
          at = larger;
        }
        new Uint8Array(this.#memory.buffer, at + size, part.length).set(part);
        size += part.length;
        onProgress?.(size, whole ? room : expected);
      }
      signal?.throwIfAborted();
      return [at, size];
    } catch (error) {
      if (!this.#trouble) this.#call('api_free', at);
      throw error;
    }
  }
}

/**
 * A training under way, as an async iterator of its reports, one a step:
 *
 *     for await (const { step, loss } of trainer) console.log(step, loss);
 *     await trainer.apply();
 *
 * Leaving the loop pauses the training; another loop, or step(), goes on.
 */
export class Trainer {
  #calls;
  #running = false;

  /** Not to be called; use Engine.trainer(). */
  constructor(calls) {
    this.#calls = calls;
  }

  /** Whether it can be used. */
  get open() {
    return this.#calls !== null;
  }

  /**
   * Makes one step. Aborting leaves it half done, and the next call finishes it.
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<TrainReport | null>} null if all steps are made
   */
  async step({ signal } = {}) {
    if (!this.#calls) throw closed('trainer');
    if (this.#running) throw new FillmaskError('E_ARGUMENT', 'A step of this training is under way; wait for it.');
    this.#running = true;
    try {
      return await this.#calls.advance(signal);
    } finally {
      this.#running = false;
    }
  }

  /** @returns {AsyncGenerator<TrainReport, void, void>} */
  async *[Symbol.asyncIterator]() {
    for (let report = await this.step(); report; report = await this.step()) yield report;
  }

  /** Gives the engine's model the values reached so far; the training can go on. @returns {Promise<void>} */
  async apply() {
    if (!this.#calls) throw closed('trainer');
    return this.#calls.apply();
  }

  /** Frees what the training holds: four times the size of the model. */
  close() {
    const calls = this.#calls;
    this.#calls = null;
    calls?.close();
  }
}

// ---- helpers ----

const encoder = new TextEncoder();
const decoder = new TextDecoder();

function closed(what) {
  return new FillmaskError('E_CLOSED', `The ${what} was closed; create another one.`);
}

function bytesOf(data) {
  if (typeof data === 'string') return encoder.encode(data);
  return data instanceof ArrayBuffer ? new Uint8Array(data) : data;
}

function count(value, name) {
  if (Number.isInteger(value) && value >= 0 && value < 2 ** 31) return value;
  throw new FillmaskError('E_ARGUMENT', `${name} is ${value}; it must be a whole number from 0 to 2147483647.`);
}

/** The imports of an instance; thread.js makes the same. */
export function imports(memory) {
  return { env: { memory, emscripten_notify_memory_growth() {}, now: () => performance.now() } };
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
  throw new FillmaskError('E_MEMORY', `The system grants no memory of ${maxima.at(-1) / 16} MiB; close other pages or programs.`);
}

/** Resolves when a thread says that it is about to serve. */
function ready(thread) {
  const listen = (event, use) => (thread.addEventListener ? thread.addEventListener(event, use) : thread.on(event, use));
  return new Promise((resolve, reject) => {
    listen('message', () => {
      thread.unref?.(); // in Node.js, so that idle threads do not keep the process alive
      resolve();
    });
    listen('error', (event) => reject(new FillmaskError('E_UNSUPPORTED', `A thread could not be started (${event.message ?? 'its script failed to load'}).`)));
  });
}

/** Lets other events have a turn, without the delay that nested timers get. */
function pause() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(0);
  });
}

/** The text with one mask replaced; a piece of a word joins the word before it. */
function replaced(text, start, end, token) {
  const piece = token.startsWith('##') && token.length > 2;
  let before = start;
  if (piece) while (before > 0 && text[before - 1] === ' ') before--;
  return text.slice(0, before) + (piece ? token.slice(2) : token) + text.slice(end);
}

/** The parts of a stream; not all browsers can iterate one. */
async function* chunks(source) {
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

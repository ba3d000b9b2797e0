// api.js - what the package offers, the same in browsers and in Node.js: pipelines, models, tokenizers. All work is
// done elsewhere, by what the entries (index.js, index-node.js) start.
import { Client } from './client.js';
import { FillmaskError } from './errors.js';
import { sourceOf } from './sources.js';

export { FillmaskError };

/**
 * @typedef {import('./sources.js').ModelInput} ModelInput
 *
 * @typedef {object} EngineOptions  Models that are loaded with the same of these share one worker and its threads.
 * @property {number} [threads] that compute; one per processor, eight at most, unless given. Browsers need a page that is cross-origin
 *   isolated for more than one
 * @property {'auto' | 'wasm'} [device]
 * @property {string | URL} [workerUrl] web/worker.js, if it has been moved
 * @property {string | URL | {simd128: string | URL, relaxed?: string | URL}} [wasmUrl] the WebAssembly files, if they have
 *   been moved
 * @property {() => Worker} [createWorker] instead of workerUrl: makes a worker that runs web/worker.js
 *
 * @typedef {object} LoadOptions
 * @property {string | URL} [modelUrl] folder in which the folders of models are found by their names
 * @property {(event: ProgressEvent) => void} [progress_callback]
 * @property {AbortSignal} [signal]
 *
 * @typedef {{status: 'initiate' | 'download' | 'done', name: string, file: string}
 *   | {status: 'progress', name: string, file: string, progress: number, loaded: number, total: number}
 *   | {status: 'ready', task: string, model: string}} ProgressEvent  progress in percent, loaded and total in bytes
 *
 * @typedef {import('./engine.js').ModelInfo} ModelInfo
 * @typedef {import('./engine.js').Filling} Filling
 * @typedef {import('./engine.js').Encoding} Encoding
 *
 * @typedef {object} FillOptions
 * @property {number} [top_k=5]
 * @property {AbortSignal} [signal]
 */

/**
 * What an entry brings.
 * @typedef {object} Host
 * @property {(options: EngineOptions) => import('./client.js').Start} start
 * @property {() => string} base of relative URLs
 * @property {(name: string) => string | null} folder URL of the folder that a text names
 */
/** @type {Host} */
let host;

/** For the entries alone. @param {Host} given */
export function setHost(given) {
  host = given;
}

// ---- workers ----

const ENGINE_OPTIONS = /** @type {const} */ (['threads', 'device', 'workerUrl', 'wasmUrl', 'createWorker']);

/** @type {{options: EngineOptions, client: Client, users: Set<any>}[]} */
let engines = [];

function engineFor(/** @type {EngineOptions} */ options) {
  const same = engines.find((engine) => ENGINE_OPTIONS.every((name) => engine.options[name] === options[name]));
  if (same) return same;
  const engine = { options, client: new Client(host.start(options)), users: new Set() };
  engines.push(engine);
  return engine;
}

function leave(engine, user) {
  engine.users.delete(user);
  if (engine.users.size > 0) return;
  engine.client.close();
  engines = engines.filter((other) => other !== engine);
}

/** Frees everything: all models, pipelines and workers. @returns {Promise<void>} */
export async function dispose() {
  for (const engine of engines) for (const user of engine.users) await user.dispose();
}

// ---- models ----

/**
 * Loads a model.
 * @param {ModelInput} [model] the one that ships unless given
 * @param {EngineOptions & LoadOptions} [options]
 * @returns {Promise<Model>}
 */
export async function loadModel(model, options = {}) {
  const source = await sourceOf(model, { modelUrl: options.modelUrl, base: host.base(), folder: host.folder });
  const engine = engineFor(options);
  const loaded = new Model(engine, source);
  await loaded.load(options);
  return loaded;
}

/** A model in the worker. */
export class Model {
  #engine;
  #source;
  #generation = 0;
  /** @type {Promise<number> | null} */
  #handle = null;
  #info = null;
  #disposed = false;

  /** Not to be called; use loadModel(). */
  constructor(engine, source) {
    this.#engine = engine;
    this.#source = source;
    engine.users.add(this);
    /** Its tokenizer. */
    this.tokenizer = new Tokenizer((op, args) => this.call(op, args));
  }

  /** The model's name. @returns {string} */
  get name() {
    return this.#source.name;
  }

  /** Its shape. @returns {ModelInfo} */
  get info() {
    return this.#info;
  }

  /**
   * The most probable tokens for every [MASK] of a text: a list for one mask, a list of lists for several, and for
   * several texts a list of what each gives alone.
   * @overload
   * @param {string} text
   * @param {FillOptions} [options]
   * @returns {Promise<Filling[] | Filling[][]>}
   */
  /**
   * @overload
   * @param {string[]} text
   * @param {FillOptions} [options]
   * @returns {Promise<(Filling[] | Filling[][])[]>}
   */
  /** @param {string | string[]} text @param {FillOptions} [options] @returns {Promise<any>} */
  async fill(text, { signal, ...options } = {}) {
    const texts = Array.isArray(text) ? text : [text];
    const results = await this.call('fill', { texts, ...options }, { signal });
    const shaped = results.map((masks) => (masks.length === 1 ? masks[0] : masks));
    return Array.isArray(text) ? shaped : shaped[0];
  }

  /** Frees the model. The worker ends with its last one. @returns {Promise<void>} */
  async dispose() {
    if (this.#disposed) return;
    this.#disposed = true;
    const handle = this.#handle;
    if (handle && this.#engine.users.size > 1 && this.#generation === this.#engine.client.generation)
      await handle.then((model) => this.#engine.client.call('close', { model })).catch(() => {});
    leave(this.#engine, this);
  }

  /** For this package alone: opens the model, again if the worker that had it died. */
  async load({ signal, progress_callback } = {}) {
    const { client } = this.#engine;
    const opened = client.call('open', { source: this.#source }, { signal, onEvent: progress_callback });
    this.#generation = client.generation;
    this.#handle = opened.then(({ model }) => model);
    this.#handle.catch(() => {});
    try {
      this.#info = (await opened).info;
    } catch (error) {
      this.#handle = null;
      if (!this.#info) await this.dispose();
      throw error;
    }
  }

  /** For this package alone. @param {string} op @param {object} args @param {any} [options] @returns {Promise<any>} */
  async call(op, args, options) {
    if (this.#disposed) throw new FillmaskError('E_CLOSED', `The model ${this.name} was disposed; load it again.`);
    const { client } = this.#engine;
    if (!this.#handle || this.#generation !== client.generation) await this.load();
    return client.call(op, { model: await this.#handle, ...args }, options);
  }
}

// ---- tokenizers ----

/** Text to tokens and back. */
export class Tokenizer {
  #call;

  /** Not to be called; a model has one. @param {(op: string, args: object) => Promise<any>} call */
  constructor(call) {
    this.#call = call;
  }

  /**
   * The tokens of a text, with offsets in UTF-16 code units.
   * @param {string} text
   * @param {{special?: boolean}} [options] special: with [CLS] and [SEP], which is the default
   * @returns {Promise<Encoding>}
   */
  async encode(text, { special = true } = {}) {
    return (await this.#call('encode', { texts: [text], special }))[0];
  }

  /**
   * The text of ids, as transformers' decode gives it.
   * @param {ArrayLike<number>} ids
   * @param {{skip_special_tokens?: boolean, clean_up?: boolean}} [options]
   * @returns {Promise<string>}
   */
  async decode(ids, options = {}) {
    return this.#call('decode', { ids: Array.from(ids), options });
  }
}

// ---- pipelines ----

/**
 * @typedef {object} Pipeline
 * @property {string} task
 * @property {Model} model
 * @property {Tokenizer} tokenizer
 * @property {() => Promise<void>} dispose
 *
 * @typedef {Model['fill'] & Pipeline} FillMaskPipeline
 */

/**
 * A function that does one task with a model, and loads it first.
 * @overload
 * @param {'fill-mask'} task
 * @param {ModelInput | Model} [model] the one that ships unless given
 * @param {EngineOptions & LoadOptions} [options]
 * @returns {Promise<FillMaskPipeline>}
 */
/** @param {string} task @param {ModelInput | Model} [model] @param {EngineOptions & LoadOptions} [options] @returns {Promise<any>} */
export async function pipeline(task, model, options = {}) {
  const tasks = { 'fill-mask': 'fill' };
  if (!Object.hasOwn(tasks, task)) throw new FillmaskError('E_ARGUMENT', `There is no task "${task}"; there are ${Object.keys(tasks).join(', ')}.`);
  const loaded = model instanceof Model ? model : await loadModel(model, options);
  options.progress_callback?.({ status: 'ready', task, model: loaded.name });
  const run = (...args) => loaded[tasks[task]](...args);
  return Object.assign(run, { task, model: loaded, tokenizer: loaded.tokenizer, dispose: () => loaded.dispose() });
}

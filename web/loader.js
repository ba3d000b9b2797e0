// loader.js - what starts work: it loads models and tokenizers, and makes pipelines of them, on workers that they share.
// How a worker is started, and what a name means, is a host's: host.js for browsers, host-node.js for Node.js.
import { Client } from './client.js';
import { FillmaskError } from './errors.js';
import { Model } from './model.js';
import { FILES, sourceOf } from './sources.js';
import { Tokenizer } from './tokenizer.js';

/**
 * @typedef {import('./sources.js').ModelInput} ModelInput
 * @typedef {import('./api.js').EngineOptions} EngineOptions
 * @typedef {import('./api.js').LoadOptions} LoadOptions
 *
 * @typedef {object} Host
 * @property {(options: EngineOptions) => import('./client.js').Start} start
 * @property {string[]} devices that there are, beside "auto"
 * @property {boolean} [adapters] whether graphics cards can be chosen by name
 * @property {() => string} base of relative URLs
 * @property {(name: string) => string | null} folder URL of the folder that a text names, null if it names none
 */

const MOST_THREADS = 256; // each is a worker, which takes a while to start

const ENGINE_OPTIONS = /** @type {const} */ (['threads', 'device', 'powerPreference', 'adapter', 'instructionSet', 'workerUrl', 'wasmUrl', 'createWorker']);

/** A worker, and what is in it. */
class Engine {
  users = new Set();
  #end;

  /** @param {import('./client.js').Start} start @param {EngineOptions} options @param {() => void} end */
  constructor(start, options, end) {
    this.client = new Client(start);
    this.options = options;
    this.#end = end;
  }

  leave(user) {
    this.users.delete(user);
    if (this.users.size > 0) return;
    this.client.close();
    this.#end();
  }
}

const TASKS = { 'fill-mask': 'fill', augment: 'augment', score: 'score', embed: 'embed' };

/** What a pipeline has beside its task. */
const MORE = {
  augment: (/** @type {Model} */ model) => ({ stream: (source, how) => model.augmentStream(source, how) }),
  score: (/** @type {Model} */ model) => ({ perplexity: (texts, how) => model.perplexity(texts, how) }),
};

export class Loader {
  #host;
  /** @type {Set<Engine>} */
  #engines = new Set();

  /** @param {Host} host */
  constructor(host) {
    this.#host = host;
  }

  /**
   * Loads a model.
   * @param {ModelInput} [model] the one that ships unless given
   * @param {EngineOptions & LoadOptions} [options]
   * @returns {Promise<Model>}
   */
  async loadModel(model, options = {}) {
    const source = this.#find(model, options);
    const loaded = new Model(this.#engineFor(options), source, { dtype: options.dtype, untrained: options.untrained });
    await loaded.load(options);
    return loaded;
  }

  /**
   * Loads the tokenizer of a model, without the model.
   * @param {ModelInput} [model] the one that ships unless given
   * @param {EngineOptions & LoadOptions} [options]
   * @returns {Promise<Tokenizer>}
   */
  async loadTokenizer(model, options = {}) {
    const source = this.#find(model, options);
    const engine = this.#engineFor(options);
    const { client } = engine;
    let generation = -1, opened;
    const number = async () => {
      if (client.generation !== generation || !opened) {
        opened = client.call('open', { source, tokenizerOnly: true }, { signal: options.signal, onEvent: options.progress_callback });
        generation = client.generation;
      }
      return (await opened).number;
    };
    const user = {
      async dispose() {
        if (!engine.users.has(user)) return;
        if (engine.users.size > 1 && client.generation === generation) await client.call('close', await opened).catch(() => {});
        engine.leave(user);
      },
    };
    engine.users.add(user);
    const call = async (op, args) => {
      if (!engine.users.has(user)) throw new FillmaskError('E_CLOSED', 'The tokenizer was disposed; load it again.');
      return client.call(op, { tokenizer: await number(), ...args });
    };
    try {
      await number();
    } catch (error) {
      engine.leave(user);
      throw error;
    }
    return new Tokenizer(call, user.dispose);
  }

  /**
   * A function that does one task with a model, and loads it first.
   * @overload
   * @param {'fill-mask'} task
   * @param {ModelInput | Model} [model] the one that ships unless given
   * @param {EngineOptions & LoadOptions} [options]
   * @returns {Promise<import('./api.js').FillMaskPipeline>}
   */
  /**
   * @overload
   * @param {'augment'} task
   * @param {ModelInput | Model} [model]
   * @param {EngineOptions & LoadOptions} [options]
   * @returns {Promise<import('./api.js').AugmentPipeline>}
   */
  /**
   * @overload
   * @param {'score'} task
   * @param {ModelInput | Model} [model]
   * @param {EngineOptions & LoadOptions} [options]
   * @returns {Promise<import('./api.js').ScorePipeline>}
   */
  /**
   * @overload
   * @param {'embed'} task
   * @param {ModelInput | Model} [model]
   * @param {EngineOptions & LoadOptions} [options]
   * @returns {Promise<import('./api.js').EmbedPipeline>}
   */
  /** @param {string} task @param {ModelInput | Model} [model] @param {EngineOptions & LoadOptions} [options] @returns {Promise<any>} */
  async pipeline(task, model, options = {}) {
    if (!Object.hasOwn(TASKS, task)) throw new FillmaskError('E_ARGUMENT', `There is no task "${task}"; there are ${Object.keys(TASKS).join(', ')}.`);
    const loaded = model instanceof Model ? model : await this.loadModel(model, options);
    options.progress_callback?.({ status: 'ready', task, model: loaded.name });
    const run = (text, how) => loaded[TASKS[task]](text, how);
    return Object.assign(run, { task, model: loaded, tokenizer: loaded.tokenizer, dispose: () => loaded.dispose() }, MORE[task]?.(loaded));
  }

  /** Frees everything: all models, pipelines and workers. @returns {Promise<void>} */
  async dispose() {
    for (const engine of [...this.#engines]) for (const user of [...engine.users]) await user.dispose();
  }

  /** @param {EngineOptions} options */
  #engineFor(options) {
    const { device = 'auto' } = options, { devices, adapters } = this.#host;
    if (device !== 'auto' && !devices.includes(device)) throw new FillmaskError('E_ARGUMENT', `device is "${device}"; here it must be one of ${['auto', ...devices].join(', ')}.`);
    const { adapter, powerPreference, threads = 1 } = options;
    if (!Number.isInteger(threads) || threads < 1 || threads > MOST_THREADS) throw new FillmaskError('E_ARGUMENT', `threads is ${threads}; it must be a whole number from 1 to ${MOST_THREADS}, or left out.`);
    if (adapter !== undefined && !adapters) throw new FillmaskError('E_ARGUMENT', 'adapter is for Node.js; here powerPreference chooses among graphics cards.');
    if (powerPreference !== undefined && !['low-power', 'high-performance'].includes(powerPreference)) throw new FillmaskError('E_ARGUMENT', `powerPreference is "${powerPreference}"; it must be low-power or high-performance.`);
    if ((adapter ?? powerPreference) !== undefined && device !== 'webgpu') throw new FillmaskError('E_ARGUMENT', `${adapter === undefined ? 'powerPreference' : 'adapter'} chooses among graphics cards; give device "webgpu" with it.`);
    for (const engine of this.#engines) if (ENGINE_OPTIONS.every((name) => engine.options[name] === options[name])) return engine;
    const engine = new Engine(this.#host.start(options), options, () => this.#engines.delete(engine));
    this.#engines.add(engine);
    return engine;
  }

  /** @param {ModelInput | undefined} model @param {LoadOptions} options */
  #find(model, { modelUrl, cache = true, local_files_only, integrity, max_bytes }) {
    const { base, folder } = this.#host, origin = globalThis.location?.origin;
    const source = sourceOf(model, { modelUrl, base: base(), folder });
    for (const file of Object.keys(integrity ?? {}))
      if (!FILES.includes(file)) throw new FillmaskError('E_ARGUMENT', `integrity names "${file}"; a model has ${FILES.join(', ')}.`);
    return { cache, ...source, origin, local: local_files_only, integrity, limit: max_bytes };
  }
}

// api.js - what the package offers, the same in browsers and in Node.js: pipelines, models, tokenizers, trainers. All
// work is done elsewhere, by what the entries (index.js, index-node.js) start through host.js.
import { Client } from './client.js';
import { FillmaskError } from './errors.js';
import { host } from './host.js';
import { Model } from './model.js';
import { FILES, sourceOf } from './sources.js';
import { Tokenizer } from './tokenizer.js';

export { FillmaskError } from './errors.js';
export { Model } from './model.js';
export { similarity } from './similarity.js';
export { Tokenizer } from './tokenizer.js';
export { Trainer } from './trainer.js';

/**
 * @typedef {import('./sources.js').ModelInput} ModelInput
 * @typedef {import('./model.js').ModelInfo} ModelInfo
 * @typedef {import('./model.js').Filling} Filling
 * @typedef {import('./model.js').TextFilling} TextFilling
 * @typedef {import('./model.js').FillOptions} FillOptions
 * @typedef {import('./model.js').CallOptions} CallOptions
 * @typedef {import('./model.js').Score} Score
 * @typedef {import('./model.js').ScoreOptions} ScoreOptions
 * @typedef {import('./model.js').Perplexity} Perplexity
 * @typedef {import('./model.js').EmbedOptions} EmbedOptions
 * @typedef {import('./model.js').Augmented} Augmented
 * @typedef {import('./model.js').AugmentOptions} AugmentOptions
 * @typedef {import('./stream.js').StreamOptions} StreamOptions
 * @typedef {import('./model.js').Evaluation} Evaluation
 * @typedef {import('./model.js').EvaluateOptions} EvaluateOptions
 * @typedef {import('./tokenizer.js').Encoding} Encoding
 * @typedef {import('./trainer.js').TrainOptions} TrainOptions
 * @typedef {import('./trainer.js').TrainerOptions} TrainerOptions
 * @typedef {import('./trainer.js').TrainReport} TrainReport
 * @typedef {import('./corpus.js').Texts} Texts
 *
 * @typedef {object} EngineOptions  Models that are loaded with the same of these share one worker and its threads.
 * @property {number} [threads] that compute: one per processor, eight at most, unless given. In browsers, more than one
 *   needs a page that is cross-origin isolated
 * @property {'auto' | 'native' | 'wasm' | 'webgpu'} [device] what computes: in Node.js the native program, where it is
 *   built or installed, unless given; in browsers WebAssembly. "webgpu" is the graphics card: in Node.js through the
 *   package webgpu, which is to be installed beside this one. A model whose logits it gets wrong stays with WebAssembly,
 *   and its info has a warning
 * @property {'low-power' | 'high-performance'} [powerPreference='high-performance'] which graphics card, if there are
 *   several
 * @property {string} [adapter] in Node.js the card's name, or part of it, instead; `npx fillmask --adapter` lists them
 * @property {string} [instructionSet] "scalar" for the plain reference; the fastest unless given
 * @property {string | URL} [workerUrl] build-js/worker.js, if it has been moved; it is whole by itself
 * @property {string | URL | {simd128: string | URL, relaxed?: string | URL}} [wasmUrl] the WebAssembly files, if they
 *   have been moved
 * @property {() => any} [createWorker] instead of workerUrl: makes a worker that runs build-js/worker.js
 *
 * @typedef {object} LoadOptions
 * @property {'auto' | 'fp32' | 'fp16' | 'bf16' | 'q8' | 'int8'} [dtype='auto'] what the weights become; as stored
 *   unless given
 * @property {boolean} [untrained=false] start from random weights, to be trained; the folder needs none
 * @property {string | URL} [modelUrl] folder in which the folders of models are found by their names
 * @property {boolean | string} [cache=true] keep what is downloaded, in parts, and go on from them: in the Cache API, or
 *   in memory where there is none; in Node.js in ~/.cache/fillmask, or FILLMASK_CACHE, or the folder given here
 * @property {boolean} [local_files_only=false] take from a network nothing, only what is kept
 * @property {Record<string, string>} [integrity] the SHA-256 of files by their names: "sha256-" and base64, or hexadecimal
 * @property {number} [max_bytes=2147483648] of a file
 * @property {(event: LoadProgress) => void} [progress_callback]
 * @property {AbortSignal} [signal]
 *
 * @typedef {{status: 'initiate' | 'download' | 'done', name: string, file: string}
 *   | {status: 'progress', name: string, file: string, progress: number, loaded: number, total: number}
 *   | {status: 'ready', task: string, model: string}} LoadProgress  progress in percent, loaded and total in bytes
 */

// ---- workers ----

const MOST_THREADS = 256; // each is a worker, which takes a while to start

const ENGINE_OPTIONS = /** @type {const} */ (['threads', 'device', 'powerPreference', 'adapter', 'instructionSet', 'workerUrl', 'wasmUrl', 'createWorker']);

/** A worker, and what is in it. */
class Engine {
  users = new Set();

  /** @param {EngineOptions} options */
  constructor(options) {
    this.options = options;
    this.client = new Client(host().start(options));
  }

  leave(user) {
    this.users.delete(user);
    if (this.users.size > 0) return;
    this.client.close();
    engines.delete(this);
  }
}

/** @type {Set<Engine>} */
const engines = new Set();

function engineFor(/** @type {EngineOptions} */ options) {
  const { device = 'auto' } = options, { devices, adapters } = host();
  if (device !== 'auto' && !devices.includes(device)) throw new FillmaskError('E_ARGUMENT', `device is "${device}"; here it must be one of ${['auto', ...devices].join(', ')}.`);
  const { adapter, powerPreference, threads = 1 } = options;
  if (!Number.isInteger(threads) || threads < 1 || threads > MOST_THREADS) throw new FillmaskError('E_ARGUMENT', `threads is ${threads}; it must be a whole number from 1 to ${MOST_THREADS}, or left out.`);
  if (adapter !== undefined && !adapters) throw new FillmaskError('E_ARGUMENT', 'adapter is for Node.js; here powerPreference chooses among graphics cards.');
  if (powerPreference !== undefined && !['low-power', 'high-performance'].includes(powerPreference)) throw new FillmaskError('E_ARGUMENT', `powerPreference is "${powerPreference}"; it must be low-power or high-performance.`);
  if ((adapter ?? powerPreference) !== undefined && device !== 'webgpu') throw new FillmaskError('E_ARGUMENT', `${adapter === undefined ? 'powerPreference' : 'adapter'} chooses among graphics cards; give device "webgpu" with it.`);
  for (const engine of engines) if (ENGINE_OPTIONS.every((name) => engine.options[name] === options[name])) return engine;
  const engine = new Engine(options);
  engines.add(engine);
  return engine;
}

/** Frees everything: all models, pipelines and workers. @returns {Promise<void>} */
export async function dispose() {
  for (const engine of [...engines]) for (const user of [...engine.users]) await user.dispose();
}

// ---- models ----

/** @param {ModelInput | undefined} model @param {LoadOptions} options */
async function find(model, { modelUrl, cache = true, local_files_only, integrity, max_bytes }) {
  const { base, folder } = host(), origin = globalThis.location?.origin;
  const source = await sourceOf(model, { modelUrl, base: base(), folder });
  for (const file of Object.keys(integrity ?? {}))
    if (!FILES.includes(file)) throw new FillmaskError('E_ARGUMENT', `integrity names "${file}"; a model has ${FILES.join(', ')}.`);
  return { cache, ...source, origin, local: local_files_only, integrity, limit: max_bytes };
}

/**
 * Loads a model.
 * @param {ModelInput} [model] the one that ships unless given
 * @param {EngineOptions & LoadOptions} [options]
 * @returns {Promise<Model>}
 */
export async function loadModel(model, options = {}) {
  const source = await find(model, options);
  const loaded = new Model(engineFor(options), source, { dtype: options.dtype, untrained: options.untrained });
  await loaded.load(options);
  return loaded;
}

/**
 * Loads the tokenizer of a model, without the model.
 * @param {ModelInput} [model] the one that ships unless given
 * @param {EngineOptions & LoadOptions} [options]
 * @returns {Promise<Tokenizer>}
 */
export async function loadTokenizer(model, options = {}) {
  const source = await find(model, options);
  const engine = engineFor(options);
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

// ---- pipelines ----

/**
 * @typedef {object} Pipeline
 * @property {string} task
 * @property {Model} model
 * @property {Tokenizer} tokenizer
 * @property {() => Promise<void>} dispose
 *
 * @typedef {Model['fill'] & Pipeline} FillMaskPipeline
 * @typedef {Model['augment'] & Pipeline & {stream: Model['augmentStream']}} AugmentPipeline
 * @typedef {Model['score'] & Pipeline & {perplexity: Model['perplexity']}} ScorePipeline
 * @typedef {Model['embed'] & Pipeline} EmbedPipeline
 */

const TASKS = { 'fill-mask': 'fill', augment: 'augment', score: 'score', embed: 'embed' };

/** What a pipeline has beside its task. */
const MORE = {
  augment: (/** @type {Model} */ model) => ({ stream: (source, how) => model.augmentStream(source, how) }),
  score: (/** @type {Model} */ model) => ({ perplexity: (texts, how) => model.perplexity(texts, how) }),
};

/**
 * A function that does one task with a model, and loads it first.
 * @overload
 * @param {'fill-mask'} task
 * @param {ModelInput | Model} [model] the one that ships unless given
 * @param {EngineOptions & LoadOptions} [options]
 * @returns {Promise<FillMaskPipeline>}
 */
/**
 * @overload
 * @param {'augment'} task
 * @param {ModelInput | Model} [model]
 * @param {EngineOptions & LoadOptions} [options]
 * @returns {Promise<AugmentPipeline>}
 */
/**
 * @overload
 * @param {'score'} task
 * @param {ModelInput | Model} [model]
 * @param {EngineOptions & LoadOptions} [options]
 * @returns {Promise<ScorePipeline>}
 */
/**
 * @overload
 * @param {'embed'} task
 * @param {ModelInput | Model} [model]
 * @param {EngineOptions & LoadOptions} [options]
 * @returns {Promise<EmbedPipeline>}
 */
/** @param {string} task @param {ModelInput | Model} [model] @param {EngineOptions & LoadOptions} [options] @returns {Promise<any>} */
export async function pipeline(task, model, options = {}) {
  if (!Object.hasOwn(TASKS, task)) throw new FillmaskError('E_ARGUMENT', `There is no task "${task}"; there are ${Object.keys(TASKS).join(', ')}.`);
  const loaded = model instanceof Model ? model : await loadModel(model, options);
  options.progress_callback?.({ status: 'ready', task, model: loaded.name });
  const run = (text, how) => loaded[TASKS[task]](text, how);
  return Object.assign(run, { task, model: loaded, tokenizer: loaded.tokenizer, dispose: () => loaded.dispose() }, MORE[task]?.(loaded));
}

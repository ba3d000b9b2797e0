// api.js - what the package offers, the same in browsers and in Node.js, but for what starts workers (loader.js): that
// differs, and is in the entries (index.js, index-node.js).
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
 * @property {string | URL} [workerUrl] build-js/worker.js, if it has been moved; it is whole by itself, and looks for the
 *   model that ships in ../weights, seen from there, unless modelUrl is given
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

/**
 * @typedef {object} Pipeline
 * @property {string} task
 * @property {import('./model.js').Model} model
 * @property {import('./tokenizer.js').Tokenizer} tokenizer
 * @property {() => Promise<void>} dispose
 *
 * @typedef {import('./model.js').Model['fill'] & Pipeline} FillMaskPipeline
 * @typedef {import('./model.js').Model['augment'] & Pipeline & {stream: import('./model.js').Model['augmentStream']}} AugmentPipeline
 * @typedef {import('./model.js').Model['score'] & Pipeline & {perplexity: import('./model.js').Model['perplexity']}} ScorePipeline
 * @typedef {import('./model.js').Model['embed'] & Pipeline} EmbedPipeline
 */

// trainer.js - a training as an async iterator of its progress, which can be paused, resumed and aborted.
import { Corpus } from './corpus.js';
import { FillmaskError } from './errors.js';
import { PART } from './model.js';

/**
 * @typedef {object} TrainOptions  The defaults are the command line's.
 * @property {number} [epochs=1]
 * @property {number} [steps] instead of epochs
 * @property {number} [batch_size=64] chunks of a step
 * @property {number} [length] tokens of a chunk: 128, or the model's positions if they are fewer
 * @property {number} [learning_rate=5e-5] its peak; falls linearly to zero
 * @property {number} [warmup=0] steps of linear warm-up, or a share of all steps if below 1
 * @property {number} [weight_decay=0.01]
 * @property {number} [clip=1] largest norm of the gradients, 0 for none
 * @property {number} [dropout] what the config says unless given
 * @property {number} [mask_rate=0.15]
 * @property {boolean} [whole_words=false]
 * @property {boolean} [line_by_line=false] chunks of one text each, at most `length` long; else texts are joined and cut
 * @property {number} [seed=42]
 * @property {number} [limit=0] chunks drawn from the texts at most, 0 for all
 * @property {number} [micro_tokens=2048] tokens of a forward pass at most; less takes less memory
 * @property {'f32' | 'f16'} [precision='f32'] of products: f16 for graphics cards that have it (shader-f16), with f32
 *   sums, weights and moments, and scaled gradients; steps in which these go beyond f16 are skipped
 * @property {'model' | 'normal' | 'neighbours'} [init='model'] what to start from: the model's weights, or random ones
 *
 * @typedef {object} TrainerOptions
 * @property {import('./corpus.js').Texts} data
 * @property {import('./corpus.js').Texts} [eval_data] texts that the training does not see, to measure it by
 * @property {number} [eval_steps] steps between evaluations; one before the first step and one after the last unless given
 * @property {number} [eval_limit=0] chunks of an evaluation at most, 0 for all
 * @property {Blob | ArrayBuffer | Uint8Array} [checkpoint] to go on from: what checkpoint() gave, or the command line wrote,
 *   for a training of the same model, data and options; on whichever device
 * @property {string} [field='text'] of data in files: the field or column that holds the text
 * @property {AbortSignal} [signal]
 *
 * @typedef {object} TrainReport
 * @property {number} step steps made
 * @property {number} steps of the whole training
 * @property {number} epoch
 * @property {number | null} loss of the step, mean over the masked tokens, nats; null before the first
 * @property {number} learning_rate
 * @property {number | null} norm of the gradients before clipping; null if it is not finite, and the step was skipped
 * @property {number} tokens of the training so far
 * @property {number} masked tokens of the step
 * @property {number} tokens_per_second lately
 * @property {number} eta seconds that are left, evaluations not counted
 * @property {import('./model.js').Evaluation} [evaluation] where one was due
 */

/**
 * Trains a model on texts:
 *
 *     const trainer = new Trainer(model, { data, epochs: 3 });
 *     for await (const { step, loss, eta } of trainer) console.log(step, loss, eta);
 *     await trainer.apply();   // from now on the model fills with what was learnt
 *     await trainer.dispose();
 *
 * Leaving the loop pauses the training; another loop goes on. Until apply() the model stays as it is, and it can be
 * used all the while.
 */
export class Trainer {
  #model;
  #data;
  #options;
  #evaluation;
  #field;
  /** @type {Blob | ArrayBuffer | Uint8Array | undefined} */
  #checkpoint;
  #controller = new AbortController();
  /** @type {{training: number, corpus: Corpus, held?: Corpus, generation: number} | null} */
  #open = null;
  #running = false;
  /** @type {{wait: Promise<void>, open: () => void} | null} */
  #gate = null; // while paused: a promise and what resolves it
  #speed = 0; // tokens a second, smoothed
  #last = { step: 0, steps: 0, tokens: 0 };
  #evaluated = -1;
  #disposed = false;

  /**
   * @param {import('./model.js').Model} model
   * @param {TrainerOptions & TrainOptions} options
   */
  constructor(model, options) {
    const { data, eval_data, eval_steps = 0, eval_limit = 0, checkpoint, field, signal, ...rest } = options ?? {};
    if (!data) throw new FillmaskError('E_ARGUMENT', 'A training needs data: texts to learn from.');
    if (checkpoint !== undefined && checkpoint !== null && ![Blob, ArrayBuffer, Uint8Array].some((kind) => checkpoint instanceof kind))
      throw new FillmaskError('E_ARGUMENT', 'checkpoint must be a Blob, an ArrayBuffer or a Uint8Array: what checkpoint() gave.');
    if (signal !== undefined && signal !== null && !(signal instanceof AbortSignal))
      throw new FillmaskError('E_ARGUMENT', 'signal must be an AbortSignal: that of an AbortController.');
    this.#model = model;
    this.#data = data;
    this.#options = rest;
    this.#field = field;
    this.#checkpoint = checkpoint;
    this.#evaluation = { data: eval_data, steps: eval_steps, limit: eval_limit };
    if (signal?.aborted) this.abort(signal.reason);
    else signal?.addEventListener('abort', () => this.abort(signal.reason), { once: true });
  }

  /** The model that is trained. */
  get model() {
    return this.#model;
  }

  /** Whether pause() holds it. */
  get paused() {
    return this.#gate !== null;
  }

  /** Stops after the part under way, until resume(). */
  pause() {
    if (this.#gate) return;
    let open = () => {};
    const wait = /** @type {Promise<void>} */ (new Promise((resolve) => (open = resolve)));
    this.#gate = { wait, open };
  }

  resume() {
    this.#gate?.open();
    this.#gate = null;
  }

  /**
   * Ends the training for good: the loop throws the reason. What was learnt can still be applied.
   * @param {any} [reason]
   */
  abort(reason = new DOMException('The training was aborted.', 'AbortError')) {
    this.#controller.abort(reason);
    this.resume();
  }

  /** @returns {AsyncGenerator<TrainReport, void, void>} */
  async *[Symbol.asyncIterator]() {
    if (this.#running) throw new FillmaskError('E_ARGUMENT', 'The training is under way in another loop; end that first.');
    this.#running = true;
    try {
      await this.#begin();
      const { steps: every, data } = this.#evaluation;
      if (data && this.#evaluated < 0) yield { ...this.#report({ loss: null, norm: null, epoch: 0, masked: 0, learning_rate: 0, ...this.#last }), evaluation: await this.#evaluate() };
      while (this.#last.step < this.#last.steps) {
        const report = await this.#step();
        const due = data && (report.step === report.steps || (every > 0 && report.step % every === 0));
        if (due && this.#evaluated < report.step) report.evaluation = await this.#evaluate();
        yield report;
      }
    } finally {
      this.#running = false;
    }
  }

  /** Gives the model the values reached so far; the training can go on. @returns {Promise<import('./model.js').Model>} */
  async apply() {
    const { training } = this.#alive();
    await this.#model.call('train_apply', { training });
    await this.#model.changed();
    return this.#model;
  }

  /**
   * The state reached so far, for another training to go on from; the command line takes it too, in its output folder.
   * @returns {Promise<File>} checkpoint-STEP.safetensors
   */
  async checkpoint() {
    const { training } = this.#alive();
    const bytes = await this.#model.request('checkpoint', { training });
    return new File([bytes], `checkpoint-${stepOf(bytes)}.safetensors`);
  }

  /** Frees what the training holds: four times the size of the model. */
  async dispose() {
    this.#disposed = true;
    this.abort(new FillmaskError('E_CLOSED', 'The training was disposed; start another one.'));
    const open = this.#open;
    this.#open = null;
    if (!open || open.generation !== this.#model.generation) return;
    await this.#model.request('close', { number: open.training }).catch(() => {});
    await open.corpus.close();
    await open.held?.close();
  }

  #alive() {
    if (this.#disposed) throw new FillmaskError('E_CLOSED', 'The training was disposed; start another one.');
    if (!this.#open) throw new FillmaskError('E_ARGUMENT', 'The training has not begun; loop over it first.');
    if (this.#open.generation !== this.#model.generation)
      throw new FillmaskError('E_CRASHED', 'The training was lost with the worker; start another one.');
    return this.#open;
  }

  async #begin() {
    const { signal } = this.#controller;
    signal.throwIfAborted();
    if (this.#open) return;
    const model = await this.#model.number();
    const generation = this.#model.generation;
    const checkpoint = this.#checkpoint && new Uint8Array(this.#checkpoint instanceof Blob ? await this.#checkpoint.arrayBuffer() : this.#checkpoint);
    const corpus = await Corpus.of(this.#model, this.#data, { field: this.#field, signal });
    let held;
    try {
      if (this.#evaluation.data) held = await Corpus.of(this.#model, this.#evaluation.data, { field: this.#field, signal });
      const { training, steps } = await this.#model.request('train', { model, corpus: corpus.number, ...this.#options }, { signal });
      if (checkpoint) {
        await this.#model.request('resume', { training, checkpoint }, { signal });
        const { stepped, ...found } = await this.#model.request('train_report', { training }, { signal });
        this.#last = { ...found, loss: null, norm: null };
      }
      signal.throwIfAborted(); // it may have been disposed meanwhile
      this.#open = { training, corpus, held, generation };
      this.#last.steps = steps;
      this.#checkpoint = undefined;
    } catch (error) {
      await corpus.close(); // and the training with it
      await held?.close();
      throw error;
    }
  }

  async #step() {
    const { signal } = this.#controller;
    let seconds = 0;
    for (;;) {
      await this.#gate?.wait;
      signal.throwIfAborted();
      const { training } = this.#alive();
      const start = performance.now();
      const { stepped, ...found } = await this.#model.request('train_advance', { training, milliseconds: PART }, { signal });
      seconds += (performance.now() - start) / 1000;
      if (!stepped) continue;
      const speed = (found.tokens - this.#last.tokens) / seconds;
      this.#speed = this.#speed ? 0.8 * this.#speed + 0.2 * speed : speed;
      this.#last = found;
      return this.#report(found);
    }
  }

  #report(found) {
    const each = found.step ? found.tokens / found.step : 0;
    const eta = this.#speed ? ((found.steps - found.step) * each) / this.#speed : 0;
    return { ...found, tokens_per_second: this.#speed, eta };
  }

  async #evaluate() {
    const { training, held } = this.#alive();
    const { length } = /** @type {TrainOptions} */ (this.#options);
    const found = await /** @type {Corpus} */ (held).evaluate({ training }, { length, limit: this.#evaluation.limit }, { signal: this.#controller.signal });
    this.#evaluated = this.#last.step;
    return found;
  }
}

/** The step that a checkpoint was made at, as its header has it. @param {Uint8Array} bytes @returns {string} */
function stepOf(bytes) {
  const size = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  return JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + size))).__metadata__.step;
}

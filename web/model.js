// model.js - a model as programs see it: filling, scores, variants, evaluation, its files. The work is done by a worker
// or another process, which client.js reaches.
import { FillmaskError } from './errors.js';
import { Corpus, documents } from './corpus.js';
import { allowedBy, protector } from './patterns.js';
import { augmentStream } from './stream.js';
import { clean, Tokenizer } from './tokenizer.js';

/**
 * @typedef {object} ModelInfo
 * @property {number} vocab_size
 * @property {number} hidden
 * @property {number} layers
 * @property {number} heads
 * @property {number} feed_forward
 * @property {number} positions tokens of the longest text, [CLS] and [SEP] included
 * @property {number} parameters
 * @property {'f32' | 'f16' | 'bf16' | 'int8'} dtype what the weights are stored as
 * @property {string} instruction_set
 * @property {'wasm' | 'webgpu'} [device] what computes, unless it is the native program
 * @property {string} [adapter] the graphics card's name
 * @property {string} [warning] why a graphics card that was asked for does not compute, or that the vocabulary may have
 *   been cut short
 * @property {number} threads
 * @property {{pad: number, unk: number, cls: number, sep: number, mask: number}} special ids
 * @property {string} mask_token
 *
 * @typedef {object} Filling
 * @property {number} score probability over the whole vocabulary
 * @property {number} log_probability nats
 * @property {number | null} token id; null for a target of several pieces, which has `tokens`
 * @property {number[]} [tokens]
 * @property {string} token_str the token, or the target as given
 * @property {string} sequence the text as given, with this mask replaced
 * @property {number} start of the mask in the text, in UTF-16 code units
 * @property {number} end exclusive
 *
 * @typedef {object} TextFilling  All masks of a text filled together.
 * @property {number} score the product of the fillings' probabilities, each with those before it filled in
 * @property {number} log_probability
 * @property {string} sequence
 * @property {string[]} tokens what is put into each mask
 * @property {Omit<Filling, 'sequence'>[]} fillings
 *
 * @typedef {object} FillOptions
 * @property {number} [top_k=5]
 * @property {string[]} [targets] words to choose among, whose pieces are looked at together
 * @property {RegExp | string} [match] choose among the tokens in which this finds something
 * @property {string[]} [exclude] words to leave out, in whatever case
 * @property {boolean} [special=false] allow special tokens
 * @property {boolean} [pieces=false] allow pieces of words (##s), which join the word before
 * @property {boolean} [joint=false] fill all masks together, by beam search
 * @property {number} [beams=20] fillings that joint follows
 * @property {boolean} [sample=false] draw fillings of all masks together; the next four are of this
 * @property {number} [draw_from=0] from so many of the best, 0 for all
 * @property {number} [top_p=1]
 * @property {number} [temperature=1]
 * @property {number} [seed=0]
 *
 * @typedef {object} CallOptions
 * @property {AbortSignal} [signal]
 * @property {(event: {status: 'progress', done: number, total: number}) => void} [progress_callback] counts texts
 *
 * @typedef {object} ScoreOptions
 * @property {'word' | 'token'} [mask='word'] what is masked when a token is scored: also the pieces of its word that
 *   follow it, or it alone
 * @property {boolean} [rank=false] of several texts: the best first, each with its `text` and its `index` in the list
 *
 * @typedef {object} Score
 * @property {number} score the sum of the tokens' log-probabilities: the text's pseudo-log-likelihood
 * @property {number} pseudo_perplexity exp(-score / tokens)
 * @property {{token: string, start: number, end: number, word: number, log_probability: number}[]} tokens those of one
 *   word have the same `word`
 * @property {string} [text] of ranked ones
 * @property {number} [index]
 *
 * @typedef {object} Perplexity  Of many texts.
 * @property {number} texts
 * @property {number} tokens
 * @property {number} score the sum of their scores
 * @property {number} pseudo_perplexity exp(-score / tokens)
 *
 * @typedef {object} EmbedOptions
 * @property {boolean} [normalize=false] make vectors of length 1
 *
 * @typedef {object} AugmentOptions
 * @property {'substitute' | 'insert' | 'delete'} [action='substitute']
 * @property {number} [variants=1] of each text, all different
 * @property {number} [rate=0.15] share of the words that may be changed
 * @property {number} [count] changes of a text, instead of a share
 * @property {number} [min=1] changes of a text at least
 * @property {number} [max=0] at most, 0 for any number
 * @property {number} [top_k=20] a new word is drawn from so many of the best, 0 for all
 * @property {number} [top_p=1]
 * @property {number} [temperature=1] 0 takes the best
 * @property {number} [seed=0]
 * @property {string[]} [keep] words that are never changed, in whatever case
 * @property {RegExp | string | (RegExp | string)[]} [protect] never change what these match: texts line by line, as on
 *   the command line, expressions in the whole text
 * @property {boolean} [label_safe=false] spare words that decide a text's label, and places that the model expects them
 *   in, so that variants keep it more often. It is no promise: a word may decide that is neither named nor expected
 *   where it stands, and deletion spares the named words alone
 * @property {string[]} [labels] such words; those of English sentiment unless given
 * @property {number} [label_share=0.05] how probable these words make such a place, all together
 * @property {number} [min_similarity=-1] draw variants anew whose vector is less like the text's, by its cosine
 * @property {number} [max_drop] draw variants anew whose score of a token is so many nats below the text's; slow
 *
 * @typedef {object} Augmented
 * @property {string[]} variants as many as asked for, or fewer and a reason
 * @property {string} [reason]
 *
 * @typedef {object} EvaluateOptions
 * @property {number} [length] tokens of a chunk: 128, or the model's positions if they are fewer
 * @property {number} [limit=0] chunks at most, spread over the texts; 0 for all
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
 * @typedef {import('./corpus.js').Texts} Texts
 * @typedef {import('./stream.js').StreamOptions} StreamOptions
 * @typedef {import('./stream.js').Bytes} Bytes
 */

/**
 * @template Row
 * @typedef {import('./stream.js').AugmentedRow<Row>} AugmentedRow
 */

/** Texts of one request: after them, an abort and other calls have their turn. */
const AT_ONCE = { fill: 8, score: 1, augment: 32, embed: 32 };

/** How long the core works on a part of something long. */
export const PART = 100; // milliseconds

/** A model in the worker. */
export class Model {
  #engine;
  #source;
  #how;
  #generation = 0;
  /** @type {Promise<number> | null} */
  #number = null;
  /** @type {ModelInfo} */
  #info = /** @type {any} */ (undefined); // until it is loaded
  #changed = false; // by a training, which nobody can load again
  #disposed = false;
  /** @type {Promise<string[]> | undefined} */
  #vocabulary;

  /** Not to be called; use loadModel(). */
  constructor(engine, source, how) {
    this.#engine = engine;
    this.#source = source;
    this.#how = how;
    engine.users.add(this);
    /** The model's tokenizer. */
    this.tokenizer = new Tokenizer((op, args) => this.call(op, args), () => this.dispose());
  }

  /** The model's name. @returns {string} */
  get name() {
    return this.#source.name;
  }

  /** Its shape, and what computes it. @returns {ModelInfo} */
  get info() {
    return this.#info;
  }

  /**
   * The most probable tokens for every [MASK] of a text: a list for one mask, a list of lists for several. With `joint`
   * or `sample`, fillings of the whole text. Of several texts, a list of what each gives alone.
   * @overload
   * @param {string} text
   * @param {FillOptions & CallOptions & ({joint: true} | {sample: true})} options
   * @returns {Promise<TextFilling[]>}
   */
  /**
   * @overload
   * @param {string[]} text
   * @param {FillOptions & CallOptions & ({joint: true} | {sample: true})} options
   * @returns {Promise<TextFilling[][]>}
   */
  /**
   * @overload
   * @param {string} text
   * @param {FillOptions & CallOptions & {joint?: false, sample?: false}} [options]
   * @returns {Promise<Filling[] | Filling[][]>}
   */
  /**
   * @overload
   * @param {string[]} text
   * @param {FillOptions & CallOptions & {joint?: false, sample?: false}} [options]
   * @returns {Promise<(Filling[] | Filling[][])[]>}
   */
  /** @param {string | string[]} text @param {FillOptions & CallOptions} [options] @returns {Promise<any>} */
  async fill(text, { match, ...options } = {}) {
    const together = options.joint || options.sample;
    const allowed = match === undefined ? {} : { allowed: allowedBy(match, await (this.#vocabulary ??= this.call('vocabulary', {}))) };
    return this.#each('fill', text, { ...options, ...allowed }, (result) => {
      if (together) return result.map((filled) => ({ ...filled, tokens: filled.fillings.map((filling) => filling.token_str) }));
      return result.length === 1 ? result[0] : result;
    });
  }

  /**
   * How expected a text is, token by token.
   * @overload
   * @param {string} text
   * @param {ScoreOptions & CallOptions} [options]
   * @returns {Promise<Score>}
   */
  /**
   * @overload
   * @param {string[]} text
   * @param {ScoreOptions & CallOptions} [options]
   * @returns {Promise<Score[]>}
   */
  /** @param {string | string[]} text @param {ScoreOptions & CallOptions} [options] @returns {Promise<any>} */
  async score(text, { rank = false, ...options } = {}) {
    const scores = await this.#each('score', text, options, (result) => result);
    if (!rank || !Array.isArray(text)) return scores;
    return scores.map((found, index) => ({ text: text[index], index, ...found })).sort((a, b) => b.score - a.score);
  }

  /**
   * How expected all the texts of a corpus are, which may be larger than memory.
   * @param {Texts} texts
   * @param {{mask?: 'word' | 'token', field?: string, signal?: AbortSignal,
   *   progress_callback?: (event: {status: 'progress', done: number}) => void}} [options] field: of files, that or the
   *   column that holds the text; progress_callback counts texts, of which nobody knows how many come
   * @returns {Promise<Perplexity>}
   */
  async perplexity(texts, { mask, field, signal, progress_callback } = {}) {
    const all = { texts: 0, tokens: 0, score: 0 };
    for await (const text of documents(this, texts, field)) {
      const [found] = await this.call('score', { texts: [clean(text)], first: all.texts + 1, mask }, { signal });
      all.texts++;
      all.tokens += found.tokens.length;
      all.score += found.score;
      progress_callback?.({ status: 'progress', done: all.texts });
    }
    if (all.texts === 0) throw new FillmaskError('E_FORMAT', 'There is no text to score.');
    return { ...all, pseudo_perplexity: Math.exp(-all.score / all.tokens) };
  }

  /**
   * The vector of a text: the mean of the model's last states over its tokens. similarity() tells how alike two are.
   * @overload
   * @param {string} text
   * @param {EmbedOptions & CallOptions} [options]
   * @returns {Promise<Float32Array>}
   */
  /**
   * @overload
   * @param {string[]} text
   * @param {EmbedOptions & CallOptions} [options]
   * @returns {Promise<Float32Array[]>}
   */
  /** @param {string | string[]} text @param {EmbedOptions & CallOptions} [options] @returns {Promise<any>} */
  async embed(text, options = {}) {
    return this.#each('embed', text, options, (vector) => Float32Array.from(vector));
  }

  /**
   * Variants of a text: some of its words become others that the model expects there, or words are put in, or taken out.
   * @overload
   * @param {string} text
   * @param {AugmentOptions & CallOptions} [options]
   * @returns {Promise<Augmented>}
   */
  /**
   * @overload
   * @param {string[]} text
   * @param {AugmentOptions & CallOptions} [options]
   * @returns {Promise<Augmented[]>}
   */
  /** @param {string | string[]} text @param {AugmentOptions & CallOptions} [options] @returns {Promise<any>} */
  async augment(text, { protect, ...options } = {}) {
    const find = protect === undefined ? undefined : protector(protect);
    return this.#each('augment', text, options, (result) => result, (texts) => (find ? { protect: texts.map(find) } : {}));
  }

  /**
   * Variants of texts that come one after the other, in order and with a few of them in memory: of a list or an iterator
   * of texts, of rows (objects) with a text in them, or of the rows of a file. What comes out for a text is what
   * augment() gives for it in a list. A row that cannot be changed goes by as it came, with a reason.
   * @overload
   * @param {Iterable<string> | AsyncIterable<string>} source
   * @param {AugmentOptions & StreamOptions} [options]
   * @returns {AsyncGenerator<AugmentedRow<string>, void>}
   */
  /**
   * @overload
   * @param {Bytes} source a File or Blob; or bytes of a file, whose `format` is to be given
   * @param {AugmentOptions & StreamOptions} [options]
   * @returns {AsyncGenerator<AugmentedRow<string>, void>}
   */
  /**
   * @template {object} Row
   * @overload
   * @param {Iterable<Row> | AsyncIterable<Row>} source
   * @param {AugmentOptions & StreamOptions} [options]
   * @returns {AsyncGenerator<AugmentedRow<Row>, void>}
   */
  /** @param {any} source @param {AugmentOptions & StreamOptions} [options] @returns {AsyncGenerator<any, void>} */
  augmentStream(source, options = {}) {
    const { field, format, skip, with_source, progress_callback, signal, protect, ...how } = options;
    const find = protect === undefined ? undefined : protector(protect);
    const core = {
      request: async (op, args) => (await this.number(), this.request(op, args, { signal })),
      augment: (texts, numbers) => {
        const cleaned = texts.map(clean);
        return this.call('augment', { texts: cleaned, numbers, ...(find && { protect: cleaned.map(find) }), ...how }, { signal });
      },
    };
    return augmentStream(core, source, { field, format, skip, with_source, progress_callback, signal });
  }

  /**
   * How well the model predicts masked tokens of texts. The masks are drawn from a fixed seed, so that results of the
   * same texts can be compared.
   * @param {Texts} texts
   * @param {EvaluateOptions & CallOptions & {field?: string}} [options]
   * @returns {Promise<Evaluation>}
   */
  async evaluate(texts, { length, limit, field, signal, progress_callback } = {}) {
    const corpus = await Corpus.of(this, texts, { field, signal });
    try {
      return await corpus.evaluate({ model: await this.number() }, { length, limit }, { signal, progress_callback });
    } finally {
      await corpus.close();
    }
  }

  /**
   * The files of the model's folder as Hugging Face lays it out, ready to be stored. transformers in Python loads them
   * if the dtype is fp32, fp16 or bf16.
   * @param {{dtype?: 'fp32' | 'fp16' | 'bf16' | 'q8'}} [options]
   * @returns {Promise<File[]>}
   */
  async files({ dtype = 'fp32' } = {}) {
    const files = await this.call('files', { dtype });
    return Object.entries(files).map(([name, bytes]) => new File([bytes], name));
  }

  /** Frees the model. The worker ends with its last one. @returns {Promise<void>} */
  async dispose() {
    if (this.#disposed) return;
    this.#disposed = true;
    const { client, users } = this.#engine;
    if (this.#number && users.size > 1 && this.#generation === client.generation)
      await this.#number.then((number) => client.call('close', { number })).catch(() => {});
    this.#engine.leave(this);
  }

  // ---- for this package alone ----

  /**
   * Opens the model, again if the worker that had it died.
   * @param {{signal?: AbortSignal, progress_callback?: (event: any) => void}} [options]
   */
  async load({ signal, progress_callback } = {}) {
    const { client } = this.#engine;
    const opened = client.call('open', { source: this.#source, ...this.#how }, { signal, onEvent: progress_callback });
    this.#generation = client.generation;
    this.#number = opened.then(({ number }) => number);
    try {
      await this.#number;
      this.#info = (await opened).info;
    } catch (error) {
      this.#number = null;
      if (!this.#info) await this.dispose();
      throw error;
    }
  }

  /** The number that the worker knows it by. @returns {Promise<number>} */
  async number() {
    if (this.#disposed) throw new FillmaskError('E_CLOSED', `The model ${this.name} was disposed; load it again.`);
    if (this.#generation !== this.#engine.client.generation || !this.#number) {
      if (this.#changed) throw new FillmaskError('E_CRASHED', `What ${this.name} had learnt was lost with the worker; load it and train again.`);
      await this.load();
    }
    return /** @type {Promise<number>} */ (this.#number);
  }

  /** @param {string} op @param {object} args @param {any} [options] @returns {Promise<any>} */
  async call(op, args, options) {
    return this.request(op, { model: await this.number(), ...args }, options);
  }

  /** As call(), of something that is not the model itself. @param {string} op @param {object} args @param {any} [options] */
  request(op, args, options) {
    return this.#engine.client.call(op, args, options);
  }

  /** The worker that has the model; another number is another worker. */
  get generation() {
    return this.#engine.client.generation;
  }

  /** After a training has given it other values. */
  async changed() {
    this.#changed = true;
    this.#info = await this.call('info', {});
  }

  /**
   * @param {'fill' | 'score' | 'augment' | 'embed'} op @param {string | string[]} text @param {any} how
   * @param {(result: any) => any} shape @param {(texts: string[]) => object} more options that depend on the texts
   */
  async #each(op, text, how, shape, more = () => ({})) {
    const { signal, progress_callback, ...options } = how;
    const ask = (texts, numbers) => this.call(op, { texts, ...numbers, ...options, ...more(texts) }, { signal });
    if (!Array.isArray(text)) return shape((await ask([clean(text)], {}))[0]);
    /** @type {any[]} */
    const results = [];
    for (let at = 0; at < text.length; at += AT_ONCE[op]) {
      const texts = text.slice(at, at + AT_ONCE[op]).map(clean);
      const first = op === 'augment' ? at : at + 1;
      results.push(...(await ask(texts, { first })).map(shape));
      progress_callback?.({ status: 'progress', done: results.length, total: text.length });
    }
    return results;
  }
}

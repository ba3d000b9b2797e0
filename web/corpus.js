// corpus.js - texts on their way to a training or an evaluation: out of lists, iterators and files, in parts, so that
// neither side holds more than a few.
import { PART } from './model.js';
import { formatOf } from './stream.js';
import { clean } from './tokenizer.js';

/**
 * @typedef {Iterable<string> | AsyncIterable<string> | Blob | Blob[]} Texts  One document each; or files, whose names
 *   tell their kind: .jsonl, .csv, or else a document a line.
 */

const AT_ONCE = 1 << 18; // characters of a request

export class Corpus {
  #model;
  #number;

  constructor(model, number) {
    this.#model = model;
    this.#number = number;
  }

  /**
   * Collects texts.
   * @param {import('./model.js').Model} model
   * @param {Texts} texts
   * @param {{field?: string, signal?: AbortSignal}} options field: of files, that or the column that holds the text
   */
  static async of(model, texts, { field, signal }) {
    const corpus = new Corpus(model, await model.call('corpus', {}, { signal }));
    try {
      for await (const part of parts(model, texts, field))
        await model.request('corpus_add', { corpus: corpus.#number, texts: part }, { signal });
      return corpus;
    } catch (error) {
      await corpus.close();
      throw error;
    }
  }

  /** As requests name it. */
  get number() {
    return this.#number;
  }

  async close() {
    await this.#model.request('close', { number: this.#number }).catch(() => {});
  }

  /**
   * @param {{model: number} | {training: number}} whose
   * @param {import('./model.js').EvaluateOptions} options
   * @param {import('./model.js').CallOptions} call
   * @returns {Promise<import('./model.js').Evaluation>}
   */
  async evaluate(whose, options, { signal, progress_callback } = {}) {
    const evaluation = await this.#model.request('evaluate', { ...whose, corpus: this.#number, ...options }, { signal });
    try {
      for (;;) {
        const found = await this.#model.request('evaluate_advance', { evaluation, milliseconds: PART }, { signal });
        const { more, done, total, ...figures } = found;
        progress_callback?.({ status: 'progress', done, total });
        if (!more) return figures;
      }
    } finally {
      await this.#model.request('close', { number: evaluation }).catch(() => {});
    }
  }
}

/** Texts in lists of a handy size. */
async function* parts(model, texts, field) {
  let part = [];
  let size = 0;
  for await (const text of documents(model, texts, field)) {
    part.push(clean(text));
    size += text.length;
    if (size < AT_ONCE) continue;
    yield part;
    part = [];
    size = 0;
  }
  yield part;
}

/**
 * The texts one by one.
 * @param {import('./model.js').Model} model @param {Texts} texts @param {string} [field]
 * @returns {AsyncGenerator<string>}
 */
export async function* documents(model, texts, field) {
  if (typeof texts === 'string') yield texts;
  else if (texts instanceof Blob) yield* rowsOf(model, texts, field);
  else for await (const one of texts) {
    if (one instanceof Blob) yield* rowsOf(model, one, field);
    else yield String(one);
  }
}

/** The texts of a file, which the core finds in it. */
async function* rowsOf(model, file, field) {
  const name = file.name ?? '';
  const format = formatOf(name);
  const rows = await model.request('rows', { format, field });
  const decoder = new TextDecoder();
  try {
    for (let at = 0; at <= file.size; at += AT_ONCE) {
      const bytes = await file.slice(at, at + AT_ONCE).arrayBuffer();
      const part = clean(decoder.decode(bytes, { stream: true }));
      if (part) yield* await model.request('rows_push', { rows, part });
    }
    yield* await model.request('rows_push', { rows });
  } finally {
    await model.request('close', { number: rows }).catch(() => {});
  }
}

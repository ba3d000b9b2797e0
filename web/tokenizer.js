// tokenizer.js - a tokenizer as programs see it, a model's or one by itself.

/**
 * @typedef {object} Encoding
 * @property {number[]} ids
 * @property {string[]} tokens
 * @property {[number, number][]} offsets UTF-16 code units, end exclusive; [0, 0] for [CLS] and [SEP] that were added
 * @property {(number | null)[]} words index of each token's word or punctuation mark, null for special tokens
 */

/**
 * A text as the core takes it: what is no character (a lone surrogate, NUL) becomes U+FFFD, which tokenizes alike.
 * @param {unknown} text
 * @returns {string}
 */
export function clean(text) {
  return String(text).replace(/\0|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, '\ufffd');
}

/** Text to tokens and back. */
export class Tokenizer {
  #call;
  #dispose;

  /**
   * Not to be called; use loadTokenizer(), or a model's own.
   * @param {(op: string, args: object) => Promise<any>} call
   * @param {() => Promise<void>} dispose
   */
  constructor(call, dispose) {
    this.#call = call;
    this.#dispose = dispose;
  }

  /**
   * The tokens of a text.
   * @overload
   * @param {string} text
   * @param {{special?: boolean}} [options] special: with [CLS] and [SEP], which is the default
   * @returns {Promise<Encoding>}
   */
  /**
   * @overload
   * @param {string[]} text
   * @param {{special?: boolean}} [options]
   * @returns {Promise<Encoding[]>}
   */
  /** @param {string | string[]} text @param {{special?: boolean}} [options] @returns {Promise<any>} */
  async encode(text, options = {}) {
    const encodings = await this.#call('encode', { texts: (Array.isArray(text) ? text : [text]).map(clean), ...options });
    return Array.isArray(text) ? encodings : encodings[0];
  }

  /**
   * The text of ids, as transformers' decode gives it.
   * @param {ArrayLike<number>} ids
   * @param {{skip_special_tokens?: boolean, clean_up?: boolean}} [options]
   * @returns {Promise<string>}
   */
  async decode(ids, options = {}) {
    return this.#call('decode', { ids: Array.from(ids), ...options });
  }

  /**
   * The ids of tokens' exact texts, null for those that the vocabulary lacks.
   * @param {string[]} tokens
   * @returns {Promise<(number | null)[]>}
   */
  async tokenIds(tokens) {
    return this.#call('token_ids', { tokens: tokens.map(clean) });
  }

  /** Frees it, with its model if it has one. @returns {Promise<void>} */
  async dispose() {
    return this.#dispose();
  }
}

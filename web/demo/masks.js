// masks.js - a sentence as words and masks, and the words that masks stand for.

export const MASK = '[MASK]';
const PARTS = /\[MASK\]|[\p{L}\p{N}][\p{L}\p{N}\p{M}]*(?:['’]\p{L}+)*/gu;

/** @typedef {{text: string, start: number, end: number, mask: boolean}} Part */

/** The words and masks of a text, in order. @param {string} text @returns {Part[]} */
export function partsOf(text) {
  return [...text.matchAll(PARTS)].map((found) => ({ text: found[0], start: found.index, end: found.index + found[0].length, mask: found[0] === MASK }));
}

/** A text with a stretch of it replaced. */
export const replaced = (text, { start, end }, by) => text.slice(0, start) + by + text.slice(end);

/** Remembers, while a text changes, which word each of its masks was put over. */
export class Memory {
  #text = '';
  /** @type {Map<number, string>} by where the mask starts */
  #words = new Map();

  /** Notes a new text; what it still has of the old one keeps its words. @param {string} text */
  follow(text) {
    const old = this.#text;
    let head = 0;
    while (head < Math.min(old.length, text.length) && old[head] === text[head]) head++;
    let tail = 0;
    while (tail < Math.min(old.length, text.length) - head && old.at(-1 - tail) === text.at(-1 - tail)) tail++;
    const words = new Map();
    for (const [start, word] of this.#words) {
      if (start + MASK.length <= head) words.set(start, word);
      else if (start >= old.length - tail) words.set(start + text.length - old.length, word);
    }
    this.#words = words;
    this.#text = text;
  }

  /** Masks a word of the text. @param {Part} part @returns {string} the new text */
  mask(part) {
    this.follow(replaced(this.#text, part, MASK));
    this.#words.set(part.start, part.text);
    return this.#text;
  }

  /** The word under a mask, if there was one. @param {Part} part @returns {string | undefined} */
  under({ start }) {
    return this.#words.get(start);
  }
}

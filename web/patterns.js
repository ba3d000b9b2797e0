// patterns.js - regular expressions that options give: which tokens they allow, and what of a text they protect. Those
// given as texts are looked for line by line, as the command line does; where both understand one, it means the same.
import { FillmaskError } from './errors.js';

function compile(option, pattern, flags) {
  try {
    return pattern instanceof RegExp ? new RegExp(pattern.source, flags + pattern.flags.replace(/[gy]/g, '')) : new RegExp(String(pattern), `${flags}u`);
  } catch (error) {
    throw new FillmaskError('E_ARGUMENT', `${option} "${pattern}" is no regular expression: ${error.message}.`);
  }
}

/**
 * For each token, "1" if the pattern finds something in it and else "0".
 * @param {RegExp | string} pattern
 * @param {string[]} vocabulary
 */
export function allowedBy(pattern, vocabulary) {
  const expression = compile('match', pattern, '');
  return vocabulary.map((token) => (expression.test(token) ? '1' : '0')).join('');
}

/**
 * A function that tells what of a text is protected: pairs of places, rising and apart.
 * @param {RegExp | string | (RegExp | string)[]} patterns
 * @returns {(text: string) => [number, number][]}
 */
export function protector(patterns) {
  const list = (Array.isArray(patterns) ? patterns : [patterns]).map((pattern) => ({ expression: compile('protect', pattern, 'g'), whole: pattern instanceof RegExp }));
  return (text) => {
    /** @type {[number, number][]} */
    const spans = [];
    for (const { expression, whole } of list) {
      let at = 0;
      for (const part of whole ? [text] : text.split('\n')) {
        for (const { index, 0: found } of part.matchAll(expression)) if (found) spans.push([at + index, at + index + found.length]);
        at += part.length + 1;
      }
    }
    return joined(spans);
  };
}

/** @param {[number, number][]} spans @returns {[number, number][]} */
function joined(spans) {
  /** @type {[number, number][]} */
  const apart = [];
  for (const [start, end] of spans.sort((a, b) => a[0] - b[0])) {
    const last = apart.at(-1);
    if (last && start <= last[1]) last[1] = Math.max(last[1], end);
    else apart.push([start, end]);
  }
  return apart;
}

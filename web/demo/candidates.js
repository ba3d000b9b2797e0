// candidates.js - lists of candidates with bars, in every tab that has them.
import { make, percent } from './dom.js';

/**
 * One candidate.
 * @typedef {object} Row
 * @property {(string | Node)[]} what a word, or a sentence with its words marked
 * @property {number} score
 * @property {string} [hint]
 * @property {() => void} [take] what a press does, if the candidates can be pressed
 */

/**
 * Fills a list with rows; items that are there are used again, so that their bars move.
 * @param {HTMLElement} list
 * @param {Row[]} rows
 * @param {number} [most] the score of a full bar; the first row's unless given
 */
export function drawRows(list, rows, most = rows[0]?.score) {
  while (list.children.length > rows.length) list.lastChild.remove();
  while (list.children.length < rows.length)
    list.append(make('li', null, make(rows[0].take ? 'button.candidate' : 'div.candidate', null, make('span.bar', { 'aria-hidden': 'true' }), make('span.what'), make('span.much'))));
  rows.forEach(({ what, score, hint, take }, i) => {
    const item = list.children[i].firstChild;
    const [bar, word, much] = item.children;
    bar.style.setProperty('--share', String(Math.max(score / most, 0.004)));
    word.replaceChildren(...what);
    much.textContent = percent(score);
    if (!take) return;
    item.title = hint;
    item.onclick = take;
  });
}

/** What a filling puts into its text, which knows about capitals and pieces of words. */
export const wordIn = ({ sequence, start, end }, text) => sequence.slice(start, sequence.length - (text.length - end));

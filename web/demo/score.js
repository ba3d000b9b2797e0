// score.js - the Score tab: how much each word of a text surprises the model, and what it expected instead.
import { drawRows } from './candidates.js';
import { chooser } from './chooser.js';
import { $, debounced, latest, make, percent, roving, say } from './dom.js';
import { MASK, replaced } from './masks.js';
import { models, start } from './session.js';

const EXAMPLE = 'The actors were excellent and the story was very well cheese.';
const MOST = 16; // bits that are shaded the darkest

const write = $('#score-text'), words = $('#score-words'), results = $('#score-results'), table = $('#score-table');
const notice = $('#score-notice'), live = $('#score-live');
const reach = roving(words);
const chosen = chooser($('#score-model'));
const decimals = new Intl.NumberFormat('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 });

/** @typedef {{text: string, start: number, end: number, bits: number}} Word */

/** Words of a text with their surprise, that of all their pieces. @returns {Word[]} */
function wordsOf(text, tokens) {
  const found = new Map();
  for (const { word, start, end, log_probability } of tokens) {
    const known = found.get(word) ?? { start, end, bits: 0 };
    found.set(word, { start: known.start, end, bits: known.bits - log_probability / Math.LN2 });
  }
  return [...found.values()].map((word) => ({ ...word, text: text.slice(word.start, word.end) }));
}

async function model() {
  await start(); // with its progress shown
  return (chosen() ?? models[0]).get();
}

const score = latest(async (signal) => {
  const text = write.value;
  if (!text.trim()) return { text, found: null };
  return { text, found: await (await model()).score(text, { signal }) };
});

async function refresh() {
  try {
    words.setAttribute('aria-busy', 'true');
    const result = await score();
    if (!result) return; // a newer one is under way
    say(notice, '');
    draw(result);
  } catch (error) {
    say(notice, error.message);
    results.hidden = true;
    words.textContent = write.value;
  }
  words.removeAttribute('aria-busy');
}

function draw({ text, found }) {
  results.hidden = !found;
  const all = found ? wordsOf(text, found.tokens) : [];
  drawWords(text, all);
  table.replaceChildren(...all.map((word) => make('tr', null, make('th', { scope: 'row' }, word.text), make('td', null, percent(2 ** -word.bits)), make('td', null, decimals.format(word.bits)))));
  if (!found) return;
  const count = found.tokens.length;
  $('#score-perplexity').textContent = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 }).format(found.pseudo_perplexity);
  $('#score-bits').textContent = decimals.format(-found.score / count / Math.LN2);
  $('#score-tokens').textContent = String(count);
  const most = all.reduce((best, word) => (word.bits > best.bits ? word : best));
  choose(text, most, words.querySelectorAll('button')[all.indexOf(most)]);
  announce(`Pseudo-perplexity ${$('#score-perplexity').textContent}. Most surprising: ${most.text}, ${decimals.format(most.bits)} bits.`);
}

const announce = debounced(900, (text) => (live.textContent = text));

function drawWords(text, all) {
  const pieces = [];
  let at = 0;
  for (const word of all) {
    const button = make('button.word.heat', { title: `${decimals.format(word.bits)} bits`, 'aria-pressed': 'false', click: ({ currentTarget }) => choose(text, word, currentTarget) }, word.text);
    button.style.setProperty('--heat', String(Math.min(word.bits / MOST, 1)));
    pieces.push(text.slice(at, word.start), button);
    at = word.end;
  }
  words.replaceChildren(...pieces, text.slice(at));
  reach($('button', words));
}

const expect = latest(async (signal, text, word) => (await model()).fill(replaced(text, word, MASK), { signal, top_k: 6 }));

/** Shows what the model expected where a word is. */
async function choose(text, word, button) {
  for (const other of words.querySelectorAll('button')) other.setAttribute('aria-pressed', String(other === button));
  $('#score-word').textContent = `“${word.text}”`;
  $('#score-surprise').textContent = `${percent(2 ** -word.bits)}, ${decimals.format(word.bits)} bits`;
  const list = $('#score-expected');
  if (text.includes(MASK)) return list.replaceChildren();
  try {
    const found = await expect(text, word);
    if (found) drawRows(list, found.map((f) => ({ what: [f.token_str], score: f.score, hint: `Put “${f.token_str}” there`, take: () => setText(f.sequence) })));
  } catch (error) {
    say(notice, error.message);
  }
}

function setText(text) {
  write.value = text;
  refresh();
}

const changed = debounced(300, () => {
  history.replaceState(null, '', `#score?${new URLSearchParams({ text: write.value })}`);
  refresh();
});

/** Shows the tab, with what a link says. @param {URLSearchParams} state */
export function show(state) {
  if (state.has('text')) write.value = state.get('text');
  else if (!write.value) write.value = EXAMPLE;
  refresh();
}

write.addEventListener('input', changed);
$('#score-model').addEventListener('change', refresh);

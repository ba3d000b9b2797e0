// fill.js - the Fill tab: a sentence, masks over its words, and what the models would put there.
import { drawRows, wordIn } from './candidates.js';
import { chooser } from './chooser.js';
import { $, debounced, latest, make, roving, say } from './dom.js';
import { MASK, Memory, partsOf, replaced } from './masks.js';
import { events, models, start } from './session.js';

const EXAMPLES = [
  'This movie was really [MASK].',
  'He [MASK] the door and walked into the [MASK].',
  'She was born in [MASK] and died in 1952.',
  'The [MASK] of the film is slow, but the actors are [MASK].',
];

const write = $('#fill-text'), words = $('#fill-words'), cards = $('#fill-cards'), options = $('#fill-options');
const notice = $('#fill-notice'), time = $('#fill-time'), live = $('#fill-live');
const memory = new Memory();
const reach = roving(words);
const chosen = chooser($('#fill-model')), beside = chooser($('#fill-beside'), { none: 'Nothing' });
/** The best guesses, by mask, for the reading line. @type {string[]} */
let guesses = [];

// ---- the sentence ----

function setText(text, { quiet = false } = {}) {
  if (write.value !== text) write.value = text;
  memory.follow(text);
  fit();
  drawWords();
  if (!quiet) changed();
}

const masksOf = (text) => partsOf(text).filter((part) => part.mask);

/** As high as its text, where CSS cannot do that. */
function fit() {
  if (CSS.supports('field-sizing', 'content')) return;
  write.style.height = 'auto';
  write.style.height = `${write.scrollHeight}px`;
}

/** Mask or unmask the part that was pressed. */
function toggle(part, number) {
  const text = write.value;
  const next = part.mask ? replaced(text, part, memory.under(part) || guesses[number] || '') : memory.mask(part);
  const index = [...words.querySelectorAll('button')].indexOf(document.activeElement);
  guesses = guesses.toSpliced(number, part.mask ? 1 : 0, ...(part.mask ? [] : ['']));
  setText(next);
  words.querySelectorAll('button')[index]?.focus();
}

function drawWords() {
  const text = write.value;
  const pieces = [];
  let at = 0, masks = 0;
  for (const part of partsOf(text)) {
    pieces.push(text.slice(at, part.start));
    at = part.end;
    const number = masks;
    if (part.mask) masks++;
    const under = memory.under(part);
    const hint = !part.mask ? 'Mask this word' : under ? `Put “${under}” back` : 'Take the first candidate';
    pieces.push(make(part.mask ? 'button.slot' : 'button.word', { title: hint, click: () => toggle(part, number) }, part.text));
  }
  words.replaceChildren(...pieces, text.slice(at));
  drawGuesses();
  reach($('button', words));
  options.elements.joint.closest('label').hidden = masks < 2;
}

/** What the masks of the reading line show: the best guess, once it is known. */
function drawGuesses() {
  words.querySelectorAll('.slot').forEach((slot, i) => {
    slot.textContent = guesses[i] || '\u2003';
    slot.setAttribute('aria-label', guesses[i] ? `Mask ${i + 1}: ${guesses[i]}` : `Mask ${i + 1}`);
  });
}

// ---- the candidates ----

function ask() {
  const targets = options.elements.targets.value.split(',').map((word) => word.trim()).filter(Boolean);
  const joint = options.elements.joint.checked && masksOf(write.value).length > 1;
  return { top_k: Number(options.elements.top_k.value), ...(targets.length > 0 && { targets }), ...(joint && { joint }) };
}

const fill = latest(async (signal) => {
  const text = write.value;
  const masks = masksOf(text);
  if (masks.length === 0) return { text, masks, columns: [] };
  const how = { ...ask(), signal };
  const columns = [];
  await start(); // with its progress shown
  const asked = new Set([chosen() ?? models[0], beside()].filter(Boolean));
  let milliseconds = 0;
  for (const known of asked) {
    const model = await known.get();
    const start = performance.now();
    const found = await model.fill(text, how);
    milliseconds ||= performance.now() - start;
    columns.push({ title: asked.size > 1 ? known.title : '', found: how.joint ? found : masks.length === 1 ? [found] : found });
  }
  return { text, masks, columns, joint: how.joint, milliseconds };
});

async function refresh() {
  try {
    cards.setAttribute('aria-busy', 'true');
    const result = await fill();
    if (!result) return; // a newer one is under way
    say(notice, '');
    cards.setAttribute('aria-busy', 'false');
    draw(result);
  } catch (error) {
    cards.setAttribute('aria-busy', 'false');
    cards.replaceChildren(); // nothing there is of this text
    guesses = [];
    drawGuesses();
    time.textContent = '';
    say(notice, error.message);
    notice.append(' ', make('button.quiet', { click: refresh }, 'Try again'));
  }
}

/** Puts a word where a mask is. */
function take(text, masks, number, word) {
  guesses = guesses.toSpliced(number, 1);
  setText(replaced(text, masks[number], word));
}

const rowOf = (f, masks, number, text) => ({
  what: [f.token_str], score: f.score, hint: `Put “${f.token_str}” there`, take: () => take(text, masks, number, wordIn(f, text)),
});

function sentenceRow(filled, masks, text) {
  const what = [];
  let at = 0;
  masks.forEach((mask, i) => {
    what.push(text.slice(at, mask.start), make('mark', null, filled.tokens[i]));
    at = mask.end;
  });
  return { what: [...what, text.slice(at)], score: filled.score, hint: 'Take this sentence', take: () => setText(filled.sequence) };
}

/** The words around a mask, for its card. */
function around(text, mask) {
  const before = text.slice(0, mask.start).split(MASK).at(-1).trimStart().split(/\s+/).slice(-3).join(' ');
  const after = text.slice(mask.end).split(MASK)[0].split(/\s+/).slice(0, 3).join(' ');
  return [before, make('b', { role: 'img', 'aria-label': 'mask' }, '\u2003'), after];
}

const column = (title) => make('div.column', null, ...(title ? [make('h4', null, title)] : []), make('ol'));
const card = (columns) => make('article.card', null, make('header', null, make('h3'), make('p.where')), make('div.columns', null, ...columns.map(({ title }) => column(title))));

function draw({ text, masks, columns, joint, milliseconds }) {
  if (masks.length === 0) {
    cards.replaceChildren(make('p.empty', null, 'No mask yet: press a word above, or type ', make('code', null, MASK), '.'));
    time.textContent = '';
    return;
  }
  const count = joint ? 1 : masks.length;
  const shape = JSON.stringify([count, columns.map(({ title }) => title)]);
  if (cards.dataset.shape !== shape || !$('.card', cards)) cards.replaceChildren(...Array.from({ length: count }, () => card(columns)));
  cards.dataset.shape = shape;
  cards.querySelectorAll('.card').forEach((shown, i) => {
    $('h3', shown).textContent = joint ? 'Whole sentences' : count > 1 ? `Mask ${i + 1}` : 'Candidates';
    $('.where', shown).replaceChildren(...(joint ? [] : around(text, masks[i])));
    const rows = columns.map(({ found }) => (joint ? found.map((filled) => sentenceRow(filled, masks, text)) : found[i].map((f) => rowOf(f, masks, i, text))));
    const most = Math.max(...rows.flat().map(({ score }) => score)); // all columns have one scale
    shown.querySelectorAll('ol').forEach((list, c) => drawRows(list, rows[c], most));
  });
  const [{ found }] = columns;
  guesses = joint ? found[0]?.tokens ?? [] : found.map((list) => list[0]?.token_str);
  drawGuesses();
  time.textContent = `Filled in ${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms, on this machine.`;
  announce({ masks, columns, joint });
}

/** What a screen reader says of it, once the typing rests. */
const announce = debounced(900, ({ masks, columns, joint }) => {
  const [{ found }] = columns;
  const texts = joint ? [`Best: ${found[0]?.sequence}`] : masks.map((_, i) => `Mask ${i + 1}: ${found[i].slice(0, 3).map((f) => f.token_str).join(', ')}.`);
  live.textContent = texts.join(' ');
});

// ---- the link ----

function address() {
  const { top_k, targets, joint } = options.elements;
  const state = new URLSearchParams({ text: write.value });
  if (top_k.value !== '5') state.set('k', top_k.value);
  if (targets.value.trim()) state.set('only', targets.value.trim());
  if (joint.checked) state.set('joint', '1');
  return `#fill?${state}`;
}

const note = debounced(400, () => {
  if (/^(#fill|$)/.test(location.hash)) history.replaceState(null, '', address());
});

async function copyLink({ target }) {
  history.replaceState(null, '', address());
  const done = await navigator.clipboard?.writeText(location.href).then(() => true, () => false);
  target.textContent = done ? 'Link copied' : 'Copy the address above';
  setTimeout(() => (target.textContent = 'Copy link'), 2000);
}

// ---- the tab ----

const refreshSoon = debounced(120, refresh);

function changed() {
  refreshSoon();
  note();
}

/** Shows the tab, with what a link says. @param {URLSearchParams} state */
export function show(state) {
  if (state.has('text') || !write.value) {
    const k = state.get('k') ?? '5';
    options.elements.top_k.value = [...options.elements.top_k.options].some((option) => option.value === k) ? k : '5';
    options.elements.targets.value = state.get('only') ?? '';
    options.elements.joint.checked = state.has('joint');
    guesses = [];
    setText(state.get('text') ?? EXAMPLES[0], { quiet: true });
  }
  refresh();
}

write.addEventListener('input', () => {
  if (masksOf(write.value).length !== guesses.length) guesses = [];
  setText(write.value);
});
options.addEventListener('input', changed);
events.addEventListener('models', ({ detail: known }) => {
  $('#fill-beside').value = known.title; // whatever joins is what there is to see
  refresh();
});
options.addEventListener('submit', (event) => event.preventDefault());
$('#fill-share').addEventListener('click', copyLink);
$('#fill-examples').append(...EXAMPLES.map((text) => make('button.example', { click: () => setText(text) }, text.replaceAll(MASK, '___'))));

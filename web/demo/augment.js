// augment.js - the Augment tab: variants of many texts, what changed in them, and files of them.
import { chooser } from './chooser.js';
import { diff } from './diff.js';
import { $, announcer, download, duration, make, say } from './dom.js';
import { toCsv, toJsonLines } from './records.js';
import { Texts } from './texts.js';

const SAMPLE = `The room was small, but the staff were friendly and the breakfast was good.
I waited two hours for a doctor who never looked at me.
The train left early and nobody told the passengers.
A simple story, told with warmth and a fine sense of humour.`;
const AT_ONCE = 8; // texts between two looks at the results
const SHOWN = 200; // texts whose variants are shown; files have them all

const form = $('#augment-options');
const notice = $('#augment-notice'), list = $('#augment-list'), state = $('#augment-state'), bar = $('#augment-progress');
const run = $('#augment-run'), stop = $('#augment-stop'), downloads = $('#augment-downloads');
const texts = new Texts('augment', (problem) => say(notice, problem));
const model = chooser($('#augment-model'));
const announce = announcer($('#augment-live'));

/** What the last run made. @type {{table: import('./records.js').Table, column: string, found: import('../model.js').Augmented[]}} */
let made;
/** @type {AbortController | null} */
let controller = null;

// ---- variants ----

function options() {
  const { action, variants, rate, seed, keep } = form.elements;
  return {
    action: action.value,
    variants: Number(variants.value),
    rate: Number(rate.value) / 100,
    seed: Number(seed.value),
    keep: keep.value.split(',').map((word) => word.trim()).filter(Boolean),
  };
}

async function start(event) {
  event.preventDefault();
  const { table, column, all } = texts;
  if (all.length === 0) return say(notice, 'There are no texts; write some, or open a file.');
  controller = new AbortController();
  made = { table, column, found: [] };
  list.replaceChildren();
  say(notice, '');
  busy(true);
  const how = { ...options(), signal: controller.signal };
  const began = performance.now();
  try {
    const one = await model().get();
    for (let first = 0; first < all.length; first += AT_ONCE) {
      // `first` numbers the texts for the random choices: the same as of all of them in one call.
      const part = all.slice(first, first + AT_ONCE);
      const found = await one.augment(part, { ...how, first });
      made.found.push(...found);
      found.forEach((one, i) => first + i < SHOWN && list.append(entry(part[i], one)));
      const done = made.found.length, seconds = (performance.now() - began) / 1000;
      bar.value = done / all.length;
      state.textContent = `${counted(done)} of ${counted(all.length)} texts · ${counted(Math.round(done / seconds))} a second · ${duration((seconds * (all.length - done)) / done)} left`;
      announce(`${done} of ${all.length} texts`);
    }
  } catch (error) {
    if (!controller.signal.aborted) say(notice, error.message);
  }
  busy(false);
  const count = made.found.reduce((sum, { variants }) => sum + variants.length, 0);
  const more = made.found.length > SHOWN ? `; the first ${SHOWN} are shown, a file has them all` : '';
  state.textContent = `${counted(count)} variants of ${counted(made.found.length)} texts in ${((performance.now() - began) / 1000).toFixed(1)} s${more}.`;
  announce(state.textContent, true);
  downloads.hidden = count === 0;
}

const counted = (number) => number.toLocaleString('en');

function busy(is) {
  run.hidden = is;
  stop.hidden = !is;
  bar.hidden = !is;
  bar.value = 0;
  if (!is) return;
  downloads.hidden = true;
  state.textContent = 'Starting';
}

const ELEMENTS = { same: null, gone: 'del', new: 'ins' };

function entry(text, { variants, reason }) {
  const lines = variants.map((variant) => make('li', null, ...diff(text, variant).map((part) => (ELEMENTS[part.kind] ? make(ELEMENTS[part.kind], null, part.text) : part.text))));
  if (reason) lines.push(make('li.fine', null, reason));
  return make('li.entry', null, make('p.source', null, text), make('ol', null, ...lines));
}

// ---- files ----

/** The rows that came, each followed by its variants. @returns {import('./records.js').Table} */
function results() {
  const originals = form.elements.originals.checked;
  const rows = made.found.flatMap(({ variants }, i) => [
    ...(originals ? [{ ...made.table.rows[i], fillmask_source: i + 1, fillmask_variant: 0 }] : []),
    ...variants.map((text, v) => ({ ...made.table.rows[i], [made.column]: text, fillmask_source: i + 1, fillmask_variant: v + 1 })),
  ]);
  return { columns: [...made.table.columns, 'fillmask_source', 'fillmask_variant'], rows };
}

$('#augment-csv').addEventListener('click', () => download(new Blob(['\ufeff', toCsv(results())], { type: 'text/csv' }), 'augmented.csv'));
$('#augment-jsonl').addEventListener('click', () => download(new Blob([toJsonLines(results())], { type: 'application/jsonl' }), 'augmented.jsonl'));

// ---- the tab ----

/** Shows the tab. */
export function show() {
  if (!texts.written) texts.written = SAMPLE;
}

const showRate = () => (form.elements.shown.value = `${form.elements.rate.value}%`);
form.elements.rate.addEventListener('input', showRate);
showRate();
form.addEventListener('submit', start);
stop.addEventListener('click', () => controller?.abort());

// augment.js - the Augment tab: variants of many texts, what changed in them, and files of them.
import { diff } from './diff.js';
import { $, download, make, say } from './dom.js';
import { droppable } from './drop.js';
import { fromFile, fromLines, textColumn, toCsv, toJsonLines } from './records.js';
import { baseModel } from './session.js';

const SAMPLE = `The room was small, but the staff were friendly and the breakfast was good.
I waited two hours for a doctor who never looked at me.
The train left early and nobody told the passengers.
A simple story, told with warmth and a fine sense of humour.`;
const AT_ONCE = 8; // texts between two looks at the results
const SHOWN = 200; // texts whose variants are shown; files have them all

const form = $('#augment-options'), write = $('#augment-text'), column = $('#augment-column'), file = $('#augment-file');
const notice = $('#augment-notice'), list = $('#augment-list'), state = $('#augment-state'), bar = $('#augment-progress');
const run = $('#augment-run'), stop = $('#augment-stop'), downloads = $('#augment-downloads');

/** What a file brought; null while the texts are those of the text field. @type {import('./records.js').Table | null} */
let table = null;
/** What the last run made. @type {{table: import('./records.js').Table, column: string, found: import('../model.js').Augmented[]}} */
let made;
/** @type {AbortController | null} */
let controller = null;

// ---- texts ----

async function open(chosen) {
  try {
    table = fromFile(await chosen.text(), chosen.name);
    const likely = textColumn(table);
    if (table.rows.length === 0 || likely === undefined) throw new Error(`${chosen.name} has no texts.`);
    column.replaceChildren(...table.columns.map((name) => make('option', { value: name }, name)));
    column.value = likely;
    column.closest('label').hidden = table.columns.length < 2;
    say(notice, '');
    $('#augment-file-name').textContent = `${chosen.name}: ${table.rows.length} texts`;
    $('#augment-chosen').hidden = false;
    write.hidden = true;
  } catch (error) {
    close();
    say(notice, error.message);
  }
}

function close() {
  table = null;
  file.value = '';
  $('#augment-chosen').hidden = true;
  column.closest('label').hidden = true;
  write.hidden = false;
}

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
  const source = table ?? fromLines(write.value);
  const name = table ? column.value : 'text';
  const texts = source.rows.map((row) => String(row[name] ?? ''));
  if (texts.length === 0) return say(notice, 'There are no texts; write some, or open a file.');
  controller = new AbortController();
  made = { table: source, column: name, found: [] };
  list.replaceChildren();
  say(notice, '');
  busy(true);
  const began = performance.now();
  try {
    const model = await baseModel();
    for (let first = 0; first < texts.length; first += AT_ONCE) {
      // `first` numbers the texts for the random choices: the same as of all of them in one call.
      const how = { ...options(), first, signal: controller.signal };
      const part = texts.slice(first, first + AT_ONCE);
      const found = await model.augment(part, how);
      made.found.push(...found);
      found.forEach((one, i) => first + i < SHOWN && list.append(entry(part[i], one)));
      bar.value = made.found.length / texts.length;
      state.textContent = `${made.found.length} of ${texts.length} texts`;
    }
  } catch (error) {
    if (!controller.signal.aborted) say(notice, error.message);
  }
  busy(false);
  const count = made.found.reduce((sum, { variants }) => sum + variants.length, 0);
  const more = made.found.length > SHOWN ? `; the first ${SHOWN} are shown, a file has them all` : '';
  state.textContent = `${count} variants of ${made.found.length} texts in ${((performance.now() - began) / 1000).toFixed(1)} s${more}.`;
  downloads.hidden = count === 0;
}

function busy(is) {
  run.hidden = is;
  stop.hidden = !is;
  bar.hidden = !is;
  bar.value = 0;
  if (is) downloads.hidden = true;
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
  if (!write.value) write.value = SAMPLE;
}

const showRate = () => (form.elements.shown.value = `${form.elements.rate.value}%`);
form.elements.rate.addEventListener('input', showRate);
showRate();
form.addEventListener('submit', start);
stop.addEventListener('click', () => controller?.abort());
$('#augment-close').addEventListener('click', close);
droppable($('#augment'), file, open);

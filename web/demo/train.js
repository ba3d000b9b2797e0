// train.js - the Train tab: teaches a copy of the model texts of the user's, and shows on the way what changes in it.
import { Trainer } from '../index.js';
import { drawRows } from './candidates.js';
import { Chart } from './chart.js';
import { $, download, make, say } from './dom.js';
import { droppable } from './drop.js';
import { MASK } from './masks.js';
import { fromFile, fromLines, textColumn } from './records.js';
import { anotherModel, baseModel, setSecond } from './session.js';
import { zip } from './zip.js';

const PROBES = ['When the fog comes, the captain rings the [MASK].', 'The boat brings bread and [MASK] every Friday.', 'The gull sleeps on the [MASK].'];
const HELD = 6; // one document of so many is kept apart, to measure by
const LOOK = 1500; // milliseconds between two looks at what has been learnt

const form = $('#train-options'), write = $('#train-text'), probes = $('#train-probes'), file = $('#train-file');
const notice = $('#train-notice'), state = $('#train-state'), bar = $('#train-progress'), comparison = $('#train-comparison');
const begin = $('#train-start'), pause = $('#train-pause'), stop = $('#train-stop'), outcome = $('#train-outcome'), saving = $('#train-saving');
const chart = new Chart($('#train-chart'));

/** The training under way. @type {Trainer | null} */
let trainer = null;
/** The last model that was trained to its end, or as far as the user let it. @type {import('../model.js').Model | null} */
let trained = null;
/** What its card says. */
let story = '';
/** Of each sentence that is watched. @type {WeakMap<Element, Record<string, import('./candidates.js').Row[]>>} */
const predictions = new WeakMap();

// ---- texts ----

async function open(chosen) {
  try {
    const table = fromFile(await chosen.text(), chosen.name);
    const column = textColumn(table);
    if (column === undefined || table.rows.length === 0) throw new Error(`${chosen.name} has no texts.`);
    write.value = table.rows.map((row) => String(row[column] ?? '').replace(/\s+/g, ' ').trim()).filter(Boolean).join('\n');
    say(notice, '');
  } catch (error) {
    say(notice, error.message);
  }
}

/** What is learnt from, and what is only measured by if there is enough of it. */
function split(documents, length) {
  const held = documents.filter((_, i) => i % HELD === HELD - 1);
  if (wordsIn(held) < 2 * length) return { data: documents };
  return { data: documents.filter((_, i) => i % HELD !== HELD - 1), eval_data: held };
}

const wordsIn = (documents) => documents.reduce((sum, text) => sum + text.split(/\s+/).length, 0);

// ---- the training ----

function optionsFor(documents) {
  const { epochs, batch_size, learning_rate, chunk, seed } = form.elements;
  const how = { epochs: Number(epochs.value), batch_size: Number(batch_size.value), learning_rate: Number(learning_rate.value), length: Number(chunk.value), seed: Number(seed.value), warmup: 0.1 };
  // A dozen evaluations, going by the words; how many steps there are is known once the texts are tokens.
  const steps = (how.epochs * wordsIn(documents)) / how.length / how.batch_size;
  return { ...how, ...split(documents, how.length), eval_steps: Math.max(5, Math.round(steps / 12)), eval_limit: 64 };
}

async function start(event) {
  event.preventDefault();
  const options = optionsFor(fromLines(write.value).rows.map(({ text }) => text));
  let model = null, steps = 0;
  say(notice, '');
  busy(true);
  try {
    drawComparison();
    await compare('before', await baseModel());
    model = await anotherModel();
    trainer = new Trainer(model, options);
    for await (const report of watched(trainer)) steps = report.step;
    state.textContent = `Done: ${steps} steps.${options.eval_data ? '' : ' There was too little text to keep some apart to measure by.'}`;
  } catch (error) {
    if (error.name === 'AbortError') state.textContent = `Stopped after ${steps} steps.`;
    else say(notice, error.message);
  }
  try {
    if (steps > 0) await keep(model, steps, options);
    else await model?.dispose();
    await trainer?.dispose();
  } catch (error) {
    say(notice, error.message);
  }
  trainer = null;
  busy(false);
}

/** A training's reports, each shown; from time to time also what the model makes of the sentences by now. */
async function* watched(trainer) {
  let looked = performance.now(), drawn = false;
  for await (const report of trainer) {
    if (!drawn) chart.start(report.steps);
    drawn = true;
    draw(report);
    yield report;
    if (report.step === 0 || performance.now() - looked < LOOK) continue;
    await compare('after', await trainer.apply());
    looked = performance.now();
  }
}

/** Takes over what was learnt: other tabs have it, and it can be downloaded. */
async function keep(model, steps, options) {
  await trainer.apply();
  await compare('after', model);
  trained = model;
  story = `Fine-tuned from ${model.name} in ${steps} steps of ${options.batch_size} chunks of ${options.length} tokens, learning rate ${options.learning_rate}, seed ${options.seed}, by Fillmask in a browser.`;
  await setSecond(model, 'Trained here');
}

function busy(is) {
  begin.disabled = is;
  pause.textContent = 'Pause';
  for (const button of [pause, stop]) button.hidden = !is;
  bar.hidden = !is;
  saving.hidden = is || !trained;
  if (!is) return;
  bar.value = 0;
  outcome.hidden = false;
  outcome.scrollIntoView({ block: 'nearest' });
  state.textContent = 'Reading the texts';
  for (const name of ['loss', 'held', 'speed', 'left']) figure(name, '–');
}

// ---- what is shown of it ----

const figure = (name, text) => ($(`#train-${name}`).textContent = text);

function draw({ step, steps, loss, tokens_per_second, eta, evaluation }) {
  if (loss !== null) {
    chart.addTraining(step, loss);
    figure('loss', loss.toFixed(2));
    figure('speed', Math.round(tokens_per_second).toLocaleString('en'));
    figure('left', duration(eta));
  }
  if (evaluation) {
    chart.addHeld(step, evaluation.loss);
    figure('held', evaluation.loss.toFixed(2));
  }
  chart.draw();
  bar.value = step / steps;
  if (!trainer?.paused) state.textContent = `Step ${step} of ${steps}`;
}

function duration(seconds) {
  if (seconds < 60) return `${Math.ceil(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

/** The sentences whose masks are watched. */
const watchedTexts = () => fromLines(probes.value).rows.map(({ text }) => text).filter((text) => text.includes(MASK));

function drawComparison() {
  comparison.replaceChildren(...watchedTexts().map((text) => {
    const pieces = text.split(MASK).flatMap((piece, i) => (i ? [make('b', { 'aria-label': 'mask' }, '\u2003'), piece] : [piece]));
    const side = (title, which) => make('div.column', null, make('h4', null, title), make('ol', { 'data-side': which }));
    return make('article.card', { 'data-text': text }, make('header', null, make('h3.where', null, ...pieces)), make('div.columns', null, side('Before', 'before'), side('After', 'after')));
  }));
}

/** What each sentence's first mask gets. @param {'before' | 'after'} side @param {import('../model.js').Model} model */
async function compare(side, model) {
  for (const card of comparison.children) {
    const found = /** @type {any[]} */ (await model.fill(card.dataset.text, { top_k: 4 }));
    const rows = (Array.isArray(found[0]) ? found[0] : found).map(({ token_str, score }) => ({ what: [token_str], score }));
    const sides = { ...predictions.get(card), [side]: rows };
    predictions.set(card, sides);
    const most = Math.max(...Object.values(sides).flat().map(({ score }) => score)); // both sides have one scale
    for (const [name, shown] of Object.entries(sides)) drawRows($(`[data-side=${name}]`, card), shown, most);
  }
}

// ---- the tab ----

function togglePause() {
  if (!trainer) return;
  if (trainer.paused) trainer.resume();
  else trainer.pause();
  pause.textContent = trainer.paused ? 'Resume' : 'Pause';
  state.textContent = trainer.paused ? 'Paused' : 'Going on';
}

async function save({ target }) {
  target.disabled = true;
  try {
    const files = await trained.files({ dtype: $('#train-dtype').value });
    const name = `${trained.name}-tuned`;
    const card = `---\nlicense: apache-2.0\nlibrary_name: fillmask\npipeline_tag: fill-mask\n---\n\n# ${name}\n\n${story}\n`;
    download(await zip([...files, new File([card], 'README.md')], name), `${name}.zip`);
  } catch (error) {
    say(notice, error.message);
  }
  target.disabled = false;
}

async function sample() {
  try {
    write.value = (await (await fetch(new URL('./sample.txt', import.meta.url))).text()).trim();
    probes.value = PROBES.join('\n');
  } catch (error) {
    say(notice, `The sample could not be loaded: ${error.message}.`);
  }
}

/** Shows the tab. */
export function show() {
  if (!write.value) sample();
}

form.addEventListener('submit', start);
pause.addEventListener('click', togglePause);
stop.addEventListener('click', () => trainer?.abort());
$('#train-sample').addEventListener('click', sample);
$('#train-save').addEventListener('click', save);
droppable($('#train'), file, open);

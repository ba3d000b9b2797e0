// train.js - the Train tab: teaches a copy of the model texts of the user's, and shows on the way what changes in it.
import { Trainer } from '../index.js';
import { drawRows } from './candidates.js';
import { Chart } from './chart.js';
import { readCheckpoint } from './checkpoint.js';
import { chooser } from './chooser.js';
import { $, announcer, download, duration, make, say } from './dom.js';
import { MASK } from './masks.js';
import { fromLines } from './records.js';
import { add, Known } from './session.js';
import { Texts } from './texts.js';
import { zip } from './zip.js';

const PROBES = ['When the fog comes, the captain rings the [MASK].', 'The boat brings bread and [MASK] every Friday.', 'The gull sleeps on the [MASK].'];
const HELD = 6; // one document of so many is kept apart, to measure by
const LOOK = 1500; // milliseconds between two looks at what has been learnt

const form = $('#train-options'), probes = $('#train-probes');
const notice = $('#train-notice'), state = $('#train-state'), bar = $('#train-progress'), comparison = $('#train-comparison');
const begin = $('#train-start'), pause = $('#train-pause'), controls = $('#train-controls'), outcome = $('#train-outcome'), saving = $('#train-saving');
const keeping = $('#train-keep'), from = $('#train-from'), settings = $('#train-settings'), checkpointFile = $('#train-checkpoint');
const chart = new Chart($('#train-chart'));
const texts = new Texts('train', (problem) => say(notice, problem), (file) => file.name.endsWith('.safetensors') && goOnFrom(file));
const base = chooser($('#train-model'));
const announce = announcer($('#train-live'));

/** The training under way. @type {Trainer | null} */
let trainer = null;
/** What stops it, also before it has begun. @type {AbortController | null} */
let controller = null;
/** The last model that was trained to its end, or as far as the user let it. @type {import('../model.js').Model | null} */
let trained = null;
/** What its card says. */
let story = '';
/** What the next training goes on from. @type {import('./checkpoint.js').Checkpoint | null} */
let checkpoint = null;
/** Of each sentence that is watched. @type {WeakMap<Element, Record<string, import('./candidates.js').Row[]>>} */
const predictions = new WeakMap();

// ---- texts ----

/** What is learnt from, and what is only measured by if there is enough of it, and a checkpoint learnt not from all. */
function split(documents, length) {
  const held = documents.filter((_, i) => i % HELD === HELD - 1);
  if (wordsIn(held) < 2 * length || checkpoint?.documents === documents.length) return { data: documents };
  return { data: documents.filter((_, i) => i % HELD !== HELD - 1), eval_data: held };
}

const wordsIn = (documents) => documents.reduce((sum, text) => sum + text.split(/\s+/).length, 0);

// ---- the training ----

function chosenOptions() {
  const { epochs, batch_size, learning_rate, chunk, seed } = form.elements;
  return { epochs: Number(epochs.value), batch_size: Number(batch_size.value), learning_rate: Number(learning_rate.value), length: Number(chunk.value), seed: Number(seed.value), warmup: 0.1 };
}

function optionsFor(documents) {
  const how = checkpoint?.options ?? chosenOptions();
  // A dozen evaluations, going by the words; how many steps there are is known once the texts are tokens.
  const steps = checkpoint?.options.steps ?? (how.epochs * wordsIn(documents)) / how.length / how.batch_size;
  return { ...how, ...split(documents, how.length), checkpoint: checkpoint?.file, eval_steps: Math.max(5, Math.round(steps / 12)), eval_limit: 64 };
}

async function start(event) {
  event.preventDefault();
  const documents = texts.all.filter((text) => text.trim());
  if (documents.length === 0) return say(notice, 'There are no texts to learn from; write some, open a file, or use the sample.');
  const options = optionsFor(documents);
  const { signal } = (controller = new AbortController());
  const chosen = checkpoint; // another may be chosen on the way, for the next training
  let model = null, steps = 0;
  say(notice, '');
  busy(true);
  const began = performance.now();
  try {
    model = await base().copy();
    trainer = new Trainer(model, { ...options, signal });
    for await (const report of watched(trainer)) steps = report.step;
    if (chosen && steps === 0) await clear((steps = chosen.step)); // it was at its end, and had nothing to report
    state.textContent = `Done: ${steps} steps.${options.eval_data ? '' : ' No text was kept apart to measure by.'}`;
  } catch (error) {
    state.textContent = steps > 0 ? `Stopped after ${steps} steps.` : 'Nothing was learnt.';
    if (error.name !== 'AbortError') say(notice, error.message);
  }
  if (steps > 0) {
    figure('left', duration((performance.now() - began) / 1000), 'taken');
    if (checkpoint === chosen) goOnFrom(null);
  }
  outcome.hidden = steps === 0 && !trained;
  announce(state.textContent, true);
  try {
    if (steps > 0) await keep(model, steps, options);
    else await model?.dispose();
    await trainer?.dispose();
  } catch (error) {
    say(notice, error.message);
  }
  trainer = controller = null;
  busy(false);
}

/** A training's reports, each shown; from time to time also what the model makes of the sentences by now. */
async function* watched(trainer) {
  let looked = performance.now(), drawn = false;
  for await (const report of trainer) {
    if (!drawn) await clear(report.steps);
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
  story = `---\nlicense: apache-2.0\nlibrary_name: fillmask\npipeline_tag: fill-mask\n---\n\n# ${model.name}-tuned\n\nFine-tuned from ${model.name} in ${steps} steps of ${options.batch_size} chunks of ${options.length} tokens, learning rate ${options.learning_rate}, seed ${options.seed}, by Fillmask in a browser.\n`;
  await add(new Known('Trained here', null, async () => story, model));
}

function busy(is) {
  begin.disabled = is;
  pause.textContent = 'Pause';
  keeping.disabled = true;
  controls.hidden = !is;
  bar.hidden = !is;
  saving.hidden = is || !trained;
  if (!is) return;
  bar.value = 0;
  outcome.hidden = false;
  outcome.scrollIntoView({ block: 'start' });
  state.textContent = 'Reading the texts';
}

// ---- what is shown of it ----

function figure(name, text, what) {
  const number = $(`#train-${name}`);
  number.textContent = text;
  if (what) number.nextElementSibling.textContent = what;
}

/** Makes room for what is shown of a training that has begun. */
async function clear(steps) {
  chart.start(steps);
  for (const name of ['loss', 'held', 'speed']) figure(name, '–');
  figure('left', '–', 'left');
  keeping.disabled = false;
  drawComparison();
  await compare('before', await base().get());
}

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
  announce(`Step ${step} of ${steps}${loss === null ? '' : `, loss ${loss.toFixed(2)}`}`);
}

/** The sentences whose masks are watched. */
const watchedTexts = () => fromLines(probes.value).rows.map(({ text }) => text).filter((text) => text.includes(MASK));

function drawComparison() {
  comparison.replaceChildren(...watchedTexts().map((text) => {
    const pieces = text.split(MASK).flatMap((piece, i) => (i ? [make('b', { role: 'img', 'aria-label': 'mask' }, '\u2003'), piece] : [piece]));
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
  announce(state.textContent, true);
}

/** Has the next training go on from a file, or, with null, begin anew. @param {File | null} file */
async function goOnFrom(file) {
  checkpointFile.value = ''; // so that the same file can be chosen again
  try {
    checkpoint = file && (await readCheckpoint(file));
    if (file) say(notice, '');
  } catch (error) {
    return say(notice, error.message);
  }
  settings.hidden = form.noValidate = Boolean(checkpoint); // what is hidden need not be valid
  from.hidden = !checkpoint;
  checkpointFile.parentElement.hidden = Boolean(checkpoint);
  begin.textContent = checkpoint ? 'Go on training' : 'Train';
  if (!checkpoint) return;
  const { steps, batch_size, length, learning_rate, seed } = checkpoint.options;
  const how = `batches of ${batch_size} chunks of ${length} tokens, learning rate ${learning_rate}, seed ${seed}`;
  $('p', from).textContent = `${checkpoint.file.name} goes on after step ${checkpoint.step} of ${steps}, with the texts and settings that it was made with: ${how}.`;
  announce($('p', from).textContent, true);
}

async function keepState() {
  keeping.disabled = true;
  try {
    const file = await /** @type {Trainer} */ (trainer).checkpoint();
    download(file, file.name);
    announce(`${file.name} is saved.`, true);
  } catch (error) {
    say(notice, error.message);
  }
  keeping.disabled = !trainer;
}

async function save({ target }) {
  target.disabled = true;
  try {
    const files = await trained.files({ dtype: $('#train-dtype').value });
    const name = `${trained.name}-tuned`;
    download(await zip([...files, new File([story], 'README.md')], name), `${name}.zip`);
  } catch (error) {
    say(notice, error.message);
  }
  target.disabled = false;
}

async function sample() {
  try {
    texts.written = (await (await fetch(new URL('./sample.txt', import.meta.url))).text()).trim();
    probes.value = PROBES.join('\n');
  } catch (error) {
    say(notice, `The sample could not be loaded: ${error.message}.`);
  }
}

/** Shows the tab. */
export function show() {
  if (!texts.written) sample();
}

form.addEventListener('submit', start);
pause.addEventListener('click', togglePause);
keeping.addEventListener('click', keepState);
checkpointFile.addEventListener('change', async () => {
  if (!checkpointFile.files?.[0]) return;
  await goOnFrom(checkpointFile.files[0]);
  if (checkpoint) begin.focus(); // the field is gone
});
$('button', from).addEventListener('click', () => {
  say(notice, '');
  goOnFrom(null);
  checkpointFile.focus(); // the button is gone
});
$('#train-stop').addEventListener('click', () => controller?.abort());
$('#train-sample').addEventListener('click', sample);
$('#train-save').addEventListener('click', save);
globalThis.addEventListener('beforeunload', (event) => controller && event.preventDefault()); // nobody loses a training by a slip

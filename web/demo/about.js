// about.js - the About tab: the model's card, what computes it here and how fast, what the page weighs, and a model of
// the user's own.
import { cardOf } from './card.js';
import { chooser } from './chooser.js';
import { $, make, say } from './dom.js';
import { add, computeOn, currentDevice, devices, Known, site } from './session.js';

const BUILDS = { relaxed: 'relaxed SIMD', simd128: 'SIMD', scalar: 'no SIMD' };
const LENGTHS = [16, 64, 128]; // tokens of a text that is measured
const ENOUGH = 700; // milliseconds of measuring, for each
const FILLER = 'the old man walked down to the water and looked at the boats for a long time before he went home again , ';

const notice = $('#about-notice'), card = $('#about-card'), device = $('#about-device'), sizes = $('#about-sizes');
const measure = $('#about-measure'), speed = $('#about-speed'), speedState = $('#about-speed-state'), file = $('#about-file');
const where = $('#about-compute'), whereState = $('#about-compute-state');
const chosen = chooser($('#about-model'));

const pairs = (list) => list.flatMap(([name, value]) => [make('dt', null, name), make('dd', null, value)]);
const kilobytes = (bytes) => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(bytes < 1e5 ? 1 : 0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

async function showCard() {
  card.replaceChildren(...cardOf(await chosen().card()));
}

async function showDevice() {
  const { info } = await chosen().get();
  const { version } = await site();
  device.replaceChildren(...pairs([
    ['Fillmask', version],
    ['Device', info.device === 'webgpu' ? info.adapter : 'processor'],
    ['Build', BUILDS[info.instruction_set] ?? info.instruction_set],
    ['Threads', `${info.threads} of ${navigator.hardwareConcurrency} processors`],
    ['Isolated page', globalThis.crossOriginIsolated ? 'yes' : 'no, so one thread'],
    ['Weights', `${(info.parameters / 1e6).toFixed(1)} million, ${info.dtype}`],
    ['Longest text', `${info.positions} tokens`],
    ['Vocabulary', `${info.vocab_size.toLocaleString('en')} tokens`],
  ]));
  whereState.textContent = info.warning ?? '';
}

/** What the page loads, compressed as servers send it. */
async function showSizes() {
  const files = Object.entries((await site()).files);
  const { info } = await chosen().get();
  const sum = (wanted) => files.filter(([path]) => wanted.test(path)).reduce((total, [, { gzip }]) => total + gzip, 0);
  const scripts = sum(/^web\/[^/]+\.js$/), wasm = sum(info.instruction_set === 'relaxed' ? /-relaxed\.wasm$/ : /fillmask\.wasm$/);
  const folders = new Set(files.map(([path]) => /^weights\/[^/]+/.exec(path)?.[0]).filter(Boolean));
  sizes.replaceChildren(...pairs([
    ['Fillmask: scripts', kilobytes(scripts)],
    ['Fillmask: WebAssembly', kilobytes(wasm)],
    ['Fillmask in all', kilobytes(scripts + wasm)],
    ...[...folders].map((folder) => [folder.slice('weights/'.length), kilobytes(sum(new RegExp(`^${folder}/.*(json|txt|safetensors)$`)))]),
    ['This page', kilobytes(sum(/^(web\/demo\/|index\.html)/))],
  ]));
}

/** Milliseconds that filling one mask takes in a text of so many tokens: the median of many. */
async function timeOf(model, tokens) {
  const { offsets } = await model.tokenizer.encode(FILLER.repeat(16), { special: false });
  // and [CLS], [MASK], a stop and [SEP]
  const text = `${FILLER.repeat(16).slice(0, offsets[tokens - 5][1])} [MASK].`;
  const times = [];
  await model.fill(text);
  for (const start = performance.now(); performance.now() - start < ENOUGH || times.length < 3;) {
    const before = performance.now();
    await model.fill(text);
    times.push(performance.now() - before);
  }
  return times.sort((a, b) => a - b)[times.length >> 1];
}

const speedRow = ([first, ...rest]) => make('tr', null, make('th', { scope: 'row' }, first), ...rest.map((cell) => make('td', null, cell)));

async function showSpeed() {
  measure.disabled = true;
  say(notice, '');
  speedState.textContent = 'Measuring';
  try {
    const model = await chosen().get();
    const rows = LENGTHS.filter((length) => length <= model.info.positions).map((length) => [String(length), '…', '…']);
    for (const row of rows) {
      speed.replaceChildren(...rows.map(speedRow));
      const milliseconds = await timeOf(model, Number(row[0]));
      row.splice(1, 2, milliseconds.toFixed(1), (1000 / milliseconds).toFixed(0));
    }
    speed.replaceChildren(...rows.map(speedRow));
    speedState.textContent = 'One mask in one text: the median of many, measured just now.';
  } catch (error) {
    speedState.textContent = '';
    say(notice, error.message);
  }
  measure.disabled = false;
}

// ---- what computes ----

function offerDevices() {
  where.closest('label').hidden = !devices().includes('webgpu');
  if ('gpu' in navigator) return;
  const gpu = $('[value=webgpu]', where);
  gpu.disabled = true;
  gpu.textContent = 'Graphics card: not with this browser';
}

async function changeDevice() {
  where.disabled = true;
  whereState.textContent = 'Loading the model there';
  try {
    await computeOn(where.value);
    showAll();
    showSpeed();
  } catch (error) {
    where.value = currentDevice();
    whereState.textContent = `The graphics card cannot be used: ${error.message} The processor goes on computing.`;
  }
  where.disabled = false;
}

// ---- a model of the user's own ----
async function open({ target }) {
  const files = [...target.files];
  target.value = '';
  if (files.length === 0) return;
  say(notice, '');
  try {
    const readme = files.find((one) => one.name === 'README.md');
    const source = { name: 'yours', files: Object.fromEntries(files.map((one) => [one.name, one])) };
    const known = new Known('Yours', source, async () => readme?.text() ?? 'This model came without a card.');
    await known.get();
    await add(known);
    $('#about-opened').textContent = 'Your model is open. All tabs offer it; Fill shows it beside the one that ships.';
  } catch (error) {
    say(notice, error.message);
  }
}

function showAll() {
  for (const part of [showCard, showDevice, showSizes]) part().catch((error) => say(notice, error.message));
}

/** Shows the tab. */
export function show() {
  if (device.children.length > 0) return;
  showAll();
  showSpeed();
}

offerDevices();
where.addEventListener('change', changeDevice);
$('#about-model').addEventListener('change', showAll);
measure.addEventListener('click', showSpeed);
file.addEventListener('change', open);

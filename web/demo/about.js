// about.js - the About tab: the model's card, what computes it here and how fast, what the page weighs, and a model of
// the user's own.
import { cardOf } from './card.js';
import { $, make, say } from './dom.js';
import { baseModel, openModel, setSecond } from './session.js';

const BUILDS = { relaxed: 'relaxed SIMD', simd128: 'SIMD', scalar: 'no SIMD' };
const LENGTHS = [16, 64, 128]; // tokens of a text that is measured
const ENOUGH = 1200; // milliseconds of measuring, for each
const FILLER = 'the old man walked down to the water and looked at the boats for a long time before he went home again , ';

const notice = $('#about-notice'), card = $('#about-card'), device = $('#about-device'), sizes = $('#about-sizes');
const measure = $('#about-measure'), speed = $('#about-speed'), file = $('#about-file');
const at = new URL('../../', import.meta.url);

const pairs = (list) => list.flatMap(([name, value]) => [make('dt', null, name), make('dd', null, value)]);
const kilobytes = (bytes) => `${(bytes / 1000).toLocaleString('en', { maximumFractionDigits: bytes < 1e5 ? 1 : 0 })} kB`;

async function showCard() {
  const { name } = await baseModel();
  const response = await fetch(new URL(`weights/${name}/README.md`, at));
  if (response.ok) card.replaceChildren(...cardOf(await response.text()));
}

async function showDevice() {
  const { info } = await baseModel();
  device.replaceChildren(...pairs([
    ['Build', BUILDS[info.instruction_set] ?? info.instruction_set],
    ['Threads', `${info.threads} of ${navigator.hardwareConcurrency} processors`],
    ['Cross-origin isolated', globalThis.crossOriginIsolated ? 'yes' : 'no'],
    ['Weights', `${(info.parameters / 1e6).toFixed(1)} million, ${info.dtype}`],
    ['Longest text', `${info.positions} tokens`],
    ['Vocabulary', `${info.vocab_size.toLocaleString('en')} tokens`],
  ]));
}

/** What the page loads, compressed as servers send it. */
async function showSizes() {
  await import(new URL('site.js', at).href);
  const files = Object.entries(globalThis.site.files);
  const { info } = await baseModel();
  const sum = (wanted) => files.filter(([path]) => wanted.test(path)).reduce((total, [, { gzip }]) => total + gzip, 0);
  const scripts = sum(/^web\/[^/]+\.js$/), wasm = sum(info.instruction_set === 'relaxed' ? /-relaxed\.wasm$/ : /fillmask\.wasm$/);
  sizes.replaceChildren(...pairs([
    ['Fillmask: scripts', kilobytes(scripts)],
    ['Fillmask: WebAssembly', kilobytes(wasm)],
    ['Fillmask in all', kilobytes(scripts + wasm)],
    ['The model', kilobytes(sum(/^weights\/.*(json|txt|safetensors)$/))],
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

async function showSpeed() {
  measure.disabled = true;
  say(notice, '');
  $('#about-speed-state').textContent = 'Measuring';
  try {
    const model = await baseModel();
    const rows = [];
    for (const tokens of LENGTHS.filter((length) => length <= model.info.positions)) {
      const milliseconds = await timeOf(model, tokens);
      rows.push([String(tokens), milliseconds.toFixed(1), (1000 / milliseconds).toFixed(0)]);
      speed.replaceChildren(...rows.map(([first, ...rest]) => make('tr', null, make('th', { scope: 'row' }, first), ...rest.map((cell) => make('td', null, cell)))));
      speed.closest('.scroll').hidden = false;
    }
    $('#about-speed-state').textContent = 'One mask in one text, the median of a second of each.';
  } catch (error) {
    say(notice, error.message);
  }
  measure.disabled = false;
}

async function open({ target }) {
  if (target.files.length === 0) return;
  say(notice, '');
  try {
    const model = await openModel(target.files);
    await setSecond(model, 'Yours');
    $('#about-opened').textContent = 'Opened. The Fill tab shows it beside the model that ships.';
  } catch (error) {
    say(notice, error.message);
  }
}

/** Shows the tab. */
export function show() {
  if (device.children.length > 0) return;
  for (const part of [showCard, showDevice, showSizes]) part().catch((error) => say(notice, error.message));
}

measure.addEventListener('click', showSpeed);
file.addEventListener('change', open);

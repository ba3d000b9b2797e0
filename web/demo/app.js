// app.js - the page's entry: which tab is shown, and how the engine is doing.
import * as about from './about.js';
import * as augment from './augment.js';
import { $, roving } from './dom.js';
import * as fill from './fill.js';
import { isolate, keepOffline, updated } from './isolation.js';
import * as score from './score.js';
import { events, start } from './session.js';
import * as train from './train.js';

/** Each shows itself, given what the address says after "?". @type {Record<string, {show: (state: URLSearchParams) => void}>} */
const tabs = { fill, augment, score, train, about };

const tablist = $('[role=tablist]'), engine = $('#engine'), loading = $('#loading');

const TITLE = document.title;

// ---- tabs ----

/** The address says which tab is shown: "#fill?text=...". */
function route() {
  const [name, state] = location.hash.slice(1).split(/\?(.*)/s);
  const shown = Object.hasOwn(tabs, name) ? name : 'fill';
  for (const button of tablist.querySelectorAll('[role=tab]')) button.setAttribute('aria-selected', String(button.id === `tab-${shown}`));
  for (const panel of document.querySelectorAll('[role=tabpanel]')) panel.hidden = panel.id !== shown;
  document.title = shown === 'fill' ? TITLE : `${$(`#tab-${shown}`).textContent} · Fillmask`;
  mark($(`#tab-${shown}`));
  tabs[shown].show(new URLSearchParams(state));
}

function open(button) {
  const address = `#${button.id.slice('tab-'.length)}`;
  if (location.hash === address) return;
  history.pushState(null, '', address); // a link to it would take the focus off the tab
  route();
}

const mark = roving(tablist, open);
tablist.addEventListener('click', ({ target }) => target.role === 'tab' && open(target));

// ---- the engine's state ----

events.addEventListener('loading', ({ detail: { file, progress } }) => {
  if (file !== 'model.safetensors') return;
  loading.hidden = false;
  loading.value = progress;
  engine.textContent = `Loading the model, ${Math.floor(progress)}%`;
});

events.addEventListener('ready', async ({ detail: { info } }) => {
  loading.hidden = true;
  const state = info.device === 'webgpu' ? 'WebGPU' : `WebAssembly · ${info.threads === 1 ? '1 thread' : `${info.threads} threads`}`;
  engine.textContent = state;
  if (await keepOffline().catch(() => false)) engine.textContent = `${state} · works offline`;
});

// ---- start ----

if (!(await isolate())) {
  globalThis.addEventListener('popstate', route);
  route();
  await start().catch(() => {
    loading.hidden = true;
    engine.textContent = 'The model could not be loaded';
  });
  updated((use) => {
    $('#update').hidden = false;
    $('#update button').addEventListener('click', use, { once: true });
  });
}

// session.js - the models of the page, which its tabs share: those that ship with it, the last one trained here, one
// that the user opened. Each is loaded when it is first asked for.
import shipped from '../default-model.js';
import { host } from '../host.js';
import { loadModel } from '../index.js';

/**
 * Tells of `loading` (progress of the first model's download), `ready` (it is there, or on another device), and `models`
 * (one has joined).
 */
export const events = new EventTarget();

const tell = (type, detail) => events.dispatchEvent(new CustomEvent(type, { detail }));

/** Where the site's files lie. */
const at = new URL('../../', import.meta.url);

/** What tools/site.mjs wrote of the site: its version, its files with their hashes and sizes. */
export async function site() {
  await import(new URL('site.js', at).href);
  return globalThis.site;
}

/** What can compute: "wasm", and "webgpu" where the package has it. */
export const devices = () => host.devices;

/** What computes. */
let device = 'wasm';

export const currentDevice = () => device;

/** A model that the page knows. */
export class Known {
  #source;
  #card;
  /** @type {Promise<import('../model.js').Model> | undefined} */
  #loaded;

  /**
   * @param {string} title also what it is known by
   * @param {import('../sources.js').ModelInput | undefined | null} source null if it was trained here
   * @param {() => Promise<string>} card its text
   * @param {import('../model.js').Model} [model] if it is loaded already
   */
  constructor(title, source, card, model) {
    this.title = title;
    this.#source = source;
    this.#card = card;
    if (model) this.#loaded = Promise.resolve(model);
  }

  /** Loads it if nobody has. @param {(event: any) => void} [progress_callback] */
  get(progress_callback) {
    this.#loaded ??= loadModel(this.#source, { device, progress_callback }).catch((error) => {
      this.#loaded = undefined; // the next call tries again
      throw error;
    });
    return this.#loaded;
  }

  /** Another copy of it, to be trained; it lives in the same worker. */
  async copy() {
    return loadModel(await this.#origin(), { device });
  }

  /**
   * Leaves the device that it is on, and is loaded on the current one when it is next asked for.
   * @param {import('../model.js').Model} [there] it, if it is loaded there already
   */
  async move(there) {
    const old = this.#loaded;
    if (old) this.#source = await this.#origin();
    this.#loaded = there && Promise.resolve(there);
    await (await old)?.dispose();
  }

  /** What it can be loaded from again. */
  async #origin() {
    if (this.#source !== null) return this.#source;
    const model = await this.get();
    const files = await model.files();
    return { name: model.name, files: Object.fromEntries(files.map((file) => [file.name, file])) };
  }

  card() {
    return this.#card();
  }

  async dispose() {
    await (await this.#loaded)?.dispose();
  }
}

async function cardIn(name) {
  const response = await fetch(new URL(`weights/${name}/README.md`, at));
  if (!response.ok) throw new Error(`The card of ${name} could not be loaded: the server answered ${response.status}.`);
  return response.text();
}

const base = new Known(shipped.name, undefined, () => cardIn(shipped.name));

/** In the order in which they are offered. @type {Known[]} */
export const models = [base];

/** Has another device compute. If that fails, all stays as it was. @param {string} wanted */
export async function computeOn(wanted) {
  const model = await loadModel(undefined, { device: wanted });
  if (model.info.device !== wanted) {
    await model.dispose();
    throw new Error(model.info.warning);
  }
  device = wanted;
  for (const known of models) await known.move(known === base ? model : undefined);
  tell('ready', model);
}

/** @type {Promise<void> | undefined} */
let begun;

/** Loads the model that ships, and then finds what others the site has. */
export function start() {
  begun ??= begin().catch((error) => {
    begun = undefined; // the next call tries again
    throw error;
  });
  return begun;
}

async function begin() {
  tell('ready', await base.get((event) => event.status === 'progress' && tell('loading', event)));
  findOthers();
}

async function findOthers() {
  const { files } = await site();
  for (const path of Object.keys(files)) {
    const name = /^weights\/([^/]+)\/config\.json$/.exec(path)?.[1];
    if (!name || name === shipped.name) continue;
    const own = Object.keys(shipped.files).map((file) => [file, new URL(`weights/${name}/${file}`, at).href]);
    await add(new Known(name, { name, files: Object.fromEntries(own) }, () => cardIn(name)));
  }
}

/** Has a model join the others, in place of the one with its title. @param {Known} known */
export async function add(known) {
  const before = models.findIndex(({ title }) => title === known.title);
  const [old] = before < 0 ? [] : models.splice(before, 1);
  models.push(known);
  tell('models', known);
  await old?.dispose();
}

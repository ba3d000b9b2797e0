// session.js - the models of the page: the one that ships, and the one that a training made of it. Tabs share them.
import { loadModel } from '../index.js';

/** Tells of `loading` (what is said of it), `ready` (the base model) and `tuned` (the other, or that there is none). */
export const events = new EventTarget();

/** @type {Promise<import('../model.js').Model> | undefined} */
let base;
/** @type {import('../model.js').Model | null} */
let tuned = null;

const tell = (type, detail) => events.dispatchEvent(new CustomEvent(type, { detail }));

/** The model that ships, loaded by the first who asks. */
export function baseModel() {
  base ??= loadModel(undefined, { progress_callback: (event) => event.status === 'progress' && tell('loading', event) }).then(
    (model) => {
      tell('ready', model);
      return model;
    },
    (error) => {
      base = undefined; // the next call tries again
      throw error;
    },
  );
  return base;
}

/** A second copy of it, to be trained; it lives in the same worker. */
export const anotherModel = () => loadModel();

/** @returns {import('../model.js').Model | null} */
export const tunedModel = () => tuned;

/** @param {import('../model.js').Model | null} model */
export async function setTuned(model) {
  const old = tuned;
  tuned = model;
  tell('tuned', model);
  if (old && old !== model) await old.dispose();
}

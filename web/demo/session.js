// session.js - the models of the page: the one that ships, and a second one, which a training made or the user opened.
// Tabs share them.
import { loadModel } from '../index.js';

/** Tells of `loading` (progress of the download), `ready` (the base model is) and `second` (it is another now). */
export const events = new EventTarget();

const tell = (type, detail) => events.dispatchEvent(new CustomEvent(type, { detail }));

/** @type {Promise<import('../model.js').Model> | undefined} */
let base;
/** @type {{model: import('../model.js').Model, title: string} | null} */
let second = null;

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

/** Another copy of it, to be trained; it lives in the same worker. */
export const anotherModel = () => loadModel();

/** A model of files that the user chose. @param {ArrayLike<File>} files */
export const openModel = (files) => loadModel(files);

/** The model beside the base model, if there is one. */
export const secondModel = () => second;

/** Puts a model beside the base model, in place of the one that was. */
export async function setSecond(model, title) {
  const old = second;
  second = { model, title };
  tell('second', second);
  await old?.model.dispose();
}

// index.js - the entry of the package for browsers. Nothing is done until a function is called, so that bundlers leave
// out what is not used.
import { host } from './host.js';
import { Loader } from './loader.js';

export * from './api.js';

/** @type {Loader | undefined} */
let made;
const loader = () => (made ??= new Loader(host));

/** @type {Loader['pipeline']} */
export const pipeline = (/** @type {any} */ ...given) => /** @type {any} */ (loader()).pipeline(...given);

/** @type {Loader['loadModel']} */
export const loadModel = (...given) => loader().loadModel(...given);

/** @type {Loader['loadTokenizer']} */
export const loadTokenizer = (...given) => loader().loadTokenizer(...given);

/** @type {Loader['dispose']} */
export const dispose = async () => made?.dispose();

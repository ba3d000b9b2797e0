// index-node.js - the entry of the package for Node.js.
import { host } from './host-node.js';
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

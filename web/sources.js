// sources.js - all that may be given as a model, brought into the one form that crosses to the worker.
import { FillmaskError } from './errors.js';

/**
 * @typedef {import('./files.js').ModelSource} Source
 * @typedef {string | URL | Blob | ArrayBuffer | ArrayBufferView} FileContent  A string is a URL.
 *
 * @typedef {string | URL | ArrayLike<File> | Record<string, FileContent> | {name?: string, files: Record<string, FileContent>}} ModelInput
 *   The name of a model, the URL of a folder (in Node.js also its path), the files that a user chose, or files by their
 *   names in the folder (config.json, model.safetensors, tokenizer.json or vocab.txt, tokenizer_config.json).
 *
 * @typedef {object} SourceOptions
 * @property {string | URL} [modelUrl] folder in which the folders of models are found by their names
 */

/** What the files of a model are called. */
export const FILES = ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json', 'vocab.txt'];
const DEFAULT_NAME = 'fillmask-small-en';

/**
 * @param {ModelInput | undefined} input
 * @param {SourceOptions & {base: string, folder: (name: string) => string | null}} options base: of relative URLs;
 *   folder: the URL of a folder that a text names, null if it names none
 * @returns {Source}
 */
export function sourceOf(input, { modelUrl, base, folder }) {
  if (input === undefined || input === null || input === DEFAULT_NAME) {
    if (modelUrl) return folderSource(new URL(`${DEFAULT_NAME}/`, slashed(new URL(modelUrl, base))));
    return { name: DEFAULT_NAME, shipped: true, cache: false }; // the browser's own will do
  }
  if (input instanceof URL) return folderSource(input);
  if (typeof input === 'string') {
    if (/^[a-z][a-z0-9+.-]+:/i.test(input)) return folderSource(new URL(input));
    const found = folder(input);
    if (found) return folderSource(new URL(found));
    if (modelUrl) return folderSource(new URL(input, slashed(new URL(modelUrl, base))));
    throw new FillmaskError('E_ARGUMENT', `There is no model "${input}"; the one that ships is ${DEFAULT_NAME}. Give the URL of a folder for others, or modelUrl.`);
  }
  if (typeof input === 'object' && 'files' in input) return filesSource(/** @type {any} */ (input), base);
  if (typeof input === 'object' && 'length' in input) {
    const files = Array.from(/** @type {ArrayLike<File>} */ (input)).filter((file) => file instanceof Blob && FILES.includes(file.name));
    return filesSource({ files: Object.fromEntries(files.map((file) => [file.name, file])) }, base);
  }
  if (typeof input === 'object') return filesSource({ files: /** @type {any} */ (input) }, base);
  throw new FillmaskError('E_ARGUMENT', 'The model is neither a name, a URL, a list of files nor an object of files by their names.');
}

/** @param {URL} url */
function folderSource(url) {
  const base = slashed(url);
  return { name: base.pathname.split('/').at(-2) || base.host, base: base.href };
}

function slashed(url) {
  if (url.pathname.endsWith('/')) return url;
  const folder = new URL(url);
  folder.pathname += '/';
  return folder;
}

/** @param {{name?: string, files: Record<string, FileContent>}} input @param {string} base */
function filesSource({ name = 'of these files', files }, base) {
  const known = Object.entries(files).filter(([file]) => FILES.includes(file));
  if (known.length === 0) throw new FillmaskError('E_ARGUMENT', `None of the model's files has one of the names ${FILES.join(', ')}.`);
  return { name, files: Object.fromEntries(known.map(([file, content]) => [file, contentOf(content, base)])) };
}

/** A blob crosses to the worker without being copied, and can be read again if the worker dies. */
function contentOf(content, base) {
  if (content instanceof Blob) return content;
  if (typeof content === 'string' || content instanceof URL) return new URL(content, base).href;
  return new Blob([/** @type {ArrayBuffer} */ (content)]);
}

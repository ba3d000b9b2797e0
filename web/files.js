// files.js - the files of a model, from wherever they are: URLs, blobs, and in Node.js files. It runs in the worker, so
// that weights go straight into the core's memory.
import { checked, download } from './downloads.js';
import { parts } from './engine.js';
import { FillmaskError } from './errors.js';

/**
 * @typedef {object} ModelSource  Where the files of a model are, as it crosses to the worker.
 * @property {string} name for progress and errors
 * @property {string} [base] URL of a folder, with a slash at its end
 * @property {Record<string, string | Blob>} [files] else URLs and contents by name
 * @property {boolean} [shipped] else it is the one that ships
 * @property {string} [origin] of the page
 * @property {boolean} [local] take nothing from a network
 * @property {boolean | string} [cache] keep downloads; in Node.js also the folder for them
 * @property {Record<string, string>} [integrity] SHA-256 by file
 * @property {number} [limit] bytes of a file at most
 *
 * @typedef {object} OpenFile
 * @property {AsyncIterable<Uint8Array> | ReadableStream<Uint8Array>} stream
 * @property {number} size in bytes, 0 if unknown
 * @property {boolean} [checked] whether its end is needed to know if it is damaged
 *
 * @typedef {object} FileOptions
 * @property {AbortSignal} [signal]
 * @property {(event: any) => void} [onEvent]
 * @property {() => Promise<import('./downloads.js').Hasher>} hasher
 * @property {(cache: boolean | string) => Promise<import('./downloads.js').Store>} openStore
 * @property {(url: URL) => Promise<OpenFile | null>} [openFile] reads file: URLs
 */

const LIMIT = 2 ** 31; // bytes of a file, unless the caller knows better

/**
 * Where the files of a model are; those of the one that ships, only the worker knows, so that bundlers leave them out of
 * pages that start none. They are as trusted as its script.
 * @param {ModelSource} source
 * @returns {Promise<ModelSource>}
 */
export async function located(source) {
  if (!source.shipped) return source;
  const here = globalThis.location?.href;
  try {
    const { files } = (await import('./default-model.js')).default;
    const urls = Object.fromEntries(Object.entries(files).map(([file, url]) => [file, new URL(url, here).href]));
    return { ...source, files: urls, origin: new URL(urls['model.safetensors']).origin };
  } catch (error) {
    if (!/^(blob|data):/.test(here ?? '')) throw error;
    throw new FillmaskError('E_ARGUMENT', "The worker's script is in a blob or data URL, beside which no model lies; give modelUrl, or a worker with an address.");
  }
}

/** The files of one model. */
export class Files {
  #source;
  #options;

  /** @param {ModelSource} source @param {FileOptions} options */
  constructor(source, options) {
    this.#source = source;
    this.#options = options;
  }

  /**
   * Starts reading a file.
   * @param {string} file
   * @returns {Promise<OpenFile | null>} null if the model has no such file
   */
  async open(file) {
    const { name, base, files, cache, integrity } = this.#source;
    const place = base ? new URL(file, base).href : files?.[file];
    if (place === undefined) return null;
    this.#tell({ status: 'initiate', name, file });
    const opened = typeof place === 'string' ? await this.#openUrl(new URL(place), file) : this.#own({ stream: place.stream(), size: place.size }, file);
    if (opened) this.#bound(opened.size, file);
    if (opened) this.#tell({ status: 'download', name, file });
    return opened && { stream: this.#watched(opened, file), size: opened.size, checked: Boolean(integrity?.[file] || (cache && typeof place === 'string' && /^https?:/.test(place))) };
  }

  /** All of a file, or null if there is none. @param {string} file @returns {Promise<Uint8Array | null>} */
  async read(file) {
    const opened = await this.open(file);
    if (!opened) return null;
    /** @type {any[]} */
    const all = [];
    for await (const part of opened.stream) all.push(part);
    return new Uint8Array(await new Blob(all).arrayBuffer());
  }

  /** @param {string} file @returns {never} */
  missing(file) {
    const { name, base, local } = this.#source;
    if (base && local) throw new FillmaskError('E_IO', `${base}${file} is not in the cache, and local_files_only forbids to download it.`);
    throw new FillmaskError('E_IO', `${base ?? `The model ${name}`} has no ${file}; give the folder or files of a whole model.`);
  }

  #tell(event) {
    this.#options.onEvent?.(event);
  }

  async *#watched({ stream, size }, file) {
    const { name } = this.#source;
    let loaded = 0;
    for await (const part of parts(stream)) {
      this.#options.signal?.throwIfAborted();
      loaded += part.length;
      this.#bound(loaded, file);
      this.#tell({ status: 'progress', name, file, loaded, total: size, progress: size ? (100 * loaded) / size : 0 });
      yield part;
    }
    this.#tell({ status: 'done', name, file });
  }

  #bound(size, file) {
    const { name, limit = LIMIT } = this.#source;
    if (size > limit) throw new FillmaskError('E_LIMIT', `${file} of ${name} has ${size} bytes or more, and ${limit} are allowed; allow more with max_bytes.`);
  }

  /** What is no download is hashed only if somebody says what it must be. */
  #own(opened, file) {
    const integrity = this.#source.integrity?.[file];
    return opened && integrity ? { ...opened, stream: checked(opened.stream, `${file} of ${this.#source.name}`, { integrity, hasher: this.#options.hasher }) } : opened;
  }

  async #openUrl(url, file) {
    const { origin, local, cache, integrity } = this.#source, { openFile, openStore, hasher, signal } = this.#options;
    if (url.protocol === 'data:') return this.#own(fromData(url), file);
    if (url.protocol === 'file:' && openFile) return this.#own(await openFile(url), file);
    return download(url, { origin, local, integrity: integrity?.[file], hasher, signal, store: cache ? await openStore(cache) : null });
  }
}

/** What bundlers make of small files. A content security policy may keep fetch() from them. */
function fromData({ href }) {
  const comma = href.indexOf(',');
  const text = href.slice(comma + 1);
  const decoded = /;base64$/i.test(href.slice(0, comma)) ? atob(decodeURIComponent(text)) : null;
  const bytes = decoded === null ? new TextEncoder().encode(decodeURIComponent(text)) : Uint8Array.from(decoded, (c) => c.charCodeAt(0));
  return { stream: [bytes], size: bytes.length };
}

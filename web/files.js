// files.js - the files of a model, from wherever they are: URLs, blobs, and in Node.js files. It runs in the worker, so
// that weights go straight into the core's memory.
import { parts } from './engine.js';
import { FillmaskError } from './errors.js';

/**
 * @typedef {object} ModelSource  Where the files of a model are, as it crosses to the worker.
 * @property {string} name for progress and errors
 * @property {string} [base] URL of a folder, with a slash at its end
 * @property {Record<string, string | Blob>} [files] else URLs and contents by name
 *
 * @typedef {object} OpenFile
 * @property {AsyncIterable<Uint8Array> | ReadableStream<Uint8Array>} stream
 * @property {number} size in bytes, 0 if unknown
 *
 * @typedef {object} FileOptions
 * @property {AbortSignal} [signal]
 * @property {(event: any) => void} [onEvent]
 * @property {(url: URL) => Promise<OpenFile | null>} [openFile] reads file: URLs
 */

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
    const { name, base, files } = this.#source;
    const place = base ? new URL(file, base).href : files?.[file];
    if (place === undefined) return null;
    this.#tell({ status: 'initiate', name, file });
    const opened = typeof place === 'string' ? await this.#openUrl(place) : { stream: place.stream(), size: place.size };
    if (opened) this.#tell({ status: 'download', name, file });
    return opened && { stream: this.#watched(opened, file), size: opened.size };
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
    const { name, base } = this.#source;
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
      this.#tell({ status: 'progress', name, file, loaded, total: size, progress: size ? (100 * loaded) / size : 0 });
      yield part;
    }
    this.#tell({ status: 'done', name, file });
  }

  async #openUrl(place) {
    const url = new URL(place);
    if (url.protocol === 'data:') return fromData(url);
    if (url.protocol === 'file:' && this.#options.openFile) return this.#options.openFile(url);
    let response;
    try {
      response = await fetch(url, { signal: this.#options.signal });
    } catch (error) {
      this.#options.signal?.throwIfAborted();
      throw new FillmaskError('E_IO', `${place} could not be downloaded: ${error.message}.`);
    }
    if (response.status === 404) return null;
    if (!response.ok) throw new FillmaskError('E_IO', `${place} could not be downloaded: the server answered ${response.status}.`);
    // With a content coding the length is that of something else.
    const size = response.headers.has('content-encoding') ? 0 : Number(response.headers.get('content-length')) || 0;
    return { stream: response.body, size };
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

// stream.js - variants of texts that come one after the other: out of lists, iterators and files, in order and with a
// few of them in memory. Rows of files are cut and written by the core, as the command line's are.
import { FillmaskError } from './errors.js';

/**
 * @typedef {object} StreamOptions
 * @property {string} [field='text'] of rows and of files: the field or column that holds the text
 * @property {'txt' | 'jsonl' | 'csv'} [format] of a file; by its name unless given
 * @property {number} [skip=0] leave out so many rows of the beginning, which were done before
 * @property {boolean} [with_source=false] give each row before its variants
 * @property {AbortSignal} [signal]
 * @property {(event: {status: 'progress', done: number, rate: number, loaded?: number, total?: number}) => void} [progress_callback]
 *   rows that are done, those left out included, rows a second, and of files the bytes read and all, if that is known
 */

/**
 * @template Row
 * @typedef {object} AugmentedRow
 * @property {number} number of the row, from 0; a header and empty lines of files have that of the next one
 * @property {number} [line] of a file
 * @property {string | null} text null if the row has none
 * @property {string[]} variants
 * @property {Row[]} rows what takes the row's place: one for each variant, with all else that the row holds; the row
 *   itself if there is no variant. Of files, put together they are the new file
 * @property {string} [reason] why variants are missing
 */

/** @typedef {Blob | ReadableStream<Uint8Array> | AsyncIterable<Uint8Array>} Bytes */

/**
 * @typedef {object} Waiting  A row that waits for its variants, or has no text and only goes by.
 * @property {number} number
 * @property {number} [line]
 * @property {string | null} text
 * @property {any} row
 * @property {(texts: string[]) => any[] | Promise<any[]>} [write] the row with each of these texts in turn
 * @property {string} [reason]
 * @property {boolean} [continued] more of a row of a file that is too long
 * @property {number} [loaded] bytes of the file
 */

const AT_ONCE = 128; // rows of a request
const MOST = 1 << 16; // and their characters, after which no other row joins them
const PIECE = 1 << 16; // bytes read at a time
const SOON = 10; // milliseconds after which rows that are there go on without the next one

/**
 * @param {{request: (op: string, args: object) => Promise<any>, augment: (texts: string[], numbers: number[]) => Promise<any[]>}} core
 * @param {any} source
 * @param {StreamOptions} options
 */
export async function* augmentStream(core, source, options) {
  const { with_source = false, signal, progress_callback } = options;
  const isFile = options.format !== undefined || source instanceof Blob;
  if (typeof source === 'string' || !(isFile || source?.[Symbol.asyncIterator] || source?.[Symbol.iterator]))
    throw new FillmaskError('E_ARGUMENT', 'A stream needs a list, an iterator or a file of texts; a single text is for augment().');
  const rows = isFile ? rowsOfFile(core, source, options) : rowsOfList(source, options);
  const finish = isFile ? lines() : (given) => given;
  const began = performance.now();
  let first = -1;
  try {
    for await (const batch of inBatches(rows)) {
      signal?.throwIfAborted();
      const asked = batch.filter(({ text }) => text !== null);
      const found = asked.length > 0 ? await core.augment(asked.map(({ text }) => /** @type {string} */ (text)), asked.map(({ number }) => number)) : [];
      if (first < 0) first = batch[0].number;
      let next = 0;
      for (const { number, line, text, row, write, reason: unfit, continued, loaded } of batch) {
        const { variants, reason } = text === null ? { variants: [], reason: unfit } : found[next++];
        const written = variants.length > 0 && write ? await write(variants) : [];
        const given = finish(with_source || written.length === 0 ? [row, ...written] : written, continued);
        yield { number, ...(line && { line }), text, variants, rows: given, ...(reason && { reason }) };
        const done = text === null && !reason ? number : number + 1, seconds = (performance.now() - began) / 1000;
        progress_callback?.({ status: 'progress', done, rate: (done - first) / Math.max(seconds, 1e-3), ...(loaded && { loaded, total: source.size }) });
      }
    }
  } finally {
    rows.return(undefined).catch(() => {}); // its source may never answer
  }
}

/** Rows in lists of a handy size. A row that is late keeps nobody waiting, and an error comes after the rows before it. */
async function* inBatches(rows) {
  for (let ended = false, pending = ask(rows); !ended;) {
    /** @type {Waiting[]} */
    const batch = [];
    let failed;
    for (let size = 0; batch.length < AT_ONCE && size < MOST;) {
      const got = await (batch.length > 0 ? soon(pending) : pending);
      failed = got?.failed;
      if (!got || failed || (ended = Boolean(got.done))) break;
      batch.push(got.value);
      size += got.value.text?.length ?? 0;
      pending = ask(rows);
    }
    if (batch.length > 0) yield batch;
    if (failed) throw failed.error;
  }
}

const ask = (rows) => rows.next().catch((error) => ({ failed: { error } }));

/** What the promise gives, or undefined if that takes long. */
function soon(promise) {
  let timer;
  const late = new Promise((resolve) => (timer = setTimeout(resolve, SOON)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// ---- lists ----

/** @param {any} source @param {StreamOptions} options */
async function* rowsOfList(source, { field = 'text', skip = 0 }) {
  let number = -1;
  for await (const row of source) {
    if (++number < skip) continue;
    const isText = typeof row === 'string';
    const text = isText ? row : row?.[field];
    if (typeof text !== 'string') yield { number, text: null, row, reason: `It has no field "${field}" that is a text.` };
    else yield { number, text, row, write: (texts) => (isText ? texts : texts.map((one) => ({ ...row, [field]: one }))) };
  }
}

// ---- files ----

/** What the name of a file tells of it. @param {string} [name] @returns {'txt' | 'jsonl' | 'csv'} */
export const formatOf = (name = '') => (/\.jsonl$/i.test(name) ? 'jsonl' : /\.csv$/i.test(name) ? 'csv' : 'txt');

/** @param {any} core @param {any} source @param {StreamOptions} options */
async function* rowsOfFile(core, source, { format = formatOf(source.name), field, skip = 0 }) {
  const name = source.name ?? 'The file';
  const rows = await core.request('rows', { format, field });
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let number = 0, loaded = 0, skipping = false;
  const decode = (bytes) => {
    try {
      const part = decoder.decode(bytes, { stream: bytes !== undefined });
      if (!part.includes('\0')) return part;
    } catch {
      // It is said below.
    }
    throw new FillmaskError('E_FORMAT', `${name} is not text in UTF-8, perhaps compressed or UTF-16; convert it first.`);
  };
  const push = async function* (part) {
    for (const { line, raw, text, value, reason, continued } of await core.request('rows_push', { rows, part, whole: true })) {
      if (!continued) skipping = number < skip;
      const write = value && ((texts) => core.request('row_write', { format, raw, start: value[0], end: value[1], texts }));
      if (!skipping) yield { number, line, text: text ?? null, row: raw, write, reason, continued, ...(source instanceof Blob && { loaded }) };
      if (text !== undefined || reason) number++;
    }
  };
  try {
    for await (const bytes of chunks(source)) {
      loaded += bytes.length;
      const part = decode(bytes);
      if (part) yield* push(part);
    }
    const last = decode();
    if (last) yield* push(last);
    yield* push('');
  } finally {
    await core.request('close', { number: rows }).catch(() => {});
  }
}

/** @param {any} source @returns {AsyncGenerator<Uint8Array>} */
async function* chunks(source) {
  if (source instanceof Blob)
    for (let at = 0; at < source.size; at += PIECE) yield new Uint8Array(await source.slice(at, at + PIECE).arrayBuffer());
  else if (Symbol.asyncIterator in source) yield* source;
  else {
    const reader = source.getReader();
    try {
      for (let got; !(got = await reader.read()).done;) yield got.value;
    } finally {
      await reader.cancel().catch(() => {});
    }
  }
}

/** Rows one behind the other, each on a line of its own, also if the file's last line had no end. */
function lines() {
  let open = false;
  return (rows, continued) => rows.map((row, i) => {
    const start = open && !(continued && i === 0) ? '\n' : '';
    open = row.length > 0 && !row.endsWith('\n');
    return start + row;
  });
}

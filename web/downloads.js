// downloads.js - files by URL: kept in parts of 4 MiB, which a later attempt goes on from, and checked by their length and
// SHA-256. Where the parts are kept is the business of a store.
import { parts } from './engine.js';
import { FillmaskError } from './errors.js';

/**
 * @typedef {object} Store  Keeps bytes by names. It does not throw.
 * @property {(key: string) => Promise<Uint8Array | null>} read
 * @property {(key: string, bytes: Uint8Array) => Promise<boolean>} write whether it keeps them
 * @property {(key: string) => Promise<void>} remove
 *
 * @typedef {object} DownloadOptions
 * @property {string} [origin] of the page, which may be plain http; none in Node.js
 * @property {boolean} [local] ask nobody, take what is kept
 * @property {Store | null} [store]
 * @property {string} [integrity] the SHA-256 that it must have: "sha256-" and base64, or hexadecimal
 * @property {() => Promise<Hasher>} hasher
 * @property {AbortSignal} [signal]
 *
 * @typedef {{add: (bytes: Uint8Array) => void, end: () => string}} Hasher  SHA-256, in hexadecimal
 *
 * @typedef {object} Kept  What is known of what is kept.
 * @property {number} size bytes in all, 0 if unknown
 * @property {number} parts
 * @property {string | null} tag ETag
 * @property {string | null} date Last-Modified
 * @property {string} [sha256] once it is complete
 */

const PART = 1 << 22;
const ATTEMPTS = 3; // without a byte

/** @param {string} text @returns {string} hexadecimal */
function digestOf(text) {
  if (/^[0-9a-f]{64}$/i.test(text)) return text.toLowerCase();
  if (/^sha256-[A-Za-z0-9+/]{43}=$/.test(text)) return Array.from(atob(text.slice(7)), (c) => c.charCodeAt(0).toString(16).padStart(2, '0')).join('');
  throw new FillmaskError('E_ARGUMENT', `integrity has "${text}"; it must be "sha256-" and base64, or 64 hexadecimal digits.`);
}

/**
 * Hands on a stream, and throws at its end if it is not what it should be.
 * @param {any} stream
 * @param {string} place for errors
 * @param {{integrity?: string, hasher: () => Promise<Hasher>}} options
 */
export async function* checked(stream, place, { integrity, hasher }) {
  const expected = integrity && digestOf(integrity), hash = await hasher();
  for await (const part of parts(stream)) {
    hash.add(part);
    yield part;
  }
  const found = hash.end();
  if (expected && found !== expected) throw new FillmaskError('E_FORMAT', `${place} has the SHA-256 ${found}, but integrity says ${expected}.`);
  return found;
}

/**
 * Opens a file.
 * @param {URL} url
 * @param {DownloadOptions} options
 * @returns {Promise<import('./files.js').OpenFile | null>} null if there is none
 */
export async function download(url, options) {
  allow(url, options);
  return new Download(url, options).open();
}

class Download {
  #url;
  #options;
  #expected;
  #keeps = false; // what arrives

  /** @param {URL} url @param {DownloadOptions} options */
  constructor(url, options) {
    this.#url = url;
    this.#options = options;
    this.#expected = options.integrity && digestOf(options.integrity);
  }

  /** @returns {Promise<import('./files.js').OpenFile | null>} */
  async open() {
    const kept = await this.#known();
    const whole = kept?.sha256 ? kept : null;
    if (whole && (this.#options.local || this.#expected)) return this.#stored(whole);
    if (this.#options.local) return null;

    const from = kept && !whole && kept.size ? kept.parts * PART : 0;
    let response;
    try {
      response = await this.#ask(whole ? { ...(whole.tag && { 'if-none-match': whole.tag }), ...(whole.date && { 'if-modified-since': whole.date }) } : this.#range(kept, from));
    } catch (error) {
      if (whole && error.code === 'E_IO') return this.#stored(whole); // offline
      throw error;
    }
    if (whole && (response.status === 304 || response.status >= 500)) return this.#stored(whole);
    const goesOn = from > 0 && response.status === 206 && String(rangeOf(response)) === String([from, kept?.size]);
    if (!goesOn && [206, 416].includes(response.status)) response = await this.#ask({});
    if (response.status === 404 || response.status === 410) return null;
    if (!response.ok) this.#fail(`could not be downloaded: the server answered ${response.status}.`);
    if (kept && goesOn) return { stream: this.#receive(kept, response), size: kept.size };

    await this.#forget(kept);
    const { headers } = response;
    // Where a coding is used, or another origin does not show it, the length may be that of something else.
    const plain = response.type !== 'cors' && !headers.has('content-encoding');
    const fresh = { size: plain ? Number(headers.get('content-length')) || 0 : 0, parts: 0, tag: headers.get('etag'), date: headers.get('last-modified') };
    return { stream: this.#receive(fresh, response), size: fresh.size };
  }

  // ---- what is kept ----

  #key(what) {
    return `${this.#url.href} ${what}`;
  }

  /** @returns {Promise<Kept | null>} */
  async #known() {
    try {
      const bytes = await this.#options.store?.read(this.#key('about'));
      const kept = bytes && JSON.parse(new TextDecoder().decode(bytes));
      return !kept || (this.#expected && kept.sha256 && kept.sha256 !== this.#expected) ? null : kept;
    } catch {
      return null;
    }
  }

  /** Keeps something more, or nothing at all if there is no room. @param {Kept} kept @param {string | number} what @param {Uint8Array} bytes */
  async #keep(kept, what, bytes) {
    if (!this.#keeps || (await this.#options.store?.write(this.#key(what), bytes))) return;
    this.#keeps = false;
    await this.#forget(kept);
  }

  /** @param {Kept} kept */
  async #note(kept) {
    await this.#keep(kept, 'about', new TextEncoder().encode(JSON.stringify(kept)));
  }

  /** @param {Kept | null} kept */
  async #forget(kept) {
    if (!kept) return;
    await this.#options.store?.remove(this.#key('about'));
    for (let number = 0; number < kept.parts; number++) await this.#options.store?.remove(this.#key(number));
  }

  /** @param {Kept} kept */
  async *#parts(kept) {
    for (let number = 0; number < kept.parts; number++) {
      this.#options.signal?.throwIfAborted();
      const bytes = await this.#options.store?.read(this.#key(number));
      if (!bytes) return; // which length and sum show
      yield bytes;
    }
  }

  /** @param {Kept} kept @returns {import('./files.js').OpenFile} */
  #stored(kept) {
    return { stream: this.#intact(kept), size: kept.size };
  }

  async *#intact(kept) {
    if ((yield* checked(this.#parts(kept), this.#url.href, { hasher: this.#options.hasher })) === kept.sha256) return;
    await this.#forget(kept);
    this.#fail('had a damaged copy in the cache, which was removed; load it again.');
  }

  // ---- what comes ----

  /** The headers that ask for what is missing. @param {Kept | null} kept @param {number} from */
  #range(kept, from) {
    const same = kept && validator(kept);
    if (!from || !(same || this.#expected)) return {};
    return { range: `bytes=${from}-`, ...(same && { 'if-range': same }) };
  }

  /** @param {Record<string, string>} headers @returns {Promise<Response>} */
  async #ask(headers) {
    const { signal, store } = this.#options;
    try {
      const found = await fetch(this.#url, { signal, headers, ...(store && { cache: 'no-store' }) });
      allow(new URL(found.url || this.#url), this.#options);
      return found;
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof FillmaskError) throw error;
      if (headers.range) return this.#ask({}); // another origin may allow nothing but a plain request
      this.#fail(`could not be downloaded: ${error.cause?.message || error.message}.`);
    }
  }

  /** The whole file, of which some parts are kept. @param {Kept} kept @param {Response} response */
  async *#receive(kept, response) {
    this.#keeps = Boolean(this.#options.store && (kept.tag || kept.date || this.#expected));
    try {
      kept.sha256 = yield* checked(this.#all(kept, response), this.#url.href, this.#options);
    } catch (error) {
      if (error.code === 'E_FORMAT') await this.#forget(kept);
      throw error;
    }
    await this.#note(kept);
  }

  async *#all(kept, response) {
    let part = new Uint8Array(this.#keeps ? PART : 0), filled = 0;
    const from = kept.parts * PART;
    let loaded = 0;
    for await (const bytes of this.#parts(kept)) {
      loaded += bytes.length;
      yield bytes;
    }
    if (loaded !== from) {
      await this.#forget(kept);
      this.#fail('had a damaged copy in the cache, which was removed; load it again.');
    }
    for await (const bytes of this.#arriving(kept, response, from)) {
      loaded += bytes.length;
      yield bytes;
      for (let at = 0; this.#keeps && at < bytes.length;) {
        const taken = Math.min(PART - filled, bytes.length - at);
        part.set(bytes.subarray(at, at + taken), filled);
        at += taken;
        filled += taken;
        if (filled < PART) continue;
        await this.#keep(kept, kept.parts++, part);
        await this.#note(kept);
        part = new Uint8Array(PART);
        filled = 0;
      }
    }
    kept.size = loaded;
    if (filled) await this.#keep(kept, kept.parts++, part.subarray(0, filled));
  }

  /** The bytes from `loaded` on; goes on where the connection is cut. */
  async *#arriving(kept, response, loaded) {
    let attempts = 0, skip = 0;
    for (;;) {
      let whole = Boolean(response);
      try {
        for await (const bytes of response ? parts(response) : []) {
          this.#options.signal?.throwIfAborted();
          const rest = bytes.subarray(Math.min(skip, bytes.length));
          skip -= bytes.length - rest.length;
          if (!rest.length) continue;
          attempts = 0;
          loaded += rest.length;
          if (kept.size && loaded > kept.size) this.#fail(`is longer than the ${kept.size} bytes that the server announced.`);
          yield rest;
        }
      } catch (error) {
        this.#options.signal?.throwIfAborted();
        if (error instanceof FillmaskError) throw error;
        whole = false;
      }
      if (kept.size ? loaded === kept.size : whole) return;
      if (++attempts > ATTEMPTS) this.#fail(`was cut off after ${loaded} of ${kept.size || 'an unknown number of'} bytes, and again when it was tried ${ATTEMPTS} times more; load it again later.`);
      [response, skip] = await this.#again(kept, loaded, 100 * attempts ** 2);
    }
  }

  /** An answer that goes on from `loaded`, and how much of it is known already. */
  async #again(kept, loaded, milliseconds) {
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
    this.#options.signal?.throwIfAborted();
    const response = await this.#ask(this.#range(kept, loaded)).catch(() => null);
    this.#options.signal?.throwIfAborted();
    if (response?.status === 206 && rangeOf(response)?.[0] === loaded) return [response, 0];
    if (response?.status !== 200) return [null, 0];
    const same = validator(kept), found = [response.headers.get('etag'), response.headers.get('last-modified')];
    if (same ? !found.includes(same) : !this.#expected) this.#fail('may have changed on the server while it was downloaded; load it again.');
    return [response, loaded];
  }

  /** @returns {never} */
  #fail(what) {
    throw new FillmaskError('E_IO', `${this.#url.href} ${what}`);
  }
}

/** What tells two contents of an address apart for certain. @param {Kept} kept */
const validator = ({ tag, date }) => (tag && !tag.startsWith('W/') ? tag : date);

/** The first byte of a partial answer and the length of the whole. @param {Response} response */
function rangeOf(response) {
  const found = /^bytes (\d+)-\d+\/(\d+)$/.exec(response.headers.get('content-range') ?? '');
  return found && [Number(found[1]), Number(found[2])];
}

/** Only what cannot be changed on its way: https, and what is as trusted as the page. @param {URL} url @param {{origin?: string}} options */
function allow(url, { origin }) {
  const { protocol, hostname, origin: own } = url;
  if (protocol === 'https:' || own === origin || (!origin && protocol === 'http:' && /^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname))) return;
  throw new FillmaskError('E_ARGUMENT', `${url.href} may not be downloaded: a model's URL must be https${origin ? " or of the page's own origin" : ' (or on this machine)'}.`);
}

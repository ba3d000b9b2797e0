// client.js - the calling side of whatever computes: a worker, or another process. It numbers the calls, matches the
// answers, passes aborts on, and starts another worker when one has died. It knows no models.
import { FillmaskError, unpackError } from './errors.js';

/**
 * @typedef {object} Port  One worker or process.
 * @property {(message: any) => void} post
 * @property {(id: number) => void} abort
 * @property {() => void} close ends it
 * @property {(busy: boolean) => void} [hold] whether it should keep a Node.js process alive
 *
 * @typedef {(heard: (message: any) => void, died: (reason: string) => void) => Port} Start  Starts one.
 */

export class Client {
  #start;
  /** @type {Port | null} */
  #port = null;
  #generation = 0;
  /** @type {Map<number, {resolve: (value: any) => void, reject: (error: any) => void, onEvent?: (event: any) => void}>} */
  #pending = new Map();
  #last = 0;

  /** @param {Start} start */
  constructor(start) {
    this.#start = start;
  }

  /** Counts the workers that have ended. What one of them held is gone with it. */
  get generation() {
    return this.#generation;
  }

  /**
   * Asks for one thing to be done.
   * @param {string} op
   * @param {object} args
   * @param {{signal?: AbortSignal, onEvent?: (event: any) => void}} [options]
   * @returns {Promise<any>}
   */
  call(op, args, { signal, onEvent } = {}) {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const port = this.#open();
      const id = ++this.#last;
      const stop = () => {
        this.#settle(id)?.reject(signal?.reason);
        port.abort(id);
      };
      const done = () => signal?.removeEventListener('abort', stop);
      signal?.addEventListener('abort', stop, { once: true });
      this.#pending.set(id, {
        resolve: (value) => (done(), resolve(value)),
        reject: (error) => (done(), reject(error)),
        onEvent,
      });
      port.hold?.(true);
      try {
        port.post({ id, op, args });
      } catch (error) {
        this.#settle(id)?.reject(error); // what cannot be cloned
      }
    });
  }

  /** Ends the worker; what is under way rejects. */
  close() {
    this.#end(() => new FillmaskError('E_CLOSED', 'It was disposed while a call was under way.'));
  }

  #open() {
    // Whatever is heard of a worker that was given up is of no interest.
    if (this.#port) return this.#port;
    const generation = this.#generation;
    const mine = () => this.#generation === generation;
    this.#port = this.#start(
      (message) => mine() && this.#heard(message),
      (reason) => mine() && this.#end(() => new FillmaskError('E_CRASHED', reason)),
    );
    return this.#port;
  }

  #heard({ id, event, error, result, died }) {
    if (died) this.#end(() => new FillmaskError('E_CRASHED', died));
    else if (event !== undefined) this.#pending.get(id)?.onEvent?.(event);
    else if (error) this.#settle(id)?.reject(unpackError(error));
    else this.#settle(id)?.resolve(result);
  }

  #settle(id) {
    const call = this.#pending.get(id);
    this.#pending.delete(id);
    if (this.#pending.size === 0) this.#port?.hold?.(false);
    return call;
  }

  #end(reason) {
    const port = this.#port;
    this.#port = null;
    this.#generation++;
    port?.close();
    for (const id of [...this.#pending.keys()]) this.#settle(id)?.reject(reason());
  }
}

/**
 * A way to tell a worker of aborted calls while it computes, where memory can be shared: service.js looks there.
 * @returns {{shared?: SharedArrayBuffer, note: (id: number) => void}}
 */
export function abortNotes() {
  if (typeof SharedArrayBuffer === 'undefined') return { note() {} };
  const shared = new SharedArrayBuffer(4096);
  const ids = new Int32Array(shared);
  return { shared, note: (id) => void Atomics.store(ids, id % ids.length, id) };
}

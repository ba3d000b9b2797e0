// errors.js - what every part of the package throws, and how an error crosses to another thread or process and back.

/**
 * An error of Fillmask. `message` is one sentence that says what was wrong and what to do about it.
 *
 * `code` is one of E_ARGUMENT (an option out of its range), E_IO (a file or download could not be read), E_FORMAT (a
 * file or text is not what it should be), E_LIMIT (more than the model or the format allows), E_MEMORY (not enough of
 * it), E_UNSUPPORTED (well-formed, but beyond this build or browser), E_CLOSED (what was called had been disposed),
 * E_CRASHED (the worker or process that computes died; the next call starts another one) and E_MISMATCH (files of
 * different versions). An aborted call rejects with the signal's reason instead.
 */
export class FillmaskError extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = 'FillmaskError';
    /** @type {string} */
    this.code = code;
  }
}

/**
 * An error as plain data.
 * @param {any} error
 * @returns {{name: string, message: string, code?: string}}
 */
export function packError(error) {
  const { name = 'Error', message = String(error), code } = error ?? {};
  return { name, message, ...(typeof code === 'string' && { code }) };
}

/**
 * And back.
 * @param {{name: string, message: string, code?: string}} packed
 * @returns {Error}
 */
export function unpackError({ name, message, code }) {
  if (name === 'FillmaskError' && code) return new FillmaskError(code, message);
  const error = new Error(message);
  error.name = name;
  return error;
}

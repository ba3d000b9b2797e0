// host.js - what the entries for browsers and for Node.js bring: how a worker is started there, and what names mean.

/**
 * @typedef {object} Host
 * @property {(options: import('./api.js').EngineOptions) => import('./client.js').Start} start
 * @property {string[]} devices that there are, beside "auto"
 * @property {boolean} [adapters] whether graphics cards can be chosen by name
 * @property {() => string} base of relative URLs
 * @property {(name: string) => string | null} folder URL of the folder that a text names, null if it names none
 */

/** @type {Host} */
let current;

/** @returns {Host} */
export const host = () => current;

/** For the entries alone. @param {Host} given */
export function setHost(given) {
  current = given;
}

// store.js - where browsers keep the parts of downloads: in the Cache API, or in the worker's memory where there is none.

/** @type {Map<string, Blob>} */
const memory = new Map();

/** @returns {Promise<import('./downloads.js').Store>} */
export async function openStore() {
  /** @type {Cache | undefined} */
  const cache = await globalThis.caches?.open('fillmask').catch(() => undefined); // which pages of no origin are refused
  const at = (key) => `https://fillmask.invalid/${encodeURIComponent(key)}`;
  return {
    async read(key) {
      const found = cache ? await cache.match(at(key)) : memory.get(key);
      return found ? new Uint8Array(await found.arrayBuffer()) : null;
    },
    async write(key, bytes) {
      const blob = new Blob([/** @type {any} */ (bytes)]);
      try {
        await (cache ? cache.put(at(key), new Response(blob)) : memory.set(key, blob));
        return true;
      } catch {
        return false;
      }
    },
    async remove(key) {
      await (cache ? cache.delete(at(key)) : memory.delete(key));
    },
  };
}

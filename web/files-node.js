// files-node.js - what files.js needs in Node.js.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { FillmaskError } from './errors.js';

/** fetch() for files, which Node.js's own does not read. */
export async function openFile(url) {
  try {
    const { size } = await stat(url);
    return { stream: createReadStream(url), size };
  } catch (error) {
    if (error.code === 'ENOENT') return null;
    throw new FillmaskError('E_IO', `${url.pathname}: ${error.message}.`);
  }
}

/**
 * A folder that keeps the parts of downloads.
 * @param {string | boolean} given its path, true for the usual one
 * @returns {Promise<import('./downloads.js').Store>}
 */
export async function openStore(given) {
  const { FILLMASK_CACHE, XDG_CACHE_HOME } = process.env;
  const folder = typeof given === 'string' ? given : FILLMASK_CACHE || join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'fillmask');
  const at = (key) => join(folder, createHash('sha256').update(key).digest('hex'));
  return {
    read: (key) => readFile(at(key)).catch(() => null),
    async write(key, bytes) {
      const temporary = `${at(key)}.${process.pid}.partial`;
      try {
        await mkdir(folder, { recursive: true });
        await writeFile(temporary, bytes);
        await rename(temporary, at(key));
        return true;
      } catch {
        await rm(temporary, { force: true }).catch(() => {});
        return false;
      }
    },
    remove: (key) => rm(at(key), { force: true }).catch(() => {}),
  };
}

/** @returns {Promise<import('./downloads.js').Hasher>} */
export async function hasher() {
  const hash = createHash('sha256');
  return { add: (bytes) => void hash.update(bytes), end: () => hash.digest('hex') };
}

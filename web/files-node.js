// files-node.js - what files.js needs in Node.js.
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
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

// worker-node.js - worker.js for Node.js.
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { parentPort as parent, Worker } from 'node:worker_threads';
import { FillmaskError } from './errors.js';
import { serve } from './service.js';
import { join } from './thread.js';

const createThread = () => new Worker(new URL(import.meta.url));

/** fetch() for files, which Node.js's own does not read. */
async function openFile(url) {
  try {
    const { size } = await stat(url);
    return { stream: createReadStream(url), size };
  } catch (error) {
    if (error.code === 'ENOENT') return null;
    throw new FillmaskError('E_IO', `${url.pathname}: ${error.message}.`);
  }
}

const port = /** @type {import('node:worker_threads').MessagePort} */ (parent);

port.once('message', (data) => {
  const post = (message, transfer) => port.postMessage(message, transfer);
  if (data.thread) return join(data.thread, post);
  const listen = serve(post, { createThread, openFile, ...data.engine });
  port.on('message', listen);
});

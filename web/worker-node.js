// worker-node.js - worker.js for Node.js.
import { parentPort as parent, Worker } from 'node:worker_threads';
import { pathToFileURL } from 'node:url';
import { FillmaskError } from './errors.js';
import { openFile, openStore } from './files-node.js';
import { serve } from './service.js';
import { join } from './thread.js';

/** Dawn, which is 132 MB and so only there if it was installed. FILLMASK_WEBGPU may say where. */
async function openGpu() {
  const place = process.env.FILLMASK_WEBGPU ? pathToFileURL(process.env.FILLMASK_WEBGPU).href : 'webgpu';
  let dawn;
  try {
    dawn = await import(place);
  } catch (error) {
    throw new FillmaskError('E_UNSUPPORTED', `device "webgpu" needs the package webgpu (Dawn for Node.js, 132 MB), which cannot be loaded: npm install webgpu (${error.message.split('\n')[0]}).`);
  }
  Object.assign(globalThis, dawn.globals);
  const { FILLMASK_ADAPTER } = process.env;
  return dawn.create(FILLMASK_ADAPTER ? [`adapter=${FILLMASK_ADAPTER}`] : []);
}

const createThread = () => new Worker(new URL(import.meta.url));

const port = /** @type {import('node:worker_threads').MessagePort} */ (parent);

port.once('message', (data) => {
  const post = (message, transfer) => port.postMessage(message, transfer);
  if (data.thread) return join(data.thread, post);
  const listen = serve(post, { createThread, openFile, openStore, openGpu, ...data.engine });
  port.on('message', listen);
});

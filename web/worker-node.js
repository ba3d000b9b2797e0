// worker-node.js - worker.js for Node.js.
import { parentPort as parent, Worker } from 'node:worker_threads';
import { openFile, openStore } from './files-node.js';
import { openGpu } from './gpu-node.js';
import { serve } from './service.js';
import { join } from './thread.js';

const createThread = () => new Worker(new URL(import.meta.url));

const port = /** @type {import('node:worker_threads').MessagePort} */ (parent);

port.once('message', (data) => {
  const post = (message, transfer) => port.postMessage(message, transfer);
  if (data.thread) return join(data.thread, post);
  const listen = serve(post, { createThread, openFile, openStore, openGpu, ...data.engine });
  port.on('message', listen);
});

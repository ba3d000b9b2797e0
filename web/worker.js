// worker.js - the one script that workers of a browser run. The first message says what a worker is to be: the engine,
// which holds all models, or one of its threads.
import { serve } from './service.js';
import { openStore } from './store.js';
import { join } from './thread.js';

/**
 * A classic script, which a bundler may have made of this file, can import scripts; a module cannot, and says so before it
 * looks at the address (Firefox only if there is one), which is no address, so that nothing is loaded.
 */
function type() {
  try {
    globalThis.importScripts('http://[');
  } catch (error) {
    if (error instanceof TypeError) return 'module';
  }
  return 'classic';
}

const openGpu = async () => /** @type {any} */ (globalThis.navigator).gpu;

const createThread = () => new Worker(globalThis.location.href, { type: type(), name: 'fillmask-thread' });

globalThis.addEventListener('message', ({ data }) => {
  const post = (message, transfer = []) => globalThis.postMessage(message, { transfer });
  if (data.thread) return join(data.thread, post);
  const listen = serve(post, { createThread, openStore, openGpu, ...data.engine });
  globalThis.addEventListener('message', (event) => listen(event.data));
}, { once: true });

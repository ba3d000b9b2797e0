// thread.js - a thread of the core: the script of a browser's Worker. It joins the engine's memory and then serves the
// core's loops until it is terminated. Node.js enters through thread-node.js.
import { imports } from './engine.js';

/**
 * Waits on a port for what Engine sends, says that it is ready, and never returns from the core.
 * @param {{postMessage: (message: any) => void}} port
 * @param {(use: (message: any) => void) => void} once calls `use` with the first message
 */
export function serve(port, once) {
  once(({ module, memory, stack, number }) => {
    const { exports } = new WebAssembly.Instance(module, imports(memory));
    exports.stackRestore(stack);
    port.postMessage('ready');
    exports.api_thread(number);
  });
}

if (typeof WorkerGlobalScope !== 'undefined' && globalThis instanceof WorkerGlobalScope)
  serve(globalThis, (use) => globalThis.addEventListener('message', (event) => use(event.data), { once: true }));

// thread.js - a thread of the core: joins the engine's memory and then serves the core's loops until it is terminated.
import { imports } from './engine.js';

/**
 * Says that it is ready, and never returns from the core.
 * @param {{module: WebAssembly.Module, memory: WebAssembly.Memory, stack: number, number: number}} crew what Engine sends
 * @param {(message: any) => void} post
 */
export function join({ module, memory, stack, number }, post) {
  const exports = /** @type {any} */ (new WebAssembly.Instance(module, imports(memory)).exports);
  exports.stackRestore(stack);
  post('ready');
  exports.api_thread(number);
}

// operations.mjs - runs the cases of test_webgpu.c on a GPU; for Node.js and for a page alike.
import { imports } from '../../web/engine.js';

/**
 * @param {import('../../web/gpu.js').Gpu} gpu
 * @param {BufferSource} wasm test-webgpu.wasm
 * @returns {Promise<{names: string[], run: (name: string) => Promise<string>}>} run tells what is wrong, '' for nothing
 */
export async function operations(gpu, wasm) {
  const memory = new WebAssembly.Memory({ initial: 256, maximum: 8192, shared: true });
  const { exports: x } = /** @type {any} */ (await WebAssembly.instantiate(wasm, imports(memory, undefined, gpu))).instance;
  x._initialize();
  const text = (at) => {
    const bytes = new Uint8Array(memory.buffer);
    return at && new TextDecoder().decode(bytes.slice(at, bytes.indexOf(0, at)));
  };
  gpu.kernels = text(x.api_kernels());
  const cases = new Map(); // what they are called: their number, and the bytes that a binding may have
  for (let i = 0, name; (name = text(x.test_name(i))); i++) {
    if (name.startsWith('half') && !gpu.half) continue;
    cases.set(name, [i, gpu.limit]);
    if (x.test_limit(i)) cases.set(`${name}, split`, [i, x.test_limit(i)]);
  }
  return {
    names: [...cases.keys()],
    async run(name) {
      x.test_run(...cases.get(name));
      for (;;) {
        const result = x.test_check();
        if (result !== 1) return result === 0 ? '' : text(x.failure_text());
        await gpu.settled();
      }
    },
  };
}

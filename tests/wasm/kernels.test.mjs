// kernels.test.mjs - runs C tests as WebAssembly: tests/c/test_kernels.c, each kernel against the scalar reference, and
// test_library.c.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasRelaxedSimd, imports } from '../../web/engine.js';
import { built } from './helpers.mjs';

for (const name of ['test-library.wasm', 'test-kernels.wasm', 'test-kernels-relaxed.wasm']) {
  const skip = name.includes('relaxed') && !hasRelaxedSimd() && 'this Node.js has no relaxed SIMD';
  test(name, { skip }, async () => {
    const memory = new WebAssembly.Memory({ initial: 256, maximum: 4096, shared: true });
    const { instance } = await WebAssembly.instantiate(built(name), imports(memory));
    instance.exports._initialize();
    try {
      assert.ok(instance.exports.run_tests(0, 0) > 2);
    } catch (error) {
      const text = Buffer.from(memory.buffer).subarray(instance.exports.failure_text());
      throw new Error(`${text.subarray(0, text.indexOf(0))} (${error.message})`);
    }
  });
}

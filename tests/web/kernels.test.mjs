// kernels.test.mjs - tests/c/test_kernels.c in Chromium, in both builds: each kernel against the scalar reference.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { noBrowser, openPage, serveFolder } from './helpers.mjs';

test('the kernels compute in Chromium what the scalar reference does', { skip: noBrowser, timeout: 120_000 }, async () => {
  const { origin } = await serveFolder();
  const page = await openPage(origin);
  const found = await page.evaluate(async () => {
    const { imports } = await import('/web/engine.js');
    const results = {};
    for (const name of ['test-library', 'test-kernels', 'test-kernels-relaxed']) {
      const memory = new WebAssembly.Memory({ initial: 256, maximum: 4096, shared: true });
      const { instance } = await WebAssembly.instantiateStreaming(fetch(`/build-wasm/${name}.wasm`), imports(memory));
      instance.exports._initialize();
      try {
        results[name] = instance.exports.run_tests(0, 0) > 2 || 'it ran no tests';
      } catch (error) {
        const text = new Uint8Array(memory.buffer).slice(instance.exports.failure_text(), instance.exports.failure_text() + 1000);
        results[name] = `${new TextDecoder().decode(text.subarray(0, text.indexOf(0)))} (${error.message})`;
      }
    }
    return results;
  });
  assert.deepEqual(found, { 'test-library': true, 'test-kernels': true, 'test-kernels-relaxed': true });
  assert.deepEqual(page.complaints, []);
});

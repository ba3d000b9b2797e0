// operations.test.mjs - each operation of the webgpu backend, and a small network, against the scalar reference, in
// Node.js.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Gpu } from '../../web/gpu.js';
import { built, dawnGpu, noGpu } from './helpers.mjs';
import { operations } from './operations.mjs';

test('operations of the webgpu backend', { skip: noGpu }, async (t) => {
  const gpu = await Gpu.create(await dawnGpu());
  t.diagnostic(gpu.name);
  const { names, run } = await operations(gpu, built('test-webgpu.wasm'));
  for (const name of names) await t.test(name, async () => assert.equal(await run(name), ''));
  gpu.close();
});

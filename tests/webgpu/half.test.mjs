// half.test.mjs - products of f16, and training with them, against the scalar reference, on Mesa's lavapipe, which has
// the f16 that SwiftShader lacks; and sums by subgroups of another size than SwiftShader's.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { Gpu } from '../../web/gpu.js';
import { built, dawnGpu, lavapipe, noGpu } from './helpers.mjs';
import { operations } from './operations.mjs';

const skip = noGpu || (!process.env.VK_ICD_FILENAMES && !existsSync(lavapipe) && 'lavapipe is missing (tools/gpu_setup.sh)');

test('products of f16', { skip }, async (t) => {
  process.env.VK_ICD_FILENAMES ??= lavapipe;
  process.env.GALLIVM_PERF = 'nopt'; // compiles in less time
  const gpu = await Gpu.create(await dawnGpu());
  t.diagnostic(gpu.name);
  if (!gpu.half) return t.skip('this GPU has no f16');
  const { names, run } = await operations(gpu, built('test-webgpu.wasm'));
  const chosen = names.filter((name) => /^half|^layer_norm$|^sum_squares$/.test(name));
  assert.equal(chosen.length, 7);
  for (const name of chosen) await t.test(name, async () => assert.equal(await run(name), ''));
  gpu.close();
});

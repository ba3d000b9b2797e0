// operations.test.mjs - each operation of the webgpu backend, and a small network, against the scalar reference, in
// Node.js; there cut into many dispatches, as they are on a slow GPU, and in browser.test.mjs whole.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Gpu } from '../../web/gpu.js';
import { built, dawnGpu, noGpu } from './helpers.mjs';
import { operations } from './operations.mjs';

test('operations of the webgpu backend', { skip: noGpu }, async (t) => {
  const gpu = await Gpu.create(await dawnGpu(), { budget: 50 });
  t.diagnostic(gpu.name);
  const { names, run } = await operations(gpu, built('test-webgpu.wasm'));
  for (const name of names) await t.test(name, async () => assert.equal(await run(name), ''));
  gpu.close();
});

test('every kernel asks where it is in a run that is cut', () => {
  const folder = new URL('../../core/ops/webgpu/', import.meta.url);
  for (const file of readdirSync(folder)) {
    const code = file.endsWith('.wgsl') ? readFileSync(new URL(file, folder), 'utf8') : '';
    if (code.includes('fn main(')) assert.match(code, /(place_of|group)\(here\)/, file);
  }
});

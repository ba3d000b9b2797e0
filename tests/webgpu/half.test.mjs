// half.test.mjs - products of f16, and training with them, against the scalar reference, on Mesa's lavapipe, which has
// the f16 that SwiftShader lacks; sums by subgroups of another size than SwiftShader's; such a training's checkpoints; and,
// where the driver has them (lavapipe's from Mesa 26 on), the same products by subgroups that multiply matrices.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { Client } from '../../web/client.js';
import { openFile } from '../../web/files-node.js';
import { Gpu } from '../../web/gpu.js';
import { serve } from '../../web/service.js';
import { createThread, documents, folder } from '../wasm/helpers.mjs';
import { built, dawnGpu, lavapipe, noGpu, wasmFile } from './helpers.mjs';
import { operations } from './operations.mjs';

const skip = noGpu || (!process.env.VK_ICD_FILENAMES && !existsSync(lavapipe) && 'lavapipe is missing (tools/gpu_setup.sh)');

process.env.VK_ICD_FILENAMES ??= lavapipe;
process.env.GALLIVM_PERF = 'nopt'; // compiles in less time

test('products of f16', { skip }, async (t) => {
  const gpu = await Gpu.create(await dawnGpu());
  t.diagnostic(gpu.name);
  if (!gpu.half) return t.skip('this GPU has no f16');
  const { names, run } = await operations(gpu, built('test-webgpu.wasm'));
  const chosen = names.filter((name) => /^half|^layer_norm$|^sum_squares$/.test(name));
  assert.equal(chosen.length, 7);
  for (const name of chosen) await t.test(name, async () => assert.equal(await run(name), ''));
  gpu.close();
});

test('products of f16 by matrices of subgroups', { skip }, async (t) => {
  const gpu = await Gpu.create(await dawnGpu({ matrices: true }));
  t.diagnostic(`${gpu.name}: ${JSON.stringify(gpu.unit)}`);
  t.after(() => gpu.close());
  if (!gpu.unit) return t.skip('this GPU has no subgroup matrices');
  const { names, run } = await operations(gpu, built('test-webgpu.wasm'));
  const chosen = names.filter((name) => /^half/.test(name));
  assert.equal(chosen.length, 5);
  for (const name of chosen) await t.test(name, async () => assert.equal(await run(name), ''));
});

const same = (a, b) => Buffer.compare(a, b) === 0;
const headOf = (bytes) => 8 + Number(Buffer.from(bytes.buffer).readBigUInt64LE(0));
const dataOf = (bytes) => bytes.subarray(headOf(bytes));

/** A checkpoint with another loss scale, or without one. @param {Uint8Array} bytes @param {string} [scale] */
function withScale(bytes, scale) {
  const end = headOf(bytes);
  const { __metadata__: { hash: _, loss_scale, ...notes }, ...tensors } = JSON.parse(new TextDecoder().decode(bytes.subarray(8, end)));
  assert.match(loss_scale, /^\d+ \d+$/);
  if (scale) notes.loss_scale = scale;
  let hash = 0xcbf29ce484222325n; // FNV-1a: of bytes, then of numbers
  const add = (number) => (hash = BigInt.asUintN(64, (hash ^ BigInt(number)) * 0x100000001b3n));
  for (const text of Object.values(notes)) for (const byte of Buffer.from(`${text}\0`)) add(byte);
  for (const number of new Uint32Array(bytes.slice(end).buffer)) add(number);
  const header = JSON.stringify({ __metadata__: { ...notes, hash: hash.toString(16).padStart(16, '0') }, ...tensors });
  const head = Buffer.from(header.padEnd(Math.ceil((8 + header.length) / 64) * 64 - 8));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(head.length));
  return new Uint8Array(Buffer.concat([size, head, bytes.subarray(end)]));
}

test('a training of f16 goes on to the bit, with its loss scale', { skip }, async (t) => {
  const gpu = await dawnGpu();
  if (!(await gpu.requestAdapter()).features.has('shader-f16')) return t.skip('this GPU has no f16');
  const host = { createThread, openFile, openGpu: async () => gpu, device: 'webgpu', threads: 1, wasm: { simd128: wasmFile('fillmask.wasm') } };
  const client = new Client((heard) => {
    const listen = serve((message) => heard(structuredClone(message)), /** @type {any} */ (host));
    return { post: (message) => void listen(message), abort: (id) => listen({ abort: id }), close() {} };
  });
  const { number: model, info } = await client.call('open', { source: { name: 'tiny', base: pathToFileURL(`${folder}/model/`).href } });
  assert.equal(info.device, 'webgpu', info.warning);
  const corpus = await client.call('corpus', { model });
  await client.call('corpus_add', { corpus, texts: documents });
  const begin = async (checkpoint) => {
    const { training } = await client.call('train', { model, corpus, precision: 'f16', length: 32, batch_size: 2, learning_rate: 0.003, seed: 5, steps: 8 });
    if (checkpoint) await client.call('resume', { training, checkpoint });
    return {
      checkpoint: () => client.call('checkpoint', { training }),
      resume: (bytes) => client.call('resume', { training, checkpoint: bytes }),
      async step() {
        while (!(await client.call('train_advance', { training, milliseconds: 1000 })).stepped) continue;
      },
    };
  };
  const whole = await begin();
  await whole.step();
  const usual = await whole.checkpoint();
  await whole.resume(withScale(usual, '1 1999')); // so small that gradients vanish, and about to rise
  await whole.step();
  const second = await whole.checkpoint();
  assert.match(new TextDecoder().decode(second.subarray(8, 2000)), /"loss_scale": ?"2 0"/);
  await whole.step();
  const third = await whole.checkpoint();

  const resumed = await begin(second);
  await resumed.step();
  assert.ok(same(await resumed.checkpoint(), third));
  const forgetful = await begin(withScale(second)); // as it was before checkpoints had the scale
  await forgetful.step();
  const other = await forgetful.checkpoint();
  assert.match(new TextDecoder().decode(other.subarray(8, 2000)), /"loss_scale": ?"65536 1"/);
  assert.ok(!same(dataOf(other), dataOf(third)));
  await assert.rejects(forgetful.resume(withScale(second, '3 0')), { code: 'E_FORMAT', message: /^The checkpoint has the loss scale "3 0" where a power of two/ });
  assert.ok(same(await forgetful.checkpoint(), other));
});

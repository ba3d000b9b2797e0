// service.test.mjs - the worker's side (web/service.js) with a GPU: what tasks and trainings give, beside WebAssembly; and
// what happens where a GPU computes wrongly, is lost, or is not there.
import assert from 'node:assert/strict';
import { pathToFileURL } from 'node:url';
import { test } from 'node:test';
import { Client } from '../../web/client.js';
import { Engine } from '../../web/engine.js';
import { openFile } from '../../web/files-node.js';
import { serve } from '../../web/service.js';
import { createThread, documents, folder } from '../wasm/helpers.mjs';
import { dawnGpu, noGpu, wasmFile } from './helpers.mjs';

const gpu = noGpu ? null : await dawnGpu();
const source = { name: 'tiny', base: pathToFileURL(`${folder}/model/`).href };
const text = 'The red cat [MASK] on the [MASK].';

/** A client of a service in this thread; `openGpu` may change the device, `how` are options of gpu.js. */
function connect({ device = 'webgpu', openGpu = async () => gpu, how = {}, wasm = { simd128: wasmFile('fillmask.wasm') } } = {}) {
  const host = { createThread, openFile, openGpu, device, gpu: how, threads: 1, wasm };
  return new Client((heard) => {
    const listen = serve((message) => heard(structuredClone(message)), /** @type {any} */ (host));
    return { post: (message) => void listen(message), abort: (id) => listen({ abort: id }), close() {} };
  });
}

/** A navigator.gpu whose devices `change` has its way with. */
const changed = (change) => async () => ({
  async requestAdapter(options) {
    const adapter = await gpu.requestAdapter(options);
    const requestDevice = adapter.requestDevice.bind(adapter);
    adapter.requestDevice = async (wanted) => {
      const device = await requestDevice(wanted);
      change(device);
      return device;
    };
    return adapter;
  },
});

const near = (found, expected, bound = 1e-3) => assert.ok(Math.abs(found - expected) <= bound * (1 + Math.abs(expected)), `${found}, expected ${expected}`);

/** Every number of two answers is near, and all else the same. */
function alike(found, expected, path = '') {
  if (typeof expected === 'number') return near(found, expected);
  if (typeof expected !== 'object' || expected === null) return assert.equal(found, expected, path);
  assert.deepEqual(Object.keys(found), Object.keys(expected), path);
  for (const key of Object.keys(expected)) alike(found[key], expected[key], `${path}.${key}`);
}

const options = { length: 32, batch_size: 4, learning_rate: 0.003, seed: 5, micro_tokens: 64, steps: 4, weight_decay: 0.01, dropout: 0.1 };

/** Losses of a training, an evaluation after it, and fillings with its weights. */
async function trained(client, model) {
  const corpus = await client.call('corpus', { model });
  await client.call('corpus_add', { corpus, texts: documents });
  const { training } = await client.call('train', { model, corpus, ...options });
  const losses = [];
  while (losses.length < options.steps) {
    const { stepped, loss, norm } = await client.call('train_advance', { training, milliseconds: 1000 });
    if (stepped) losses.push(loss, norm);
    if (losses.length >= 2 * options.steps) break;
  }
  const evaluation = await client.call('evaluate', { training, corpus, length: 32, limit: 8 });
  let found;
  do found = await client.call('evaluate_advance', { evaluation, milliseconds: 1000 });
  while (found.more);
  await client.call('close', { number: evaluation });
  await client.call('train_apply', { model, training });
  await client.call('close', { number: training });
  return { losses, loss: found.loss, top: (await client.call('fill', { model, texts: [text] }))[0].map((list) => list[0].log_probability) };
}

test('a GPU gives what WebAssembly gives', { skip: noGpu }, async (t) => {
  const client = connect(), reference = connect({ device: 'wasm' });
  const { number: model, info } = await client.call('open', { source });
  const { number: other } = await reference.call('open', { source });
  assert.equal(info.device, 'webgpu');
  assert.equal(info.warning, undefined);
  t.diagnostic(info.adapter);
  for (const [op, args] of [
    ['fill', { texts: [text, 'A [MASK].'], top_k: 3 }],
    ['fill', { texts: [text], joint: true, top_k: 3 }],
    ['score', { texts: ['The red cat sat on the mat.'] }],
    ['augment', { texts: ['The red cat sat on the mat.', 'A dog ran!'], variants: 2, rate: 0.4 }],
  ]) {
    const [found, expected] = await Promise.all([client.call(op, { model, ...args }), reference.call(op, { model: other, ...args })]);
    alike(found, expected, op);
  }
  const [found, expected] = await Promise.all([trained(client, model), trained(reference, other)]);
  alike(found, expected, 'training');
});

test('a training goes from the GPU to WebAssembly, and back', { skip: noGpu }, async () => {
  const all = [];
  for (const device of ['webgpu', 'wasm', 'webgpu']) {
    const client = connect({ device });
    const { number: model } = await client.call('open', { source });
    const corpus = await client.call('corpus', { model });
    await client.call('corpus_add', { corpus, texts: documents });
    const { training } = await client.call('train', { model, corpus, ...options });
    const losses = [], step = async () => {
      for (let made = false; !made;) {
        const { stepped, loss, norm } = await client.call('train_advance', { training, milliseconds: 1000 });
        made = stepped;
        if (made) losses.push([loss, norm]);
      }
    };
    all.push({ step, losses, checkpoint: () => client.call('checkpoint', { training }), resume: (checkpoint) => client.call('resume', { training, checkpoint }), report: () => client.call('train_report', { training }) });
  }
  const [first, processor, second] = all;
  await first.step();
  const made = await first.checkpoint();
  await processor.resume(made);
  assert.deepEqual(await processor.checkpoint(), made); // to the bit
  await processor.step();
  const more = await processor.checkpoint();
  await second.resume(more);
  assert.deepEqual(await second.checkpoint(), more);
  assert.equal((await second.report()).step, 2);
  await first.step();
  await first.step();
  await second.step();
  alike([...processor.losses, ...second.losses], first.losses.slice(1), 'losses');
  await assert.rejects(second.resume(more.slice(0, 1000)), { code: 'E_FORMAT', message: /^The checkpoint / });
});

test('long runs are cut into short dispatches, which give the same bits', { skip: noGpu }, async () => {
  const all = [];
  for (const budget of [1e6, 50]) {
    const sizes = [];
    const counted = changed((device) => {
      const create = device.createCommandEncoder.bind(device);
      device.createCommandEncoder = () => {
        const encoder = create(), begin = encoder.beginComputePass.bind(encoder);
        encoder.beginComputePass = () => {
          const pass = begin(), dispatch = pass.dispatchWorkgroups.bind(pass);
          pass.dispatchWorkgroups = (...size) => {
            sizes.push(size);
            dispatch(...size);
          };
          return pass;
        };
        return encoder;
      };
    });
    const client = connect({ openGpu: counted, how: { budget } });
    const { number: model, info } = await client.call('open', { source });
    assert.equal(info.device, 'webgpu', info.warning);
    const corpus = await client.call('corpus', { model });
    await client.call('corpus_add', { corpus, texts: documents });
    const { training } = await client.call('train', { model, corpus, ...options });
    while (!(await client.call('train_advance', { training, milliseconds: 1000 })).stepped) continue;
    const workgroups = sizes.reduce((sum, [x, y, z]) => sum + x * y * z, 0);
    all.push({ dispatches: sizes.length, workgroups, checkpoint: Buffer.from(await client.call('checkpoint', { training })) });
  }
  const [whole, cut] = all;
  assert.equal(cut.workgroups, whole.workgroups);
  assert.ok(cut.dispatches > 2 * whole.dispatches, `${cut.dispatches} and ${whole.dispatches}`);
  assert.ok(cut.checkpoint.equals(whole.checkpoint));
});

test('weights of every type, and what they take of the GPU', { skip: noGpu }, async () => {
  let bytes = 0;
  const client = connect({ openGpu: changed((device) => {
    const create = device.createBuffer.bind(device);
    device.createBuffer = (buffer) => ((bytes += buffer.usage === 0x8c ? buffer.size : 0), create(buffer)); // of tensors
  }) });
  const reference = connect({ device: 'wasm' }), taken = {};
  for (const dtype of ['fp32', 'bf16', 'fp16', 'int8']) {
    const before = bytes;
    const { number: model, info } = await client.call('open', { source, dtype });
    taken[dtype] = bytes - before;
    const { number: other } = await reference.call('open', { source, dtype });
    assert.equal(info.device, 'webgpu', info.warning);
    const [a, b] = await Promise.all([client.call('score', { model, texts: ['The red cat sat.'] }), reference.call('score', { model: other, texts: ['The red cat sat.'] })]);
    near(a[0].score, b[0].score, dtype === 'int8' ? 3e-2 : 1e-3); // WebAssembly rounds activations to int8 as well
    const { vocab_size, hidden, layers, feed_forward } = info;
    const square = [hidden, hidden], wide = [[feed_forward, hidden], [hidden, feed_forward]];
    const matrices = [[vocab_size, hidden], ...Array(layers).fill([square, square, square, square, ...wide]).flat(), square];
    const size = { fp32: (rows, cols) => 4 * rows * cols, bf16: (rows, cols) => 4 * rows * cols, fp16: (rows, cols) => 2 * rows * cols, int8: (rows, cols) => rows * (4 + cols) };
    const all = (type) => matrices.reduce((sum, [rows, cols]) => sum + Math.ceil(size[type](rows, cols) / 16) * 16, 0);
    assert.equal(taken[dtype] - taken.fp32, all(dtype) - all('fp32'), dtype);
  }
});

test('a GPU that computes wrongly is not used', { skip: noGpu }, async () => {
  const wrong = changed((device) => {
    const create = device.createShaderModule.bind(device);
    device.createShaderModule = ({ code }) => create({ code: code.replace('p * t + 0.2347864806652069', 'p * t + 0.1347864806652069') });
  });
  const client = connect({ openGpu: wrong });
  const { number: model, info } = await client.call('open', { source });
  assert.equal(info.device, 'wasm');
  assert.match(info.warning, /logits are 0\.\d+ away/);
  assert.equal((await client.call('fill', { model, texts: [text] }))[0].length, 2);
});

test('a GPU that is lost is left, and what it trained says so', { skip: noGpu }, async () => {
  let device;
  const client = connect({ openGpu: changed((d) => (device = d)) });
  const { number: model } = await client.call('open', { source });
  const corpus = await client.call('corpus', { model });
  await client.call('corpus_add', { corpus, texts: documents });
  await assert.rejects(client.call('train', { model, corpus, ...options, precision: 'f16' }), { code: 'E_UNSUPPORTED', message: /shader-f16/ });
  const { training } = await client.call('train', { model, corpus, ...options });
  const before = await client.call('fill', { model, texts: [text] });
  device.destroy();
  await device.lost;
  alike(await client.call('fill', { model, texts: [text] }), before, 'fill');
  const info = await client.call('info', { model });
  assert.equal(info.device, 'wasm');
  assert.match(info.warning, /lost/);
  await assert.rejects(client.call('train_advance', { training }), { code: 'E_ARGUMENT', message: /no such training/ });
});

test('a GPU is used where the relaxed build computes wrongly', { skip: noGpu }, async (t) => {
  t.mock.method(WebAssembly, 'validate', () => true); // so that it is tried here as well
  const check = t.mock.method(Engine.prototype, 'check', () => false);
  const client = connect({ wasm: { simd128: wasmFile('fillmask.wasm'), relaxed: wasmFile('fillmask.wasm') } });
  const { info } = await client.call('open', { source });
  assert.equal(check.mock.callCount(), 1);
  assert.deepEqual([info.device, info.warning], ['webgpu', undefined]);
});

test('a GPU is closed where WebAssembly does not start', { skip: noGpu }, async () => {
  let device;
  const client = connect({ openGpu: changed((d) => (device = d)), wasm: { simd128: wasmFile('missing.wasm') } });
  await assert.rejects(client.call('open', { source }), { code: 'E_IO' });
  assert.equal((await device.lost).reason, 'destroyed');
});

test('what is opened is closed where the opening is aborted or fails', { skip: noGpu }, async () => {
  const controller = new AbortController();
  const client = connect({ openGpu: changed((device) => {
    const create = device.createShaderModule.bind(device);
    device.createShaderModule = (module) => (controller.abort(new Error('enough')), create(module)); // it is being checked
  }) });
  await assert.rejects(client.call('open', { source }, { signal: controller.signal }), { message: 'enough' });
  const { number } = await client.call('open', { source });
  for (let other = 0; other < number; other++) await assert.rejects(client.call('info', { model: other }), { code: 'E_ARGUMENT' });

  const events = [];
  await assert.rejects(client.call('open', { source, dtype: 'fp23' }, { onEvent: (event) => events.push(event) }), { code: 'E_ARGUMENT', message: /^dtype is "fp23"; it must be one of fp32, / });
  assert.deepEqual(events, []); // nothing was read for it
});

test('without an adapter, and without Dawn', { skip: noGpu }, async () => {
  await assert.rejects(connect({ openGpu: async () => undefined }).call('open', { source }), { code: 'E_UNSUPPORTED', message: /no adapter/ });
  await assert.rejects(connect({ openGpu: async () => ({ requestAdapter: async () => null }) }).call('open', { source }), { code: 'E_UNSUPPORTED', message: /no adapter/ });
});

// webgpu.mjs - the speed of device "webgpu" on this machine's GPU, in one command:
//
//   node tests/bench/webgpu.mjs [--whole] [--small] [--steps N] [--json]
//
// DistilBERT's shape with random weights: the forward pass for 1, 8 and 64 texts of 128 tokens, training at 64 x 128
// tokens a step and what 471 such steps take, three epochs over 10,000 chunks (measured with --whole), matrix products,
// and how much that is of the GPU's multiply-adds, which a loop in registers tells; with f16 where the GPU has it, and with
// FILLMASK_SUBGROUP_MATRICES=1 its products by subgroup matrices, where it has them. Needs Dawn (tools/gpu_setup.sh, or
// FILLMASK_WEBGPU) and a driver for Vulkan, Metal or Direct3D; --small takes a shape that SwiftShader does in a minute,
// whose figures say nothing of a GPU.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { Client } from '../../web/client.js';
import { imports } from '../../web/engine.js';
import { openFile } from '../../web/files-node.js';
import { Gpu } from '../../web/gpu.js';
import { serve } from '../../web/service.js';
import { built, dawnGpu, wasmFile } from '../webgpu/helpers.mjs';

const { values: options } = parseArgs({
  options: { whole: { type: 'boolean' }, small: { type: 'boolean' }, json: { type: 'boolean' }, steps: { type: 'string' } },
});
const small = options.small;
const shape = small
  ? { vocab_size: 1000, dim: 64, n_layers: 2, n_heads: 4, hidden_dim: 256, max_position_embeddings: 128 }
  : { vocab_size: 30522, dim: 768, n_layers: 6, n_heads: 12, hidden_dim: 3072, max_position_embeddings: 512 };
const length = small ? 64 : 128, batch = small ? 2 : 64, batches = small ? [1, 2] : [1, 8, 64];
const rounds = small ? 2 : 7; // of which the median, or the best, counts
const figures = [];
/** @param {string} what @param {number} figure @param {string} unit @param {string} [more] */
const show = (what, figure, unit, more = '') => {
  figures.push({ what, figure, unit });
  if (!options.json) console.log(`${what.padEnd(56)}${figure.toPrecision(4)} ${unit}${more}`);
};
const median = (list) => list.sort((a, b) => a - b)[list.length >> 1];

// ---- the GPU alone ----

const dawn = await dawnGpu();
const probe = await Gpu.create(dawn);
const { info, limits } = probe.adapter;
const adapter = {
  name: probe.name, features: [...probe.device.features].sort(), subgroups: [info.subgroupMinSize, info.subgroupMaxSize],
  bindingBytes: limits.maxStorageBufferBindingSize, workgroupBytes: limits.maxComputeWorkgroupStorageSize,
};
if (!options.json) {
  console.log(`GPU: ${adapter.name}`);
  console.log(`     ${adapter.features.join(', ')}; subgroups of ${adapter.subgroups.join(' to ')}`);
  console.log(`     bindings of ${(adapter.bindingBytes / 2 ** 20).toFixed(0)} MiB at most, ${adapter.workgroupBytes / 1024} KiB for a workgroup`);
}

/** Multiply-adds in registers: 8 chains of vec4 in each thread. Returns TFLOP/s. */
async function peak({ device }, type) {
  const chains = Array.from({ length: 8 }, (_, i) => i);
  const code = `${type === 'f16' ? 'enable f16;' : ''} alias V = vec4<${type}>;
    @group(0) @binding(0) var<storage, read_write> out: array<vec4f>;
    @group(0) @binding(1) var<storage, read> rounds: array<u32>;
    @compute @workgroup_size(256) fn main(@builtin(global_invocation_id) id: vec3u) {
      let by = V(${type}(id.x % 2) * 0.001 + 0.998);
      ${chains.map((i) => `var s${i} = V(${type}(id.x % 8 + ${i}));`).join(' ')}
      for (var i = 0u; i < rounds[0]; i++) { ${chains.map((i) => `s${i} = fma(s${i}, by, by);`).join(' ')} }
      out[id.x % 64] = vec4f(${chains.map((i) => `s${i}`).join(' + ')}); }`;
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module: device.createShaderModule({ code }), entryPoint: 'main' } });
  const buffers = [device.createBuffer({ size: 1024, usage: 0x80 }), device.createBuffer({ size: 16, usage: 0x88 })];
  const bind = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0), entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })),
  });
  const groups = small ? 16 : 4096;
  const time = async (count) => {
    device.queue.writeBuffer(buffers[1], 0, new Uint32Array([count]));
    await device.queue.onSubmittedWorkDone();
    const start = performance.now(), encoder = device.createCommandEncoder(), pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bind);
    pass.dispatchWorkgroups(groups);
    pass.end();
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
    return performance.now() - start;
  };
  // So many rounds that starting takes no noticeable part of the time, and a watchdog none of the runs.
  let count = 16;
  await time(count);
  while ((await time(count)) < 30 && count < 2 ** 22) count *= 2;
  const times = [];
  for (let i = 0; i < rounds; i++) times.push(await time(count));
  return (groups * 256 * count * 64) / Math.min(...times) / 1e9;
}

const half = probe.half;
const most = await peak(probe, 'f32');
show('multiply-adds in registers, f32', most, 'TFLOP/s');
if (half) show('multiply-adds in registers, f16', await peak(probe, 'f16'), 'TFLOP/s');
probe.close();

/** y (m, n) = x (m, k) w (n, k)^T, and the gradients of x and w, as the core asks for them. */
async function products(list, precision) {
  const gpu = await Gpu.create(dawn);
  const memory = new WebAssembly.Memory({ initial: 256, maximum: 8192, shared: true });
  const { exports: x } = /** @type {any} */ (await WebAssembly.instantiate(built('test-webgpu.wasm'), imports(memory, undefined, gpu))).instance;
  x._initialize();
  const at = x.api_kernels(), bytes = new Uint8Array(memory.buffer);
  gpu.kernels = new TextDecoder().decode(bytes.slice(at, bytes.indexOf(0, at)));
  const time = async (count, gradients) => {
    const start = performance.now();
    x.bench_run(count, gradients);
    while (x.bench_check() === 1) await gpu.settled();
    if (gpu.trouble) throw new Error(gpu.trouble);
    return (performance.now() - start) / count;
  };
  for (const [m, n, k] of list) {
    x.bench_make(gpu.limit, m, n, k, precision === 'f16');
    for (const gradients of [0, 1]) {
      for (let i = 0; i < 3; i++) await time(1, gradients); // compiles, and finds how much work a submit is to be
      const count = Math.ceil(100 / (await time(1, gradients))), times = [];
      for (let i = 0; i < rounds; i++) times.push(await time(small ? 1 : count, gradients));
      const rate = (2 * (gradients ? 2 : 1) * m * n * k) / Math.min(...times) / 1e9;
      show(`products, ${precision}, ${m} x ${n} x ${k}${gradients ? ', gradients' : ''}`, rate, 'TFLOP/s', `, ${((100 * rate) / most).toFixed(0)} % of f32's in registers`);
    }
  }
  gpu.close();
}

const { dim, hidden_dim: wide, vocab_size: words } = shape, rows = batch * length;
const shapes = [[rows, dim, dim], [rows, wide, dim], [rows, dim, wide], [Math.ceil(0.15 * rows), words, dim], [length, dim, dim], [length, wide, dim]];
await products(shapes, 'f32');
if (half) await products(shapes, 'f16');

// ---- the model ----

const folder = mkdtempSync(join(tmpdir(), 'fillmask-bench-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const vocabulary = Array.from({ length: words - 5 }, (_, i) => [...i.toString(26)].map((c) => String.fromCharCode(97 + parseInt(c, 26))).join('') + 'x');
writeFileSync(join(folder, 'vocab.txt'), ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', ...vocabulary].join('\n') + '\n');
writeFileSync(join(folder, 'config.json'), JSON.stringify({
  model_type: 'distilbert', activation: 'gelu', tie_weights_: true, dropout: 0.1, attention_dropout: 0.1, initializer_range: 0.02, ...shape,
}));
let seed = 1;
const text = (tokens) => Array.from({ length: tokens }, () => vocabulary[(seed = (seed * 1103515245 + 12345) % 2147483648) % vocabulary.length]).join(' ');

const host = {
  createThread: () => new Worker(new URL('../../web/worker-node.js', import.meta.url)), openFile, openGpu: async () => dawn,
  device: 'webgpu', threads: 1, wasm: { simd128: wasmFile('fillmask.wasm') },
};
const client = new Client((heard) => {
  const listen = serve((message) => heard(structuredClone(message)), /** @type {any} */ (host));
  return { post: (message) => void listen(message), abort() {}, close() {} };
});
const { number: model, info: opened } = await client.call('open', { source: { name: 'random', base: pathToFileURL(`${folder}/`).href }, untrained: true });
if (opened.device !== 'webgpu') throw new Error(opened.warning);
const corpus = await client.call('corpus', { model });
await client.call('corpus_add', { corpus, texts: Array.from({ length: (small ? 4 : 40) * batch }, () => text(length - 2)) });

const filled = `${text(length - 4)} [MASK] .`, times = [];
for (let i = 0; i <= rounds; i++) {
  const start = performance.now();
  await client.call('fill', { model, texts: [filled] });
  times.push(performance.now() - start);
}
show(`fill, 1 x ${length} tokens, one masked row`, median(times.slice(1)), 'ms');

/** A training whose forward passes are of so many texts. */
const training = async (texts, more) => (await client.call('train', { model, corpus, length, batch_size: batch, micro_tokens: texts * length, ...more })).training;

for (const texts of batches) {
  const number = await training(texts, { steps: 1 });
  const times = [];
  for (let i = 0; i <= rounds; i++) {
    const evaluation = await client.call('evaluate', { training: number, corpus, length, limit: 2 * texts });
    const start = performance.now();
    while ((await client.call('evaluate_advance', { evaluation, milliseconds: 1e5 })).more) continue;
    times.push((performance.now() - start) / 2);
    await client.call('close', { number: evaluation });
  }
  await client.call('close', { number });
  show(`forward, ${texts} x ${length} tokens, 15 % masked rows`, median(times.slice(1)), 'ms');
}

const steps = options.whole ? 471 : Number(options.steps ?? (small ? 1 : 5)) + 1;
for (const precision of half ? ['f32', 'f16'] : ['f32']) {
  const number = await training(batch, { steps, precision });
  let made = 0, begun = 0;
  while (made < steps) {
    const { stepped } = await client.call('train_advance', { training: number, milliseconds: 1e5 });
    if (!stepped) continue;
    if (++made === 1) begun = performance.now(); // the first one compiles kernels
  }
  const seconds = (performance.now() - begun) / 1000 / (steps - 1);
  await client.call('close', { number });
  show(`training, ${batch} x ${length} tokens a step, ${precision}, dropout`, (batch * length) / seconds, 'tokens/s');
  show(`471 steps${options.whole ? '' : ', as these are'}, ${precision}`, 471 * seconds, 's');
}
if (options.json) console.log(JSON.stringify({ adapter, small: Boolean(small), figures }, null, 2));
process.exit(0);

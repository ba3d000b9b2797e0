// webgpu.mjs - the speed of device "webgpu" on this machine's GPU, in one command:
//
//   node tests/bench/webgpu.mjs [--whole] [--small] [--steps N]
//
// DistilBERT's shape with random weights: the forward pass for 1, 8 and 64 texts of 128 tokens, training at 64 x 128
// tokens a step and what 471 such steps take, three epochs over 10,000 chunks (measured with --whole), matrix products, and
// how much that is of the GPU's multiply-adds in f32, which a loop in registers tells. Needs Dawn (tools/gpu_setup.sh,
// or FILLMASK_WEBGPU) and a driver for Vulkan, Metal or Direct3D; --small takes a shape that SwiftShader does in a
// minute, whose figures say nothing of a GPU.
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

const { values: options } = parseArgs({ options: { whole: { type: 'boolean' }, small: { type: 'boolean' }, steps: { type: 'string', default: '5' } } });
const shape = options.small
  ? { vocab_size: 1000, dim: 64, n_layers: 2, n_heads: 4, hidden_dim: 256, max_position_embeddings: 128 }
  : { vocab_size: 30522, dim: 768, n_layers: 6, n_heads: 12, hidden_dim: 3072, max_position_embeddings: 512 };
const length = 128, batch = options.small ? 4 : 64, batches = options.small ? [1, 2] : [1, 8, 64];
const show = (what, figure) => console.log(`${what.padEnd(52)}${figure}`);
const median = (list) => list.sort((a, b) => a - b)[list.length >> 1];

// ---- a model of that shape, and texts for it ----

const folder = mkdtempSync(join(tmpdir(), 'fillmask-bench-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const words = Array.from({ length: shape.vocab_size - 5 }, (_, i) => [...i.toString(26)].map((c) => String.fromCharCode(97 + parseInt(c, 26))).join('') + 'x');
writeFileSync(join(folder, 'vocab.txt'), ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', ...words].join('\n') + '\n');
writeFileSync(join(folder, 'config.json'), JSON.stringify({
  model_type: 'distilbert', activation: 'gelu', tie_weights_: true, dropout: 0.1, attention_dropout: 0.1, initializer_range: 0.02, ...shape,
}));
let seed = 1;
const text = (tokens) => Array.from({ length: tokens }, () => words[(seed = (seed * 1103515245 + 12345) % 2147483648) % words.length]).join(' ');

// ---- the GPU alone ----

const dawn = await dawnGpu();

/** Multiply-adds in registers: 8 chains of vec4 in each of 256 x 1024 threads. Returns TFLOP/s. */
async function peak(gpu) {
  const rounds = options.small ? 64 : 4096, groups = options.small ? 16 : 4096;
  const code = `@group(0) @binding(0) var<storage, read_write> out: array<vec4f>;
    @compute @workgroup_size(256) fn main(@builtin(global_invocation_id) id: vec3u) {
      var s: array<vec4f, 8>;
      for (var j = 0u; j < 8; j++) { s[j] = vec4f(f32(id.x + j)); }
      for (var i = 0u; i < ${rounds}; i++) { ${Array.from({ length: 8 }, (_, j) => `s[${j}] = fma(s[${j}], vec4f(0.999), vec4f(0.001));`).join(' ')} }
      out[id.x % 64] = s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7]; }`;
  const { device } = gpu;
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module: device.createShaderModule({ code }), entryPoint: 'main' } });
  const buffer = device.createBuffer({ size: 1024, usage: 0x80 });
  const bind = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: [{ binding: 0, resource: { buffer } }] });
  const once = async () => {
    const start = performance.now(), encoder = device.createCommandEncoder(), pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bind);
    pass.dispatchWorkgroups(groups);
    pass.end();
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
    return performance.now() - start;
  };
  await once();
  const times = [];
  for (let i = 0; i < 7; i++) times.push(await once());
  return (groups * 256 * rounds * 64) / Math.min(...times) / 1e9;
}

/** y (m, n) = x (m, k) w (n, k)^T, as core/ops/webgpu/forward.c asks for it. Returns TFLOP/s. */
async function product(m, n, k) {
  const gpu = await Gpu.create(dawn);
  const memory = new WebAssembly.Memory({ initial: 256, maximum: 8192, shared: true });
  const { exports: x } = /** @type {any} */ (await WebAssembly.instantiate(built('fillmask.wasm'), imports(memory, undefined, gpu))).instance;
  x._initialize();
  const at = x.api_kernels(), bytes = new Uint8Array(memory.buffer);
  gpu.kernels = new TextDecoder().decode(bytes.slice(at, bytes.indexOf(0, at)));
  const { gpu_play, gpu_finish } = gpu.imports(() => memory.buffer);
  const place = x.api_alloc(65536);
  const play = async (words) => {
    new Uint32Array(memory.buffer, place, words.length).set(words);
    gpu_play(1, place, words.length);
    while (gpu_finish(1, place + 60000, 500) === 1) await gpu.settled();
    if (gpu.trouble) throw new Error(gpu.trouble);
  };
  const operands = [[1, 4 * m * n], [2, 4 * m * k], [3, 4 * n * k]];
  await play(operands.flatMap(([number, size]) => [1, number, size]));
  const run = [9, 0, 0, Math.ceil(n / 64), Math.ceil(m / 64), 1, (m * n * k) / 1000, 5, 19,
    ...operands.flatMap(([number, size]) => [number, 0, size]), 0, 0, 0, 0, 0, 0, ...Array(8).fill(0), m, n, k, 0, n, k, k, 0, 0, 0, n];
  const read = [5, 1, 0, 4, place + 65000], times = [], count = options.small ? 2 : 20;
  await play([...run, ...read]);
  for (let i = 0; i < 5; i++) {
    const start = performance.now();
    await play([...Array(count).fill(run).flat(), ...read]);
    times.push(performance.now() - start);
  }
  gpu.close();
  return (2 * m * n * k * count) / Math.min(...times) / 1e9;
}

const probe = await Gpu.create(dawn);
show('GPU', probe.name);
const most = await peak(probe);
probe.close();
show('multiply-adds in registers, f32', `${most.toFixed(3)} TFLOP/s`);
const rows = options.small ? 256 : 8192, wide = options.small ? 256 : 3072, narrow = options.small ? 64 : 768;
for (const [m, n, k] of [[rows, wide, narrow], [rows, narrow, wide], [length, wide, narrow]]) {
  const rate = await product(m, n, k);
  show(`product ${m} x ${n} x ${k}`, `${rate.toFixed(3)} TFLOP/s, ${((100 * rate) / most).toFixed(0)} % of that`);
}

// ---- the model ----

const host = {
  createThread: () => new Worker(new URL('../../web/worker-node.js', import.meta.url)), openFile, openGpu: async () => dawn,
  device: 'webgpu', threads: 1, wasm: { simd128: wasmFile('fillmask.wasm') },
};
const client = new Client((heard) => {
  const listen = serve((message) => heard(structuredClone(message)), /** @type {any} */ (host));
  return { post: (message) => void listen(message), abort() {}, close() {} };
});
const { number: model, info } = await client.call('open', { source: { name: 'random', base: pathToFileURL(`${folder}/`).href }, untrained: true });
if (info.device !== 'webgpu') throw new Error(info.warning);
const corpus = await client.call('corpus', { model });
await client.call('corpus_add', { corpus, texts: Array.from({ length: 40 * batch }, () => text(length - 2)) });

const filled = `${text(length - 4)} [MASK] .`, times = [];
for (let i = 0; i < 8; i++) {
  const start = performance.now();
  await client.call('fill', { model, texts: [filled] });
  times.push(performance.now() - start);
}
show(`fill, 1 x ${length} tokens, one masked row`, `${median(times.slice(1)).toFixed(1)} ms`);

/** A training whose forward passes are of so many texts. */
const training = async (texts, more) => (await client.call('train', { model, corpus, length, batch_size: batch, micro_tokens: texts * length, ...more })).training;

for (const texts of batches) {
  const number = await training(texts, { steps: 1 });
  const times = [];
  for (let i = 0; i < 6; i++) {
    const evaluation = await client.call('evaluate', { training: number, corpus, length, limit: 2 * texts });
    const start = performance.now();
    while ((await client.call('evaluate_advance', { evaluation, milliseconds: 1e5 })).more) continue;
    times.push((performance.now() - start) / 2);
    await client.call('close', { number: evaluation });
  }
  await client.call('close', { number });
  show(`forward, ${texts} x ${length} tokens, 15 % masked rows`, `${median(times.slice(1)).toFixed(1)} ms`);
}

const steps = options.whole ? 471 : Number(options.steps) + 1;
const number = await training(batch, { steps });
let made = 0, begun = 0;
while (made < steps) {
  const { stepped } = await client.call('train_advance', { training: number, milliseconds: 1e5 });
  if (!stepped) continue;
  if (++made === 1) begun = performance.now(); // the first one compiles kernels
}
const seconds = (performance.now() - begun) / 1000 / (steps - 1);
show(`training, ${batch} x ${length} tokens a step, f32, dropout`, `${((batch * length) / seconds).toFixed(0)} tokens/s`);
show(`471 steps${options.whole ? '' : ', as these are'}`, `${(471 * seconds).toFixed(1)} s`);
process.exit(0);

// helpers.mjs - what the tests of the WebAssembly build share: the module, engines, and a tiny model that the native
// command line trained on texts of our own.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import v8 from 'node:v8';
import { Worker } from 'node:worker_threads';
import { Engine, hasRelaxedSimd } from '../../web/engine.js';

// Node.js 20 has relaxed SIMD behind a flag, and the first of its compilers gets the dot product wrong, which the check at
// load sees. Newer ones need neither flag, and some crash after the second.
if (!hasRelaxedSimd()) for (const flag of ['--experimental-wasm-relaxed-simd', '--no-liftoff']) v8.setFlagsFromString(flag);

const root = new URL('../../', import.meta.url);
const bin = process.env.FILLMASK_BIN ?? fileURLToPath(new URL('build/fillmask', root));

/** The bytes of a file of the WebAssembly build. */
export const built = (name) => readFileSync(join(process.env.FILLMASK_WASM ?? fileURLToPath(new URL('build-wasm', root)), name));

export const createThread = () => new Worker(new URL('web/worker-node.js', root));

let module;
/** An engine that is closed after the tests. */
export async function createEngine(options = {}) {
  module ??= await WebAssembly.compile(built('fillmask.wasm'));
  const engine = await Engine.create({ wasm: module, createThread, maximumMemory: 2 ** 28, ...options });
  after(() => engine.close());
  return engine;
}

export const folder = mkdtempSync(join(tmpdir(), 'fillmask-wasm-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Runs the native command line in the folder of the tests; returns what it printed. */
export function native(...args) {
  const result = spawnSync(bin, args, { cwd: folder, encoding: 'utf8', env: { ...process.env, FILLMASK_MODEL: '' } });
  if (result.status !== 0) throw new Error(`fillmask ${args.join(' ')}: ${result.error ?? result.stderr}`);
  return result.stdout;
}

const words = 'the a cat dog bird sat ran sang on under over mat rug tree red blue green and then it was naive happy . , ! ?';
const letters = 'abcdefghijklmnopqrstuvwxyz';
const vocabulary = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', ...new Set([...words.split(' '), ...letters, '日', '##s', '##ing', ...[...letters].map((c) => `##${c}`)])];

/** Documents that a small model can learn something from. */
export const documents = Array.from({ length: 160 }, (_, i) => {
  const pick = (list, salt) => list[(i * 7 + salt * (i % 5) + salt) % list.length];
  const one = () => `The ${pick(['red', 'blue', 'green'], 1)} ${pick(['cat', 'dog', 'bird'], 2)} ${pick(['sat', 'ran', 'sang'], 3)} ${pick(['on', 'under', 'over'], 5)} the ${pick(['mat', 'rug', 'tree'], 7)}.`;
  return `${one()} Then it was happy, and a ${pick(['cat', 'dog', 'bird'], 4)} ran!`;
});

writeFileSync(join(folder, 'vocab.txt'), vocabulary.join('\n') + '\n');
writeFileSync(join(folder, 'texts.jsonl'), documents.map((text) => JSON.stringify({ text }) + '\n').join(''));

/** Options that the native command line and the engine understand alike; the model is trained with them. */
export const training = { length: 32, batch: 8, learning_rate: 0.003, seed: 5, micro_tokens: 128 };

/** The same as arguments. */
export const asArguments = (options) =>
  Object.entries(options).flatMap(([name, value]) => [`--${name.replaceAll('_', '-')}`, String(value)]);

native('train', '--tokenizer', 'vocab.txt', '--layers', '2', '--hidden', '48', '--heads', '4', '--positions', '64', '--data',
  'texts.jsonl', '--steps', '60', '--threads', '1', '--quiet', '-o', 'model', ...asArguments(training));

const read = (name) => readFileSync(join(folder, 'model', name));

/** The files of that model, as Engine.open() takes them. */
export const files = () => ({
  config: read('config.json'),
  tokenizer: { json: read('tokenizer.json'), config: read('tokenizer_config.json') },
  weights: read('model.safetensors'),
});

/** The tensors of a safetensors file of F32. */
export function tensors(bytes) {
  const header = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const { __metadata__, ...entries } = JSON.parse(Buffer.from(bytes.subarray(8, 8 + header)).toString());
  return new Map(Object.entries(entries).map(([name, { data_offsets: [from, to] }]) =>
    [name, new Float32Array(Uint8Array.prototype.slice.call(bytes, 8 + header + from, 8 + header + to).buffer)]));
}

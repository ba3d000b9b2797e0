// cli.test.mjs - `npx fillmask --device webgpu` on SwiftShader: trainings that go from the GPU to the processor and back,
// beside one that stays on the processor; and what is said of adapters.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { asArguments, folder, native, tensors } from '../wasm/helpers.mjs';
import { dawn, driver, noGpu } from './helpers.mjs';

const script = fileURLToPath(new URL('../../web/cli.js', import.meta.url));
const env = { ...process.env, FILLMASK_WEBGPU: dawn, VK_ICD_FILENAMES: process.env.VK_ICD_FILENAMES ?? driver };

/** Runs the command line on the GPU; `more` are variables of its environment. */
const run = (args, more = {}) => spawnSync(process.execPath, [script, ...args], { cwd: folder, encoding: 'utf8', env: { ...env, ...more } });
const path = (...names) => join(folder, ...names);
const log = (name) => readFileSync(path(name, 'metrics.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line));
const near = (found, expected, what) => assert.ok(Math.abs(found - expected) <= 1e-3 * (1 + Math.abs(expected)), `${what}: ${found}, expected ${expected}`);

const options = ['train', '-m', 'model', '--data', 'texts.jsonl', ...asArguments({ length: 32, batch: 2, learning_rate: 0.003, seed: 5, steps: 5, dropout: 0.1, eval_chunks: 4, eval_every: 4, save_every: 1, keep_checkpoints: 0 })];

/** A copy of a training as it was after a step. */
function copyOf(name, step, to) {
  cpSync(path(name), path(to), { recursive: true });
  for (let later = step + 1; later <= 5; later++) rmSync(path(to, `checkpoint-${later}.safetensors`), { force: true });
  for (const file of ['model.safetensors', 'README.md']) rmSync(path(to, file));
  writeFileSync(path(to, 'metrics.jsonl'), log(name).filter((line) => line.step <= step).map((line) => JSON.stringify(line) + '\n').join(''));
  return [...options, '--resume', '-o', to];
}

function compare(name, with_) {
  const lines = [log(name), log(with_)];
  assert.deepEqual(...lines.map((list) => list.map(({ step, eval: evaluation, tokens }) => [step, Boolean(evaluation), tokens])));
  lines[0].forEach((found, i) => near(found.loss ?? found.eval.loss, lines[1][i].loss ?? lines[1][i].eval.loss, `line ${i}`));
  const [found, expected] = [name, with_].map((one) => tensors(readFileSync(path(one, 'model.safetensors'))));
  for (const [tensor, values] of expected) values.forEach((value, i) => assert.ok(Math.abs(value - found.get(tensor)[i]) < 5e-3, `${tensor}[${i}]`));
}

test('a training goes from the processor to the GPU and back', { skip: noGpu }, async () => {
  native(...options, '-q', '-o', 'whole');
  const args = copyOf('whole', 2, 'moved');
  const child = spawn(process.execPath, [script, ...args, '--device', 'webgpu'], { cwd: folder, env });
  let said = '';
  child.stderr.on('data', (part) => (said += part));
  const ended = new Promise((resolve) => child.on('close', (code, signal) => resolve([code, signal])));
  while (!log('moved').some(({ step }) => step === 3) && child.exitCode === null) await wait(50);
  child.kill('SIGINT');
  await wait(100); // two at once may come as one
  child.kill('SIGINT'); // as npx passes on one that the terminal has sent
  assert.deepEqual(await ended, [1, null], said);
  assert.match(said, /GPU: .*swiftshader/i);
  assert.doesNotMatch(said, /Tokenising/);
  assert.match(said, /Stopped after step [34] of 5 and saved/);
  native(...args, '-q');
  compare('moved', 'whole');
});

test('values stay the same to the bit from device to device', { skip: noGpu }, () => {
  const files = ['checkpoint-5.safetensors', 'model.safetensors'], bytes = () => files.map((file) => readFileSync(path('bits', file)));
  const args = copyOf('whole', 5, 'bits');
  const { status, stderr } = run([...args, '--device', 'webgpu']);
  assert.equal(status, 0, stderr);
  assert.deepEqual(bytes(), files.map((file) => readFileSync(path('whole', file))));
  assert.match(readFileSync(path('bits', 'README.md'), 'utf8'), /Fillmask [\d.]+, GPU .*swiftshader/i);
  native(...args, '-q');
  assert.deepEqual(bytes(), files.map((file) => readFileSync(path('whole', file))));
});

test('other commands', { skip: noGpu }, () => {
  const args = ['fill', '-m', 'model', '--json', 'The red cat [MASK] on the mat.'], numbers = (text) => text.match(/-?\d+\.\d+/g).map(Number);
  const { status, stdout, stderr } = run(args, { FILLMASK_DEVICE: 'webgpu' }), expected = numbers(native(...args));
  assert.equal(status, 0, stderr);
  numbers(stdout).forEach((found, i) => near(found, expected[i], 'fill'));
});

test('adapters', { skip: noGpu }, () => {
  assert.match(run(['--adapter']).stdout, /^SwiftShader.*\n$/);
  assert.match(run(['train', '--device', 'webgpu', '--adapter', 'list']).stdout, /^SwiftShader.*\n$/);
  assert.match(run(['--adapter'], { VK_ICD_FILENAMES: '/nowhere' }).stderr, /WebGPU finds no adapter/);
  const fill = (more, ...how) => run(['fill', '-m', 'model', ...how, 'A [MASK].'], more).stderr;
  assert.match(fill({}, '--device', 'webgpu', '--adapter', 'GeForce'), /No adapter has "GeForce" in its name; there is SwiftShader/);
  assert.match(fill({ VK_ICD_FILENAMES: '/nowhere' }, '--device', 'webgpu'), /fillmask fill: WebGPU finds no adapter: .*mesa-vulkan-drivers/);
  assert.match(fill({ FILLMASK_WEBGPU: '/nowhere' }, '--device', 'webgpu'), /correct FILLMASK_WEBGPU, which is \/nowhere/);
  assert.match(fill({}, '--adapter', 'SwiftShader'), /give --device webgpu too/);
  assert.match(fill({}, '--device', 'native', '--power-preference', 'low-power'), /give --device webgpu too/);
  const { status, stderr } = spawnSync(process.env.FILLMASK_BIN ?? fileURLToPath(new URL('../../build/fillmask', import.meta.url)), ['fill', '-m', path('model'), '--device', 'webgpu', 'A [MASK].'], { encoding: 'utf8' });
  assert.equal(status, 1);
  assert.match(stderr, /native program, .*npx fillmask/);
});

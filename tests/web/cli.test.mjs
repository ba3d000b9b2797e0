// cli.test.mjs - `npx fillmask`: the command line as WebAssembly prints what the native one prints, and both run by
// web/cli.js.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { documents, folder } from '../wasm/helpers.mjs';
import { bin } from './helpers.mjs';

const script = fileURLToPath(new URL('../../web/cli.js', import.meta.url));
const run = (device, args, { input = '', env = {}, timeout = 0 } = {}) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args], { cwd: folder, input, timeout, encoding: 'utf8', env: { ...process.env, FILLMASK_BIN: bin, FILLMASK_DEVICE: device, ...env } });
  return { status, stdout, stderr };
};

/** Numbers up to rounding, all else to the letter. */
function same(found, expected, what) {
  const number = /-?\d+\.\d+(e[-+]\d+)?/g;
  assert.equal(found.replace(number, '#'), expected.replace(number, '#'), what);
  const values = [found, expected].map((text) => (text.match(number) ?? []).map(Number));
  values[0].forEach((value, i) => assert.ok(Math.abs(value - values[1][i]) <= 1e-3 * Math.abs(values[1][i]) + 1e-5, `${what}: ${value} is not ${values[1][i]}`));
}

function both(args, options) {
  const [wasm, native] = ['wasm', 'native'].map((device) => run(device, args, options));
  const what = args.join(' ');
  assert.equal(wasm.status, native.status, `${what}: ${wasm.stderr} ${native.stderr}`);
  same(wasm.stdout, native.stdout, what);
  same(wasm.stderr, native.stderr, what);
  return wasm;
}

const text = 'The red cat sat on the [MASK], naïve \u{1F600}.';

test('help, versions and wrong usage', () => {
  for (const args of [[], ['--help'], ['--version'], ['fil'], ['fill'], ['fill', '--top-k', '0', 'a'], ['fill', '-m', 'model', 'No mask.'], ['train', '--help']])
    both(args);
});

test('what reads a model prints the same', () => {
  for (const args of [
    ['fill', text], ['fill', '--json', '--joint', 'a [MASK] [MASK]'], ['score', '--json', 'The red cat sat.'], ['augment', '--json', '-n', '2', '--seed', '3', ...documents.slice(0, 5)],
    ['embed', '--json', 'the cat', 'a dog'], ['eval', '--data', 'texts.jsonl', '--length', '32', '--json', '--quiet'],
  ])
    both([args[0], '-m', 'model', ...args.slice(1)]);
  both(['tokenize', '--json', '--vocab', 'vocab.txt', text]);
  both(['fill', '-m', 'model', '--json', '-'], { input: text });
  assert.match(run('wasm', ['fill', 'This movie was [MASK].']).stdout, /%/); // with the model that ships
});

test('what writes files writes the same', () => {
  const files = {};
  for (const device of ['wasm', 'native']) {
    const works = (...args) => {
      const { status, stderr } = run(device, args);
      assert.equal(status, 0, `${device} ${args.join(' ')}: ${stderr}`);
    };
    works('quantize', '-m', 'model', '--dtype', 'int8', '-q', '-o', 'int8');
    works('train-vocab', '--data', 'texts.jsonl', '-o', 'tokens', '--size', '60', '-q');
    works('train', '-m', 'model', '--data', 'texts.jsonl', '--length', '32', '--batch', '4', '--steps', '2', '-q', '-o', 'trained');
    files[device] = { int8: readFileSync(join(folder, 'int8', 'model.safetensors')), vocab: readFileSync(join(folder, 'tokens', 'vocab.txt'), 'utf8'), trained: readFileSync(join(folder, 'trained', 'model.safetensors')) };
    cpSync(join(folder, 'trained'), join(folder, `trained-${device}`), { recursive: true });
    for (const name of ['int8', 'tokens', 'trained']) rmSync(join(folder, name), { recursive: true });
  }
  assert.ok(files.wasm.int8.equals(files.native.int8));
  assert.equal(files.wasm.vocab, files.native.vocab);
  assert.equal(files.wasm.trained.length, files.native.trained.length);
  same(run('native', ['fill', '-m', 'trained-wasm', '--json', text]).stdout, run('native', ['fill', '-m', 'trained-native', '--json', text]).stdout);
});

test('two trainings in WebAssembly keep out of each other\'s folder, and a killed one holds none', async () => {
  const args = (steps) => ['train', '-m', 'model', '--data', 'texts.jsonl', '--length', '32', '--batch', '4', '--steps', String(steps), '-o', 'shared'];
  const env = process.platform === 'linux' ? { TMPDIR: join(folder, 'x'.repeat(100)) } : {}; // longer than addresses of sockets
  if (env.TMPDIR) mkdirSync(env.TMPDIR);
  const first = spawn(process.execPath, [script, ...args(1e6)], { cwd: folder, stdio: 'ignore', env: { ...process.env, FILLMASK_DEVICE: 'wasm', ...env } });
  const ended = once(first, 'exit');
  while (!existsSync(join(folder, 'shared', 'metrics.jsonl')) && first.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 50));
  const second = run('wasm', args(2), { env, timeout: 60_000 });
  first.kill('SIGKILL');
  await ended;
  assert.equal(second.status, 1);
  assert.match(second.stderr, /Another training is under way in shared; wait for its end/);
  rmSync(join(folder, 'shared'), { recursive: true });
  const third = run('wasm', args(2), { env, timeout: 60_000 });
  assert.equal(third.status, 0, third.stderr);
});

test('a slow reader of a pipe gets everything', () => {
  const input = `${text}\n`.repeat(2000), args = ['tokenize', '--vocab', 'vocab.txt', '-'];
  const { stdout, stderr } = spawnSync('sh', ['-c', '{ "$@"; echo $? >&2; } | (sleep 1; cat)', 'sh', process.execPath, script, ...args], { cwd: folder, input, encoding: 'utf8', env: { ...process.env, FILLMASK_DEVICE: 'wasm' } });
  assert.equal(stderr, '0\n');
  assert.ok(stdout.length > 2 ** 17);
  assert.ok(stdout === run('native', args, { input }).stdout);
});

test('serve answers the same', () => {
  const input = [{ id: 1, op: 'open', model: 'model' }, { id: 2, op: 'fill', model: 1, texts: [text], top_k: 2 }, { id: 3, op: 'nothing' }].map((line) => JSON.stringify(line) + '\n').join('');
  both(['serve', '--stdio'], { input });
});

test('FILLMASK_DEVICE decides, and where there is no native program WebAssembly runs', () => {
  assert.match(run('gpu', ['--version']).stderr, /FILLMASK_DEVICE is "gpu"/);
  assert.match(run('native', ['--version'], { env: { FILLMASK_BIN: '/nowhere' } }).stderr, /no native program: \/nowhere/);
  assert.match(run('', ['--version', '--device', 'native'], { env: { FILLMASK_BIN: '/nowhere' } }).stderr, /no native program: \/nowhere/);
  const args = ['tokenize', '--json', '--vocab', 'vocab.txt', text];
  assert.equal(run('native', [...args, '--device', 'wasm'], { env: { FILLMASK_BIN: '/nowhere' } }).stdout, run('native', args).stdout);
  assert.match(run('', ['bench', '--help'], { env: { FILLMASK_BIN: '/nowhere' } }).stdout, /^Usage: fillmask bench/);
});

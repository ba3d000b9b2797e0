// helper.mjs - what the tests of the command line share: running the program, and a small model trained on texts of
// our own. FILLMASK_BIN names the program if it is not build/fillmask.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const bin = process.env.FILLMASK_BIN ?? join(root, 'build', 'fillmask');

// A folder of the test file's own; every path below is in it.
export const folder = mkdtempSync(join(tmpdir(), 'fillmask-cli-'));
after(() => rmSync(folder, { recursive: true, force: true }));
export const path = (...names) => join(folder, ...names);
export const read = (...names) => readFileSync(path(...names));
export const readJson = (...names) => JSON.parse(read(...names));
export const write = (name, content) => writeFileSync(path(name), content);

export function run(args, { input = '', env = {}, program = bin } = {}) {
  const result = spawnSync(program, args, {
    cwd: folder,
    input,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    env: { ...process.env, FILLMASK_MODEL: '', ...env },
  });
  if (result.error) throw result.error;
  assert.equal(result.signal, null, `${args.join(' ')}: ${result.stderr}`);
  return { code: result.status, out: result.stdout, err: result.stderr };
}

// What a command that succeeds prints.
export function works(args, options) {
  const { code, out, err } = run(args, options);
  assert.equal(code, 0, `${args.join(' ')}: ${err}`);
  return out;
}

// stdout is one JSON document.
export const json = ([command, ...rest], options) => JSON.parse(works([command, '--json', ...rest], options));

// One sentence on stderr, nothing on stdout.
export function refused(args, code, ...patterns) {
  const options = patterns.length && !(patterns[0] instanceof RegExp) ? patterns.shift() : {};
  const result = run(args, options);
  assert.equal(result.code, code, `${args.join(' ')}: ${result.err}`);
  assert.equal(result.out, '');
  assert.match(result.err, /^fillmask[^\n]*\.\n$/);
  for (const pattern of patterns) assert.match(result.err, pattern);
}

const films = ['movie', 'film', 'story', 'picture'];
const words = ['good', 'bad', 'boring', 'great', 'funny'];
const parts = ['plot', 'music', 'cast', 'ending', 'sound'];

export const texts = Array.from({ length: 300 }, (_, i) => {
  const [film, word, part, other] = [films[i % 4], words[i % 5], parts[(i * 7) % 5], words[(i * 3 + 1) % 5]];
  return `The ${film} was ${word}, and its ${part} was ${other}. We saw it in the year ${1950 + (i % 40)}.`;
});

export const jsonl = (list) => list.map((text, id) => JSON.stringify({ id, text }) + '\n').join('');

// Files that the tests start from: data.jsonl, held.jsonl and the tokenizer `tokens`.
export function writeData() {
  write('data.jsonl', jsonl(texts));
  write('held.jsonl', jsonl(texts.filter((_, i) => i % 9 === 0).map((text) => text.replace('The', 'This'))));
  works(['train-vocab', '--data', 'data.jsonl', '-o', 'tokens', '--size', '160', '-q']);
}

// The arguments of a training of a small model, but for data, steps and output.
export const small = ['--tokenizer', 'tokens', '--layers', '1', '--hidden', '16', '--heads', '2', '--positions', '32',
  '--length', '16', '--batch', '8', '--threads', '2', '-q'];

// A model that has learnt the texts, in the folder `name`: about two seconds.
export function trainModel(name = 'model') {
  works(['train', ...small, '--init', 'neighbours', '--data', 'data.jsonl', '--hidden', '32', '--batch', '16',
    '--dropout', '0', '--steps', '300', '--learning-rate', '1e-2', '--warmup', '0.1', '-o', name]);
}

// test_serve.mjs - `fillmask serve --stdio` as the program that drives it meets it: answers in order, errors that end
// nothing, aborts, and how it ends. What the operations answer is tested with the package.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { bin, folder, json, path, refused, root, run, trainModel, works, writeData } from './helper.mjs';

writeData();
trainModel();

const lines = (list) => list.map((one) => (typeof one === 'string' ? one : JSON.stringify(one)) + '\n').join('');
const answers = (out) => out.trim().split('\n').map((line) => JSON.parse(line)).filter((answer) => !answer.event);
const serve = (list, options) => answers(works(['serve', '--stdio'], { input: lines(list), ...options }));

test('answers what is asked, as the other commands do, and in order', () => {
  const text = 'Naïve: the movie was [MASK].';
  const [opened, filled, info, saved, again, same, tokenizer, encoded, closed, gone] = serve([
    { id: 1, op: 'open', model: 'model' }, { id: 2, op: 'fill', model: 1, texts: [text], top_k: 3 }, { id: 3, op: 'info', model: 1 },
    { id: 4, op: 'save', model: 1, path: 'served.safetensors', dtype: 'fp32' }, { id: 5, op: 'open', model: 'model', untrained: true },
    { id: 6, op: 'fill', model: 2, texts: [text], top_k: 3 }, { id: 7, op: 'open', model: 'model', tokenizer_only: true },
    { id: 8, op: 'encode', tokenizer: 3, texts: ['the movie'] }, { id: 9, op: 'close', number: 1 }, { id: 10, op: 'info', model: 1 },
  ]);
  assert.deepEqual([opened, tokenizer, again].map((answer) => answer.result), [1, 3, 2]);
  const plain = (fillings) => fillings.map(({ log_probability, ...filling }) => filling); // the command rounds that
  assert.deepEqual(plain(filled.result[0][0]), plain(json(['fill', '-m', 'model', '-k', '3', text])));
  assert.equal(info.result.hidden, 32);
  assert.deepEqual(saved, { id: 4, result: null });
  assert.ok(existsSync(path('served.safetensors')));
  assert.notDeepEqual(same.result, filled.result);
  assert.deepEqual(encoded.result[0].ids, json(['tokenize', '-m', 'model', 'the movie']).ids);
  assert.deepEqual(closed, { id: 9, result: null });
  assert.equal(gone.error.code, 'E_ARGUMENT');
  assert.equal(serve([{ id: 1, op: 'open' }], { env: { FILLMASK_MODEL: path('model') } })[0].result, 1);
});

test('every operation is in the help and in the header', () => {
  const source = (name) => readFileSync(join(root, 'core/service', name), 'utf8');
  const names = [...source('service.c').matchAll(/\{"(\w+)", service_\w+\}/g)].map(([, name]) => name);
  assert.ok(names.length > 20);
  const help = works(['serve', '--help']), header = source('service.h');
  for (const name of names) {
    assert.match(help, new RegExp(`\\b${name}\\b`), name);
    assert.match(header, new RegExp(`^ \\*   ${name} `, 'm'), name);
  }
});

test('offsets in bytes, or in UTF-16 code units', () => {
  const list = lines([{ id: 1, op: 'open', model: 'model' }, { id: 2, op: 'fill', model: 1, texts: ['\u{1F600}é [MASK]'], top_k: 1 }]);
  assert.equal(answers(works(['serve', '--stdio'], { input: list }))[1].result[0][0][0].start, 7);
  assert.equal(answers(works(['serve', '--stdio', '--utf16'], { input: list }))[1].result[0][0][0].start, 4);
});

test('what is wrong gets an error, and what follows its answer', () => {
  const wrong = [
    ['nonsense', null, 'E_FORMAT'], ['{"id": 3', null, 'E_FORMAT'], ['[]', null, 'E_ARGUMENT'], ['{}', null, 'E_ARGUMENT'], ['"\\u0000"', null, 'E_FORMAT'],
    [{ id: 'a', op: 'info' }, null, 'E_ARGUMENT'], [{ id: -1, op: 'info' }, null, 'E_ARGUMENT'], [{ id: 7 }, 7, 'E_ARGUMENT'],
    [{ id: 8, op: 'x'.repeat(100) }, 8, 'E_ARGUMENT'], [{ id: 9, op: 'fill' }, 9, 'E_ARGUMENT'], [{ op: 'open', model: 'nowhere' }, null, 'E_IO'],
    [{ id: 10, op: 'open', model: 'model', modle: 1 }, 10, 'E_ARGUMENT'], [{ id: 11, op: 'open', model: 'tokens', untrained: true }, 11, 'E_IO'],
    [{ id: 12, op: 'save', model: 99, path: 'x' }, 12, 'E_ARGUMENT'], [{ id: 13, op: 'save', model: 1 }, 13, 'E_ARGUMENT'],
    [{ id: 14, op: 'save', model: 1, path: 'x', dtype: 'q3' }, 14, 'E_ARGUMENT'], [{ id: 15, op: 'save', model: 1, path: 'no/such/folder' }, 15, 'E_IO'],
    [{ id: 16, op: 'fill', model: 1, texts: ['No mask.'] }, 16, 'E_FORMAT'], [{ id: 17, op: 'fill', model: 1, texts: ['[MASK]'], top_q: 1 }, 17, 'E_ARGUMENT'],
  ];
  const found = serve([{ id: 1, op: 'open', model: 'model' }, ...wrong.map(([line]) => line), '', ' \t', { id: 20, op: 'info', model: 1 }]);
  assert.equal(found.length, wrong.length + 2);
  wrong.forEach(([line, id, code], i) => {
    assert.equal(found[i + 1].id, id, JSON.stringify(line));
    assert.equal(found[i + 1].error.code, code, JSON.stringify(found[i + 1]));
    assert.match(found[i + 1].error.message, /\.$/);
  });
  assert.ok(found.at(-1).result);
  refused(['serve'], 2, /--stdio is missing/);
});

test('an evaluation and what changes the training that it measures keep out of each other\'s way', () => {
  const texts = Array.from({ length: 40 }, (_, i) => `the movie was ${i % 2 ? 'good' : 'bad'}, and its ending was long.`);
  const asked = [{ op: 'open', model: 'model' }, { op: 'corpus', model: 1 }, { op: 'corpus_add', corpus: 2, texts },
    { op: 'train', model: 1, corpus: 2, length: 16, batch_size: 8, steps: 3 }, { op: 'checkpoint', training: 3, path: 'served-0.safetensors' },
    { op: 'train_advance', training: 3, milliseconds: 1e5 }, { op: 'evaluate', training: 3, corpus: 2, length: 16 },
    { op: 'resume', training: 3, path: 'served-0.safetensors' }, { op: 'train_advance', training: 3 }, { op: 'close', number: 4 },
    { op: 'resume', training: 3, path: 'served-0.safetensors' }, { op: 'train_advance', training: 3, milliseconds: 0 },
    { op: 'evaluate', training: 3, corpus: 2, length: 16 }, { op: 'train_advance', training: 3, milliseconds: 1e5 },
    { op: 'evaluate', training: 3, corpus: 2, length: 16 }];
  const got = serve(asked.map((request, i) => ({ id: i, ...request })));
  const refusals = got.flatMap(({ id, error }) => (error ? [[asked[id].op, error.message]] : []));
  assert.deepEqual(refusals, [['resume', 'The training is being evaluated; wait until that is done.'],
    ['train_advance', 'The training is being evaluated; wait until that is done.'], ['evaluate', 'A step of the training is under way; evaluate when it is made.']]);
});

test('a line that is too long gets an error, and the last one needs no newline', () => {
  const list = [{ id: 1, op: 'open', model: 'model' }, `{"id": 2, "op": "${'x'.repeat(2 ** 26)}"}`];
  const [opened, long, info] = answers(works(['serve', '--stdio'], { input: `${lines(list)}{"id": 3, "op": "info", "model": 1}` }));
  assert.equal(opened.result, 1);
  assert.deepEqual([long.id, long.error.code], [null, 'E_LIMIT']);
  assert.equal(info.id, 3);
  assert.ok(info.result);
});

test('an abort stops what is under way and what waits, and nothing else', async () => {
  const child = spawn(bin, ['serve', '--stdio'], { cwd: folder, stdio: ['pipe', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.on('data', (part) => (out += part));
  const long = Array(400).fill('The movie was good, and its plot was bad. '.repeat(20));
  child.stdin.write(lines([{ id: 1, op: 'open', model: 'model' }, { id: 2, op: 'score', model: 1, texts: long }, { id: 3, op: 'score', model: 1, texts: long }, { id: 4, op: 'info', model: 1 }]));
  while (!/"event"/.test(out)) await once(child.stdout, 'data');
  child.stdin.end(lines([{ abort: 3 }, { abort: 2 }, { abort: 99 }]));
  const [code] = await once(child, 'close');
  assert.equal(code, 0);
  const [, second, third, fourth] = answers(out);
  assert.deepEqual([second.id, second.error.code, third.id, third.error.code, fourth.id], [2, 'E_ABORTED', 3, 'E_ABORTED', 4]);
  const { event } = JSON.parse(out.split('\n').find((line) => line.includes('"event"')));
  assert.equal(event.status, 'progress');
  assert.ok(event.done < event.total);
});

test('it ends when nobody listens any more, or nobody can be heard', () => {
  refused(['-c', `exec '${bin}' serve --stdio < .`], 1, { program: '/bin/sh' }, /The requests could not be read: /);
  const { code, err } = run(['-c', `'${bin}' serve --stdio > /dev/full`], { program: '/bin/sh', input: lines([{ id: 1, op: 'open', model: 'model' }]) });
  assert.equal(code, 1);
  assert.match(err, /could not be written/);
});

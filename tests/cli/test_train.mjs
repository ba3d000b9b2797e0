// test_train.mjs - `fillmask train`: what it leaves behind, going on after an end of any kind, cached tokens, refusals.
// What a step computes is tested in C.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, utimesSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { before, test } from 'node:test';
import { bin, folder, json, jsonl, path, read, readJson, refused, run, small, texts, works, write, writeData } from './helper.mjs';

before(writeData);

const train = (output, ...more) => ['train', ...small, '--data', 'data.jsonl', '-o', output, ...more];
const log = (output) => read(output, 'log.jsonl').toString().trimEnd().split('\n').map((line) => JSON.parse(line));
const sameFiles = (a, b, ...names) => names.forEach((name) => assert.ok(read(a, name).equals(read(b, name)), name));
const partial = (output) => readdirSync(path(output)).filter((name) => name.includes('.partial'));

test('a training leaves a model, its checkpoint, a log and its picture', () => {
  const result = json(train('whole', '--steps', '60', '--eval-data', 'held.jsonl', '--eval-every', '25', '--eval-limit', '20'));
  assert.deepEqual(readdirSync(path('whole')).sort(), ['checkpoint.safetensors', 'config.json', 'eval.tokens', 'log.jsonl',
    'model.safetensors', 'report.svg', 'tokenizer.json', 'tokenizer_config.json', 'train.tokens', 'vocab.txt']);
  assert.deepEqual([result.output, result.documents, result.steps, result.resumed_from], ['whole', texts.length, 60, 0]);
  const tokens = json(['tokenize', '-m', 'whole', '--', ...texts]).flatMap(({ ids }) => ids);
  assert.equal(result.chunks, Math.floor(tokens.length / 16));
  assert.ok(result.tokens > 59 * 8 * 16 && result.tokens <= 60 * 8 * 16); // the last step of an epoch may be short
  assert.ok(result.loss > 0 && result.loss < Math.log(160) + 1 && result.tokens_per_second > 0);
  assert.equal(result.eval.chunks, 20);
  assert.deepEqual(json(['eval', '-m', 'whole', '--data', 'held.jsonl', '--length', '16', '--limit', '20']), result.eval);
  const lines = log('whole');
  assert.deepEqual(lines.filter((line) => line.eval).map((line) => line.step), [25, 50, 60]);
  assert.deepEqual(lines.at(-1).eval, result.eval);
  const steps = lines.filter((line) => !line.eval);
  assert.deepEqual(steps.map((line) => line.step), Array.from({ length: 30 }, (_, i) => 2 * (i + 1)));
  for (const [i, { learning_rate: rate, step }] of steps.entries()) {
    assert.ok(Math.abs(rate / (5e-5 * (1 - (step - 1) / 60)) - 1) < 1e-3);
    assert.ok(steps[i].loss > 0 && steps[i].norm > 0);
  }
  const svg = read('whole', 'report.svg').toString();
  assert.match(svg, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg"/);
  assert.match(svg, /<\/svg>\n$/);
  assert.equal(svg.match(/<circle[^>]*><title>step \d+: loss \d/g).length, 3);
  assert.ok(!/NaN|inf|href|<script/i.test(svg));
  assert.equal(json(['info', 'whole']).hidden, 16);
});

test('a fine-tuning is measured before its first step', () => {
  const args = ['train', '-m', 'whole', '--data', 'data.jsonl', '--steps', '2', '-q', '--length', '16', '--batch', '4',
    '--eval-data', 'held.jsonl', '--eval-limit', '20', '-o', 'tuned'];
  const result = json(args);
  assert.deepEqual(result.eval_before, json(['eval', '-m', 'whole', '--data', 'held.jsonl', '--length', '16', '--limit', '20']));
  assert.notEqual(result.eval.loss, result.eval_before.loss);
  assert.deepEqual(log('tuned').filter((line) => line.eval).map((line) => line.step), [0, 2]);
  assert.deepEqual(readJson('tuned', 'config.json'), readJson('whole', 'config.json'));
  sameFiles('tuned', 'whole', 'vocab.txt', 'tokenizer.json');
});

test('the same training gives the same bits on any number of threads', () => {
  works(train('one', '--steps', '12', '--threads', '1'));
  works(train('three', '--steps', '12', '--threads', '3'));
  sameFiles('one', 'three', 'model.safetensors', 'checkpoint.safetensors');
  works(train('seeded', '--steps', '12', '--seed', '7'));
  assert.ok(!read('seeded', 'model.safetensors').equals(read('one', 'model.safetensors')));
});

test('mixed precision: other bits, the same on any number of threads, and nearly the same losses', () => {
  const [mixed, single] = ['1', '3'].map((threads) =>
    json(train(`mixed${threads}`, '--steps', '12', '--precision', 'bf16', '--threads', threads, '--eval-data', 'held.jsonl')));
  sameFiles('mixed1', 'mixed3', 'model.safetensors', 'checkpoint.safetensors');
  assert.deepEqual(mixed.eval, single.eval);
  assert.ok(!read('mixed1', 'model.safetensors').equals(read('one', 'model.safetensors')));
  const losses = log('mixed1').filter((line) => !line.eval).map((line) => line.loss);
  log('one').forEach(({ loss }, i) => assert.ok(Math.abs(loss - losses[i]) < 0.01, `${loss} and ${losses[i]}`));
  refused(train('mixed1', '--steps', '12', '--resume'), 1, /"precision bf16" where this one has "precision f32"/);
});

// Starts a training and ends it with a signal once `enough` says so.
function interrupt(args, signal, enough) {
  return new Promise((resolve) => {
    const child = spawn(bin, args, { cwd: folder });
    let err = '';
    child.stderr.setEncoding('utf8').on('data', (text) => (err += text));
    const timer = setInterval(() => {
      if (!enough()) return;
      clearInterval(timer); // a second Ctrl-C would end it at once
      child.kill(signal);
    }, 2);
    child.on('close', (code, by) => {
      clearInterval(timer);
      resolve({ code, signal: by, err });
    });
  });
}

const long = ['--steps', '160', '--batch', '16', '--learning-rate', '1e-3', '--eval-data', 'held.jsonl', '--eval-limit', '9'];

test('Ctrl-C saves, and a resumed training ends where an uninterrupted one does, bit for bit', async () => {
  works(train('straight', ...long));
  const args = train('stopped', ...long);
  const logged = () => existsSync(path('stopped', 'log.jsonl')) && statSync(path('stopped', 'log.jsonl')).size > 0;
  const { code, signal, err } = await interrupt(args, 'SIGINT', logged);
  assert.deepEqual([code, signal], [1, null]);
  const step = Number(err.match(/^fillmask train: Stopped after step (\d+) of 160 and saved; .*--resume goes on\.\n$/)?.[1]);
  assert.ok(step >= 4 && step < 160, err);
  assert.ok(!read('stopped', 'model.safetensors').equals(read('straight', 'model.safetensors')));
  refused(args, 1, /stopped already holds a training; go on with --resume/);
  const result = json([...args, '--resume']);
  assert.deepEqual([result.resumed_from, result.steps], [step, 160]);
  sameFiles('stopped', 'straight', 'model.safetensors', 'checkpoint.safetensors', 'config.json');
  assert.deepEqual(log('stopped').at(-1), log('straight').at(-1));
  assert.deepEqual(log('stopped').map((line) => line.step), log('straight').map((line) => line.step));
  const seconds = log('stopped').filter((line) => !line.eval).map((line) => line.seconds);
  assert.deepEqual(seconds, [...seconds].sort((a, b) => a - b));
  // All steps are made: resuming once more only measures.
  assert.equal(json([...args, '--resume']).resumed_from, 160);
  sameFiles('stopped', 'straight', 'model.safetensors');
});

test('a killed training goes on from its last checkpoint, and its log has every step once', async () => {
  const args = train('killed', ...long, '--save-every', '10');
  const saved = () => existsSync(path('killed', 'model.safetensors')) && log('killed').length > 5;
  const { signal } = await interrupt(args, 'SIGKILL', saved);
  assert.equal(signal, 'SIGKILL');
  write('killed/log.jsonl', Buffer.concat([read('killed', 'log.jsonl'), Buffer.from('{"step": 159, "lo')]));
  const result = json([...args, '--resume']);
  assert.ok(result.resumed_from > 0 && result.resumed_from % 10 === 0 && result.resumed_from < 160);
  sameFiles('killed', 'straight', 'model.safetensors', 'checkpoint.safetensors');
  assert.deepEqual(log('killed').map((line) => line.step), log('straight').map((line) => line.step));
});

test('Ctrl-C during an evaluation saves too', async () => {
  write('long.jsonl', jsonl(Array.from({ length: 20 }, () => texts).flat()));
  const args = ['train', '-m', 'whole', '-o', 'measured', '--data', 'data.jsonl', '--eval-data', 'long.jsonl',
    '--eval-limit', '0', '--length', '16', '--steps', '2', '--threads', '1', '-q'];
  const { code, err } = await interrupt(args, 'SIGINT', () => existsSync(path('measured', 'tokenizer.json')));
  assert.equal(code, 1);
  assert.match(err, /Stopped after step 0 of 2 and saved/);
  assert.equal(json([...args, '--resume', '--eval-limit', '5']).steps, 2);
});

test('a checkpoint goes on only with what it was made with', () => {
  const begin = train('fixed', '--steps', '4', '--micro-tokens', '64');
  works(begin);
  const refuse = (more, ...patterns) => refused([...begin, '--resume', ...more], 1, /belongs to another training/, ...patterns);
  refuse(['--steps', '5'], /"8 chunks of 16 up to step 4" where this one has "8 chunks of 16 up to step 5"/);
  refuse(['--learning-rate', '1e-4'], /"learning rate 5e-05" .* "learning rate 0\.0001"/);
  refuse(['--dropout', '0.2'], /"dropout 0\.100000001" .* "dropout 0\.200000003"/);
  refuse(['--seed', '43'], /"seed 42"/);
  refuse(['--hidden', '32'], /"hidden 16"/);
  refuse(['--limit', '20'], /"limit 0"/);
  works([...begin, '--resume', '--micro-tokens', '256', '--threads', '1']);
});

test('damaged checkpoints are refused', () => {
  works(train('broken', '--steps', '4'));
  const [good, at] = [read('broken', 'checkpoint.safetensors'), path('broken', 'checkpoint.safetensors')];
  const header = Number(good.readBigUInt64LE(0));
  const bad = (change, ...patterns) => {
    const copy = Buffer.from(good);
    write('broken/checkpoint.safetensors', change(copy) ?? copy);
    refused(train('broken', '--steps', '4', '--resume'), 1, ...patterns);
  };
  bad((b) => b.subarray(0, b.length - 1), /checkpoint\.safetensors/);
  bad((b) => b.subarray(0, 5), /checkpoint\.safetensors/);
  bad(() => read('broken', 'model.safetensors'), /is not a checkpoint of a training/);
  bad((b) => void b.writeFloatLE(NaN, 8 + header + 40), /is damaged: its tensor "values" holds -?nan/);
  bad((b) => void b.writeFloatLE(-1, b.length - 400), /is damaged: its tensor "second_moment" holds -1/);
  bad((b) => Buffer.from(b.toString('latin1').replace('"step":"4"', '"step":"9"'), 'latin1'), /does not say a step/);
  assert.equal(statSync(at).size, good.length);
});

test('cached tokens are used again only while data and tokenizer are the same', () => {
  cpSync(path('tokens'), path('tokens2'), { recursive: true });
  copyFileSync(path('data.jsonl'), path('data2.jsonl'));
  const args = ['train', ...small, '--tokenizer', 'tokens2', '--data', 'data2.jsonl', '-o', 'cached', '--steps', '3', '--resume'];
  const inode = () => statSync(path('cached', 'train.tokens')).ino;
  works(args);
  const [first, tokens] = [inode(), read('cached', 'train.tokens')];
  works(args);
  assert.equal(inode(), first);
  // A damaged one is made again, whatever is wrong with it.
  for (const damage of [(b) => b.fill(0, b.length - 2), (b) => b.subarray(0, b.length / 2), (b) => b.fill(255, 8, 40), () => Buffer.alloc(0)]) {
    write('cached/train.tokens', damage(Buffer.from(tokens)));
    works(args);
    assert.ok(read('cached', 'train.tokens').equals(tokens));
  }
  // Another time of the file: read again, and the same.
  const before = inode();
  utimesSync(path('data2.jsonl'), new Date(1e12), new Date(1e12));
  works(args);
  assert.notEqual(inode(), before);
  // Other data, or a tokenizer that gives other ids: not what the checkpoint was made with.
  write('data2.jsonl', jsonl(texts.map((text) => text.replace('movie', 'film'))));
  refused(args, 1, /documents of data, with hash/);
  copyFileSync(path('data.jsonl'), path('data2.jsonl'));
  const vocabulary = read('tokens2', 'vocab.txt').toString().trimEnd().split('\n');
  rmSync(path('tokens2', 'tokenizer.json'));
  write('tokens2/vocab.txt', [...vocabulary.slice(0, -2), ...vocabulary.slice(-2).reverse()].join('\n') + '\n');
  refused(args, 1, /documents of data, with hash/);
});

test('standard input', () => {
  const args = ['train', ...small, '--data', '-', '--steps', '5'];
  works([...args, '-o', 'piped'], { input: jsonl(texts) });
  works(train('filed', '--steps', '5'));
  sameFiles('piped', 'filed', 'model.safetensors');
  assert.ok(!existsSync(path('piped', 'train.tokens')));
  works([...args, '--format', 'txt', '-o', 'lines'], { input: texts.join('\n') });
  sameFiles('lines', 'filed', 'model.safetensors');
  refused([...args, '-o', 'packed'], 1, { input: gzipSync(jsonl(texts)) }, /stdin is gzip data, not text in UTF-8; .*gzip -dc/);
  refused([...args, '-o', 'nothing'], 1, { input: '' }, /no chunk of 16/);
});

test('what train refuses before it begins', () => {
  const refuse = (code, args, ...patterns) => refused(['train', '-q', ...args], code, ...patterns);
  refuse(2, ['-o', 'x', '-m', 'whole'], /--data is missing/);
  refuse(2, ['--data', 'data.jsonl', '-m', 'whole'], /-o is missing/);
  refuse(2, ['--data', 'data.jsonl', '-o', 'x'], /Give either -m/);
  refuse(2, ['--data', 'data.jsonl', '-o', 'x', '-m', 'whole', '--tokenizer', 'tokens'], /Give either -m/);
  refuse(2, ['--data', 'data.jsonl', '-o', 'x', '-m', 'whole', '--learning-rate', '2'], /--learning-rate is "2"/);
  const data = ['--data', 'data.jsonl', '-o', 'unborn'];
  refuse(1, ['--data', 'data.jsonl', '-m', 'whole', '-o', 'whole'], /whole is the model to go on from/);
  refuse(1, ['--data', 'data.jsonl', '-m', 'whole', '-o', './whole/'], /is the model to go on from/);
  refuse(1, [...data, '-m', 'missing'], /missing\/config\.json/);
  refuse(1, [...data, '-m', 'whole', '--length', '64'], /--length 64 is more than the model's 32 positions/);
  refuse(1, [...data, '-m', 'whole', '--lengths', '16:0.5,64:1'], /--lengths "16:0\.5,64:1" is not/);
  for (const lengths of ['', '16:1,', '16:0.6,8:0.5,32:1', '16:0.5', 'x:1', '1:1', '16:2'])
    refuse(1, [...data, '-m', 'whole', '--lengths', lengths], /is not LENGTH:END/);
  refuse(1, [...data, '-m', 'whole', '--eval-data', 'missing.jsonl'], /missing\.jsonl could not be opened/);
  write('brief.txt', 'good\n');
  refuse(1, [...data, '-m', 'whole', '--eval-data', 'brief.txt'], /3 tokens in 1 documents, which gives no chunk/);
  refuse(1, [...data, '--tokenizer', 'tokens', '--hidden', '10', '--heads', '4'], /--hidden 10 is not a multiple of --heads 4/);
  mkdirSync(path('taken'));
  copyFileSync(path('whole', 'model.safetensors'), path('taken', 'model.safetensors'));
  refuse(1, ['--data', 'data.jsonl', '-o', 'taken', '-m', 'whole'], /taken already holds a model, and no checkpoint/);
  refuse(1, ['--data', 'data.jsonl', '-o', 'data.jsonl', '-m', 'whole'], /data\.jsonl could not be made/);
});

// Runs with files limited to 512 * blocks bytes.
const limited = (blocks, args) => run(['-c', `ulimit -f ${blocks}; exec "$0" "$@"`, bin, ...args], { program: 'sh' });

test('a full disk leaves the earlier checkpoint and model as they were', () => {
  works(train('full', '--steps', '6', '--save-every', '3'));
  const [checkpoint, model] = ['checkpoint.safetensors', 'model.safetensors'].map((name) => read('full', name));
  cpSync(path('full'), path('fuller'), { recursive: true });
  const { code, err } = limited(40, train('full', '--steps', '6', '--resume'));
  assert.equal(code, 1);
  assert.match(err, /^fillmask train: [^\n]*full\/checkpoint\.safetensors could not be written: [^\n]+\n$/);
  sameFiles('full', 'fuller', 'checkpoint.safetensors', 'model.safetensors', 'vocab.txt', 'train.tokens');
  assert.deepEqual(partial('full'), []);
  assert.ok(checkpoint.equals(read('full', 'checkpoint.safetensors')) && model.equals(read('full', 'model.safetensors')));
  works(train('full', '--steps', '6', '--resume'));
});

test('a disk that is full along the way is a warning, and an error at the end', () => {
  works(train('narrow', '--steps', '9', '--save-every', '3'));
  rmSync(path('narrow', 'checkpoint.safetensors'));
  rmSync(path('narrow', 'model.safetensors'));
  const { code, out, err } = limited(60, train('narrow', '--steps', '9', '--save-every', '3'));
  assert.equal(code, 1);
  assert.equal(out, '');
  const lines = err.trimEnd().split('\n');
  assert.equal(lines.length, 3, err);
  for (const line of lines.slice(0, 2)) assert.match(line, /^fillmask train: Going on without saving: [^\n]*narrow\/checkpoint/);
  assert.match(lines[2], /^fillmask train: [^\n]*narrow\/checkpoint\.safetensors could not be written/);
  assert.deepEqual(partial('narrow'), []);
  assert.equal(log('narrow').length, 9);
});

test('a small disk that fills up', (t) => {
  mkdirSync(path('disk'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=260k', 'tmpfs', path('disk')]);
  if (mounted.status !== 0) return t.skip('mount is not allowed');
  try {
    works(train('disk/run', '--steps', '6'));
    const before = read('disk', 'run', 'checkpoint.safetensors');
    const free = spawnSync('sh', ['-c', 'head -c 250k /dev/zero > filler'], { cwd: path('disk') });
    assert.notEqual(free.status, 0);
    const { code, err } = run(train('disk/run', '--steps', '6', '--resume'));
    assert.equal(code, 1);
    assert.match(err, /^fillmask train: [^\n]*disk\/run\/[a-z.]+ could not be written: [^\n]*space[^\n]*\.\n$/);
    assert.ok(read('disk', 'run', 'checkpoint.safetensors').equals(before));
    assert.deepEqual(partial('disk/run'), []);
    rmSync(path('disk', 'filler'));
    works(train('disk/run', '--steps', '6', '--resume'));
  } finally {
    spawnSync('umount', [path('disk')]);
  }
});

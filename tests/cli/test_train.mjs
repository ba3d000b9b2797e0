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
const log = (output) => read(output, 'metrics.jsonl').toString().trimEnd().split('\n').map((line) => JSON.parse(line));
const sameFiles = (a, b, ...names) => names.forEach((name) => assert.ok(read(a, name).equals(read(b, name)), name));
const partial = (output) => (existsSync(path(output)) ? readdirSync(path(output)) : []).filter((name) => name.includes('.partial'));

test('a training leaves a model, its checkpoint, a log and its picture', () => {
  const result = json(train('whole', '--steps', '60', '--eval-data', 'held.jsonl', '--eval-every', '25', '--eval-limit', '20'));
  assert.deepEqual(readdirSync(path('whole')).sort(), ['README.md', 'checkpoint-60.safetensors', 'config.json', 'eval.tokens',
    'metrics.jsonl', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json', 'train.tokens', 'training.svg', 'vocab.txt']);
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
  assert.deepEqual(steps.map((line) => line.step), Array.from({ length: 60 }, (_, i) => i + 1));
  for (const [i, { learning_rate: rate, step }] of steps.entries()) {
    assert.ok(Math.abs(rate / (5e-5 * (1 - (step - 1) / 60)) - 1) < 1e-3);
    assert.ok(steps[i].loss > 0 && steps[i].norm > 0);
  }
  const svg = read('whole', 'training.svg').toString();
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
  sameFiles('one', 'three', 'model.safetensors', 'checkpoint-12.safetensors');
  works(train('seeded', '--steps', '12', '--seed', '7'));
  assert.ok(!read('seeded', 'model.safetensors').equals(read('one', 'model.safetensors')));
});

test('mixed precision: other bits, the same on any number of threads, and nearly the same losses', () => {
  const [mixed, single] = ['1', '3'].map((threads) =>
    json(train(`mixed${threads}`, '--steps', '12', '--precision', 'bf16', '--threads', threads, '--eval-data', 'held.jsonl')));
  sameFiles('mixed1', 'mixed3', 'model.safetensors', 'checkpoint-12.safetensors');
  assert.deepEqual(mixed.eval, single.eval);
  assert.ok(!read('mixed1', 'model.safetensors').equals(read('one', 'model.safetensors')));
  const losses = log('mixed1').filter((line) => !line.eval).map((line) => line.loss);
  log('one').forEach(({ loss }, i) => assert.ok(Math.abs(loss - losses[i]) < 0.01, `${loss} and ${losses[i]}`));
  refused(train('mixed1', '--steps', '12', '--resume'), 1, /"precision bf16" where this one has "precision f32"/);
});

// Starts a training and ends it with a signal once `enough` says so.
function interrupt(args, signal, enough, every = 2) {
  return new Promise((resolve) => {
    const child = spawn(bin, args, { cwd: folder });
    let err = '';
    child.stderr.setEncoding('utf8').on('data', (text) => (err += text));
    const timer = setInterval(() => {
      if (!enough()) return;
      clearInterval(timer); // a second Ctrl-C would end it at once
      child.kill(signal);
    }, every);
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
  const logged = () => existsSync(path('stopped', 'metrics.jsonl')) && statSync(path('stopped', 'metrics.jsonl')).size > 0;
  const { code, signal, err } = await interrupt(args, 'SIGINT', logged);
  assert.deepEqual([code, signal], [1, null]);
  const step = Number(err.match(/^fillmask train: Stopped after step (\d+) of 160 and saved; .*--resume goes on\.\n$/)?.[1]);
  assert.ok(step >= 1 && step < 160, err);
  assert.ok(!read('stopped', 'model.safetensors').equals(read('straight', 'model.safetensors')));
  refused(args, 1, /stopped already holds a training; go on with --resume/);
  const result = json([...args, '--resume']);
  assert.deepEqual([result.resumed_from, result.steps], [step, 160]);
  sameFiles('stopped', 'straight', 'model.safetensors', 'checkpoint-160.safetensors', 'config.json');
  assert.deepEqual(log('stopped').at(-1), log('straight').at(-1));
  assert.deepEqual(log('stopped').map((line) => line.step), log('straight').map((line) => line.step));
  const seconds = log('stopped').filter((line) => !line.eval).map((line) => line.seconds);
  assert.deepEqual(seconds, [...seconds].sort((a, b) => a - b));
  // All steps are made: resuming once more only measures.
  assert.equal(json([...args, '--resume']).resumed_from, 160);
  sameFiles('stopped', 'straight', 'model.safetensors');
});

test('two trainings do not share a folder', async () => {
  let second;
  const args = ['train', '-m', 'whole', '--data', 'data.jsonl', '--length', '16', '--steps', '4000', '--threads', '1', '-q', '-o', 'shared'];
  const { code } = await interrupt(args, 'SIGINT', () => {
    if (!existsSync(path('shared', 'metrics.jsonl')) || !read('shared', 'metrics.jsonl').length) return false;
    second = run([...args, '--resume']);
    return true;
  });
  assert.equal(code, 1);
  assert.equal(second.code, 1);
  assert.match(second.err, /Another training is under way in shared; wait for its end/);
  assert.ok(!existsSync(path('shared', '.training')));
});

test('a killed training goes on from its last checkpoint, and its log has every step once', async () => {
  const args = train('killed', ...long, '--save-every', '10');
  const saved = () => existsSync(path('killed', 'model.safetensors')) && log('killed').length > 5;
  const { signal } = await interrupt(args, 'SIGKILL', saved);
  assert.equal(signal, 'SIGKILL');
  write('killed/metrics.jsonl', Buffer.concat([read('killed', 'metrics.jsonl'), Buffer.from('{"step": 159, "lo')]));
  const result = json([...args, '--resume']);
  assert.ok(result.resumed_from > 0 && result.resumed_from % 10 === 0 && result.resumed_from < 160);
  sameFiles('killed', 'straight', 'model.safetensors', 'checkpoint-160.safetensors');
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

test('Ctrl-C during an evaluation along the way: it is made again', async () => {
  const args = ['train', '-m', 'whole', '--data', 'data.jsonl', '--eval-data', 'long.jsonl', '--eval-limit', '0', '--length',
    '16', '--steps', '4', '--eval-every', '2', '--threads', '1', '-q'];
  works([...args, '-o', 'waited']);
  const lines = () => (existsSync(path('cut', 'metrics.jsonl')) ? read('cut', 'metrics.jsonl').toString().split('\n').length : 0);
  const { err } = await interrupt([...args, '-o', 'cut'], 'SIGINT', () => lines() > 3); // evaluation, two steps
  assert.match(err, /Stopped after step 2 of 4 and saved/);
  assert.deepEqual(log('cut').filter((line) => line.eval).map((line) => line.step), [0]);
  works([...args, '-o', 'cut', '--resume']);
  const figures = (output) => log(output).map(({ seconds, ...line }) => line);
  assert.deepEqual(figures('cut'), figures('waited'));
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

test('damaged checkpoints are refused, and the one before is used', () => {
  works(train('unbroken', '--steps', '9', '--save-every', '3'));
  works(train('broken', '--steps', '9', '--save-every', '3', '--keep-checkpoints', '0'));
  const files = [3, 6, 9].map((step) => `checkpoint-${step}.safetensors`);
  assert.deepEqual(readdirSync(path('broken')).filter((name) => /^checkpoint/.test(name)).sort(), files);
  assert.deepEqual(readdirSync(path('unbroken')).filter((name) => /^checkpoint/.test(name)).sort(), files.slice(1));
  const [, middle, good] = files.map((name) => read('broken', name));
  const header = Number(good.readBigUInt64LE(0));
  const bad = (change, pattern, step = 6) => {
    const copy = Buffer.from(good);
    write('broken/checkpoint-9.safetensors', change(copy) ?? copy);
    const { code, err, out } = run(train('broken', '--steps', '9', '--save-every', '3', '--keep-checkpoints', '0', '--resume', '--json'));
    assert.equal(code, 0, err);
    assert.match(err, pattern);
    assert.match(err, new RegExp(`Going on from the checkpoint before it, of step ${step}\\.\n$`));
    assert.equal(JSON.parse(out).resumed_from, step);
    assert.ok(read('broken', 'checkpoint-9.safetensors').equals(good));
    sameFiles('broken', 'unbroken', 'model.safetensors');
  };
  bad((b) => b.subarray(0, b.length - 1), /checkpoint-9\.safetensors/);
  bad((b) => b.subarray(0, 5), /checkpoint-9\.safetensors/);
  bad(() => Buffer.alloc(0), /checkpoint-9\.safetensors/);
  bad(() => read('broken', 'model.safetensors'), /is not a checkpoint of a training/);
  bad((b) => void (b[8 + header + 41] ^= 1), /checkpoint-9\.safetensors is damaged: its content has the hash [0-9a-f]{16} where it should have/);
  bad((b) => void (b[b.length - 1] ^= 64), /is damaged: its content has the hash/);
  bad((b) => Buffer.from(b.toString('latin1').replace('"step":"9"', '"step":"8"'), 'latin1'), /is damaged/);
  write('broken/checkpoint-6.safetensors', middle.subarray(0, 1000));
  bad((b) => b.subarray(0, 999), /checkpoint-6\.safetensors/, 3);
  for (const name of files) write(`broken/${name}`, 'nothing');
  refused(train('broken', '--steps', '9', '--resume'), 1, /broken has no checkpoint that is whole.* checkpoint-|broken has no checkpoint that is whole/);
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

test('a full disk stops the training and leaves the earlier checkpoint as it was', () => {
  works(train('roomy', '--steps', '9', '--save-every', '3'));
  const args = train('full', '--steps', '9', '--save-every', '3');
  works([...args, '--steps', '9']);
  const names = ['checkpoint-6.safetensors', 'checkpoint-9.safetensors', 'model.safetensors', 'vocab.txt', 'train.tokens'];
  const before = names.map((name) => read('full', name));
  const { code, err } = limited(40, [...args, '--resume']);
  assert.equal(code, 1);
  assert.match(err, /^fillmask train: [^\n]*full\/checkpoint-9\.safetensors could not be written: [^\n]+\n$/);
  names.forEach((name, i) => assert.ok(read('full', name).equals(before[i]), name));
  assert.deepEqual(partial('full'), []);
  // Along the way: the run ends at once, and goes on where it was when there is room again.
  const narrow = train('narrow', '--steps', '9', '--save-every', '3');
  const result = limited(60, narrow);
  assert.equal(result.code, 1);
  assert.equal(result.out, '');
  assert.match(result.err, /^fillmask train: [^\n]*narrow\/checkpoint-3\.safetensors could not be written: [^\n]+\n$/);
  assert.deepEqual(log('narrow').map((line) => line.step), [1, 2, 3]);
  works([...narrow, '--resume']);
  sameFiles('narrow', 'roomy', 'model.safetensors', 'checkpoint-9.safetensors');
});

test('a small disk that fills up', (t) => {
  mkdirSync(path('disk'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=400k', 'tmpfs', path('disk')]);
  if (mounted.status !== 0) return t.skip('mount is not allowed');
  try {
    works(train('disk/run', '--steps', '6'));
    const before = read('disk', 'run', 'checkpoint-6.safetensors');
    const free = spawnSync('sh', ['-c', 'head -c 390k /dev/zero > filler'], { cwd: path('disk') });
    assert.notEqual(free.status, 0);
    const { code, err } = run(train('disk/run', '--steps', '6', '--resume'));
    assert.equal(code, 1);
    assert.match(err, /^fillmask train: [^\n]*disk\/run\/[a-z0-9.-]+ could not be written: [^\n]*space[^\n]*\.\n$/);
    assert.ok(read('disk', 'run', 'checkpoint-6.safetensors').equals(before));
    assert.deepEqual(partial('disk/run'), []);
    rmSync(path('disk', 'filler'));
    works(train('disk/run', '--steps', '6', '--resume'));
  } finally {
    spawnSync('umount', [path('disk')]);
  }
});

// ---- killed at any moment ----

// Kills a training again and again, each time at the moment that `when` picks, until one run comes to its end.
async function killOften(output, args, when) {
  let kills = 0, saving = 0;
  for (;;) {
    const folderOf = path(output), end = when(kills);
    const { code, signal, err } = await interrupt([...args, '--resume'], 'SIGKILL', () => {
      if (typeof end !== 'string') return performance.now() >= end;
      return existsSync(folderOf) && readdirSync(folderOf).some((name) => name.includes(end));
    }, 1);
    if (signal !== 'SIGKILL') {
      assert.equal(code, 0, err);
      return { kills, saving };
    }
    kills++;
    saving += partial(output).length > 0;
    assert.ok(kills < 500);
  }
}

test('killed at many moments, also while it saves: the same weights and figures', async () => {
  const options = ['--steps', '40', '--learning-rate', '1e-3', '--eval-chunks', '20', '--eval-every', '7', '--save-every', '3'];
  for (const more of [[], ['--keep-best', '--patience', '3', '--precision', 'bf16', '--schedule', 'cosine', '--learning-rate', '3e-2']]) {
    const args = (output) => train(output, ...options, ...more);
    const begun = performance.now();
    works(args('calm'));
    let whole = performance.now() - begun, state = 42;
    const random = () => (state = (state * 1103515245 + 12345) % 2147483648) / 2147483648;
    const names = ['.safetensors.partial', 'checkpoint-', 'model.safetensors.partial'];
    const hunts = { hunted: (kills) => performance.now() + whole * (0.04 + 0.01 * kills) * random(),
      caught: (kills) => (kills < 12 ? names[kills % 3] : Infinity) };
    for (const [output, when] of Object.entries(hunts)) {
      // How fast a machine is changes by the minute: a training that escapes is hunted again, and more closely.
      for (let tries = 0; ; tries++) {
        const { kills, saving } = await killOften(output, args(output), when);
        if (kills > 5 && (saving > 0 || output !== 'caught')) break;
        assert.ok(tries < 5, `${kills} kills, ${saving} while saving`);
        whole /= 2;
        rmSync(path(output), { recursive: true });
      }
    }
    for (const output of ['hunted', 'caught']) {
      sameFiles(output, 'calm', 'model.safetensors', 'config.json', 'vocab.txt');
      const last = Math.max(...log('calm').map((line) => line.step));
      sameFiles(output, 'calm', `checkpoint-${last}.safetensors`);
      const figures = (lines) => lines.map(({ seconds, ...line }) => line);
      assert.deepEqual(figures(log(output)), figures(log('calm')));
      assert.deepEqual(partial(output), []);
    }
    for (const output of ['calm', 'hunted', 'caught']) rmSync(path(output), { recursive: true });
  }
});

// test_cli.mjs - the command line as its users meet it: help, exit codes, what stderr says, stdin, JSON. The results
// of tokenising and training are tested elsewhere; the vocabularies and texts here are small and our own.
// Run all of them with `node --test tests/cli/test_*.mjs`.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { bin, folder, refused, run } from './helper.mjs';

const tokens = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'the', 'movie', '##s', 'were', 'na', '##ive', '.', '-'];
writeFileSync(join(folder, 'vocab.txt'), tokens.join('\n') + '\n');

const commands = run(['--help']).out.match(/^ {2}[a-z-]+(?= {2,}[a-z])/gm).map((line) => line.trim());

test('help of the program and of every command', () => {
  assert.ok(commands.includes('tokenize') && commands.includes('train-vocab'));
  for (const args of [['--help'], ['-h'], ['help'], ...commands.flatMap((c) => [[c, '--help'], [c, '-h'], ['help', c]])]) {
    const { code, out, err } = run(args);
    assert.equal(code, 0, args.join(' '));
    assert.equal(err, '');
    assert.match(out, /^Usage: fillmask /);
    for (const line of out.split('\n')) assert.ok(line.length <= 80, `"${line}" has ${line.length} columns`);
  }
  for (const command of commands) assert.match(run([command, '--help']).out, /\.\n\nOptions:\n[^]*\nExamples:\n {2}/);
});

test('version and overview', () => {
  assert.match(run(['--version']).out, /^fillmask \d+\.\d+\.\d+\n$/);
  const { code, out, err } = run([]);
  assert.equal(code, 2);
  assert.equal(out, '');
  assert.match(err, /^Usage: fillmask COMMAND/);
});

test('usage errors name the option, the value and what is allowed', () => {
  refused(['tokenise'], 2, /"tokenise" is no command; did you mean tokenize\?/, /See fillmask --help\.$/m);
  refused(['two\nlines\u001b[31m'], 2, /"two lines \[31m" is no command/);
  refused(['zzzzzz'], 2, /"zzzzzz" is no command\./);
  refused(['--frobnicate'], 2, /--frobnicate/);
  refused(['help', 'tokenizer'], 2, /did you mean tokenize/);
  refused(['tokenize', '--jsn', 'a'], 2, /--jsn is no option; did you mean --json\?/, /fillmask tokenize --help/);
  refused(['tokenize', '-x', 'a'], 2, /-x is no option/, /--/);
  refused(['tokenize'], 2, /argument is missing/, /TEXT/);
  refused(['tokenize', 'a', '--vocab'], 2, /--vocab needs a value: --vocab FILE/);
  refused(['tokenize', '--json=yes', 'a'], 2, /--json takes no value, but "yes"/);
  refused(['tokenize', '--vocab', 'v', '-m', 'm', 'a'], 2, /--vocab and --model/);
  refused(['train-vocab', '-o', 'x'], 2, /--data is missing/);
  refused(['train-vocab', '--data', 'x'], 2, /-o is missing/);
  for (const size of ['20k', '', '5', '1e9', '0x40', ' 7', '99999999999999999999', 'nan'])
    refused(['train-vocab', '--size', size], 2, /--size is ".*"; it must be a whole number from 6 to 10000000\./);
  refused(['train-vocab', '--data', '-', 'x', '-', '-o', 'x'], 2, /named 2 times; it can be read only once/);
  refused(['train', '--data', '-', '--eval-data', '-', '-m', 'x', '-o', 'x'], 2, /can be read only once/);
  for (const command of ['fill', 'tokenize']) refused([command, '-', '-'], 2, /can be read only once/);
  // Every command takes these two, and stumbles over the third.
  for (const command of commands)
    refused([command, '--json', '--threads', '1', '--no-such-option'], 2, /: --no-such-option is no option/);
  refused(['train-vocab', '--format', 'xml'], 2, /--format is "xml"; it must be auto, jsonl, csv or txt\./);
  refused(['train-vocab', '--part=half'], 2, /--part is "half"; it must be all, train or held-out\./);
});

test('tokenize: a table', () => {
  const { code, out } = run(['tokenize', '--vocab', 'vocab.txt', 'The movies', 'were']);
  assert.equal(code, 0);
  assert.deepEqual(
    out.split('\n').filter((line) => /^ *\d+ {2}/.test(line)).map((line) => line.trim().split(/ {2,}/)),
    [['2', '[CLS]'], ['5', 'the', '0-3', '"The"'], ['6', 'movie', '4-9', '"movie"'], ['7', '##s', '9-10', '"s"'],
      ['3', '[SEP]'], ['2', '[CLS]'], ['8', 'were', '0-4', '"were"'], ['3', '[SEP]']]);
});

test('tokenize: JSON', () => {
  const one = run(['tokenize', '--vocab=vocab.txt', '--json', 'The na\u00efve [MASK].']);
  assert.deepEqual(JSON.parse(one.out), {
    ids: [2, 5, 9, 10, 4, 11, 3],
    tokens: ['[CLS]', 'the', 'na', '##ive', '[MASK]', '.', '[SEP]'],
    offsets: [[0, 0], [0, 3], [4, 6], [6, 10], [11, 17], [17, 18], [0, 0]],
  });
  const several = JSON.parse(run(['tokenize', '--vocab', 'vocab.txt', '--json', '--no-special', 'the', 'q', '']).out);
  assert.deepEqual(several.map((text) => text.ids), [[5], [1], []]);
});

test('tokenize: stdin is one text, and -- ends the options', () => {
  const piped = run(['tokenize', '--vocab', 'vocab.txt', '--json', '-'], { input: 'the\nmovie\n' });
  assert.deepEqual(JSON.parse(piped.out).ids, [2, 5, 6, 3]);
  assert.deepEqual(JSON.parse(run(['tokenize', '--vocab', 'vocab.txt', '--json', '-']).out).ids, [2, 3]);
  const dashes = run(['tokenize', '--json', '--vocab', 'vocab.txt', '--no-special', '--', '--the']);
  assert.deepEqual(JSON.parse(dashes.out).ids, [12, 12, 5]);
});

test('tokenize: files that are not there, and no model', () => {
  refused(['tokenize', '--vocab', 'missing.txt', 'a'], 1, /^fillmask tokenize: .*missing\.txt/);
  refused(['tokenize', '-m', '.', '--vocab=', 'a'], 2);
  const { code, out } = run(['tokenize', '--json', 'the'], { env: { FILLMASK_MODEL: folder } });
  assert.equal(code, 0);
  assert.deepEqual(JSON.parse(out).ids, [2, 5, 3]);
});

test('tokenize: several texts give the same on any number of threads', () => {
  const texts = Array.from({ length: 40 }, (_, i) => 'the movies were [MASK] '.repeat(i));
  const [one, four] = [1, 4].map((threads) => run(['tokenize', '--vocab', 'vocab.txt', '--json', '--threads', `${threads}`, '--', ...texts]).out);
  assert.equal(one, four);
  assert.deepEqual(JSON.parse(one).map((text) => text.ids.length), texts.map((_, i) => 2 + 5 * i));
});

test('tokenize: compressed standard input is refused', () => {
  refused(['tokenize', '--vocab', 'vocab.txt', '-'], 1, { input: Buffer.from([0x1f, 0x8b, 8, 0, 0]) }, /stdin is gzip data/);
});

test('colours are for terminals', () => {
  assert.ok(!run(['tokenize', '--vocab', 'missing.txt', 'a']).err.includes('\u001b'));
});

const reviews = Array.from({ length: 400 }, (_, i) => ({
  id: i,
  text: `The movie was ${['good', 'bad', 'boring', 'great'][i % 4]}, and its ending was ${['long', 'longer'][i % 2]}.`,
}));

function learn(args, options) {
  return run(['train-vocab', '-o', 'learnt', '--size', '120', ...args], options);
}

test('train-vocab: files of every format give the same vocabulary', () => {
  writeFileSync(join(folder, 'a.jsonl'), reviews.map((review) => JSON.stringify(review)).join('\n'));
  writeFileSync(join(folder, 'a.csv'), 'body,id\r\n' + reviews.map(({ id, text }) => `"${text}",${id}\r\n`).join(''));
  writeFileSync(join(folder, 'a.txt'), reviews.map(({ text }) => text + '\n').join(''));
  const texts = readFileSync(join(folder, 'a.txt'));
  const vocabularies = [
    learn(['--data', 'a.jsonl']),
    learn(['--data=a.csv', '--field', 'body', '--threads', '2']),
    learn(['--data', 'a.txt', '-q']),
    learn(['--data', '-'], { input: texts }),
    learn(['--data', '-'], { input: readFileSync(join(folder, 'a.jsonl')) }),
  ].map(({ code, out, err }) => {
    assert.equal(code, 0, err);
    assert.match(out, /^learnt: a vocabulary of \d+ entries from 400 documents/);
    return readFileSync(join(folder, 'learnt', 'vocab.txt'), 'utf8');
  });
  for (const vocabulary of vocabularies) assert.equal(vocabulary, vocabularies[0]);
  const lines = vocabularies[0].trimEnd().split('\n');
  assert.deepEqual(lines.slice(0, 5), tokens.slice(0, 5));
  assert.ok(lines.length <= 120 && lines.includes('movie'));
  assert.deepEqual(readdirSync(join(folder, 'learnt')).sort(), ['tokenizer.json', 'tokenizer_config.json', 'vocab.txt']);
  const { out } = run(['tokenize', '--vocab', 'learnt', '--json', '--no-special', 'The MOVIE']);
  assert.deepEqual(JSON.parse(out).tokens, ['the', 'movie']);
});

test('train-vocab: JSON', () => {
  const { code, out } = run(['train-vocab', '--data', 'a.jsonl', '-o', 'learnt', '--size', '120', '--json']);
  assert.equal(code, 0);
  const { seconds, ...rest } = JSON.parse(out);
  const lines = readFileSync(join(folder, 'learnt', 'vocab.txt'), 'utf8').trimEnd().split('\n');
  assert.ok(seconds >= 0);
  assert.deepEqual(rest, {
    output: 'learnt', entries: lines.length, documents: 400, bytes: readFileSync(join(folder, 'a.jsonl')).length,
  });
});

test('train-vocab: several files, and parts', () => {
  assert.match(learn(['--data', 'a.jsonl', 'a.txt', '--data', 'a.jsonl']).out, / 1200 documents/);
  const more = Array.from({ length: 1000 }, (_, i) => JSON.stringify({ id: i, text: 'a movie' })).join('\n');
  writeFileSync(join(folder, 'more.jsonl'), more);
  const counts = ['train', 'held-out', 'all'].map((part) =>
    Number(learn(['--data', 'more.jsonl', '--part', part]).out.match(/(\d+) documents/)[1]));
  assert.deepEqual(counts, [992, 8, 1000]);
});

test('train-vocab: bad data is named by file, line and field', () => {
  writeFileSync(join(folder, 'bad.jsonl'), '{"text": "fine"}\n{"text": "cut off\n');
  writeFileSync(join(folder, 'number.jsonl'), '{"text": "fine"}\n{"text": 5}\n');
  writeFileSync(join(folder, 'bad.csv'), 'id,text\n1,"never closed\n');
  writeFileSync(join(folder, 'packed.jsonl.gz'), Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]));
  writeFileSync(join(folder, 'empty.txt'), '\n');
  const bad = (name, ...patterns) => refused(['train-vocab', '--data', name, '-o', 'nothing'], 1, ...patterns);
  bad('missing.jsonl', /missing\.jsonl could not be opened/);
  bad('bad.jsonl', /Line 2 of bad\.jsonl is not valid JSON/);
  bad('number.jsonl', /The field "text" on line 2 of number\.jsonl is a number; it must be a string/);
  bad('a.csv', /a\.csv has no column "text"/, /"body", "id"/);
  bad('bad.csv', /line 2 of bad\.csv has a quote that is never closed/);
  bad('packed.jsonl.gz', /gzip data/, /decompress/);
  bad('empty.txt', /holds no document/);
  bad('.', /is a folder/);
  assert.deepEqual(readdirSync(join(folder, 'nothing')), []);
});

test('train-vocab: Ctrl-C stops it and leaves nothing behind', async () => {
  const child = spawn(bin, ['train-vocab', '--data', '-', '--format', 'txt', '-o', 'stopped'], { cwd: folder });
  let err = '';
  child.stderr.setEncoding('utf8').on('data', (text) => (err += text));
  child.stdin.on('error', () => {});
  const ended = new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal })));
  const block = 'The movie was good, and long.\n'.repeat(20000);
  child.stdin.write(block, () => child.kill('SIGINT')); // most of it has been read by then
  const feed = setInterval(() => child.stdin.write(block), 20);
  const result = await ended;
  clearInterval(feed);
  assert.deepEqual(result, { code: 1, signal: null });
  assert.match(err, /Stopped; nothing was written\.\n$/);
  assert.deepEqual(readdirSync(join(folder, 'stopped')), []);
});

test('a full disk is a failure', { skip: !existsSync('/dev/full') && 'there is no /dev/full' }, () => {
  const result = spawnSync('sh', ['-c', '"$0" tokenize --vocab vocab.txt the > /dev/full', bin], { cwd: folder, encoding: 'utf8' });
  assert.equal(result.status, 1);
  assert.match(result.stderr, /could not be written/);
});

// A model of zeros: one layer, 4 wide, as transformers lays it out.
function writeModel(name) {
  const [vocab, dim, inner, positions] = [tokens.length, 4, 8, 16];
  const config = {
    model_type: 'distilbert', architectures: ['DistilBertForMaskedLM'], vocab_size: vocab, dim, n_layers: 1, n_heads: 2,
    hidden_dim: inner, max_position_embeddings: positions, activation: 'gelu', dropout: 0.1, attention_dropout: 0.1,
    initializer_range: 0.02, sinusoidal_pos_embds: false, tie_weights_: true, pad_token_id: 0,
  };
  const layer = 'distilbert.transformer.layer.0.';
  const linear = (prefix, out, inputs) => [[`${prefix}.weight`, [out, inputs]], [`${prefix}.bias`, [out]]];
  const norm = (prefix) => [[`${prefix}.weight`, [dim]], [`${prefix}.bias`, [dim]]];
  const tensors = [
    ['distilbert.embeddings.word_embeddings.weight', [vocab, dim]],
    ['distilbert.embeddings.position_embeddings.weight', [positions, dim]],
    ...norm('distilbert.embeddings.LayerNorm'),
    ...['q_lin', 'k_lin', 'v_lin', 'out_lin'].flatMap((part) => linear(`${layer}attention.${part}`, dim, dim)),
    ...norm(`${layer}sa_layer_norm`),
    ...linear(`${layer}ffn.lin1`, inner, dim),
    ...linear(`${layer}ffn.lin2`, dim, inner),
    ...norm(`${layer}output_layer_norm`),
    ...linear('vocab_transform', dim, dim),
    ...norm('vocab_layer_norm'),
    ['vocab_projector.bias', [vocab]],
  ];
  const header = {};
  let at = 0;
  for (const [tensor, shape] of tensors) {
    const size = 4 * shape.reduce((a, b) => a * b);
    header[tensor] = { dtype: 'F32', shape, data_offsets: [at, at + size] };
    at += size;
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  mkdirSync(join(folder, name));
  writeFileSync(join(folder, name, 'config.json'), JSON.stringify(config));
  writeFileSync(join(folder, name, 'vocab.txt'), tokens.join('\n') + '\n');
  writeFileSync(join(folder, name, 'model.safetensors'), Buffer.concat([length, text, Buffer.alloc(at)]));
  return { parameters: at / 4, bytes: 8 + text.length + at };
}

test('info', () => {
  const expected = writeModel('model');
  const { code, out, err } = run(['info', 'model', '--json']);
  assert.equal(code, 0, err);
  assert.deepEqual(JSON.parse(out), {
    model: 'model', ...expected, dtype: 'f32', layers: 1, hidden: 4, heads: 2, feed_forward: 8, positions: 16,
    vocab_size: tokens.length, dropout: 0.1, attention_dropout: 0.1, tokenizer_size: tokens.length, lowercase: true,
  });
  assert.equal(run(['info', '-m', 'model']).out, run(['info'], { env: { FILLMASK_MODEL: 'model' } }).out);
  assert.match(run(['info', 'model']).out, new RegExp(`^parameters +${expected.parameters} `, 'm'));
  refused(['info', 'missing'], 1, /missing\/config\.json/);
  refused(['info', 'model', 'model'], 2, /one argument too many/);
  rmSync(join(folder, 'model', 'model.safetensors'));
  refused(['info', 'model'], 1, /model\.safetensors/);
});

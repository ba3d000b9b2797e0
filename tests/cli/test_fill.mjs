// test_fill.mjs - `fillmask fill`, `eval` and `bench` on a small model that is trained here.
import assert from 'node:assert/strict';
import { gzipSync } from 'node:zlib';
import { before, test } from 'node:test';
import { json, jsonl, readJson, refused, run, texts, trainModel, works, write, writeData } from './helper.mjs';

before(() => {
  writeData();
  trainModel();
});

const fill = (...args) => json(['fill', '-m', 'model', ...args]);
const text = 'The MOVIE  [MASK] good,\tand its plot was bad.';

test('fill: one mask gives a list of fillings, best first', () => {
  const fillings = fill(text);
  const vocabulary = readJson('model', 'tokenizer.json').model.vocab;
  assert.equal(fillings.length, 5);
  for (const [i, { score, token, token_str: word, sequence, start, end }] of fillings.entries()) {
    assert.ok(score > 0 && score < 1 && (i === 0 || score <= fillings[i - 1].score));
    assert.equal(token, vocabulary[word]);
    assert.equal(text.slice(start, end), '[MASK]');
    // Case and spacing stay as they are.
    if (!word.startsWith('##')) assert.equal(sequence, `The MOVIE  ${word} good,\tand its plot was bad.`);
  }
  assert.equal(fillings[0].token_str, 'was');
  assert.ok(fillings.reduce((sum, { score }) => sum + score, 0) <= 1.000001);
});

test('fill: all fillings are the whole vocabulary, and their probabilities sum to 1', () => {
  const size = json(['info', 'model']).vocab_size;
  const fillings = fill('--special', '--pieces', '-k', '1000000', text);
  assert.equal(fillings.length, size);
  assert.equal(new Set(fillings.map(({ token }) => token)).size, size);
  assert.ok(Math.abs(fillings.reduce((sum, { score }) => sum + score, 0) - 1) < 1e-5);
  assert.deepEqual(fill('-k3', '--special', '--pieces', text), fillings.slice(0, 3));
  const words = fill('-k', '1000000', text);
  assert.deepEqual(words, fillings.filter(({ token_str: word }) => !/^(##.+|\[[A-Z]+\])$/.test(word)));
  const piece = fillings.find(({ token_str: word }) => word.startsWith('##'));
  assert.equal(piece.sequence, `The MOVIE${piece.token_str.slice(2)} good,\tand its plot was bad.`);
});

test('fill: offsets count bytes of the text', () => {
  const [{ start, end, sequence }] = fill('-k', '1', 'Caf\u00e9 \u{1F3AC}: the movie [MASK] good.');
  assert.deepEqual([start, end], [22, 28]);
  assert.match(sequence, /^Caf\u00e9 \u{1F3AC}: the movie \w+ good\.$/u);
});

test('fill: several masks, several texts', () => {
  const masks = fill('-k', '2', 'The [MASK] was [MASK], and its plot was bad.');
  assert.deepEqual(masks.map((list) => [list.length, list[0].start]), [[2, 4], [2, 15]]);
  assert.match(masks[1][0].sequence, /^The \[MASK\] was \w+, and/);
  const several = fill('-k', '1', text, 'We saw it in the [MASK] 1960.');
  assert.deepEqual(several, [fill('-k', '1', text), fill('-k', '1', 'We saw it in the [MASK] 1960.')]);
});

test('fill: a text longer than the model', () => {
  const words = 'good '.repeat(100);
  const [first, second] = fill('-k', '1', `The movie [MASK] ${words}The plot [MASK] bad.`);
  assert.deepEqual([first[0].start, second[0].start], [10, 526]);
  assert.match(second[0].sequence, /^The movie \[MASK\] good .* The plot \S+ bad\.$/);
});

test('fill: stdin is a text a line', () => {
  const other = 'We [MASK] it in the year 1960.';
  const answer = json(['fill', '-m', 'model', '-'], { input: `${text}\r\n\n${other}` });
  assert.deepEqual(answer, [fill(text), fill(other)]);
  assert.deepEqual(json(['fill', '-m', 'model', '-'], { input: `${other}\n` }), [fill(other)]);
  assert.deepEqual(json(['fill', '-m', 'model', '-'], { input: '' }), []);
});

test('fill: rows that cannot be filled keep their places', () => {
  const rows = [{ body: text }, { body: 'no mask here' }, { text }, { body: 5 }, { body: text }];
  write('rows.jsonl', rows.map((row) => JSON.stringify(row) + '\n').join('') + '{"body": "[MASK]"');
  const { code, out, err } = run(['fill', '-m', 'model', '--json', '--field', 'body', '--data', 'rows.jsonl']);
  const got = JSON.parse(out), expected = fill(text);
  assert.deepEqual([code, got.length, got[0], got[4]], [0, 6, expected, expected]);
  assert.deepEqual([1, 2, 3, 5].map((i) => Object.keys(got[i])), Array(4).fill(['reason']));
  assert.match(err, /The row on line 2 of rows\.jsonl is not filled\. The text has no \[MASK\]/);
  assert.match(err, /line 3 of rows\.jsonl is not filled\. It has no field "body"/);
  assert.match(err, /line 6 of rows\.jsonl is not filled\. It is not valid JSON/);
  assert.match(err, /4 of 6 rows could not be filled\.\n$/);
  const lines = run(['fill', '-m', 'model', '-q', '-k', '1', '-'], { input: `${text}\n\nno mask here\n${text}\n` });
  assert.deepEqual([lines.err, lines.out.split('\n\n').map((one) => one.split('\n')[0])], ['', [text, 'no mask here', text]]);
  const none = run(['fill', '-m', 'model', '--json', '-'], { input: 'none\nnone' });
  assert.deepEqual([none.code, JSON.parse(none.out).length], [1, 2]);
  assert.match(none.err, /None of the 2 rows could be filled\.\n$/);
});

test('fill: a picture for people', () => {
  const lines = works(['fill', '-m', 'model', '-k', '2', text]).split('\n');
  assert.equal(lines[0], text);
  assert.match(lines[1], /^ {2}was +\d+\.\d % {2}\u2588+/);
  assert.equal(lines.length, 4);
});

test('fill: the same on any number of threads', () => {
  const [one, three] = ['1', '3'].map((threads) => works(['fill', '-m', 'model', '--json', '--threads', threads, text]));
  assert.equal(one, three);
});

test('fill: what cannot be filled', () => {
  const refuse = (args, ...patterns) => refused(['fill', '-m', 'model', ...args], 1, ...patterns);
  refuse(['The movie was good.'], /has no \[MASK\]/);
  refuse([''], /has no \[MASK\]/);
  refuse([text, 'no mask here'], /Text 2: .*has no \[MASK\]/);
  refuse(['-'], { input: gzipSync(text) }, /stdin is gzip data/, /gzip -dc/);
  refuse(['--match', 'xyz', text], /No token of the vocabulary is allowed/);
  refuse(['--match', '(', text], /--match "\(" is no extended regular expression/);
  refuse(['--target', ' ', text], /target " " has no token/);
  refuse(['--target-file', 'missing.txt', text], /missing\.txt/);
  write('empty.txt', '\n\n');
  refuse(['--target-file', 'empty.txt', text], /empty\.txt has no words/);
  refuse(['--isa', 'mmx', text], /mmx/);
  refused(['fill', '-m', 'model'], 2, /nothing to fill/);
  refused(['fill', '-m', 'model', '--data', '-', '-'], 2, /read only once/);
  refused(['fill', '-m', 'model', '-k', '0', text], 2, /--top-k is "0"/);
  refused(['fill', '-m', 'model', '--joint', '--sample', text], 2, /exclude each other/);
  refused(['fill', '-m', 'model', '--pieces', '-t', 'good', text], 2, /targets exclude them/);
});

test('eval: the figures, and where they come from', () => {
  const args = ['eval', '-m', 'model', '--data', 'held.jsonl', '--length', '16'];
  const result = json([...args, '-q']);
  assert.deepEqual(Object.keys(result), ['loss', 'perplexity', 'accuracy', 'top5_accuracy', 'mask_accuracy',
    'nats_per_character', 'masked_tokens', 'chunks']);
  assert.ok(Math.abs(Math.log(result.perplexity) - result.loss) < 1e-4);
  assert.ok(result.accuracy > 0.3 && result.accuracy <= result.top5_accuracy && result.top5_accuracy <= 1);
  assert.ok(result.loss > 0 && result.loss < 4);
  const tokens = json(['tokenize', '-m', 'model', '--', ...texts.filter((_, i) => i % 9 === 0).map((t) => t.replace('The', 'This'))]);
  const count = tokens.reduce((sum, { ids }) => sum + ids.length, 0);
  assert.equal(result.chunks, Math.floor(count / 16));
  assert.ok(result.masked_tokens > 0.1 * count && result.masked_tokens < 0.2 * count);
  // The masks are fixed: again, and on other threads, nothing changes; another seed draws others.
  assert.deepEqual(json([...args, '--threads', '1']), result);
  assert.deepEqual(json(['eval', '-m', 'model', '--length', '16', '--data', '-'], { input: jsonl(texts) }),
    json(['eval', '-m', 'model', '--length', '16', '--data', 'data.jsonl']));
  assert.notEqual(json([...args, '--seed', '7']).loss, result.loss);
  // In mixed precision the loss is nearly the same, and yet another.
  const mixed = json([...args, '--dtype', 'fp32', '--precision', 'bf16']);
  const full = json([...args, '--dtype', 'fp32']);
  assert.ok(mixed.loss !== full.loss && Math.abs(mixed.loss - full.loss) < 0.01, `${mixed.loss} and ${full.loss}`);
  assert.equal(json([...args, '--limit', '3']).chunks, 3);
  assert.match(works(args), /^perplexity +\d/m);
});

test('eval: what it cannot measure', () => {
  const refuse = (args, ...patterns) => refused(['eval', '-m', 'model', ...args], 1, ...patterns);
  write('short.txt', 'good movie\n');
  refuse(['--data', 'missing.jsonl'], /missing\.jsonl could not be opened/);
  refuse(['--data', 'short.txt'], /4 tokens in 1 documents, which gives no chunk of 32/);
  refuse(['--data', 'held.jsonl', '--length', '33'], /--length 33 is more than the model's 32 positions/);
  refuse(['--data', '-', '--length', '16'], { input: gzipSync('text') }, /stdin is gzip data/);
  refuse(['--data', 'held.jsonl', '--length', '16', '--field', 'body'], /has no field "body"/);
  refused(['eval', '-m', 'model'], 2, /--data is missing/);
});

test('bench: figures as JSON', () => {
  const args = ['bench', '-m', 'model', '--tokens', '16', '--repeat', '3', '--threads', '1', '--isa', 'scalar'];
  for (const mode of [[], ['--train', '--batch', '2', '--dropout', '0.1'],
    ['--train', '--batch', '4', '--micro', '2', '--precision', 'bf16']]) {
    const result = json([...args, ...mode]);
    assert.equal(result.precision, mode.at(-1) === 'bf16' ? 'bf16' : 'f32');
    assert.equal(result.instruction_set, 'scalar');
    assert.equal(result.threads, 1);
    assert.ok(result.median_ms >= result.best_ms && result.best_ms > 0 && result.peak_gflops > 0);
    assert.ok(result.peak_memory_mb > 1);
  }
  refused([...args, '--train', '--batch', '4', '--micro', '3'], 2, /--batch 4 is not a multiple of --micro 3/);
  assert.match(run([...args, '--peak']).out, /f32 peak \d/);
  assert.match(run([...args, '--peak', '--precision', 'bf16']).out, /bf16 peak \d/);
  refused([...args, '--tokens', '64'], 1, /--tokens 64 is more than the model's 32 positions/);
  refused(['bench', '--hidden', '10', '--heads', '3'], 2, /--hidden 10 is not a multiple of --heads 3/);
});

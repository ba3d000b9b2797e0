// test_quantize.mjs - `fillmask quantize`: what it writes, where it refuses to, and what a model loses by it.
import assert from 'node:assert/strict';
import { copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { before, test } from 'node:test';
import { bin, json, path, read, refused, run, trainModel, works, write, writeData } from './helper.mjs';

before(() => {
  writeData();
  trainModel('trained');
  mkdirSync(path('model'));
  for (const name of ['config.json', 'model.safetensors', 'vocab.txt', 'tokenizer.json', 'tokenizer_config.json'])
    copyFileSync(path('trained', name), path('model', name));
  write('model/README.md', '# A model\n');
});

const quantize = (output, ...more) => json(['quantize', '-m', 'model', '-o', output, '-q', ...more]);
const evaluate = (model, dtype = 'auto') => json(['eval', '-m', model, '--data', 'data.jsonl', '--length', '16', '--dtype', dtype]);

// The header of a safetensors file.
function tensors(...names) {
  const file = read(...names);
  return JSON.parse(file.toString('utf8', 8, 8 + Number(file.readBigUInt64LE(0))));
}

test('int8: a quarter of the bytes of the matrices, and next to nothing lost', () => {
  const result = quantize('int8', '--dtype', 'int8');
  const header = tensors('int8', 'model.safetensors');
  const { __metadata__: notes, ...entries } = header;
  const { parameters, bytes } = json(['info', 'model']);
  assert.deepEqual({ ...result, seconds: 0, relative_error: 0 }, {
    model: 'model', output: 'int8', dtype: 'int8', parameters, tensors: Object.keys(entries).length,
    bytes_before: bytes, bytes_after: statSync(path('int8', 'model.safetensors')).size, relative_error: 0, seconds: 0,
  });
  assert.ok(result.relative_error > 0.001 && result.relative_error < 0.02);
  assert.equal(notes['fillmask.quantization'], 'int8-row-symmetric');
  const matrices = Object.entries(entries).filter(([, { dtype }]) => dtype === 'I8');
  assert.equal(matrices.length, 9);
  for (const [name, { shape }] of matrices) assert.deepEqual(entries[`${name}.scale`].shape, [shape[0]]);
  assert.deepEqual(readdirSync(path('int8')).sort(), readdirSync(path('model')).sort());
  for (const name of ['config.json', 'vocab.txt', 'tokenizer.json', 'README.md'])
    assert.ok(read('int8', name).equals(read('model', name)), name);
  assert.equal(json(['info', 'int8']).dtype, 'int8');
  const [before, after] = [evaluate('model'), evaluate('int8')];
  assert.ok(before.accuracy > 0.5); // there is something to lose
  assert.ok(after.loss - before.loss < 0.02 && before.accuracy - after.accuracy < 0.003);
});

test('models are computed as they are stored, or as --dtype says', () => {
  assert.deepEqual(evaluate('model', 'q8'), evaluate('int8'));
  assert.deepEqual(evaluate('int8', 'q8'), evaluate('int8'));
  assert.deepEqual(evaluate('model', 'fp32'), evaluate('model'));
  assert.notEqual(evaluate('int8', 'fp32').loss, evaluate('int8').loss);
  for (const isa of ['scalar', 'auto']) {
    const { loss } = json(['eval', '-m', 'int8', '--data', 'data.jsonl', '--length', '16', '--isa', isa, '--threads', '3']);
    assert.ok(Math.abs(loss - evaluate('int8').loss) < 1e-3, `${isa}: ${loss}`);
  }
});

test('the other types, under both of their names', () => {
  const sizes = { f16: 2, bf16: 2, f32: 4 };
  for (const [dtype, other] of [['f16', 'fp16'], ['bf16', 'bf16'], ['f32', 'fp32'], ['int8', 'q8']]) {
    const result = quantize(dtype + '-a', '--dtype', dtype);
    assert.equal(quantize(dtype + '-b', '--dtype', other).dtype, dtype);
    assert.ok(read(dtype + '-a', 'model.safetensors').equals(read(dtype + '-b', 'model.safetensors')));
    if (!sizes[dtype]) continue;
    assert.ok(Object.values(tensors(dtype + '-a', 'model.safetensors')).every((entry) => !entry.dtype || entry.dtype === dtype.toUpperCase()));
    assert.ok(Math.abs(result.bytes_after / (result.parameters * sizes[dtype]) - 1) < 0.5);
    assert.equal(json(['info', dtype + '-a']).dtype, dtype);
  }
  assert.equal(quantize('default').dtype, 'int8');
  assert.match(works(['quantize', '-m', 'model', '-o', 'told', '--dtype', 'f16']), /^told: \d+ tensors as f16, .* MB instead of .*, relative error /);
});

test('int8 and back: the values stay where int8 put them', () => {
  assert.equal(json(['quantize', '-m', 'int8', '--dtype', 'f32', '-o', 'back']).relative_error, 0);
  assert.deepEqual(evaluate('back'), evaluate('int8', 'fp32'));
  works(['quantize', '-m', 'back', '-o', 'again']);
  assert.deepEqual(evaluate('again', 'fp32'), evaluate('int8', 'fp32'));
  works(['train', '-m', 'int8', '--data', 'data.jsonl', '--steps', '2', '-q', '-o', 'tuned']);
  assert.equal(json(['info', 'tuned']).dtype, 'f32');
});

test('the same bytes from any number of threads', () => {
  quantize('one', '--threads', '1');
  quantize('three', '--threads', '3');
  assert.ok(read('one', 'model.safetensors').equals(read('three', 'model.safetensors')));
});

test('folders that it does not write to', () => {
  const refuse = (output, ...patterns) => refused(['quantize', '-m', 'model', '-o', output], 1, ...patterns);
  symlinkSync(path('model'), path('link'));
  for (const same of ['model', './model/', 'link']) refuse(same, /is the model itself; name another folder with -o/);
  refuse('int8', /int8 already holds model\.safetensors; name a new folder/);
  mkdirSync(path('mine'));
  write('mine/thesis.txt', 'years of work');
  refuse('mine', /mine already holds thesis\.txt/);
  assert.deepEqual(readdirSync(path('mine')), ['thesis.txt']);
  refuse('data.jsonl', /data\.jsonl could not be made/);
  mkdirSync(path('empty'));
  quantize('empty');
  quantize('deep/er/folder');
  // What a run that was cut off leaves does not stand in the way.
  cpSync(path('int8'), path('half'), { recursive: true });
  rmSync(path('half', 'model.safetensors'));
  write('half/model.safetensors.partial-1-1', 'x');
  quantize('half');
  refused(['quantize', '-m', 'model'], 2, /-o is missing/);
  refused(['quantize', '-m', 'model', '-o', 'x', '--dtype', 'q4'], 2, /--dtype is "q4"; it must be int8, f16, bf16, f32, q8, fp16 or fp32/);
  assert.ok(!existsSync(path('x')));
});

test('a full disk, or a model that cannot be read, leaves nothing behind', () => {
  const limited = run(['-c', 'ulimit -f 20; exec "$0" "$@"', bin, 'quantize', '-m', 'model', '--dtype', 'f32', '-o', 'full'], { program: 'sh' });
  assert.equal(limited.code, 1);
  assert.match(limited.err, /^fillmask quantize: full\/model\.safetensors could not be written: [^\n]+\n$/);
  assert.ok(!existsSync(path('full')));
  refused(['quantize', '-m', 'missing', '-o', 'none'], 1, /missing\/config\.json/);
  assert.ok(!existsSync(path('none')));
});

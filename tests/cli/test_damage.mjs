// test_damage.mjs - model folders that are incomplete, damaged or made to harm: every command that opens one says in one
// sentence what is wrong, with exit code 1.
import { cpSync, existsSync, rmSync } from 'node:fs';
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { path, read, readJson, refused, run, trainModel, write, writeData } from './helper.mjs';

before(() => {
  writeData();
  trainModel('good');
});

const commands = {
  fill: ['fill', '-m', 'bad', 'The movie [MASK] good.'],
  eval: ['eval', '-m', 'bad', '--data', 'data.jsonl', '--length', '16', '-q'],
  train: ['train', '-m', 'bad', '--data', 'data.jsonl', '--length', '16', '--steps', '1', '-q', '-o', 'trained'],
  quantize: ['quantize', '-m', 'bad', '-o', 'quantized', '-q'],
  info: ['info', 'bad'],
  tokenize: ['tokenize', '-m', 'bad', 'The movie'],
  bench: ['bench', '-m', 'bad', '--tokens', '8', '--repeat', '1', '-q'],
};
const all = ['fill', 'eval', 'train', 'quantize']; // open the whole folder

// Changes a copy of the good folder and runs commands on it.
function damage(change, names, pattern) {
  for (const name of ['bad', 'trained', 'quantized']) rmSync(path(name), { recursive: true, force: true });
  cpSync(path('good'), path('bad'), { recursive: true });
  change();
  for (const name of names) refused(commands[name], 1, pattern);
  assert.ok(!existsSync(path('quantized')) && !existsSync(path('trained', 'model.safetensors')));
}

const word = 'distilbert.embeddings.word_embeddings.weight';
const norm = 'vocab_layer_norm.weight';

// model.safetensors with its header changed by `edit`, and its bytes by `spoil`.
function weights(edit, spoil = (data) => data) {
  const file = read('good', 'model.safetensors');
  const end = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, end));
  const text = Buffer.from(edit(header, header[word], header[norm]) ?? JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const data = Buffer.from(file.subarray(end));
  write('bad/model.safetensors', Buffer.concat([length, text, spoil(data, header) ?? data]));
}

test('weights that are missing, cut off, or no safetensors at all', () => {
  const put = (content) => () => write('bad/model.safetensors', content);
  const file = read('good', 'model.safetensors');
  const claim = (length) => {
    const copy = Buffer.from(file);
    copy.writeBigUInt64LE(length);
    return put(copy);
  };
  const models = [...all, 'info'];
  damage(() => rmSync(path('bad', 'model.safetensors')), models, /bad\/model\.safetensors could not be opened/);
  damage(put(''), models, /model\.safetensors/);
  damage(put('GGUF'), models, /model\.safetensors/);
  damage(put(file.subarray(0, 7)), models, /model\.safetensors/);
  damage(put(file.subarray(0, 100)), models, /model\.safetensors/);
  damage(put(file.subarray(0, file.length - 1)), models, /model\.safetensors/);
  damage(put(Buffer.concat([file, Buffer.from('x')])), models, /model\.safetensors/);
  damage(put('<html>404</html>'.repeat(100)), models, /model\.safetensors/);
  for (const length of [0n, 3n, 1n << 27n, 1n << 40n, (1n << 64n) - 1n, BigInt(file.length)])
    damage(claim(length), models, /model\.safetensors/);
});

test('headers of weights that lie', () => {
  const lie = (edit, pattern, names = all) => damage(() => weights(edit), names, pattern);
  const models = [...all, 'info'];
  lie(() => '[]', /model\.safetensors/, models);
  lie(() => '{', /model\.safetensors/, models);
  lie(() => '{"a": '.repeat(100000), /model\.safetensors/, models);
  lie(() => '\xff\xfe', /model\.safetensors/, models);
  lie((header) => JSON.stringify(header).replace(norm, word), /model\.safetensors.*(twice|duplicate|already)/i, models);
  lie((header, w) => void (w.shape = [w.shape[0], w.shape[1] / 2, 2]), /word_embeddings\.weight has the shape/);
  lie((header, w) => void (w.shape = [w.shape[1], w.shape[0]]), /word_embeddings\.weight has the shape \(32, \d+\)/);
  lie((header, w) => void (w.shape = [2 ** 53, 2 ** 53]), /model\.safetensors/, models);
  lie((header, w) => void (w.shape[0] *= -1), /model\.safetensors/, models);
  lie((header, w) => void (w.dtype = 'I64'), /model\.safetensors/, models);
  lie((header, w) => void (w.dtype = 'F99'), /model\.safetensors/, models);
  lie((header, w) => void w.data_offsets.reverse(), /model\.safetensors/, models);
  lie((header, w, n) => void (n.data_offsets = w.data_offsets), /model\.safetensors/, models);
  lie((header, w) => void (w.data_offsets[1] += 2 ** 40), /model\.safetensors/, models);
  lie((header) => void delete header[norm], /model\.safetensors/, models);
  lie((header) => void ((header.other = header[norm]), delete header[norm]), /the tensor vocab_layer_norm\.weight is missing/);
  lie((header) => void (header.more = { dtype: 'F32', shape: [0], data_offsets: [0, 0] }), /the tensor more is unknown/);
  lie((header) => void (header.__metadata__ = { 'fillmask.quantization': 'int3' }), /int3/);
});

test('weights that are not numbers, or so large that the results are not', () => {
  const spoil = (value) => () => weights(() => undefined, (data, header) => void data.writeFloatLE(value, header[norm].data_offsets[0]));
  damage(spoil(NaN), all, /the tensor vocab_layer_norm\.weight holds NaN or infinity/);
  damage(spoil(-Infinity), all, /the tensor vocab_layer_norm\.weight holds NaN or infinity/);
  const huge = () => weights(() => undefined, (data, header) => {
    for (const { data_offsets: [start, end] } of [header[word], header[norm], header['vocab_transform.weight']])
      for (let at = start; at < end; at += 4) data.writeFloatLE(at % 8 ? 3e38 : -3e38, at);
  });
  damage(huge, ['fill', 'eval'], /not finite|not a finite/);
});

test('configs', () => {
  const put = (text) => () => write('bad/config.json', text);
  const set = (fields) => put(JSON.stringify({ ...readJson('good', 'config.json'), ...fields }));
  const models = [...all, 'info', 'bench'];
  damage(() => rmSync(path('bad', 'config.json')), models, /bad\/config\.json could not be opened/);
  damage(put(''), models, /config\.json/);
  damage(put('{"model_type": "distilbert"'), models, /config\.json/);
  damage(put('null'), models, /config\.json must hold a JSON object/);
  damage(put(read('good', 'config.json').toString().replace('"dim"', '"dim": 8, "dim"')), models, /config\.json.*dim/);
  damage(set({ model_type: 'bert' }), models, /model_type = "bert"; only "distilbert"/);
  damage(set({ dim: undefined }), models, /lacks the field dim/);
  damage(set({ vocab_size: -1 }), models, /vocab_size = -1; it must be an integer/);
  damage(set({ vocab_size: 1e300 }), models, /vocab_size/);
  damage(set({ n_layers: 2 ** 31 }), models, /n_layers = 2147483648; at most 128/);
  damage(set({ n_heads: 5 }), models, /n_heads = 5, which does not divide dim = 32/);
  damage(set({ activation: 'relu' }), models, /activation = "relu"/);
  damage(set({ dropout: 1 }), models, /dropout = 1/);
  damage(set({ tie_word_embeddings: false }), models, /tie_word_embeddings/);
  // Well-formed, but not what the weights are.
  damage(set({ n_layers: 2 }), all, /layer\.1\..* is missing/);
  damage(set({ dim: 64, n_heads: 2 }), all, /has the shape/);
  damage(set({ vocab_size: 1000000, dim: 8192, hidden_dim: 65536, n_layers: 128, n_heads: 64 }), all, /bad\//);
});

test('a vocabulary that may have been cut short is told of', () => {
  const list = read('good', 'vocab.txt').toString().trimEnd().split('\n');
  const info = [{ id: 1, op: 'open', model: 'bad' }, { id: 2, op: 'info', model: 1 }].map((line) => JSON.stringify(line) + '\n').join('');
  for (const [count, warning] of [[30, /The vocabulary has 30 tokens, the model 160; if its file was cut short/], [40, null]]) {
    cpSync(path('good'), path('bad'), { recursive: true, force: true });
    rmSync(path('bad', 'tokenizer.json'));
    write('bad/vocab.txt', list.slice(0, count).join('\n'));
    const fill = run(['fill', '-m', 'bad', '--json', 'a [MASK]']), serve = run(['serve', '--stdio'], { input: info });
    assert.deepEqual([fill.code, JSON.parse(fill.out).length], [0, 5]);
    const told = JSON.parse(serve.out.trimEnd().split('\n').at(-1)).result.warning;
    if (warning) [fill.err, told].forEach((text) => assert.match(text, warning));
    else assert.deepEqual([fill.err, told], ['', undefined]);
  }
});

test('vocabularies', () => {
  const only = (text) => () => {
    for (const name of ['tokenizer.json', 'tokenizer_config.json']) rmSync(path('bad', name));
    write('bad/vocab.txt', text);
  };
  const list = read('good', 'vocab.txt').toString().trimEnd().split('\n');
  const names = [...all, 'info', 'tokenize'];
  damage(() => ['vocab.txt', 'tokenizer.json'].forEach((name) => rmSync(path('bad', name))), names, /bad/);
  damage(only(''), names, /vocab\.txt/);
  damage(only(list.filter((token) => token !== '[MASK]').join('\n')), names, /\[MASK\]/);
  damage(only([...list, list.at(-1)].join('\n')), names, /vocab\.txt/);
  damage(only(Buffer.from([0xff, 0xfe, 0, 0, 10])), names, /vocab\.txt/);
  damage(only([...list, 'extra'].join('\n')), all, /has 161 entries but config\.json says vocab_size 160|The tokenizer has 161 entries and the model 160/);
  damage(() => write('bad/tokenizer.json', '{"model": '), names, /tokenizer\.json/);
  damage(() => write('bad/tokenizer.json', '{"model": {"type": "BPE"}}'), names, /tokenizer\.json/);
  const json = readJson('good', 'tokenizer.json');
  json.model.vocab[list[7]] = 1e9;
  damage(() => write('bad/tokenizer.json', JSON.stringify(json)), names, /tokenizer\.json/);
});

// engine.test.mjs - web/engine.js and the module behind it: how models come into its memory and leave it, threads, and
// what happens to bad input. What a model computes is tested through the package, in tests/web.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Engine, hasRelaxedSimd } from '../../web/engine.js';
import { built, createEngine, createThread, files } from './helpers.mjs';

const text = 'The red cat sat on the [MASK].';
const fill = (engine, model, options = {}) => engine.call('fill', { model, texts: [text], ...options })[0][0];

test('opens a vocab.txt, and weights from streams of any cut', async () => {
  const engine = await createEngine();
  const { config, tokenizer, weights } = files();
  const expected = fill(engine, await engine.open({ config, tokenizer, weights }));
  const vocab = JSON.parse(tokenizer.json).model.vocab;
  const lines = Object.keys(vocab).sort((a, b) => vocab[a] - vocab[b]).join('\n');
  async function* cut(size) {
    for (let at = 0; at < weights.length; at += size) yield weights.subarray(at, at + size);
  }
  const sources = [
    { weights: cut(1000) },
    { weights: cut(7777) },
    { weights: cut(1) },
    { weights: new Response(weights, { headers: { 'content-length': weights.length } }) },
    { weights: new Blob([weights]).stream() },
    { weights: weights.buffer.slice(weights.byteOffset, weights.byteOffset + weights.length) },
  ];
  for (const source of sources) {
    const model = await engine.open({ config: config.toString(), tokenizer: { vocab: lines }, ...source });
    assert.deepEqual(fill(engine, model), expected);
    engine.call('close', { number: model });
  }
});

test('a tokenizer needs no model', async () => {
  const engine = await createEngine();
  const { tokenizer } = files();
  const number = await engine.open({ tokenizer });
  assert.deepEqual(engine.call('encode', { tokenizer: number, texts: ['the cat'] })[0].tokens, ['[CLS]', 'the', 'cat', '[SEP]']);
  assert.equal(engine.call('info', { tokenizer: number }).mask_token, '[MASK]');
  assert.throws(() => fill(engine, number), { code: 'E_ARGUMENT', message: /no such model/ });
});

test('bad files give an error, and the engine lives on', async () => {
  const engine = await createEngine();
  const good = files();
  const broken = Buffer.from(good.weights);
  broken.writeFloatLE(NaN, broken.length - 4);
  const cases = [
    [{ weights: good.weights.subarray(0, -1) }, 'E_FORMAT', /model\.safetensors/],
    [{ weights: good.weights.subarray(0, 5) }, 'E_FORMAT', /model\.safetensors/],
    [{ weights: new Uint8Array(0) }, 'E_FORMAT', /model\.safetensors/],
    [{ weights: broken }, 'E_FORMAT', /NaN or infinity/],
    [{ weights: Buffer.from('<!DOCTYPE html><html></html>') }, 'E_FORMAT', /model\.safetensors/],
    [{ weights: new Response('', { status: 404 }) }, 'E_IO', /404/],
    [{ config: '{' }, 'E_FORMAT', /config\.json/],
    [{ config: JSON.stringify({ ...JSON.parse(good.config), model_type: 'bert' }) }, 'E_UNSUPPORTED', /distilbert/],
    [{ config: JSON.stringify({ ...JSON.parse(good.config), n_layers: 3 }) }, 'E_FORMAT', /missing/],
    [{ config: JSON.stringify({ ...JSON.parse(good.config), dim: 8192, n_layers: 60, vocab_size: 1e6 }), weights: null }, /E_MEMORY|E_LIMIT/, /./],
    [{ tokenizer: {} }, 'E_ARGUMENT', /vocab\.txt/],
    [{ tokenizer: { json: '[]' } }, 'E_FORMAT', /tokenizer\.json/],
    [{ tokenizer: { vocab: 'a\nb\n' } }, 'E_FORMAT', /\[/],
  ];
  for (const [change, code, message] of cases)
    await assert.rejects(engine.open({ ...good, ...change }), (error) => {
      assert.match(error.code, code instanceof RegExp ? code : new RegExp(`^${code}$`), error.message);
      assert.match(error.message, message);
      return true;
    });
  assert.equal(fill(engine, await engine.open(good)).length, 5);
});

test('opening and closing fifty times leaves the memory flat', async () => {
  const engine = await createEngine();
  let after3;
  for (let i = 0; i < 50; i++) {
    const model = await engine.open(files());
    fill(engine, model);
    const corpus = engine.call('corpus', { model });
    engine.call('corpus_add', { corpus, texts: Array(40).fill('The red cat sat on the mat.') });
    const { training } = engine.call('train', { model, corpus, length: 32, batch_size: 2 });
    engine.call('evaluate', { training, corpus });
    engine.call('close', { number: model }); // and all that needs it
    assert.throws(() => engine.call('train_advance', { training }), { code: 'E_ARGUMENT' });
    if (i === 2) after3 = engine.memoryBytes;
  }
  assert.equal(engine.memoryBytes, after3);
});

/** Bytes of the weights as the core computes with them: int8 matrices, and all else in f32. */
function packedBytes(weights, dtype) {
  const { __metadata__, ...entries } = JSON.parse(Buffer.from(weights.subarray(8, 8 + Number(new DataView(weights.buffer, weights.byteOffset).getBigUint64(0, true)))).toString());
  const isInt8 = (stored) => (dtype ? dtype === 'q8' : stored === 'I8');
  return Object.entries(entries).reduce((sum, [name, { dtype: stored, shape }]) =>
    sum + shape.reduce((product, n) => product * n, 1) * (isInt8(stored) && shape.length > 1 && !name.includes('position') ? 1 : 4), 0);
}

/** Bytes of a tokenizer: its texts, ids and flags, tries of all their beginnings, and a table of short words. */
function tokenizerBytes(words) {
  const beginnings = [new Set(), new Set()];
  let bytes = 0, short = 0;
  for (const word of words) {
    const isPiece = /^##./.test(word), text = Buffer.from(isPiece ? word.slice(2) : word).toString('latin1');
    for (let end = 1; end <= text.length; end++) beginnings[Number(isPiece)].add(text.slice(0, end));
    bytes += text.length + (isPiece ? 2 : 0) + 1 + 4 + 1;
    short += /^[a-z0-9]{1,16}$/.test(word);
  }
  return bytes + 9 * (beginnings[0].size + beginnings[1].size) + 24 * 2 ** Math.ceil(Math.log2(2 * short));
}

/** Weights in parts. */
async function* cut(weights) {
  for (let at = 0; at < weights.length; at += 100_000) yield weights.subarray(at, at + 100_000);
}

/** Opens and uses a model; the memory never shrinks, so that its size is its peak. `more`: bytes of a large tokenizer. */
async function expectSmall(files, { dtype, source = files.weights, more = 0 } = {}) {
  const engine = await createEngine({ maximumMemory: 2 ** 29 });
  const model = await engine.open({ ...files, weights: source, dtype });
  fill(engine, model);
  const most = packedBytes(files.weights, dtype) + more + 2 ** 24;
  assert.ok(engine.memoryBytes <= most, `${engine.memoryBytes} bytes for a file of ${files.weights.length} as ${dtype}, of at most ${most}`);
  engine.close();
}

test('a model takes the memory that it is computed in, and 16 MiB for everything else, whatever becomes of its numbers', async () => {
  const maker = await createEngine({ maximumMemory: 2 ** 29 });
  const { config, tokenizer } = files();
  const large = JSON.stringify({ ...JSON.parse(config), dim: 512, hidden_dim: 2048, n_layers: 6, n_heads: 8 });
  const made = await maker.open({ config: large, tokenizer });
  const dtypes = ['fp32', 'fp16', 'bf16', 'q8'];
  for (const stored of dtypes) {
    const given = { config: large, tokenizer, weights: maker.save(made, { dtype: stored }) };
    await expectSmall(given);
    for (const dtype of dtypes) if (dtype !== stored) await expectSmall(given, { dtype, source: cut(given.weights) });
  }
  maker.close();
  const own = (file) => readFileSync(new URL(`../../weights/fillmask-small-en/${file}`, import.meta.url));
  await expectSmall({ config: own('config.json'), tokenizer: { json: own('tokenizer.json') }, weights: own('model.safetensors') });
});

test('with a hundred and twenty thousand words of many scripts there is a large tokenizer beside it, and nothing else', async () => {
  const alphabets = [[97, 26], [97, 26], [97, 26], [0x430, 32], [0x5d0, 27], [0x627, 36], [0x905, 50], [0xac00, 2000], [0x4e00, 8000]];
  const words = new Set(['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'red', 'cat', '"', '\\']);
  let random = 1;
  const below = (count) => (random = (random * 16807) % 2147483647) % count;
  while (words.size < 120_000) { // of a common vocabulary's length and number of shared beginnings
    const [first, count] = alphabets[below(alphabets.length)];
    let word = below(3) ? '' : '##';
    for (let length = count > 100 ? 1 + below(2) : 2 + below(5); length > 0; length--) word += String.fromCodePoint(first + Math.min(below(count), below(count)));
    words.add(word);
  }
  const more = tokenizerBytes(words), vocab = [...words].join('\n');
  const json = JSON.stringify({
    added_tokens: [], normalizer: { type: 'BertNormalizer', lowercase: false, strip_accents: false }, pre_tokenizer: { type: 'BertPreTokenizer' },
    model: { type: 'WordPiece', vocab: Object.fromEntries([...words].map((word, id) => [word, id])) },
  }, null, 1);
  const escaped = json.replace(/[^\0-~]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
  const maker = await createEngine({ maximumMemory: 2 ** 29 });
  const config = JSON.stringify({ ...JSON.parse(files().config), vocab_size: words.size, dim: 32, hidden_dim: 64, n_layers: 1, n_heads: 2 });
  const made = await maker.open({ config, tokenizer: { vocab } });
  for (const tokenizer of [{ vocab }, { json }, { json: escaped }])
    for (const dtype of ['fp32', 'q8']) await expectSmall({ config, tokenizer, weights: maker.save(made, { dtype }) }, { more });
  maker.close();
});

test('too little memory is an error, whatever needed it, and never a crash', async () => {
  const given = files();
  const work = async (engine) => {
    const model = await engine.open(given);
    fill(engine, model);
    engine.call('score', { model, texts: [text] });
    const corpus = engine.call('corpus', { model });
    engine.call('corpus_add', { corpus, texts: Array(40).fill(text) });
    const { training } = engine.call('train', { model, corpus, length: 32, batch_size: 64 });
    engine.call('train_advance', { training, milliseconds: 1e5 });
    engine.save(model);
  };
  const found = new Set();
  for (const pages of [256, 264, 272, 288, 304, 320, 352, 384, 448, 512, 1024]) {
    const engine = await createEngine({ maximumMemory: pages * 65536 });
    try {
      await work(engine);
      found.add('done');
    } catch ({ code, message }) {
      assert.equal(code, 'E_MEMORY', message);
      found.add(code);
    }
    assert.ok(engine.memoryBytes <= pages * 65536);
    assert.equal(engine.check(), true);
    engine.close();
  }
  assert.deepEqual([...found].sort(), ['E_MEMORY', 'done']);
});

test('the maximum of the memory is tried downward', async () => {
  const { Memory } = WebAssembly;
  const tried = [];
  try {
    for (const granted of [65536, 32768, 16384, 8192, 0]) {
      tried.length = 0;
      WebAssembly.Memory = function (options) {
        tried.push(options.maximum / 16384);
        if (options.maximum > granted) throw new RangeError('could not allocate memory');
        return new Memory({ ...options, maximum: 1024 });
      };
      const creating = Engine.create({ wasm: built('fillmask.wasm') });
      if (granted) (await creating).close();
      else await assert.rejects(creating, { code: 'E_MEMORY' });
      assert.deepEqual(tried, [4, 2, 1, 0.5].filter((size) => size * 16384 >= (granted || 8192)));
    }
  } finally {
    WebAssembly.Memory = Memory;
  }
});

test('where there is no SIMD, it says so', async () => {
  const { validate } = WebAssembly;
  WebAssembly.validate = () => false;
  try {
    await assert.rejects(Engine.create({ wasm: built('fillmask.wasm') }), { code: 'E_UNSUPPORTED', message: /lacks WebAssembly SIMD; use one/ });
  } finally {
    WebAssembly.validate = validate;
  }
});

test('the test at load sees an instruction that computes something else', { skip: !hasRelaxedSimd() && 'this Node.js has no relaxed SIMD' }, async () => {
  const wasm = built('fillmask-relaxed.wasm');
  const good = await createEngine({ wasm: await WebAssembly.compile(wasm) });
  assert.equal(good.check(), true);
  // Relaxed multiply-add becomes -(a * b) + c.
  for (let at = wasm.indexOf(Buffer.of(0xfd, 0x85, 0x02)); at >= 0; at = wasm.indexOf(Buffer.of(0xfd, 0x85, 0x02), at + 1)) wasm[at + 1] = 0x86;
  const bad = await createEngine({ wasm: await WebAssembly.compile(wasm) });
  assert.equal(bad.check(), false);
});

test('failed openings leave the memory flat', async () => {
  const engine = await createEngine();
  const good = files();
  let after3;
  for (let i = 0; i < 30; i++) {
    await assert.rejects(engine.open({ ...good, weights: good.weights.subarray(0, -1 - i) }));
    await assert.rejects(engine.open({ ...good, tokenizer: { json: '{}' } }));
    if (i === 2) after3 = engine.memoryBytes;
  }
  assert.equal(engine.memoryBytes, after3);
});

test('any number of threads gives the same bits', async () => {
  const one = await createEngine();
  const expected = fill(one, await one.open(files()));
  for (const threads of [2, 3]) {
    const several = await createEngine({ threads });
    assert.equal(several.threads, threads);
    const model = await several.open(files());
    assert.equal(several.call('info', { model }).threads, threads);
    assert.deepEqual(fill(several, model), expected);
  }
});

test('aborting a download', async () => {
  const engine = await createEngine();
  const { weights, ...rest } = files();
  const controller = new AbortController();
  async function* slowly() {
    yield weights.subarray(0, 5000);
    controller.abort(new Error('enough'));
    yield weights.subarray(5000);
  }
  await assert.rejects(engine.open({ ...rest, weights: slowly(), signal: controller.signal }), { message: 'enough' });
  assert.equal(fill(engine, await engine.open({ ...rest, weights })).length, 5);
});

test('a request can be stopped from inside', async () => {
  const engine = await createEngine();
  const model = await engine.open(files());
  let asked = 0;
  assert.throws(() => engine.call('score', { model, texts: ['The red cat sat on the mat.'] }, () => ++asked < 3), { code: 'E_ABORTED' });
  assert.equal(asked, 3);
  assert.equal(fill(engine, model).length, 5);
});

test('a closed engine says so', async () => {
  const engine = await createEngine({ threads: 2 });
  const model = await engine.open(files());
  engine.close();
  engine.close();
  await assert.rejects(engine.open(files()), { code: 'E_CLOSED' });
  assert.throws(() => fill(engine, model), { code: 'E_CLOSED' });
  assert.equal(engine.memoryBytes, 0);
});

test('creation: a foreign module, a thread that cannot start, and all that may be given as wasm', async () => {
  const empty = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]);
  await assert.rejects(Engine.create({ wasm: empty }), { code: 'E_MISMATCH' });
  const newer = new Uint8Array([...empty, 1, 4, 1, 96, 0, 0, 2, 9, 1, 3, 101, 110, 118, 1, 120, 0, 0]); // imports env.x
  await assert.rejects(Engine.create({ wasm: newer }), { code: 'E_MISMATCH' });
  await assert.rejects(Engine.create({ wasm: new Response('', { status: 500 }) }), { code: 'E_IO' });
  const wasm = built('fillmask.wasm');
  const broken = () => {
    const thread = createThread();
    thread.postMessage = () => thread.emit('error', new Error('no such script'));
    return thread;
  };
  await assert.rejects(Engine.create({ wasm, threads: 2, createThread: broken }), { code: 'E_UNSUPPORTED', message: /no such script/ });
  for (const source of [wasm, new Response(wasm), Promise.resolve(new Response(wasm, { headers: { 'content-type': 'application/wasm' } }))]) {
    const engine = await Engine.create({ wasm: source, maximumMemory: 2 ** 26 });
    assert.equal(engine.check(), true);
    engine.close();
  }
});

test('requests that are none', async () => {
  const engine = await createEngine();
  const model = await engine.open(files());
  const cases = [
    ['fly', {}, /no operation "fly"/],
    ['fill', { texts: [text] }, /no such model/],
    ['fill', { model }, /texts must be a list/],
    ['fill', { model, texts: text }, /texts must be a list/],
    ['fill', { model, texts: [text], topk: 3 }, /no option "topk"/],
    ['fill', { model, texts: [text], top_k: 0 }, /top_k is 0; it must be a whole number from 1/],
    ['fill', { model, texts: [text], top_k: 1.5 }, /top_k is 1\.5/],
    ['fill', { model, texts: [text], joint: 'yes' }, /joint must be true or false/],
    ['fill', { model, texts: [text], joint: true, sample: true }, /exclude each other/],
    ['fill', { model, texts: [text], allowed: '01' }, /allowed must be a text of \d+ characters/],
    ['augment', { model, texts: [text], protect: [] }, /protect must have/],
    ['augment', { model, texts: [text], protect: [[[1]]] }, /protect must have/],
    ['augment', { model, texts: [text], protect: [[[2, 1]]] }, /protect must have/],
    ['augment', { model, texts: [text], numbers: [0, 1] }, /numbers must have/],
    ['augment', { model, texts: [text], numbers: [-1] }, /numbers must have/],
    ['row_write', { raw: 'ab', start: 1, end: 3, texts: ['x'] }, /raw must be a row/],
    ['row_write', { raw: 'ab', start: 0, end: 1, texts: ['x\ny'] }, /several lines/],
    ['fill', { model, texts: [text], targets: [] }, /targets is empty/],
    ['score', { model, texts: ['a'], mask: 'all' }, /"all"; it must be one of word, token/],
    ['decode', { model, ids: [-1] }, /ids\[0\]/],
    ['train_apply', { model, training: model }, /no such training/],
  ];
  for (const [op, args, message] of cases) assert.throws(() => engine.call(op, args), { code: 'E_ARGUMENT', message });
  assert.throws(() => engine.call('embed', { model, texts: [text, ''], first: 7 }), { code: 'E_FORMAT', message: /^Text 8 has no token/ });
});

// engine.test.mjs - web/engine.js and the core behind it against the native command line: filling, tokens, opening and
// closing, and what happens to bad input. Training is in training.test.mjs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Engine } from '../../web/engine.js';
import { built, createEngine, createThread, files, native } from './helpers.mjs';

const texts = [
  'The red cat sat on the [MASK].',
  'The [MASK] dog ran under the [MASK].',
  'a bird sang , and then it [MASK] happy !',
  'na\u00efve \u{1F600} \u65e5 [MASK]s \ud83d [MASK]',
  '[MASK]',
  `The cat sat ${'on the mat '.repeat(15)}[MASK].`,
];

// As texts reach the core: a lone surrogate becomes U+FFFD.
const wellFormed = (text) => Buffer.from(text).toString();

// Bytes of UTF-8 as UTF-16 code units.
const unit = (text, byte) => Buffer.from(text).subarray(0, byte).toString().length;

const sameFillings = (found, expected, text) => {
  assert.deepEqual(found.map((f) => f.token), expected.map((f) => f.token));
  found.forEach((filling, i) => {
    const { score, ...rest } = expected[i];
    assert.ok(Math.abs(filling.score - score) < 1e-4, `${filling.score} is not ${score}`);
    assert.deepEqual({ ...filling, score, sequence: wellFormed(filling.sequence) }, { ...rest, score, start: unit(text, rest.start), end: unit(text, rest.end) });
  });
};

test('fills as the native command line does', async () => {
  const engine = await createEngine();
  const info = await engine.open(files());
  assert.equal(info.hidden, 48);
  assert.equal(info.positions, 64);
  assert.equal(info.dtype, 'f32');
  assert.equal(info.mask_token, '[MASK]');
  for (const text of texts) {
    const printed = JSON.parse(native('fill', '-m', 'model', '--json', wellFormed(text)));
    const expected = Array.isArray(printed[0]) ? printed : [printed];
    const found = await engine.fill(text);
    assert.equal(found.length, expected.length);
    found.forEach((mask, i) => sameFillings(mask, expected[i], text));
  }
  const [three] = await engine.fill(texts[0], { top_k: 3 });
  assert.equal(three.length, 3);
});

test('the scalar reference agrees', async () => {
  const fast = await createEngine(), plain = await createEngine({ instructionSet: 'scalar' });
  await fast.open(files());
  assert.equal((await plain.open(files())).instruction_set, 'scalar');
  for (const text of texts) {
    const expected = (await plain.fill(text)).flat(), found = (await fast.fill(text)).flat();
    assert.deepEqual(found.map((f) => f.token), expected.map((f) => f.token));
    found.forEach((f, i) => assert.ok(Math.abs(f.score - expected[i].score) < 1e-5));
  }
});

test('encodes and decodes as the native command line does', async () => {
  const engine = await createEngine();
  await engine.open(files());
  for (const text of ['The naïve cats, singing 😀 日 [MASK]!', '', ' \t\n', 'zzz 😀']) {
    const expected = JSON.parse(native('tokenize', '-m', 'model', '--json', text));
    const found = engine.encode(text);
    assert.deepEqual([...found.ids], expected.ids);
    assert.deepEqual(found.tokens, expected.tokens);
    assert.deepEqual(found.offsets, expected.offsets.map((pair) => pair.map((byte) => unit(text, byte))));
    assert.equal(found.words[0], null);
  }
  const { ids, words } = engine.encode('the cats sat', { special: false });
  assert.deepEqual(words, [0, 1, 1, 2]);
  assert.equal(engine.decode(ids), 'the cats sat');
  assert.equal(engine.decode(engine.encode('a cat .').ids), '[CLS] a cat. [SEP]');
  assert.equal(engine.decode(engine.encode('a cat .').ids, { skip_special_tokens: true, clean_up: false }), 'a cat .');
  assert.equal(engine.decode([]), '');
  assert.equal(engine.tokenId('cat'), engine.encode('cat', { special: false }).ids[0]);
  assert.equal(engine.tokenId('unheard'), undefined);
  assert.equal(engine.token(engine.info.special.mask), '[MASK]');
  assert.throws(() => engine.token(1e6), { code: 'E_ARGUMENT', message: /no token 1000000/ });
  assert.throws(() => engine.decode([1e6]), { code: 'E_ARGUMENT' });
});

test('opens a vocab.txt, and weights from streams of any cut', async () => {
  const engine = await createEngine();
  const { config, tokenizer, weights } = files();
  await engine.open({ config, tokenizer, weights });
  const expected = await engine.fill(texts[0]);
  const vocab = JSON.parse(tokenizer.json).model.vocab;
  const lines = Object.keys(vocab).sort((a, b) => vocab[a] - vocab[b]).join('\n');
  async function* cut(size) {
    for (let at = 0; at < weights.length; at += size) yield weights.subarray(at, at + size);
  }
  const seen = [];
  const sources = [
    { weights: cut(1000) },
    { weights: cut(7777), weightsSize: weights.length },
    { weights: cut(50_000), weightsSize: 10 },
    { weights: new Response(weights, { headers: { 'content-length': weights.length } }), onProgress: (...at) => seen.push(at) },
    { weights: new Blob([weights]).stream() },
    { weights: weights.buffer.slice(weights.byteOffset, weights.byteOffset + weights.length) },
  ];
  for (const source of sources) {
    await engine.open({ config: config.toString(), tokenizer: { vocab: lines }, ...source });
    assert.deepEqual(await engine.fill(texts[0]), expected);
  }
  assert.deepEqual(seen.at(-1), [weights.length, weights.length]);
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
  for (const [change, code, message] of cases) {
    await assert.rejects(engine.open({ ...good, ...change }), (error) => {
      assert.match(error.code, code instanceof RegExp ? code : new RegExp(`^${code}$`), error.message);
      assert.match(error.message, message);
      return true;
    });
    await assert.rejects(engine.fill(texts[0]), { code: 'E_ARGUMENT', message: /No model is open/ });
  }
  await engine.open(good);
  await assert.rejects(engine.fill('No mask.'), { code: 'E_FORMAT', message: /\[MASK\]/ });
  assert.equal((await engine.fill(`${'cat '.repeat(80)}[MASK]`)).length, 1); // longer than the model
  await assert.rejects(engine.fill(texts[0], { top_k: 0 }), { code: 'E_ARGUMENT' });
  await assert.rejects(engine.fill(texts[0], { top_k: 1.5 }), { code: 'E_ARGUMENT', message: /top_k/ });
  assert.equal((await engine.fill(texts[0])).length, 1);
});

test('opening and closing fifty times leaves the memory flat', async () => {
  const engine = await createEngine();
  let after3;
  for (let i = 0; i < 50; i++) {
    await engine.open(files());
    await engine.fill(texts[0]);
    if (i % 2) await engine.unload();
    if (i === 2) after3 = engine.memoryBytes;
  }
  assert.equal(engine.memoryBytes, after3);
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
  await one.open(files());
  for (const threads of [2, 3]) {
    const several = await createEngine({ threads });
    assert.equal(several.threads, threads);
    assert.equal((await several.open(files())).threads, threads);
    for (const text of texts) assert.deepEqual(await several.fill(text), await one.fill(text));
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
  await engine.open({ ...rest, weights });
  assert.equal((await engine.fill(texts[0])).length, 1);
});

test('a closed engine says so', async () => {
  const engine = await createEngine({ threads: 2 });
  await engine.open(files());
  const pending = engine.fill(texts[0]);
  engine.close();
  engine.close();
  await assert.rejects(pending, { code: 'E_CLOSED' });
  await assert.rejects(engine.open(files()), { code: 'E_CLOSED' });
  assert.throws(() => engine.encode('a'), { code: 'E_CLOSED' });
  assert.equal(engine.memoryBytes, 0);
});

test('creation: a foreign module, a thread that cannot start, and all that may be given as wasm', async () => {
  const empty = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]);
  await assert.rejects(Engine.create({ wasm: empty }), { code: 'E_MISMATCH' });
  await assert.rejects(Engine.create({ wasm: new Response('', { status: 500 }) }), { code: 'E_IO' });
  const wasm = built('fillmask.wasm');
  const broken = () => {
    const thread = createThread();
    thread.postMessage = () => thread.emit('error', new Error('no such script'));
    return thread;
  };
  await assert.rejects(Engine.create({ wasm, threads: 2, createThread: broken }), { code: 'E_UNSUPPORTED', message: /no such script/ });
  for (const source of [wasm, new Response(wasm), Promise.resolve(new Response(wasm, { headers: { 'content-type': 'application/wasm' } }))])
    (await Engine.create({ wasm: source, maximumMemory: 2 ** 26 })).close();
});

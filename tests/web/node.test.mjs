// node.test.mjs - the package in Node.js, on both of its devices, against the native command line: each pipeline, tokens,
// kinds of models, and how it ends.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { dispose, loadModel, loadTokenizer, pipeline, Trainer } from '../../web/index-node.js';
import { documents, folder, native as run } from '../wasm/helpers.mjs';
import { bin, root, serveFolder } from './helpers.mjs';

const native = (...args) => JSON.parse(run(...args));
const modelFolder = join(folder, 'model');
after(dispose);

const texts = [
  'The red cat sat on the [MASK].',
  'The [MASK] dog ran under the [MASK].',
  'a bird sang , and then it [MASK] happy !',
  'naïve \u{1F600} 日 [MASK]s \ud83d [MASK]',
  '[MASK]',
  `The cat sat ${'on the mat '.repeat(15)}[MASK].`,
];

// As texts reach the core: a lone surrogate becomes U+FFFD.
const wellFormed = (text) => Buffer.from(text).toString();
// Bytes of UTF-8 as UTF-16 code units.
const unit = (text, byte) => Buffer.from(text).subarray(0, byte).toString().length;

/** The same up to rounding, with the native offsets in bytes of the text. */
function same(found, expected, text) {
  if (typeof expected === 'number') return assert.ok(Math.abs(found - expected) <= 1e-4 * Math.max(1, Math.abs(expected)), `${found} is not ${expected}`);
  if (typeof expected !== 'object' || expected === null) return assert.equal(found, expected);
  for (const [key, value] of Object.entries(expected))
    same(found[key], ['start', 'end'].includes(key) ? unit(text, value) : value, text);
}

/** Twice the same test. */
const onEach = (name, run) => {
  for (const device of ['native', 'wasm']) test(`${name}: ${device}`, () => run(device));
};

for (const [device, instructionSet] of [['native', 'auto'], ['wasm', 'auto'], ['wasm', 'scalar'], ['native', 'scalar']])
  test(`fill-mask as the native command line does: ${device}, ${instructionSet}`, async () => {
    const fill = await pipeline('fill-mask', modelFolder, { device, instructionSet, threads: 1 });
    assert.equal(fill.model.info.instruction_set, instructionSet === 'scalar' ? 'scalar' : fill.model.info.instruction_set);
    assert.equal(fill.model.info.hidden, 48);
    const batch = await fill(texts);
    for (const [i, text] of texts.entries()) {
      const found = await fill(text);
      assert.deepEqual(batch[i], found);
      same(found, native('fill', '-m', 'model', '--json', wellFormed(text)), text);
    }
    const some = await fill(texts[0], { top_k: 2, targets: ['mat', 'tree', 'catsing'] });
    same(some, native('fill', '-m', 'model', '--json', '-k', '2', '-t', 'mat', '-t', 'tree', '-t', 'catsing', texts[0]), texts[0]);
    const together = await fill(texts[1], { joint: true, top_k: 3 });
    same(together, native('fill', '-m', 'model', '--json', '-k', '3', '--joint', texts[1]), texts[1]);
    assert.deepEqual(together[0].tokens, together[0].fillings.map((f) => f.token_str));
    const [drawn] = await fill([texts[1]], { sample: true, seed: 3, top_k: 4 });
    same(drawn, native('fill', '-m', 'model', '--json', '-k', '4', '--sample', '--seed', '3', texts[1]), texts[1]);
    await assert.rejects(fill('No mask.'), { name: 'FillmaskError', code: 'E_FORMAT', message: /\[MASK\]/ });
    await assert.rejects(fill(['[MASK]', 'No mask.']), { message: /^Text 2: / });
    await fill.dispose();
    await assert.rejects(fill(texts[0]), { code: 'E_CLOSED' });
  });

onEach('scores and variants as the native command line has them', async (device) => {
  const model = await loadModel(modelFolder, { device });
  const score = await pipeline('score', model), augment = await pipeline('augment', model);
  const all = ['The red cat sat on the mat.', 'naïve \u{1F600} cats'];
  const scores = await score(all);
  for (const [i, text] of all.entries()) {
    same(scores[i], { ...native('score', '-m', 'model', '--json', text), text: undefined }, text);
    same(await score(text, { mask: 'token' }), { ...native('score', '-m', 'model', '--json', '--mask', 'token', text), text: undefined }, text);
  }
  const many = documents.slice(0, 70); // more than one request
  const events = [];
  const found = await augment(many, { variants: 2, rate: 0.3, seed: 7, keep: ['cat'], progress_callback: (event) => events.push(event) });
  const expected = native('augment', '-m', 'model', '--json', '-n', '2', '--rate', '0.3', '--seed', '7', '--keep', 'cat', ...many);
  assert.deepEqual(found.map((f) => f.variants), expected.map((e) => e.variants));
  assert.deepEqual(events.at(-1), { status: 'progress', done: 70, total: 70 });
  assert.deepEqual(await augment(many[0], { action: 'delete', count: 2 }), { variants: native('augment', '-m', 'model', '--json', '-a', 'delete', '--count', '2', many[0]).variants });
  await model.dispose();
});

onEach('encodes and decodes as the native command line does, with a model and without', async (device) => {
  const model = await loadModel(modelFolder, { device });
  for (const tokenizer of [model.tokenizer, await loadTokenizer(modelFolder, { device })]) {
    for (const text of ['The naïve cats, singing \u{1F600} 日 [MASK]!', '', ' \t\n', 'zzz \u{1F600}', 'a\0b']) {
      const expected = native('tokenize', '-m', 'model', '--json', text.replace('\0', '\ufffd'));
      const found = await tokenizer.encode(text);
      assert.deepEqual(found.ids, expected.ids);
      assert.deepEqual(found.tokens, expected.tokens);
      assert.deepEqual(found.offsets, expected.offsets.map((pair) => pair.map((byte) => unit(text.replace('\0', '\ufffd'), byte))));
      assert.equal(found.words[0], null);
    }
    const { ids, words } = await tokenizer.encode('the cats sat', { special: false });
    assert.deepEqual(words, [0, 1, 1, 2]);
    assert.equal(await tokenizer.decode(ids), 'the cats sat');
    const [one] = await tokenizer.encode(['a cat .']);
    assert.equal(await tokenizer.decode(one.ids), '[CLS] a cat. [SEP]');
    assert.equal(await tokenizer.decode(one.ids, { skip_special_tokens: true, clean_up: false }), 'a cat .');
    assert.deepEqual(await tokenizer.tokenIds(['cat', 'unheard']), [(await tokenizer.encode('cat', { special: false })).ids[0], null]);
    await assert.rejects(tokenizer.decode([1e6]), { code: 'E_ARGUMENT' });
    await tokenizer.dispose();
    await assert.rejects(tokenizer.encode('a'), { code: 'E_CLOSED' });
  }
});

onEach('models from folders, URLs, blobs, buffers and names', async (device) => {
  const { origin, requests } = await serveFolder({ folder });
  const read = (name) => readFileSync(join(modelFolder, name));
  const names = ['config.json', 'tokenizer.json', 'model.safetensors'];
  const inputs = [
    modelFolder,
    pathToFileURL(modelFolder),
    `${origin}/model`,
    new URL(`${origin}/model/`),
    names.map((name) => new File([read(name)], name)),
    Object.fromEntries(names.map((name) => [name, read(name)])),
    { name: 'mine', files: Object.fromEntries(names.map((name) => [name, new Blob([read(name)])])) },
    { 'config.json': `${origin}/model/config.json`, 'tokenizer.json': read('tokenizer.json').buffer.slice(0), 'model.safetensors': pathToFileURL(join(modelFolder, 'model.safetensors')) },
  ];
  inputs.at(-1)['tokenizer.json'] = new Uint8Array(read('tokenizer.json')).buffer;
  let expected;
  for (const input of inputs) {
    const events = [];
    const model = await loadModel(input, { device, progress_callback: (event) => events.push(event) });
    expected ??= await model.fill(texts[0]);
    assert.deepEqual(await model.fill(texts[0]), expected);
    const size = read('model.safetensors').length;
    const last = events.filter((e) => e.file === 'model.safetensors').slice(-2);
    assert.deepEqual(last.map(({ name, ...event }) => event), [
      { status: 'progress', file: 'model.safetensors', progress: 100, loaded: size, total: size },
      { status: 'done', file: 'model.safetensors' }]);
    await model.dispose();
  }
  assert.equal(requests.filter((path) => path.endsWith('model.safetensors')).length, 2);
  const named = await loadModel('model', { device, modelUrl: `${origin}/` });
  assert.equal(named.name, 'model');
  await named.dispose();
  await assert.rejects(loadModel('no-such-model', { device }), { code: 'E_ARGUMENT', message: /no model "no-such-model"/ });
  await assert.rejects(loadModel(`${origin}/nothing`, { device }), { code: 'E_IO', message: /nothing\/ has no config\.json/ });
  await assert.rejects(loadModel('http://127.0.0.1:1/', { device }), { code: 'E_IO', message: /could not be downloaded/ });
  await assert.rejects(loadModel({ 'pytorch_model.bin': read('config.json') }, { device }), { code: 'E_ARGUMENT' });
  await assert.rejects(loadModel(names.slice(0, 2).map((name) => new File([read(name)], name)), { device }), { code: 'E_IO', message: /no model\.safetensors/ });
  await assert.rejects(pipeline('translation'), { code: 'E_ARGUMENT', message: /fill-mask, augment, score/ });
});

onEach('weights become another type of number, and their files can be opened again', async (device) => {
  const plain = await loadModel(modelFolder, { device });
  const [expected] = await plain.fill(texts[0]);
  for (const [dtype, stored, tolerance] of [['fp32', 'f32', 0], ['fp16', 'f16', 0.01], ['bf16', 'bf16', 0.03], ['q8', 'int8', 0.1]]) {
    const converted = await loadModel(modelFolder, { device, dtype });
    const again = await loadModel(await plain.files({ dtype }), { device });
    for (const model of [converted, again]) {
      assert.equal(model.info.dtype, stored);
      const [found] = await model.fill(texts[0]);
      assert.equal(found.token_str, expected.token_str);
      assert.ok(Math.abs(found.score - expected.score) <= tolerance, `${dtype}: ${found.score} is not ${expected.score}`);
      await model.dispose();
    }
  }
  await assert.rejects(loadModel(modelFolder, { device, dtype: 'q3' }), { code: 'E_ARGUMENT', message: /fp16/ });
  await assert.rejects(plain.files({ dtype: 'q3' }), { code: 'E_ARGUMENT' });
  await plain.dispose();
});

test('loading and disposing fifty times leaves the memory of the worker flat', async () => {
  const device = 'wasm';
  const other = await loadModel(modelFolder, { device }); // which keeps the worker
  let after3;
  for (let i = 0; i < 50; i++) {
    const model = await loadModel(modelFolder, { device });
    await model.fill(texts[0]);
    await model.dispose();
    await model.dispose();
    if (i === 2) after3 = await other.request('memory', {});
  }
  assert.equal(await other.request('memory', {}), after3);
  await other.dispose();
});

onEach('aborts reject with the reason, and stop the work', async (device) => {
  const model = await loadModel(modelFolder, { device });
  const late = new AbortController();
  const long = 'The red cat sat on the mat. '.repeat(400); // about a minute of work
  const start = performance.now();
  setTimeout(() => late.abort(new Error('enough')), 50);
  await assert.rejects(model.score(long, { signal: late.signal }), { message: 'enough' });
  assert.equal((await model.fill(texts[0])).length, 5); // which has to wait for what still runs
  assert.ok(performance.now() - start < 30_000, 'the work went on');
  await assert.rejects(model.fill(texts[0], { signal: AbortSignal.abort(new Error('no')) }), { message: 'no' });
  const queued = new AbortController();
  const calls = [model.fill(texts[0]), model.score(long, { signal: queued.signal })];
  queued.abort(new Error('never mind'));
  await assert.rejects(calls[1], { message: 'never mind' });
  assert.equal((await calls[0]).length, 5);
  await assert.rejects(loadModel(modelFolder, { device, signal: AbortSignal.abort(new Error('no')) }), { message: 'no' });
  await model.dispose();
});

onEach('a script ends by itself, without dispose', (device) => {
  const script = `
    import { pipeline } from ${JSON.stringify(new URL('../../web/index-node.js', import.meta.url).href)};
    const fill = await pipeline('fill-mask', ${JSON.stringify(modelFolder)}, { device: '${device}', threads: 2 });
    console.log((await fill('The red cat sat on the [MASK].'))[0].token_str);`;
  const { stdout, stderr, status, signal } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8', timeout: 30_000, cwd: root });
  assert.deepEqual({ signal, status, stderr }, { signal: null, status: 0, stderr: '' });
  assert.match(stdout, /^\w+\n$/);
});

test('when the worker dies, what is pending rejects, and the next call starts another one', async () => {
  const device = 'wasm';
  let worker;
  process.once('worker', (started) => (worker = started));
  const model = await loadModel(modelFolder, { device, threads: 1 });
  const expected = await model.fill(texts[0]);
  const pending = assert.rejects(model.score('The red cat sat on the mat. '.repeat(400)), { code: 'E_CRASHED', message: /ended/ });
  setTimeout(() => worker.terminate(), 50);
  await pending;
  assert.deepEqual(await model.fill(texts[0]), expected);

  // What was learnt is gone for good.
  process.once('worker', (started) => (worker = started));
  const other = await loadModel(modelFolder, { device, threads: 2 });
  const trainer = new Trainer(other, { data: documents, steps: 1, length: 32, batch_size: 2 });
  for await (const report of trainer) assert.equal(report.step, 1);
  await trainer.apply();
  await other.fill(texts[0]);
  await worker.terminate();
  await assert.rejects(other.fill(texts[0]), { code: 'E_CRASHED', message: /learnt was lost/ });
  await assert.rejects(trainer.apply(), { code: 'E_CRASHED', message: /lost with the worker/ });
  await trainer.dispose();
  await other.dispose();
  await model.dispose();
});

test('when the native program dies, what is pending rejects, and the next call starts another one', { skip: process.platform !== 'linux' }, async () => {
  const device = 'native';
  const children = () => readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
  const before = children();
  const read = (name) => readFileSync(join(modelFolder, name));
  const model = await loadModel({ 'config.json': read('config.json'), 'tokenizer.json': read('tokenizer.json'), 'model.safetensors': read('model.safetensors') }, { device, threads: 1 });
  const [child] = children().filter((pid) => !before.includes(pid));
  const expected = await model.fill(texts[0]);
  const pending = assert.rejects(model.score('The red cat sat on the mat. '.repeat(4000)), { code: 'E_CRASHED', message: /native program of Fillmask ended \(SIGKILL\)/ });
  setTimeout(() => process.kill(child, 'SIGKILL'), 50);
  await pending;
  assert.deepEqual(await model.fill(texts[0]), expected);
  await model.dispose();
});

test('options that choose a graphics card go with device "webgpu" alone', async () => {
  const cases = [
    [{ adapter: 'RTX' }, /^adapter chooses among graphics cards; give device "webgpu"/],
    [{ device: 'native', powerPreference: 'low-power' }, /^powerPreference chooses among graphics cards; give device "webgpu"/],
    [{ device: 'webgpu', powerPreference: 'high' }, /^powerPreference is "high"; it must be low-power or high-performance/],
  ];
  for (const [options, message] of cases) await assert.rejects(loadModel(modelFolder, options), { code: 'E_ARGUMENT', message });
});

onEach('a number of threads that is none, or too large, is refused', async (device) => {
  for (const threads of [0, -1, 1.5, 5000, NaN, '2', null])
    await assert.rejects(loadModel(modelFolder, { device, threads }), { code: 'E_ARGUMENT', message: `threads is ${threads}; it must be a whole number from 1 to 256, or left out.` });
});

test('the native program is found where it should be, and only of this version', () => {
  const index = JSON.stringify(new URL('../../web/index-node.js', import.meta.url).href);
  const script = (device) => `
    import { pipeline } from ${index};
    const fill = await pipeline('fill-mask', ${JSON.stringify(modelFolder)}, { device: '${device}' }).catch((error) => console.log(error.code, error.message));
    if (fill) console.log(['relaxed', 'simd128'].includes(fill.model.info.instruction_set) ? 'wasm' : 'native');`;
  const run = (device, env) => spawnSync(process.execPath, ['--input-type=module', '-e', script(device)], { encoding: 'utf8', env: { PATH: '/nowhere', ...env } }).stdout;
  assert.equal(run('auto', { FILLMASK_BIN: bin }), 'native\n');
  assert.equal(run('auto', { FILLMASK_BIN: '/nowhere/fillmask' }), 'wasm\n');
  assert.match(run('native', { FILLMASK_BIN: '/nowhere/fillmask' }), /^E_UNSUPPORTED There is no native program: \/nowhere\/fillmask, which FILLMASK_BIN names, cannot be run\./);
  const old = join(folder, 'bin');
  mkdirSync(old);
  writeFileSync(join(old, 'fillmask'), '#!/bin/sh\necho fillmask 0.0.1\n', { mode: 0o755 });
  assert.match(run('native', { FILLMASK_BIN: join(old, 'fillmask') }), /is fillmask 0\.0\.1, and not /);
});

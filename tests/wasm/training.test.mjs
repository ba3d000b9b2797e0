// training.test.mjs - training and evaluation in WebAssembly against the native command line, their slices and their
// memory.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { asArguments, createEngine, documents, files, folder, native, tensors, training } from './helpers.mjs';

const open = async (options) => {
  const engine = await createEngine(options);
  await engine.open(files());
  return engine;
};

test('steps equal the native ones to float tolerance', async (t) => {
  const options = { ...training, steps: 2 };
  native('train', '-m', 'model', '--data', 'texts.jsonl', '--quiet', '-o', 'two-steps', ...asArguments(options));
  const expected = tensors(readFileSync(join(folder, 'two-steps', 'model.safetensors')));
  const before = tensors(files().weights);
  const engine = await open();
  const trainer = await engine.trainer(documents, options);
  const reports = [];
  for await (const report of trainer) reports.push(report);
  await trainer.apply();
  const found = tensors(await engine.save());
  assert.deepEqual([...found.keys()], [...expected.keys()]);
  let moved = 0, apart = 0, count = 0;
  for (const [name, values] of expected)
    values.forEach((value, i) => {
      const difference = Math.abs(value - found.get(name)[i]);
      // Adam divides by the gradient's size, so one that is all rounding moves its value by up to the learning rate.
      assert.ok(difference <= 2 * options.learning_rate, `${name}[${i}]: ${found.get(name)[i]} is not ${value}`);
      apart += difference;
      moved += Math.abs(value - before.get(name)[i]);
      count++;
    });
  t.diagnostic(`differences of ${(apart / moved).toExponential(1)} of the way that the values moved`);
  assert.ok(moved / count > options.learning_rate / 10, 'the training moved nothing');
  assert.ok(apart / moved < 1e-4, `the values are ${apart / moved} of the way that they moved apart`);
  assert.deepEqual(reports.map((r) => [r.step, r.steps]), [[1, 2], [2, 2]]);
  assert.equal(Math.fround(reports[1].learning_rate), Math.fround(options.learning_rate / 2));
  assert.ok(reports[0].loss > 0 && reports[0].norm > 0 && reports[0].masked > 0);
});

test('any number of threads trains the same bits', async () => {
  const saved = [];
  for (const threads of [1, 2]) {
    const engine = await open({ threads });
    const trainer = await engine.trainer(documents, { ...training, steps: 2 });
    while (await trainer.step());
    await trainer.apply();
    saved.push(await engine.save());
  }
  assert.deepEqual(saved[0], saved[1]);
});

test('a model from nothing learns, and can be filled while it does', async () => {
  const engine = await createEngine();
  const { weights, ...rest } = files();
  await engine.open(rest);
  const before = await engine.evaluate(documents, { length: 32 });
  const trainer = await engine.trainer(documents, { ...training, steps: 40, init: 'neighbours', warmup: 0.1 });
  for (let i = 0; i < 40; i++) {
    await trainer.step();
    if (i % 20 === 19) await trainer.apply();
    await engine.fill('the [MASK] cat');
  }
  assert.equal(await trainer.step(), null);
  const after = await engine.evaluate(documents, { length: 32 });
  assert.ok(after.loss < before.loss - 0.5, `${before.loss} became ${after.loss}`);
});

test('evaluates as the native command line does', async () => {
  const engine = await open();
  const printed = JSON.parse(native('eval', '-m', 'model', '--data', 'texts.jsonl', '--length', '32', '--json', '--quiet'));
  const progress = [];
  const found = await engine.evaluate(documents, { length: 32, onProgress: (...at) => progress.push(at) });
  assert.deepEqual(Object.keys(found).sort(), Object.keys(printed).sort());
  for (const [name, value] of Object.entries(printed)) assert.ok(Math.abs(found[name] - value) <= 1e-4 * value + 1e-6, `${name}: ${found[name]} is not ${value}`);
  assert.ok(progress.every(([done, total]) => done <= total));
  const some = await engine.evaluate(documents, { length: 32, limit: 3 });
  assert.equal(some.chunks, 3);
  await assert.rejects(engine.evaluate(documents, { length: 65 }), { code: 'E_ARGUMENT', message: /64 positions/ });
  await assert.rejects(engine.evaluate(['short'], { length: 32 }), { code: 'E_FORMAT', message: /no chunk/ });
});

test('work is cut into slices, between which it can be aborted and other things happen', async () => {
  const engine = await open({ sliceMs: 0 });
  const trainer = await engine.trainer(documents, { ...training, steps: 2 });
  const controller = new AbortController();
  let turns = 0;
  const ticking = setInterval(() => ++turns === 3 && controller.abort(new Error('enough')), 0);
  await assert.rejects((async () => {
    while (await trainer.step({ signal: controller.signal }));
    await new Promise((resolve) => setTimeout(resolve, 100)); // done before three turns
  })(), { message: 'enough' });
  clearInterval(ticking);
  assert.equal(turns, 3);
  await assert.rejects(trainer.step({ signal: AbortSignal.abort(new Error('no')) }), { message: 'no' });
  await engine.fill('the [MASK] cat');
  while (await trainer.step()); // the step that was left half done goes on
  await trainer.apply();

  const straight = await open();
  const other = await straight.trainer(documents, { ...training, steps: 2 });
  while (await other.step());
  await other.apply();
  assert.deepEqual(await engine.save(), await straight.save());

  await assert.rejects(engine.evaluate(documents, { signal: AbortSignal.abort(new Error('no')) }), { message: 'no' });
  await assert.rejects(engine.trainer(documents, { signal: AbortSignal.abort(new Error('no')) }), { message: 'no' });
  assert.equal((await engine.evaluate(documents, { length: 32, limit: 1 })).chunks, 1);
});

test('bad options name the option', async () => {
  const engine = await open();
  const cases = [
    [{ lenght: 3 }, 'E_ARGUMENT', /"lenght"/],
    [{ length: 1 }, 'E_ARGUMENT', /length is 1/],
    [{ length: 65 }, 'E_ARGUMENT', /64 positions/],
    [{ batch: 2.5 }, 'E_ARGUMENT', /batch is 2\.5; it must be a whole number/],
    [{ learning_rate: '0.1' }, 'E_ARGUMENT', /learning_rate/],
    [{ init: 'zeros' }, 'E_ARGUMENT', /"zeros"/],
  ];
  for (const [change, code, message] of cases)
    await assert.rejects(engine.trainer(documents, { ...training, steps: 1, ...change }), { code, message });
  await assert.rejects(engine.trainer(['too short'], { ...training, steps: 1 }), { code: 'E_FORMAT', message: /no chunk of 32/ });
  await assert.rejects(engine.trainer([], { ...training }), { code: 'E_FORMAT' });
  await assert.rejects(engine.trainer((function* () { throw new Error('mine'); })(), training), { message: 'mine' });
  await assert.rejects(engine.save({ dtype: 'f64' }), { code: 'E_ARGUMENT', message: /int8/ });
});

test('a trainer that is closed, or whose model is, says so', async () => {
  const engine = await open({ sliceMs: 0 });
  const first = await engine.trainer(documents, { ...training, steps: 3 });
  first.close();
  first.close();
  await assert.rejects(first.step(), { code: 'E_CLOSED' });
  await assert.rejects(first.apply(), { code: 'E_CLOSED' });
  const second = await engine.trainer(documents, { ...training, steps: 3 });
  const pending = second.step();
  await assert.rejects(second.step(), { code: 'E_ARGUMENT', message: /under way/ });
  await Promise.all([assert.rejects(pending, { code: 'E_CLOSED' }), engine.open(files())]);
  await assert.rejects(second.step(), { code: 'E_CLOSED' });
  const third = await engine.trainer(documents, { ...training, steps: 3 });
  const last = third.step();
  engine.close();
  await assert.rejects(last, { code: 'E_CLOSED' });
  third.close();
});

test('trainings and evaluations leave the memory flat', async () => {
  const engine = await open();
  let after3;
  for (let i = 0; i < 12; i++) {
    const trainer = await engine.trainer(documents, { ...training, steps: 1 });
    await trainer.step();
    await trainer.apply();
    trainer.close();
    await engine.evaluate(documents, { length: 32, limit: 4 });
    await engine.save({ dtype: 'int8' });
    await assert.rejects(engine.trainer(documents, { length: 1 }));
    if (i === 2) after3 = engine.memoryBytes;
  }
  assert.equal(engine.memoryBytes, after3);
});

test('what is saved can be opened', async () => {
  const engine = await open();
  const [[expected]] = await engine.fill('The red cat sat on the [MASK].');
  for (const [dtype, tolerance] of [['f32', 0], ['f16', 0.01], ['bf16', 0.03], ['int8', 0.1]]) {
    const weights = await engine.save({ dtype });
    const info = await engine.open({ ...files(), weights });
    assert.equal(info.dtype, dtype);
    const [[found]] = await engine.fill('The red cat sat on the [MASK].');
    assert.equal(found.token_str, expected.token_str);
    assert.ok(Math.abs(found.score - expected.score) <= tolerance, `${dtype}: ${found.score} is not ${expected.score}`);
    await engine.open(files());
  }
});

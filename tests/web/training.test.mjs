// training.test.mjs - training and evaluation in the package against the native command line: steps, checkpoints, pauses,
// aborts and memory.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { dispose, loadModel, Trainer } from '../../web/index-node.js';
import { asArguments, documents, folder, native, tensors, training } from '../wasm/helpers.mjs';

after(dispose);

const modelFolder = join(folder, 'model');
const open = (options) => loadModel(modelFolder, { device: 'wasm', ...options });
const { batch: batch_size, ...same } = training; // batch_size is the package's name for it
const options = { ...same, batch_size, data: documents };

const weightsOf = async (model) => Buffer.from(await (await model.files()).find((file) => file.name === 'model.safetensors').arrayBuffer());
const run = async (trainer) => {
  const reports = [];
  for await (const report of trainer) reports.push(report);
  return reports;
};

/** Twice the same test. */
const onEach = (name, body) => {
  for (const device of ['native', 'wasm']) test(`${name}: ${device}`, (t) => body(device, t));
};

onEach('steps equal the native ones to float tolerance', async (device, t) => {
  const steps = 2, { learning_rate } = training;
  native('train', '-m', 'model', '--data', 'texts.jsonl', '--quiet', '-o', `two-steps-${device}`, ...asArguments({ ...training, steps }));
  const expected = tensors(readFileSync(join(folder, `two-steps-${device}`, 'model.safetensors')));
  const before = tensors(readFileSync(join(modelFolder, 'model.safetensors')));
  const model = await open({ device });
  const trainer = new Trainer(model, { ...options, steps });
  const reports = await run(trainer);
  assert.equal(await trainer.apply(), model);
  const found = tensors(await weightsOf(model));
  assert.deepEqual([...found.keys()], [...expected.keys()]);
  let moved = 0, apart = 0, count = 0;
  for (const [name, values] of expected)
    values.forEach((value, i) => {
      const difference = Math.abs(value - found.get(name)[i]);
      // Adam divides by the gradient's size, so one that is all rounding moves its value by up to the learning rate.
      assert.ok(difference <= 2 * learning_rate, `${name}[${i}]: ${found.get(name)[i]} is not ${value}`);
      apart += difference;
      moved += Math.abs(value - before.get(name)[i]);
      count++;
    });
  t.diagnostic(`differences of ${(apart / moved).toExponential(1)} of the way that the values moved`);
  assert.ok(moved / count > learning_rate / 10, 'the training moved nothing');
  assert.ok(apart / moved < 1e-4, `the values are ${apart / moved} of the way that they moved apart`);
  assert.deepEqual(reports.map((r) => [r.step, r.steps]), [[1, 2], [2, 2]]);
  assert.equal(Math.fround(reports[1].learning_rate), Math.fround(learning_rate / 2));
  assert.ok(reports[0].loss > 0 && reports[0].norm > 0 && reports[0].masked > 0 && reports[0].tokens_per_second > 0);
  assert.ok(reports[0].eta > 0 && reports[1].eta === 0);
  await model.dispose();
});

test('a checkpoint goes on on the other device, and on the command line', async () => {
  const losses = { native: [], wasm: [] }, steps = 4, models = {};
  for (const device of ['native', 'wasm']) models[device] = await open({ device });
  const whole = new Trainer(models.native, { ...options, steps }), begun = new Trainer(models.wasm, { ...options, steps });
  for await (const { loss } of whole) losses.native.push(loss);
  for await (const { loss, step } of begun) {
    losses.wasm.push(loss);
    if (step === 2) break;
  }
  const checkpoint = await begun.checkpoint();
  assert.equal(checkpoint.name, 'checkpoint-2.safetensors');
  const resumed = new Trainer(models.native, { ...options, steps, checkpoint, eval_data: documents, eval_limit: 4 });
  const reports = await run(resumed);
  assert.deepEqual(reports.map(({ step, evaluation }) => [step, Boolean(evaluation)]), [[2, true], [3, false], [4, true]]);
  assert.deepEqual(reports[0].loss, null);
  losses.wasm.push(...reports.slice(1).map(({ loss }) => loss));
  losses.wasm.forEach((loss, i) => assert.ok(Math.abs(loss - losses.native[i]) < 1e-4 * loss, `step ${i + 1}`));

  mkdirSync(join(folder, 'from-package'));
  writeFileSync(join(folder, 'from-package', checkpoint.name), Buffer.from(await checkpoint.arrayBuffer()));
  const printed = JSON.parse(native('train', '-m', 'model', '--data', 'texts.jsonl', '--quiet', '--json', '--resume', '-o', 'from-package', ...asArguments({ ...training, steps })));
  assert.deepEqual([printed.resumed_from, printed.steps], [2, 4]);
  const again = new Trainer(models.wasm, { ...options, steps, checkpoint: readFileSync(join(folder, 'from-package', 'checkpoint-4.safetensors')) });
  assert.deepEqual(await run(again), []);
  await again.apply();
  const [found, expected] = [await weightsOf(models.wasm), readFileSync(join(folder, 'from-package', 'model.safetensors'))].map((bytes) => tensors(bytes));
  assert.deepEqual(found, expected);

  const other = (change) => run(new Trainer(models.wasm, { ...options, steps, checkpoint, ...change }));
  await assert.rejects(other({ seed: 6 }), { code: 'E_ARGUMENT', message: /belongs to another training: it has "seed 5"/ });
  await assert.rejects(other({ checkpoint: checkpoint.slice(0, 3000) }), { code: 'E_FORMAT', message: /^The checkpoint/ });
  const cut = new Trainer(models.native, { ...options, steps, checkpoint: checkpoint.slice(0, 3000) });
  await assert.rejects(run(cut), { code: 'E_FORMAT', message: /^The checkpoint/ });
  await Promise.all(Object.values(models).map((model) => model.dispose()));
});

onEach('a checkpoint that is made during a loop has the name of its own step', async (device) => {
  const model = await open({ device });
  const trainer = new Trainer(model, { ...options, steps: 12 });
  for await (const { step } of trainer) if (step === 1) break;
  const running = run(trainer), made = [];
  for (let i = 0; i < 4; i++) made.push(await trainer.checkpoint());
  await running;
  for (const file of made) {
    const text = await file.slice(8, 4000).text();
    assert.equal(file.name, `checkpoint-${/"step": ?"(\d+)"/.exec(text)[1]}.safetensors`);
  }
  await model.dispose();
});

test('any number of threads trains the same bits', async () => {
  const saved = [];
  for (const threads of [1, 2]) {
    const model = await open({ threads });
    assert.equal(model.info.threads, threads);
    const trainer = new Trainer(model, { ...options, steps: 2 });
    await run(trainer);
    await trainer.apply();
    saved.push(await weightsOf(model));
    await model.dispose();
  }
  assert.deepEqual(saved[0], saved[1]);
});

test('a model from nothing learns, is measured on the way, and can be used while it does', async () => {
  const model = await open({ untrained: true });
  const before = await model.evaluate(documents, { length: 32 });
  const trainer = new Trainer(model, { ...options, steps: 40, init: 'neighbours', warmup: 0.1, eval_data: documents, eval_steps: 20 });
  const evaluated = [];
  for await (const { step, evaluation } of trainer) {
    if (evaluation) evaluated.push([step, evaluation.loss]);
    assert.equal((await model.fill('the [MASK] cat')).length, 5);
  }
  assert.deepEqual(evaluated.map(([step]) => step), [0, 20, 40]);
  assert.deepEqual((await model.evaluate(documents, { length: 32 })).loss, before.loss); // until it is applied
  await trainer.apply();
  const after = await model.evaluate(documents, { length: 32 });
  assert.ok(Math.abs(after.loss - evaluated[2][1]) < 1e-5);
  assert.ok(after.loss < before.loss - 0.5, `${before.loss} became ${after.loss}`);
  await trainer.dispose();
  await model.dispose();
});

onEach('evaluates as the native command line does, from lists and from files', async (device) => {
  const model = await open({ device });
  const printed = JSON.parse(native('eval', '-m', 'model', '--data', 'texts.jsonl', '--length', '32', '--json', '--quiet'));
  const events = [];
  const csv = 'id,body\n' + documents.map((text, i) => `${i},"${text}"\r\n`).join('');
  const sources = [
    [documents],
    [(async function* () { yield* documents; })()],
    [new File([readFileSync(join(folder, 'texts.jsonl'))], 'texts.jsonl')],
    [[new File([csv], 'TEXTS.CSV')], { field: 'body' }],
    [[new Blob([documents.slice(0, 80).join('\n')]), new File([documents.slice(80).join('\n')], 'rest.txt')]],
  ];
  for (const [texts, more] of sources) {
    const found = await model.evaluate(texts, { length: 32, progress_callback: (event) => events.push(event), ...more });
    assert.deepEqual(Object.keys(found).sort(), Object.keys(printed).sort());
    for (const [name, value] of Object.entries(printed)) assert.ok(Math.abs(found[name] - value) <= 1e-4 * value + 1e-6, `${name}: ${found[name]} is not ${value}`);
  }
  assert.ok(events.every(({ done, total }) => done <= total));
  const some = await model.evaluate(documents, { length: 32, limit: 3 });
  assert.equal(some.chunks, 3);
  await assert.rejects(model.evaluate(documents, { length: 65 }), { code: 'E_ARGUMENT', message: /64 positions/ });
  await assert.rejects(model.evaluate(['short'], { length: 32 }), { code: 'E_FORMAT', message: /no chunk/ });
  await assert.rejects(model.evaluate(new File(['{"text": 3}\n'], 'a.jsonl')), { code: 'E_FORMAT', message: /^Line 1: / });
  await assert.rejects(model.evaluate(new File(['a,b\n1,2\n'], 'a.csv')), { code: 'E_FORMAT', message: /"text"/ });
  await model.dispose();
});

onEach('a training can be paused, left and resumed, and comes to the same', async (device) => {
  const model = await open({ device });
  const straight = new Trainer(model, { ...options, steps: 4 });
  const expected = (await run(straight)).map((r) => r.loss);
  await straight.dispose();

  const trainer = new Trainer(model, { ...options, steps: 4 });
  const losses = [];
  for await (const { step, loss } of trainer) {
    losses.push(loss);
    if (step === 1) break;
  }
  let resumed = false;
  for await (const { step, loss } of trainer) {
    losses.push(loss);
    if (step === 3) assert.ok(resumed, 'it went on while it was paused');
    if (step !== 2) continue;
    trainer.pause();
    assert.equal(trainer.paused, true);
    setTimeout(() => {
      resumed = true;
      trainer.resume();
    }, 300);
  }
  assert.deepEqual(losses, expected);
  assert.deepEqual(await run(trainer), []);
  await trainer.dispose();
  await model.dispose();
});

onEach('aborting a training, and what can still be done with it', async (device) => {
  const model = await open({ device });
  const original = await weightsOf(model);
  const controller = new AbortController();
  const trainer = new Trainer(model, { ...options, steps: 1000, signal: controller.signal });
  let steps = 0;
  await assert.rejects(async () => {
    for await (const { step } of trainer) {
      steps = step;
      if (step === 2) controller.abort(new Error('enough'));
    }
  }, { message: 'enough' });
  assert.equal(steps, 2);
  await assert.rejects(run(trainer), { message: 'enough' });
  await trainer.apply();
  assert.notDeepEqual(await weightsOf(model), original);
  await trainer.dispose();
  await trainer.dispose();
  await assert.rejects(trainer.apply(), { code: 'E_CLOSED' });

  const paused = new Trainer(model, { ...options, steps: 3 });
  paused.pause();
  const running = run(paused);
  paused.abort();
  await assert.rejects(running, { name: 'AbortError' });
  await assert.rejects(run(new Trainer(model, { ...options, signal: AbortSignal.abort(new Error('no')) })), { message: 'no' });
  await assert.rejects(model.evaluate(documents, { signal: AbortSignal.abort(new Error('no')) }), { message: 'no' });
  await model.dispose();
});

test('bad options name the option', async () => {
  const model = await open();
  const cases = [
    [{ lenght: 3 }, 'E_ARGUMENT', /"lenght"/],
    [{ length: 1 }, 'E_ARGUMENT', /length is 1/],
    [{ length: 65 }, 'E_ARGUMENT', /64 positions/],
    [{ batch_size: 2.5 }, 'E_ARGUMENT', /batch_size is 2\.5; it must be a whole number/],
    [{ learning_rate: '0.1' }, 'E_ARGUMENT', /learning_rate/],
    [{ init: 'zeros' }, 'E_ARGUMENT', /"zeros"/],
    [{ data: ['too short'] }, 'E_FORMAT', /no chunk of 32/],
    [{ data: [] }, 'E_FORMAT', /./],
  ];
  for (const [change, code, message] of cases)
    await assert.rejects(run(new Trainer(model, { ...options, steps: 1, ...change })), { code, message });
  await assert.rejects(run(new Trainer(model, { ...options, data: (function* () { throw new Error('mine'); })() })), { message: 'mine' });
  assert.throws(() => new Trainer(model, {}), { code: 'E_ARGUMENT', message: /data/ });
  assert.throws(() => new Trainer(model), { code: 'E_ARGUMENT', message: /data/ });
  assert.throws(() => new Trainer(model, { ...options, signal: 'stop' }), { code: 'E_ARGUMENT', message: /^signal must be an AbortSignal/ });
  for (const checkpoint of ['checkpoint-2.safetensors', '', {}, [1, 2]])
    assert.throws(() => new Trainer(model, { ...options, checkpoint }), { code: 'E_ARGUMENT', message: /^checkpoint must be a Blob/ });
  const busy = new Trainer(model, { ...options, steps: 2 });
  await assert.rejects(Promise.all([run(busy), run(busy)]), { code: 'E_ARGUMENT', message: /another loop/ });
  await model.dispose();
});

test('trainings and evaluations leave the memory flat', async () => {
  const model = await open();
  let after3;
  for (let i = 0; i < 12; i++) {
    const trainer = new Trainer(model, { ...options, steps: 1, eval_data: documents, eval_limit: 4 });
    await run(trainer);
    await trainer.apply();
    await trainer.dispose();
    await model.evaluate(documents, { length: 32, limit: 4 });
    await model.files({ dtype: 'q8' });
    await assert.rejects(run(new Trainer(model, { ...options, length: 1 })));
    const unreadable = Object.assign(new Blob(), { arrayBuffer: () => Promise.reject(new Error('unreadable')) });
    await assert.rejects(run(new Trainer(model, { ...options, checkpoint: unreadable })), { message: 'unreadable' });
    await assert.rejects(run(new Trainer(model, { ...options, checkpoint: new Blob(['none']) })), { code: 'E_FORMAT' });
    if (i === 2) after3 = await model.request('memory', {});
  }
  assert.equal(await model.request('memory', {}), after3);
  const next = await model.call('corpus', {});
  for (let training = 1; training < next; training++) await assert.rejects(model.request('train_report', { training }), { code: 'E_ARGUMENT' });
  await model.dispose();
});

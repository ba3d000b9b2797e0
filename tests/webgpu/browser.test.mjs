// browser.test.mjs - the GPU path in Chromium, on SwiftShader: every operation, a small network, and a training in the
// package's worker beside one on the processor.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { asArguments, documents, folder, native, training } from '../wasm/helpers.mjs';
import { noBrowser, openPage, serveFolder } from '../web/helpers.mjs';

const args = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-dawn-features=disable_workgroup_init']; // see helpers.mjs
const hasAdapter = (page) => page.evaluate(async () => Boolean(await navigator.gpu?.requestAdapter()));

test('Chromium computes on a GPU what it should', { skip: noBrowser }, async (t) => {
  const { origin } = await serveFolder();
  const page = await openPage(origin, { args });
  if (!(await hasAdapter(page))) return t.skip('this Chromium has no adapter');
  const wrong = await page.evaluate(async () => {
    const { Gpu } = await import('/web/gpu.js');
    const { operations } = await import('/tests/webgpu/operations.mjs');
    const gpu = await Gpu.create(navigator.gpu);
    const { names, run } = await operations(gpu, await (await fetch('/build-wasm/test-webgpu.wasm')).arrayBuffer());
    const found = [];
    for (const name of names) found.push([name, await run(name)]);
    gpu.close();
    return found;
  });
  assert.ok(wrong.length > 15);
  for (const [name, what] of wrong) assert.equal(what, '', name);
});

test('ten steps in a worker, on the GPU and on the processor', { skip: noBrowser }, async (t) => {
  native('train', '--tokenizer', 'vocab.txt', '--layers', '2', '--hidden', '64', '--heads', '4', '--positions', '64', '--data', 'texts.jsonl', '--steps', '1', '-q', '-o', 'wide', ...asArguments(training));
  const answer = (request, response, pathname) => pathname.startsWith('/wide/') && Boolean(response.end(readFileSync(join(folder, pathname))));
  const { origin } = await serveFolder({ answer });
  const page = await openPage(origin, { args });
  if (!(await hasAdapter(page))) return t.skip('this Chromium has no adapter');
  const [gpu, processor] = await page.evaluate(async (data) => {
    const { loadModel, Trainer, dispose } = await import('/web/index.js');
    const results = [];
    for (const device of ['webgpu', 'wasm']) {
      const model = await loadModel('/wide/', { device });
      const { info } = model;
      const trainer = new Trainer(model, { data, steps: 10, batch_size: 2, length: 32, learning_rate: 0.003, dropout: 0.1, seed: 5 });
      const steps = [];
      for await (const { step, loss, norm } of trainer) steps.push([step, loss, norm]);
      await trainer.apply();
      const [best] = await model.fill('The red cat [MASK] on the mat.');
      results.push({ device: info.device, warning: info.warning, steps, best });
    }
    await dispose();
    return results;
  }, documents);
  assert.deepEqual([gpu.device, gpu.warning, processor.device], ['webgpu', undefined, 'wasm']);
  assert.equal(gpu.steps.length, 10);
  gpu.steps.forEach((found, i) => found.forEach((number, j) => {
    const expected = processor.steps[i][j];
    assert.ok(Math.abs(number - expected) <= 1e-3 * (1 + expected), `step ${i + 1}: ${found}, on the processor ${processor.steps[i]}`);
  }));
  assert.ok(gpu.steps[9][1] < gpu.steps[0][1]);
  assert.equal(gpu.best.token_str, processor.best.token_str);
  assert.ok(Math.abs(gpu.best.score - processor.best.score) < 5e-3);
  assert.deepEqual(page.complaints, []);
});

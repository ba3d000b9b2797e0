// browser.test.mjs - the GPU path in Chromium, on SwiftShader: every operation, and the package with device "webgpu".
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { noBrowser, openPage, serveFolder } from '../web/helpers.mjs';

const args = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'];

test('Chromium computes on a GPU what it should', { skip: noBrowser }, async (t) => {
  const { origin } = await serveFolder();
  const page = await openPage(origin, { args });
  if (!(await page.evaluate(async () => Boolean(await navigator.gpu?.requestAdapter())))) return t.skip('this Chromium has no adapter');
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

test('the package fills, scores and trains with device "webgpu"', { skip: noBrowser }, async (t) => {
  const { origin } = await serveFolder();
  const page = await openPage(origin, { args });
  if (!(await page.evaluate(async () => Boolean(await navigator.gpu?.requestAdapter())))) return t.skip('this Chromium has no adapter');
  const { infos, words, losses } = await page.evaluate(async () => {
    const { loadModel, Trainer } = await import('/web/index.js');
    const data = Array.from({ length: 20 }, (_, i) => `The ${['red', 'blue'][i % 2]} cat sat on the mat, and then the ${['dog', 'bird'][i % 3 % 2]} ran home.`);
    const found = { infos: [], words: [], losses: [] };
    for (const device of ['wasm', 'webgpu']) {
      const model = await loadModel(undefined, { device });
      found.infos.push(model.info);
      found.words.push((await model.fill('The cat [MASK] on the mat.', { top_k: 3 })).map((filling) => filling.token_str));
      const trainer = new Trainer(model, { data, steps: 2, batch_size: 2, length: 32, micro_tokens: 64 });
      const losses = [];
      for await (const { loss } of trainer) losses.push(loss);
      found.losses.push(losses);
      await trainer.dispose();
      await model.dispose();
    }
    return found;
  });
  assert.equal(infos[1].warning, undefined);
  assert.deepEqual(infos.map((info) => info.device), ['wasm', 'webgpu']);
  t.diagnostic(infos[1].adapter);
  assert.deepEqual(words[1], words[0]);
  for (const [i, loss] of losses[1].entries()) assert.ok(Math.abs(loss - losses[0][i]) < 1e-3 * losses[0][i], `${losses[1]}, expected ${losses[0]}`);
  assert.deepEqual(page.complaints, []);
});

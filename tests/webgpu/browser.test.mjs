// browser.test.mjs - the GPU path in Chromium, on SwiftShader: every operation, and a small network.
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

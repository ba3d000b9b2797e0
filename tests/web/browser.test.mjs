// browser.test.mjs - the package in headless Chromium, straight from its sources and under a strict content security
// policy: with threads where the page is cross-origin isolated, and on one thread where it is not.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { native, noBrowser, openPage, serveFolder } from './helpers.mjs';

const skip = noBrowser;

for (const isolated of [true, false])
  test(`fills with the default model on a page that is ${isolated ? '' : 'not '}cross-origin isolated`, { skip, timeout: 120_000 }, async () => {
    const { origin, requests } = await serveFolder({ isolated });
    const page = await openPage(origin);
    const { fillings, info, events, losses } = await page.evaluate(async () => {
      const { pipeline, Trainer } = await import('/web/index.js');
      const events = [];
      const fill = await pipeline('fill-mask', undefined, { threads: 2, progress_callback: (event) => events.push(event) });
      const fillings = await fill('This movie was really [MASK].');
      const { info } = fill.model;
      const losses = [];
      const trainer = new Trainer(fill.model, { data: Array(20).fill('The red cat sat on the mat.'), steps: 2, batch_size: 2, length: 64 });
      for await (const { loss } of trainer) losses.push(loss);
      await trainer.dispose();
      await fill.dispose();
      return { fillings, info, events, losses };
    });
    const expected = native('fill', '--json', 'This movie was really [MASK].');
    assert.deepEqual(fillings.map((f) => f.token_str), expected.map((f) => f.token_str));
    fillings.forEach((f, i) => assert.ok(Math.abs(f.score - expected[i].score) < 1e-4));
    assert.equal(info.threads, isolated ? 2 : 1);
    assert.equal(info.instruction_set, 'relaxed');
    assert.equal(losses.length, 2);
    assert.ok(losses.every((loss) => loss > 0));
    assert.deepEqual(events.at(-1), { status: 'ready', task: 'fill-mask', model: 'fillmask-small-en' });
    assert.ok(events.some((e) => e.status === 'progress' && e.file === 'model.safetensors' && e.progress === 100));
    assert.ok(requests.every((path) => /^\/(web|weights|build-wasm)\/|^\/(favicon\.ico)?$/.test(path)), requests.join());
    assert.deepEqual(page.complaints.filter((text) => !text.includes('favicon')), []);
  });

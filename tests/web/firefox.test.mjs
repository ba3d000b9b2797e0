// firefox.test.mjs - the package in headless Firefox: with and without cross-origin isolation, on one thread and two,
// aborts, bad model files, a worker that dies, and downloads that are kept.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { native, noFirefox, openFirefox, serveFolder } from './helpers.mjs';

const skip = noFirefox;
const text = 'He [MASK] the door and walked into the [MASK].';

for (const isolated of [true, false])
  test(`Firefox, ${isolated ? '' : 'not '}cross-origin isolated: fills, scores, augments, trains, aborts, refuses`, { skip, timeout: 120_000 }, async () => {
    const { origin } = await serveFolder({ isolated });
    const page = await openFirefox(origin);
    const found = await page.evaluate(async (text, many) => {
      const { loadModel, dispose, Trainer } = await import('/web/index.js');
      const error = (promise) => promise.then(() => null, ({ code, name, message }) => ({ code, name, message }));
      const results = [];
      for (const threads of many) {
        const model = await loadModel(undefined, { threads, dtype: 'fp32' });
        results.push({ threads: model.info.threads, fillings: await model.fill(text), score: (await model.score('This movie is good.')).score, variants: (await model.augment('The acting was good and the story was interesting.', { rate: 0.3 })).variants });
      }
      const model = await loadModel(undefined, { threads: many.at(-1) });
      const losses = [];
      const trainer = new Trainer(model, { data: Array(20).fill('The red cat sat on the mat.'), steps: 2, batch_size: 2, length: 64 });
      for await (const { loss } of trainer) losses.push(loss);
      await trainer.dispose();
      const controller = new AbortController();
      setTimeout(() => controller.abort(), 50);
      const start = performance.now();
      const aborted = await error(model.score(Array(200).fill('The red cat sat on the mat. '.repeat(8)), { signal: controller.signal }));
      const after = await model.fill('This is [MASK].');
      const seconds = (performance.now() - start) / 1000;
      const read = async (name) => (await fetch(`/weights/fillmask-small-en/${name}`)).arrayBuffer();
      const files = Object.fromEntries(await Promise.all(['config.json', 'tokenizer.json', 'model.safetensors'].map(async (name) => [name, await read(name)])));
      const bad = [];
      for (const change of [{ 'config.json': new TextEncoder().encode('{') }, { 'model.safetensors': files['model.safetensors'].slice(0, 1_000_000) }, { 'tokenizer.json': new Uint8Array(10) }])
        bad.push(await error(loadModel({ ...files, ...change }, { threads: 1 })));
      const good = await (await loadModel(files, { threads: 1 })).fill('This is [MASK].');
      await dispose();
      return { results, losses, aborted, after, seconds, bad, good };
    }, text, isolated ? [1, 2] : [2]);
    assert.deepEqual(found.results.map(({ threads }) => threads), isolated ? [1, 2] : [1]);
    const expected = native('fill', '--json', '--dtype', 'fp32', text), { score } = native('score', '--json', '--dtype', 'fp32', 'This movie is good.');
    for (const { fillings, score: own, variants } of found.results) {
      fillings.forEach((mask, i) => {
        assert.deepEqual(mask.map((f) => f.token_str), expected[i].map((f) => f.token_str));
        mask.forEach((f, j) => assert.ok(Math.abs(f.score - expected[i][j].score) < 1e-4));
      });
      assert.ok(Math.abs(own - score) < 1e-3);
      assert.equal(variants.length, 1);
    }
    assert.ok(found.losses.length === 2 && found.losses.every((loss) => loss > 0));
    assert.equal(found.aborted.name, 'AbortError');
    assert.equal(found.after.length, 5);
    assert.ok(found.seconds < 30, `the work went on for ${found.seconds} s`);
    for (const { code, message } of found.bad) {
      assert.equal(code, 'E_FORMAT');
      assert.match(message, /(config|tokenizer)\.json|model\.safetensors/);
    }
    assert.deepEqual(found.good, found.after);
    assert.deepEqual(page.complaints.filter((text) => !text.includes('/favicon.ico')), []);
  });

test('Firefox: what was downloaded is kept, and there without a network', { skip, timeout: 60_000 }, async () => {
  let gone = false;
  const { origin, requests } = await serveFolder({ answer: async (request, response, path) => {
    response.setHeader('last-modified', 'Mon, 01 Jan 2024 00:00:00 GMT');
    if (!gone || !path.startsWith('/weights/')) return false;
    response.destroy();
    return true;
  } });
  const page = await openFirefox(origin);
  const fill = () => page.evaluate(async () => {
    const { pipeline } = await import('/web/index.js');
    const fill = await pipeline('fill-mask', '/weights/fillmask-small-en/', { threads: 1 });
    const [best] = await fill('This movie was really [MASK].');
    await fill.dispose();
    return best.token_str;
  });
  const first = await fill();
  gone = true;
  assert.equal(await fill(), first);
  assert.ok(requests.filter((path) => path.endsWith('model.safetensors')).length >= 2); // it was asked again, in vain
});

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
      const fill = await pipeline('fill-mask', undefined, { threads: 2, dtype: 'fp32', progress_callback: (event) => events.push(event) });
      const fillings = await fill('This movie was really [MASK].');
      const { info } = fill.model;
      const losses = [];
      const trainer = new Trainer(fill.model, { data: Array(20).fill('The red cat sat on the mat.'), steps: 2, batch_size: 2, length: 64 });
      for await (const { loss } of trainer) losses.push(loss);
      await trainer.dispose();
      await fill.dispose();
      return { fillings, info, events, losses };
    });
    const expected = native('fill', '--json', '--dtype', 'fp32', 'This movie was really [MASK].');
    assert.deepEqual(fillings.map((f) => f.token_str), expected.map((f) => f.token_str));
    fillings.forEach((f, i) => assert.ok(Math.abs(f.score - expected[i].score) < 1e-4));
    assert.equal(info.threads, isolated ? 2 : 1);
    assert.equal(info.instruction_set, 'relaxed');
    assert.equal(losses.length, 2);
    assert.ok(losses.every((loss) => loss > 0));
    assert.deepEqual(events.at(-1), { status: 'ready', task: 'fill-mask', model: 'fillmask-small-en' });
    assert.ok(events.some((e) => e.status === 'progress' && e.file === 'model.safetensors' && e.progress === 100));
    assert.ok(requests.every((path) => /^\/(web|weights|build-wasm)\/|^\/(favicon\.ico)?$/.test(path)), requests.join());
    assert.deepEqual(page.complaints, []);
  });

test('the two builds and any number of threads give the same, and as the native program', { skip, timeout: 120_000 }, async () => {
  const { origin } = await serveFolder();
  const page = await openPage(origin);
  const text = 'He [MASK] the door and walked into the [MASK].';
  const found = await page.evaluate(async (text) => {
    const { loadModel, dispose } = await import('/web/index.js');
    const results = [];
    for (const wasmUrl of [undefined, '/build-wasm/fillmask.wasm'])
      for (const threads of [1, 2]) {
        const model = await loadModel(undefined, { wasmUrl, threads, dtype: 'fp32' });
        results.push({ set: model.info.instruction_set, threads: model.info.threads, fillings: await model.fill(text), score: (await model.score('This movie is good.')).score });
      }
    await dispose();
    return results;
  }, text);
  assert.deepEqual(found.map(({ set, threads }) => [set, threads]), [['relaxed', 1], ['relaxed', 2], ['simd128', 1], ['simd128', 2]]);
  assert.deepEqual(found[0].fillings, found[1].fillings);
  assert.deepEqual(found[2].fillings, found[3].fillings);
  const expected = native('fill', '--json', '--dtype', 'fp32', text), { score } = native('score', '--json', '--dtype', 'fp32', 'This movie is good.');
  for (const { fillings, score: own } of found) {
    fillings.forEach((mask, i) => {
      assert.deepEqual(mask.map((f) => f.token_str), expected[i].map((f) => f.token_str));
      mask.forEach((f, j) => assert.ok(Math.abs(f.score - expected[i][j].score) < 1e-4));
    });
    assert.ok(Math.abs(own - score) < 1e-3);
  }
});

for (const isolated of [true, false])
  test(`aborts work and refuses bad files on a page that is ${isolated ? '' : 'not '}cross-origin isolated`, { skip, timeout: 120_000 }, async () => {
    const { origin } = await serveFolder({ isolated });
    const page = await openPage(origin);
    const { pending, queued, early, seconds, bad, after, good } = await page.evaluate(async () => {
      const { loadModel, dispose } = await import('/web/index.js');
      const error = (promise) => promise.then(() => null, ({ code, name, message }) => ({ code, name, message }));
      const model = await loadModel(undefined, { threads: 2 });
      const start = performance.now(), works = new AbortController(), waits = new AbortController();
      setTimeout(() => { works.abort(); waits.abort(new Error('never mind')); }, 50);
      const long = Array(200).fill('The red cat sat on the mat. '.repeat(8));
      const [pending, queued] = await Promise.all([error(model.score(long, { signal: works.signal })), error(model.score(long, { signal: waits.signal }))]);
      const early = await error(loadModel(undefined, { signal: AbortSignal.abort(new Error('no')) }));
      const after = await model.fill('This is [MASK].');
      const seconds = (performance.now() - start) / 1000;
      const names = ['config.json', 'tokenizer.json', 'model.safetensors'];
      const files = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await (await fetch(`/weights/fillmask-small-en/${name}`)).arrayBuffer()])));
      const bad = [];
      for (const change of [{ 'config.json': new TextEncoder().encode('{') }, { 'tokenizer.json': new Uint8Array(10) }, { 'model.safetensors': files['model.safetensors'].slice(0, 1_000_000) }])
        bad.push(await error(loadModel({ ...files, ...change }, { threads: 2 })));
      const good = await (await loadModel(files, { threads: 2 })).fill('This is [MASK].'); // the worker lives on
      await dispose();
      return { pending, queued, early, seconds, bad, after, good };
    });
    assert.equal(pending.name, 'AbortError');
    assert.deepEqual([queued.message, early.message], ['never mind', 'no']);
    assert.ok(seconds < 30, `the work went on for ${seconds} s`);
    for (const [i, file] of ['config.json', 'tokenizer.json', 'model.safetensors'].entries()) {
      assert.equal(bad[i].code, 'E_FORMAT');
      assert.ok(bad[i].message.includes(file), bad[i].message);
    }
    assert.equal(after.length, 5);
    assert.deepEqual(good, after);
    assert.deepEqual(page.complaints, []);
  });

test('it works inside a worker', { skip, timeout: 60_000 }, async () => {
  const { origin } = await serveFolder({
    answer: async (request, response, path) => path === '/own-worker.js' && response.writeHead(200, { 'content-type': 'text/javascript' }).end(`
      import { pipeline } from '/web/index.js';
      pipeline('fill-mask').then(async (fill) => postMessage(await fill('This movie was [MASK].')), (error) => postMessage(String(error)));`),
  });
  const page = await openPage(origin);
  const found = await page.evaluate(() => new Promise((resolve) => {
    new Worker('/own-worker.js', { type: 'module' }).onmessage = ({ data }) => resolve(data);
  }));
  assert.equal(found.length, 5);
  assert.deepEqual(page.complaints, []);
});

test('when the worker dies, what is pending rejects, and the next call starts another one', { skip, timeout: 60_000 }, async () => {
  const { origin } = await serveFolder();
  const page = await openPage(origin);
  const started = page.waitForEvent('worker');
  await page.evaluate(async () => {
    const { loadModel, loadTokenizer } = await import('/web/index.js');
    globalThis.model = await loadModel(undefined, { threads: 1 });
    globalThis.tokenizer = await loadTokenizer(undefined, { threads: 1 });
  });
  await (await started).evaluate(() => {
    globalThis.postMessage = () => setTimeout(() => { throw new Error('out of luck'); }); // instead of an answer
  });
  const found = await page.evaluate(async () => {
    const { code, message } = await model.score('This movie is good.').catch((error) => error);
    const fillings = await model.fill('This movie was [MASK].');
    const { tokens } = await tokenizer.encode('hello');
    return { code, message, fillings, tokens, score: await model.score('This movie is good.') };
  });
  assert.equal(found.code, 'E_CRASHED');
  assert.match(found.message, /out of luck/);
  assert.equal(found.fillings.length, 5);
  assert.ok(found.tokens.length > 2);
  assert.ok(found.score.score < 0);
});

test('a worker of another origin is refused with a sentence, and a factory helps', { skip, timeout: 60_000 }, async () => {
  const cdn = await serveFolder();
  const cors = await serveFolder({
    answer: async (request, response) => {
      response.setHeader('access-control-allow-origin', '*');
      return false;
    },
  });
  const { origin } = await serveFolder({ csp: null, isolated: false });
  const page = await openPage(origin);
  const found = await page.evaluate(async ([other, cors]) => {
    const { pipeline } = await import('/web/index.js');
    const refused = await pipeline('fill-mask', undefined, { workerUrl: `${other}/web/worker.js` }).catch(({ code, message }) => ({ code, message }));
    const missing = await pipeline('fill-mask', undefined, { workerUrl: '/no-worker.js' }).catch(({ code, message }) => ({ code, message }));
    const script = URL.createObjectURL(new Blob([`import '${cors}/web/worker.js';`], { type: 'text/javascript' }));
    const fill = await pipeline('fill-mask', undefined, { createWorker: () => new Worker(script, { type: 'module' }), threads: 1 });
    return { refused, missing, fillings: await fill('This movie was [MASK].') };
  }, [cdn.origin, cors.origin]);
  assert.equal(found.refused.code, 'E_UNSUPPORTED');
  assert.match(found.refused.message, /own origin.*workerUrl.*createWorker/);
  assert.equal(found.missing.code, 'E_CRASHED');
  assert.match(found.missing.message, /could not be loaded/);
  assert.equal(found.fillings.length, 5);
});

test('the model that ships is not loaded where another one is named', { skip, timeout: 60_000 }, async () => {
  const { origin, requests } = await serveFolder();
  const page = await openPage(origin);
  const name = await page.evaluate(async () => {
    const { pipeline } = await import('/web/index.js');
    const score = await pipeline('score', '/weights/fillmask-small-en-imdb/', { threads: 1 });
    await score('A text.');
    return score.model.name;
  });
  assert.equal(name, 'fillmask-small-en-imdb');
  assert.ok(requests.includes('/weights/fillmask-small-en-imdb/model.safetensors'));
  assert.deepEqual(requests.filter((path) => /default-model|\/fillmask-small-en\//.test(path)), []);
});

test('nothing is asked of another origin', { skip, timeout: 60_000 }, async () => {
  const { origin } = await serveFolder({ csp: null });
  const page = await openPage(origin);
  const others = [];
  page.on('request', (request) => new URL(request.url()).origin !== origin && others.push(request.url()));
  await page.evaluate(async () => {
    const { pipeline } = await import('/web/index.js');
    await (await pipeline('score'))('A text.');
  });
  assert.deepEqual(others, []);
});

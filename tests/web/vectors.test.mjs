// vectors.test.mjs - the package on the vectors of tests/vectors, which the C tests and the command line's pass too: in
// Node.js, and in headless Chromium. Streams of files are compared with the command line, byte by byte.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import * as fillmask from '../../web/index-node.js';
import { bin, noBrowser, openPage, root, serveFolder } from './helpers.mjs';

after(fillmask.dispose);
const folder = join(root, 'tests', 'vectors', 'model');
const names = ['fill', 'sample', 'score', 'embed', 'augment', 'refused'];
const vectors = Object.fromEntries(names.map((name) => [name, JSON.parse(readFileSync(join(root, 'tests', 'vectors', `${name}.json`), 'utf8'))]));

/** What the package gives for all vectors. It runs in a page too, and uses nothing from here. */
async function answers({ pipeline }, model, vectors, device = 'auto') {
  const fill = await pipeline('fill-mask', model, { device }), score = await pipeline('score', fill.model);
  const embed = await pipeline('embed', fill.model), augment = await pipeline('augment', fill.model);
  const tasks = { fill, score, embed, augment };
  const each = (cases, one) => Promise.all(cases.map(({ text, ...options }) => one(text, options)));
  const found = {
    fill: await each(vectors.fill, (text, { mode, masks, texts, ...options }) => fill(text, { ...options, ...(mode && { [mode]: true }) })),
    sample: await each(vectors.sample, (text, { mode, sequences, ...options }) => fill(text, { ...options, sample: true })),
    score: await each(vectors.score, (text, { method }) => score(text, { mask: method })),
    embed: (await embed(vectors.embed.map(({ text }) => text))).map((vector) => Array.from(vector)),
    augment: await each(vectors.augment, (text, { result, ...options }) => augment(text, options)),
    refused: await Promise.all(vectors.refused.map(({ task, text, options }) => tasks[task](text, options).catch(({ code, message }) => ({ code, message })))),
  };
  await fill.dispose();
  return found;
}

// Places in the vectors are bytes; the package counts UTF-16.
const unit = (text, byte) => Buffer.from(text).subarray(0, byte).toString().length;
const written = (text, { start, end, word }) => text.slice(0, unit(text, start)) + word + text.slice(unit(text, end));
const near = (a, b, tolerance) => assert.ok(Math.abs(a - b) <= tolerance, `${a} is not near ${b}`);

function checkFilling(text, found, expected) {
  near(found.log_probability, expected.log_probability, 2e-5 * (1 - expected.log_probability));
  near(found.score, Math.exp(expected.log_probability), 1e-5);
  assert.deepEqual(found.tokens ?? [found.token], expected.tokens);
  assert.equal(text.slice(found.start, found.end), '[MASK]');
  if (found.sequence !== undefined) assert.equal(found.sequence, written(text, expected));
}

function check(found) {
  vectors.fill.forEach(({ text, masks, texts }, c) => {
    const got = found.fill[c];
    masks?.forEach((top, m) => {
      const list = masks.length > 1 ? got[m] : got;
      assert.equal(list.length, top.length);
      top.forEach((expected, i) => checkFilling(text, list[i], expected));
    });
    texts?.forEach(({ log_probability, fillings }, i) => {
      near(got[i].log_probability, log_probability, 1e-4);
      assert.equal(got[i].sequence, fillings.reduceRight(written, text));
      fillings.forEach((expected, m) => checkFilling(text, got[i].fillings[m], expected));
    });
  });
  vectors.sample.forEach(({ sequences }, c) => assert.deepEqual(found.sample[c].map(({ sequence }) => sequence), sequences));
  vectors.score.forEach(({ text, score, tokens }, c) => {
    near(found.score[c].score, score, 1e-4);
    assert.equal(found.score[c].tokens.length, tokens.length);
    tokens.forEach((expected, i) => {
      const { start, end, log_probability } = found.score[c].tokens[i];
      assert.deepEqual([start, end], [unit(text, expected.start), unit(text, expected.end)]);
      near(log_probability, expected.log_probability, 2e-5);
    });
  });
  vectors.embed.forEach(({ vector }, c) => vector.forEach((value, i) => near(found.embed[c][i], value, 1e-5)));
  vectors.augment.forEach(({ result, variants = 1 }, c) => {
    assert.deepEqual(found.augment[c].variants, result);
    assert.equal('reason' in found.augment[c], result.length < variants);
  });
  vectors.refused.forEach(({ task, text, error, reason }, c) => {
    const got = found.refused[c];
    if (reason) assert.deepEqual(got, { variants: [], reason });
    else assert.ok(/^E_(ARGUMENT|FORMAT)$/.test(got.code) && RegExp(error).test(got.message), `${task} "${text}": ${got.message}`);
  });
}

for (const device of ['wasm', 'native'])
  test(`the vectors, in Node.js: ${device}`, async () => check(await answers(fillmask, folder, vectors, device)));

test('the vectors, in Chromium', { skip: noBrowser, timeout: 120_000 }, async () => {
  const { origin } = await serveFolder();
  const page = await openPage(origin);
  check(await page.evaluate(`(async () => (${answers})(await import('/web/index.js'), '/tests/vectors/model/', ${JSON.stringify(vectors)}))()`));
});

// ---- streams ----

const native = (args, input) => {
  const { stdout, stderr, status } = spawnSync(bin, args, { input, encoding: 'utf8', maxBuffer: 1 << 28, env: { ...process.env, FILLMASK_MODEL: folder } });
  assert.equal(status, 0, stderr);
  return stdout;
};

async function gather(stream) {
  const all = [];
  for await (const one of stream) all.push(one);
  return all;
}

const texts = ['This movie was really good.', 'The  plot was\tclever, and the "music" was warm!', '42', 'I liked it in \u00d3slo \u{1F3AC} twice.'];
const rows = Array.from({ length: 150 }, (_, i) => ({ id: i, text: texts[i % 4] + (i % 5 ? '' : ` ${texts[(i + 1) % 4]}`), tags: ['\u00e9', i] }));
const csv = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
const files = {
  txt: rows.map(({ text }) => text).join('\r\n'),
  jsonl: `\ufeff${rows.map((row) => JSON.stringify(row)).join('\n')}\n\n{"txt": "good"}\n{"text": 5}\n{"text": "good"\n[]\n{"text": ""}\n{"text": "good movie"}`,
  csv: `id,text,x\n${rows.map(({ id, text }) => `${id},${csv(text)},\u00e9\n`).join('')}"a" b,good,1\n1,2\n\n7,"never closed,\n`,
};

test('streams of files give what the command line writes, whatever the pieces', async () => {
  const model = await fillmask.loadModel(folder);
  const augment = await fillmask.pipeline('augment', model);
  for (const [format, content] of Object.entries(files)) {
    for (const [options, ...args] of [[{}], [{ variants: 3, with_source: true, seed: 5, protect: '[0-9]+|music' }, '-n', '3', '--with-source', '--seed', '5', '--protect', '[0-9]+|music'], [{ skip: 70 }, '--skip', '70']]) {
      const expected = native(['augment', '-q', '--format', format, ...args, '-'], content);
      const events = [];
      const found = await gather(augment.stream(new File([content], `rows.${format}`), { ...options, progress_callback: (event) => events.push(event) }));
      assert.equal(found.flatMap((row) => row.rows).join(''), expected);
      assert.ok(found.filter(({ reason }) => reason).every((row) => row.line > 0 && row.variants.length === 0));
      const { done, rate, loaded, total } = events.at(-1);
      assert.ok(done >= 150 && rate > 0 && loaded === total && total === Buffer.byteLength(content));
      const bytes = Buffer.from(content);
      const pieces = async function* () {
        for (let at = 0; at < bytes.length; at += 1001) yield bytes.subarray(at, at + 1001);
      };
      assert.deepEqual(await gather(augment.stream(pieces(), { ...options, format })), found);
    }
  }
  await model.dispose();
});

test('streams of texts and of objects: in order, with all fields, as far as they are asked for', async () => {
  const model = await fillmask.loadModel(folder);
  const expected = await model.augment(rows.map(({ text }) => text), { variants: 2, rate: 0.3 });
  let asked = 0;
  const source = async function* () {
    for (const row of rows) {
      asked++;
      yield row;
    }
  };
  const found = await gather(model.augmentStream(source(), { variants: 2, rate: 0.3 }));
  assert.deepEqual(found.map(({ number }) => number), rows.map((_, i) => i));
  found.forEach((one, i) => {
    assert.deepEqual(one.variants, expected[i].variants);
    assert.equal(one.reason, expected[i].reason);
    assert.deepEqual(one.rows, one.variants.length ? one.variants.map((text) => ({ ...rows[i], text })) : [rows[i]]);
  });
  const [skipped] = await gather(model.augmentStream(rows.map(({ text }) => text), { variants: 2, rate: 0.3, skip: 149 }));
  assert.deepEqual([skipped.number, skipped.variants], [149, expected[149].variants]);
  assert.deepEqual(skipped.rows, skipped.variants.length ? skipped.variants : [rows[149].text]);

  // It reads no further than it must, and a row that comes alone is not kept waiting for others.
  asked = 0;
  for await (const one of model.augmentStream(source())) if (one.number === 0) break;
  assert.ok(asked <= 130, `${asked}`);
  let give;
  const slow = async function* () {
    yield 'good movie';
    await new Promise((resolve) => (give = resolve));
    yield 'bad plot';
  };
  const stream = model.augmentStream(slow());
  assert.equal((await stream.next()).value.text, 'good movie');
  give();
  assert.equal((await stream.next()).value.text, 'bad plot');
  assert.ok((await stream.next()).done);

  // Bad rows go by, and errors come behind the rows before them.
  const odd = await gather(model.augmentStream([{ body: 'good movie' }, { text: 'good' }, null, { body: 5 }, { body: 'good' }], { field: 'body' }));
  assert.deepEqual(odd.map(({ reason }) => Boolean(reason)), [false, true, true, true, false]);
  assert.match(odd[1].reason, /no field "body"/);
  assert.deepEqual(odd[1].rows, [{ text: 'good' }]);
  const failing = async function* () {
    yield 'good movie';
    throw new Error('out of luck');
  };
  const seen = [];
  await assert.rejects(async () => {
    for await (const one of model.augmentStream(failing())) seen.push(one.text);
  }, { message: 'out of luck' });
  assert.deepEqual(seen, ['good movie']);
  await assert.rejects(gather(model.augmentStream(new Blob([Uint8Array.of(0x1f, 0x8b, 8, 0)]))), { code: 'E_FORMAT', message: /not text in UTF-8/ });
  await assert.rejects(gather(model.augmentStream(new File(['a,b\n1,2\n'], 'x.csv'))), { code: 'E_FORMAT', message: /no column "text"/ });
  await assert.rejects(gather(model.augmentStream('a text')), { code: 'E_ARGUMENT', message: /needs a list/ });
  const controller = new AbortController();
  await assert.rejects(async () => {
    for await (const one of model.augmentStream(source(), { signal: controller.signal })) if (one.number === 3) controller.abort(new Error('enough'));
  }, { message: 'enough' });
  await model.dispose();
});

test('a line of 100 MB goes by in parts', async () => {
  const model = await fillmask.loadModel(folder);
  const long = '\u00e9\u{1F3AC}x'.repeat(1 << 17), parts = Array(114).fill(long);
  const found = await gather(model.augmentStream(new Blob(['good movie\n', ...parts, '\nbad plot\n'])));
  assert.equal(found.map(({ rows: [row] }) => row).slice(1, -1).join('').length, 114 * long.length + 1);
  assert.ok(found.slice(1, -1).every(({ rows: [row] }) => row.replace('\n', '').length % 4 === 0 || !row.includes('\ufffd')));
  assert.match(found[1].reason, /longer than 8 MB/);
  assert.deepEqual([found[0].variants.length, found.at(-1).variants.length, found.at(-1).text], [1, 1, 'bad plot']);
  await model.dispose();
});

test('rankings, corpora and likeness', async () => {
  const score = await fillmask.pipeline('score', folder);
  const list = ['Norway is the capital of Oslo.', 'Oslo is the capital of Norway.', 'Norway Oslo.'];
  const ranked = await score(list, { rank: true });
  const expected = JSON.parse(native(['score', '--rank', '--json', ...list]));
  assert.deepEqual(ranked.map(({ text }) => text), expected.map(({ text }) => text));
  ranked.forEach(({ index, text, ...one }, i) => {
    assert.equal(list[index], text);
    near(one.score, expected[i].score, 1e-4);
  });
  const events = [];
  const all = await score.perplexity(new File([files.jsonl.split('\n').slice(0, 20).join('\n')], 'rows.jsonl'), { progress_callback: (event) => events.push(event) });
  assert.deepEqual(events, Array.from({ length: 20 }, (_, i) => ({ status: 'progress', done: i + 1 })));
  const each = JSON.parse(native(['score', '--json', ...rows.slice(0, 20).map(({ text }) => text)]));
  assert.deepEqual([all.texts, all.tokens], [20, each.reduce((sum, { tokens }) => sum + tokens.length, 0)]);
  near(all.score, each.reduce((sum, one) => sum + one.score, 0), 1e-3);
  near(all.pseudo_perplexity, Math.exp(-all.score / all.tokens), 1e-9);
  await assert.rejects(score.perplexity([]), { code: 'E_FORMAT' });
  const embed = await fillmask.pipeline('embed', score.model);
  const [one, alike, other] = await embed(['This movie was good.', 'This film was great.', 'Rome is in Italy!'], { normalize: true });
  near(Math.hypot(...one), 1, 1e-6);
  assert.ok(fillmask.similarity(one, one) > 1 - 1e-6 && fillmask.similarity(one, alike) > fillmask.similarity(one, other) + 0.1);
  await assert.rejects(embed(['good', ' ']), { code: 'E_FORMAT', message: /^Text 2 has no token/ });
  await score.dispose();
});

test('regular expressions with their own flags', async () => {
  const model = await fillmask.loadModel(folder);
  const found = await model.fill('THIS [MASK] WAS [MASK]!', { top_k: 3, match: /^[A-M]/giu });
  assert.deepEqual(found.map((list) => list.map(({ token_str }) => token_str)), (await model.fill('THIS [MASK] WAS [MASK]!', { top_k: 3, match: '^[a-m]' })).map((list) => list.map(({ token_str }) => token_str)));
  const text = 'The movie <b>was\nreally</b> good and warm.';
  for (const variant of (await model.augment(text, { rate: 1, variants: 3, protect: [/<b>[^]*<\/b>/, /WARM/i] })).variants)
    assert.match(variant, /^(?!The movie)\w+ \w+ <b>was\nreally<\/b> \w+ \w+ warm\.$/);
  await model.dispose();
});

// demo.test.mjs - the demo page in headless Chromium, from the folder that `npm run site` makes: each tab, threads by
// the service worker alone, offline, updates, the content security policy, a hostile vocabulary, accessibility, narrow
// screens; and in Firefox, that each tab works.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { crc32 } from 'node:zlib';
import { serve, siteHeaders } from '../../tools/serve.mjs';
import { bin, defaultModel, native, noBrowser, noFirefox, openFirefox, openPage, root } from './helpers.mjs';

const site = join(root, 'dist', 'site');
const folder = mkdtempSync(join(tmpdir(), 'fillmask-demo-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function run(command, ...args) {
  const { status, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
  assert.equal(status, 0, `${command} ${args.join(' ')}: ${error ?? stderr}`);
}

run(process.execPath, join(root, 'tools', 'site.mjs'));

/** The site once more, to be changed. */
function siteAt(name) {
  const copy = join(folder, name);
  cpSync(site, copy, { recursive: true });
  return copy;
}

const change = (file, from, to) => {
  const text = readFileSync(file, 'utf8');
  assert.ok(text.includes(from), `${file} has no ${from}`);
  writeFileSync(file, text.replaceAll(from, to));
};

const rules = { skip: noBrowser, timeout: 300_000 };

/** Serves the site, or a folder like it, until the tests end. */
async function served(options = {}) {
  const { address, server } = await serve({ folder: site, headers: siteHeaders(options.folder ?? site), ...options });
  const requests = [];
  server.on('request', ({ url }) => requests.push(url));
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  after(close);
  return { address, requests, close };
}

/** Opens the page and waits for its model. */
async function opened(address, hash = '', context = {}) {
  const page = await openPage(address + hash, { context });
  const asked = [];
  page.on('request', (request) => asked.push(request.url()));
  await ready(page);
  return Object.assign(page, { asked });
}

/** What the page says of its engine, once that matches. */
const says = (page, pattern) => page.waitForFunction((source) => new RegExp(source).test(document.querySelector('#engine').textContent), pattern.source, { timeout: 60_000 });
const ready = (page) => says(page, /thread/);
const wholly = (page) => says(page, /works offline/);

async function open(page, tab) {
  await page.click(`#tab-${tab}`);
  await page.waitForSelector(`#${tab}:not([hidden])`);
}

const texts = (page, selector) => page.$$eval(selector, (found) => found.map((element) => element.textContent));

/** Gives a tab a file by dropping it. */
async function drop(page, tab, name, content) {
  const dataTransfer = await page.evaluateHandle(([name, content]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([content], name));
    return transfer;
  }, [name, content]);
  for (const type of ['dragenter', 'dragover', 'drop']) await page.dispatchEvent(`#${tab}`, type, { dataTransfer });
}

/** What a button has the browser download. */
async function downloaded(page, button) {
  const waiting = page.waitForEvent('download');
  await page.click(button);
  const download = await waiting;
  return { name: download.suggestedFilename(), bytes: readFileSync(await download.path()) };
}

/** Repeats a check until it holds. */
async function eventually(check) {
  for (const start = Date.now(); ; await new Promise((resolve) => setTimeout(resolve, 50))) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() - start > 30_000) throw error;
    }
  }
}

/** The lists of candidates that the page shows. */
const shown = (page, selector = '#fill-cards ol') => page.$$eval(selector, (lists) => lists.map((list) => [...list.querySelectorAll('.what')].map((what) => what.textContent)));

/**
 * That a list has what the native program lists, best first. Instruction sets round int8 a little otherwise, so that two
 * that are as good as each other may change places.
 * @param {string[]} found
 * @param {{token_str?: string, sequence: string, score: number}[]} fillings some more than were shown
 */
function agrees(found, fillings) {
  const scores = new Map(fillings.map(({ token_str, sequence, score }) => [token_str ?? sequence, score]));
  assert.ok(found.length > 0);
  found.forEach((what, i) => assert.ok(Math.abs(scores.get(what) / fillings[i].score - 1) < 0.08, `${found.join(', ')} instead of ${[...scores.keys()].join(', ')}`));
}

/** The native program's fillings: more of them than the page shows. */
const fillings = (text, ...args) => native('fill', '--json', '-k', '12', ...args, text);

/** Waits until the page shows the native program's fillings of a text, for each mask; the default model's come first. */
const fills = (page, text, ...args) => eventually(async () => {
  const every = await shown(page), all = fillings(text, ...args);
  const expected = Array.isArray(all[0]) ? all : [all];
  const lists = every.filter((_, i) => i % (every.length / expected.length) === 0);
  assert.equal(lists.length, expected.length);
  lists.forEach((list, i) => agrees(list, expected[i]));
  return lists;
});

const usual = 'This movie was really [MASK].'; // as the page starts

/** The address, once it says what is shown. */
const share = (page, state) => page.waitForFunction((hash) => location.hash === hash, `#fill?${new URLSearchParams(state)}`).then(() => page.url());

test('Fill: typing, masking, targets, taking candidates, links', rules, async () => {
  const { address } = await served();
  const page = await opened(address);
  const text = 'The cat sat on the [MASK].';
  await page.fill('#fill-text', text);
  const [[best]] = await fills(page, text);
  await eventually(async () => assert.equal(await page.textContent('#fill-words'), `The cat sat on the ${best}.`));

  // A word masked by the keyboard alone, and put back.
  await page.focus('#fill-words button');
  await page.keyboard.press('ArrowRight');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'cat');
  await page.keyboard.press('Enter');
  const two = 'The [MASK] sat on the [MASK].';
  assert.equal(await page.inputValue('#fill-text'), two);
  await fills(page, two);
  await share(page, { text: two });
  await page.keyboard.press('Enter');
  assert.equal(await page.inputValue('#fill-text'), text);
  await fills(page, text);
  // And by the mouse, a word put into the mask.
  await page.click('#fill-words button:text-is("sat")');
  await fills(page, 'The cat [MASK] on the [MASK].');
  await page.click('#fill-cards .card:nth-child(2) .candidate');
  const [, taken] = /^The cat \[MASK\] on the (\w+)\.$/.exec(await page.inputValue('#fill-text'));
  await fills(page, `The cat [MASK] on the ${taken}.`);
  await page.fill('#fill-text', text);

  await page.fill('#fill-options [name=targets]', 'table, moon');
  await fills(page, text, '-t', 'table', '-t', 'moon');
  await page.selectOption('#fill-options [name=top_k]', '10');
  await page.fill('#fill-options [name=targets]', '');
  await eventually(async () => assert.equal((await shown(page))[0].length, 10));
  await page.selectOption('#fill-options [name=top_k]', '5');

  // Together, and the best sentence taken; a link brings all of it to another page.
  await page.fill('#fill-text', two);
  await page.check('#fill-options [name=joint]');
  const [sentences] = await fills(page, two, '--joint');
  const other = await opened(await share(page, { text: two, joint: 1 }));
  await fills(other, two, '--joint');
  assert.equal(await other.inputValue('#fill-text'), two);
  await page.click('.candidate');
  assert.equal(await page.inputValue('#fill-text'), sentences[0]);
  await page.waitForSelector('#fill-cards .empty');
  assert.deepEqual(page.complaints, []);
  assert.ok([...page.asked, ...other.asked].every((url) => url.startsWith(address)), page.asked.join());
});

test('Fill: a model beside the one that ships has its own column', rules, async () => {
  const lines = join(folder, 'lines.txt'), tuned = join(folder, 'tuned'), small = join(folder, 'fillmask-small-tuned');
  writeFileSync(lines, 'The captain rings the bell.\nThe gull sleeps on the tower.\nThe boat brings bread and salt.\n');
  run(bin, 'train', '-q', '-m', defaultModel, '--data', lines, '--steps', '12', '--batch', '2', '--length', '16', '--learning-rate', '1e-3', '-o', tuned);
  run(bin, 'quantize', '-m', tuned, '--dtype', 'int8', '-o', small);
  const out = join(folder, 'two-models');
  run(process.execPath, join(root, 'tools', 'site.mjs'), '--out', out, '--model', small);
  const { address } = await served({ folder: out });
  const text = 'The captain rings the [MASK].';
  const page = await opened(address, `#fill?${new URLSearchParams({ text })}`);
  await page.selectOption('#fill-beside', 'fillmask-small-tuned');
  await eventually(async () => {
    const [own, other] = await shown(page);
    agrees(own, fillings(text));
    agrees(other, fillings(text, '-m', small));
    assert.notDeepEqual(own, other);
  });
  assert.deepEqual(await texts(page, '#fill-cards h4'), ['fillmask-small-en', 'fillmask-small-tuned']);
  for (const tab of ['augment', 'score', 'train', 'about']) assert.ok((await texts(page, `#${tab}-model option`)).includes('fillmask-small-tuned'), tab);
  assert.deepEqual(page.complaints, []);
});

test('Augment: lines, options, differences, files', rules, async () => {
  // In f32, since what is drawn from int8 hangs on how an instruction set rounds.
  const exact = join(folder, 'fillmask-small-f32'), out = join(folder, 'exact');
  run(bin, 'quantize', '-m', defaultModel, '--dtype', 'f32', '-q', '-o', exact);
  run(process.execPath, join(root, 'tools', 'site.mjs'), '--out', out, '--model', exact);
  const { address } = await served({ folder: out });
  const page = await opened(address, '#augment');
  await page.selectOption('#augment-model', 'fillmask-small-f32');
  assert.equal(await page.evaluate(() => scrollY), 0);
  const made = async () => {
    await page.click('#augment-run');
    await page.waitForSelector('#augment-downloads:not([hidden])', { timeout: 60_000 });
    return page.$$eval('.entry', (entries) => entries.map((entry) => [...entry.querySelectorAll('ol li')].map((line) => [...line.childNodes].filter((node) => node.nodeName !== 'DEL').map((node) => node.textContent).join(''))));
  };
  const lines = ['The doctor looked at the room and smiled.', 'A simple story, told with warmth and a fine sense of humour.'];
  await page.fill('#augment-text', `${lines.join('\n')}\n\n`);
  await page.fill('[name=rate]', '30');
  await page.fill('#augment [name=variants]', '2');
  await page.fill('#augment [name=seed]', '5');
  await page.fill('[name=keep]', 'doctor, story');
  const found = await made();
  const expected = native('augment', '--json', '-m', exact, '-n', '2', '--rate', '0.3', '--seed', '5', '--keep', 'doctor', '--keep', 'story', ...lines);
  assert.deepEqual(found, expected.map(({ variants }) => variants));
  assert.ok(found.every((variants, i) => variants.every((variant) => variant !== lines[i] && variant.includes(['doctor', 'story'][i]))));
  assert.ok((await texts(page, '.entry ins')).length > 0);
  assert.match(await page.textContent('#augment-live'), /4 variants of 2 texts/);

  // A file: the column with the text, quotes, other columns kept; and cells that a spreadsheet would take for formulas.
  await drop(page, 'augment', 'reviews.csv', 'id,review,note\r\n1,"The ""old"" train left, and nobody told the passengers.",=1+1\r\n2,"@SUM(A1) was there when the rain came.",-5\r\n');
  await page.waitForSelector('#augment-chosen:not([hidden])');
  assert.match(await page.textContent('#augment-chosen p'), /reviews\.csv: 2 texts/);
  assert.equal(await page.inputValue('#augment-column'), 'review');
  await made();
  const csv = await downloaded(page, '#augment-csv');
  assert.equal(csv.name, 'augmented.csv');
  const rows = csv.bytes.toString().split('\r\n');
  assert.equal(rows.length, 1 + 2 * 3 + 1);
  assert.equal(rows[0], '\ufeffid,review,note,fillmask_source,fillmask_variant');
  assert.equal(rows[1], `1,"The ""old"" train left, and nobody told the passengers.",'=1+1,1,0`);
  assert.equal(rows[4], `2,'@SUM(A1) was there when the rain came.,-5,2,0`);
  assert.ok(rows.slice(1, -1).every((row) => !/(^|,)"?[=+@]/.test(row)), rows.join('\n'));
  const jsonl = (await downloaded(page, '#augment-jsonl')).bytes.toString().trim().split('\n').map(JSON.parse);
  assert.equal(jsonl.length, 6);
  assert.deepEqual(jsonl[3], { id: '2', review: '@SUM(A1) was there when the rain came.', note: '-5', fillmask_source: 2, fillmask_variant: 0 });

  await drop(page, 'augment', 'broken.jsonl', '{"text": "A line."}\nnot json\n');
  await page.waitForSelector('#augment-notice:not([hidden])');
  assert.match(await page.textContent('#augment-notice'), /^Line 2 is not JSON/);
  assert.ok(await page.isVisible('#augment-text'));
  assert.deepEqual(page.complaints, []);
});

test('Score: words, their surprise, what was expected', rules, async () => {
  const { address } = await served();
  const text = 'The actors were excellent and the story was very well cheese.';
  const page = await opened(address, `#score?${new URLSearchParams({ text })}`);
  await page.waitForSelector('#score-expected .candidate');
  const { score, pseudo_perplexity, tokens } = native('score', '--json', text);
  assert.ok(Math.abs(Number(await page.textContent('#score-perplexity')) / pseudo_perplexity - 1) < 0.02);
  assert.ok(Math.abs(Number(await page.textContent('#score-bits')) - -score / tokens.length / Math.LN2) < 0.1);
  assert.equal(await page.textContent('#score-tokens'), String(tokens.length));
  assert.equal(await page.textContent('#score-words'), text);
  const shades = await page.$$eval('#score-words button', (all) => all.map((word) => [word.textContent, Number(word.style.getPropertyValue('--heat'))]));
  assert.equal(shades.toSorted((a, b) => b[1] - a[1])[0][0], 'cheese');
  assert.equal(shades.length, tokens.length);
  assert.equal((await texts(page, '#score-table tr')).length, tokens.length);
  const expectation = async (word, masked) => {
    await page.click(`#score-words button:text-is("${word}")`);
    await eventually(async () => agrees((await shown(page, '#score-expected'))[0], fillings(masked)));
  };
  await expectation('story', text.replace('story', '[MASK]'));
  await expectation('cheese', text.replace('cheese', '[MASK]'));
  const [best] = await texts(page, '#score-expected .what');
  await page.click('#score-expected .candidate');
  await page.waitForFunction((text) => document.querySelector('#score-words').textContent === text, text.replace('cheese', best));
  assert.deepEqual(page.complaints, []);
});

/** The files of a ZIP archive that only stores them. */
function unzipped(bytes) {
  const files = new Map();
  for (let at = 0; bytes.readUInt32LE(at) === 0x04034b50;) {
    const [crc, size, name] = [bytes.readUInt32LE(at + 14), bytes.readUInt32LE(at + 18), bytes.readUInt16LE(at + 26)];
    const content = bytes.subarray(at + 30 + name, at + 30 + name + size);
    assert.equal(crc32(content), crc);
    files.set(bytes.toString('utf8', at + 30, at + 30 + name), content);
    at += 30 + name + size;
  }
  return files;
}

test('Train: the curve, pause and resume, before and after, the model as files', rules, async () => {
  const { address } = await served();
  const page = await opened(address, '#train');
  await page.waitForFunction(() => document.querySelector('#train-text').value.includes('captain'));
  const probe = 'The captain rings the [MASK].';
  await page.fill('#train-probes', `${probe}\nno mask here`);
  await page.fill('#train [name=epochs]', '4');
  await page.click('#train-start');
  const step = async () => Number(/^Step (\d+)/.exec(await page.textContent('#train-state'))?.[1] ?? NaN);
  await page.waitForFunction(() => /^Step [2-9]/.test(document.querySelector('#train-state').textContent), null, { timeout: 60_000 });
  await page.click('#train-pause');
  await page.waitForTimeout(700); // the part under way ends
  const points = () => page.$eval('#train-chart .each', (line) => line.points.numberOfItems);
  const held = await points();
  assert.equal(await page.textContent('#train-state'), 'Paused');
  await page.waitForTimeout(700);
  assert.equal(await points(), held);
  await page.click('#train-pause');
  await page.waitForSelector('#train-saving:not([hidden])', { timeout: 120_000 });
  const steps = Number(/^Done: (\d+) steps/.exec(await page.textContent('#train-state'))[1]);
  assert.ok(steps > held, `${steps} steps`);
  assert.equal(await points(), steps);
  assert.ok(Number.isNaN(await step()));
  assert.ok((await page.$$('#train-chart circle.held')).length >= 2);
  for (const [figure, looks] of [['loss', /^\d\.\d\d$/], ['held', /^\d\.\d\d$/], ['speed', /^[\d,]+$/], ['left', /^\d+ s$|min/]]) assert.match(await page.textContent(`#train-${figure}`), looks);
  const [before, trained] = [await texts(page, '[data-side=before] .what'), await texts(page, '[data-side=after] .what')];
  agrees(before, fillings(probe));
  assert.notDeepEqual(trained, before);

  const { name, bytes } = await downloaded(page, '#train-save');
  assert.equal(name, 'fillmask-small-en-tuned.zip');
  for (const [path, content] of unzipped(bytes)) {
    mkdirSync(join(folder, 'trained', 'fillmask-small-en-tuned'), { recursive: true });
    writeFileSync(join(folder, 'trained', path), content);
  }
  const saved = join(folder, 'trained', 'fillmask-small-en-tuned');
  agrees(trained, fillings(probe, '-m', saved));
  assert.match(readFileSync(join(saved, 'README.md'), 'utf8'), new RegExp(`Fine-tuned from fillmask-small-en in ${steps} steps`));

  await open(page, 'fill');
  await page.fill('#fill-text', probe);
  await page.waitForFunction((best) => document.querySelector('#fill-cards .column:nth-child(2) .what')?.textContent === best, trained[0]);
  assert.deepEqual(await texts(page, '#fill-cards h4'), ['fillmask-small-en', 'Trained here']);

  // Another one, from texts in a file and from what was just trained, is stopped.
  await open(page, 'train');
  await drop(page, 'train', 'more.jsonl', `${JSON.stringify({ text: 'The bell rings and the boat comes home.' })}\n`.repeat(40));
  await page.waitForSelector('#train-chosen:not([hidden])');
  await page.selectOption('#train-model', 'Trained here');
  await page.fill('#train [name=epochs]', '500');
  await page.click('#train-start');
  await page.waitForFunction(() => /^Step [1-9]/.test(document.querySelector('#train-state').textContent), null, { timeout: 60_000 });
  await page.click('#train-stop');
  await page.waitForSelector('#train-start:not(:disabled)', { timeout: 60_000 });
  assert.match(await page.textContent('#train-state'), /^Stopped after \d+ steps\.$/);
  assert.deepEqual(page.complaints, []);
});

/** Starts a training and pauses it at a step or soon after. @returns {Promise<{step: number, path: string}>} the checkpoint that is saved then */
async function paused(page, step) {
  await page.click('#train-start');
  await page.waitForFunction((step) => Number(/^Step (\d+)/.exec(document.querySelector('#train-state').textContent)?.[1]) >= step, step, { timeout: 240_000 });
  await page.click('#train-pause');
  const { name, bytes } = await downloaded(page, '#train-keep');
  await eventually(async () => assert.equal(await page.textContent('#train-live'), `${name} is saved.`));
  assert.equal(await page.textContent('#train-state'), 'Paused');
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return { step: Number(/^checkpoint-(\d+)\.safetensors$/.exec(name)[1]), path };
}

/** How many steps a training has made, once it is done. */
async function done(page) {
  await page.waitForSelector('#train-start:not(:disabled)', { timeout: 180_000 });
  assert.ok(await page.isHidden('#train-notice'), await page.textContent('#train-notice'));
  return Number(/^Done: (\d+) steps/.exec(await page.textContent('#train-state'))?.[1]);
}

test('Train: a checkpoint goes on in another page, one of the command line too; a wrong one changes nothing', rules, async () => {
  const { address } = await served();
  const page = await opened(address, '#train');
  const sample = () => page.waitForFunction(() => document.querySelector('#train-text').value.includes('captain'));
  const weights = async () => new Map(unzipped((await downloaded(page, '#train-save')).bytes)).get('fillmask-small-en-tuned/model.safetensors');
  await sample();
  await page.fill('#train [name=epochs]', '2');
  await page.fill('#train [name=seed]', '7');
  const { step, path } = await paused(page, 1);
  assert.ok(step < 6, `${step}`);
  await page.setInputFiles('#train-checkpoint', path); // for the next training
  await page.waitForSelector('#train-from:not([hidden])');
  await page.click('#train-pause');
  assert.equal(await done(page), 6);
  assert.equal(await page.textContent('#train-start'), 'Go on training');
  const expected = await weights(), held = await page.textContent('#train-held');

  await page.reload();
  await ready(page);
  await sample();
  const problem = async (pattern) => {
    await page.waitForSelector('#train-notice:not([hidden])', { timeout: 60_000 });
    assert.match(await page.textContent('#train-notice'), pattern);
  };
  for (const content of ['no checkpoint', readFileSync(join(defaultModel, 'model.safetensors')).subarray(0, 1e6), Buffer.alloc(64, 255)]) {
    writeFileSync(join(folder, 'wrong.safetensors'), content);
    await page.setInputFiles('#train-checkpoint', join(folder, 'wrong.safetensors'));
    await problem(/^wrong\.safetensors is not a checkpoint of a training; /);
    assert.ok(await page.isVisible('#train-settings'));
  }
  await drop(page, 'train', 'dropped.safetensors', 'no checkpoint');
  await problem(/^dropped\.safetensors is not a checkpoint/);

  await page.fill('#train [name=epochs]', ''); // which does not count then
  await page.focus('#train-checkpoint');
  await page.setInputFiles('#train-checkpoint', path);
  await page.waitForSelector('#train-from:not([hidden])');
  await page.waitForFunction(() => document.activeElement.id === 'train-start');
  assert.match(await page.textContent('#train-from'), new RegExp(`^\\s*checkpoint-${step}\\.safetensors goes on after step ${step} of 6, .* batches of 8 chunks of 32 tokens, learning rate 0\\.0005, seed 7\\.`));
  assert.ok(await page.isHidden('#train-settings'));
  const own = await page.inputValue('#train-text');
  await page.fill('#train-text', own.replace('captain', 'sailor'));
  await page.click('#train-start');
  await problem(/^The checkpoint belongs to another training: .* documents of data/);
  assert.equal(await page.textContent('#train-start'), 'Go on training'); // with the right texts
  await page.fill('#train-text', own);
  await page.click('#train-start');
  assert.equal(await done(page), 6);
  assert.deepEqual(await weights(), expected);
  assert.equal(await page.textContent('#train-held'), held);
  assert.ok(await page.isVisible('#train-settings'));

  // Cut off, and of another model; what was trained before stays.
  writeFileSync(join(folder, 'cut.safetensors'), readFileSync(path).subarray(0, 1e6));
  await page.setInputFiles('#train-checkpoint', join(folder, 'cut.safetensors'));
  await page.click('#train-start');
  await problem(/^The checkpoint/);
  await page.click('#train-from button');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'train-checkpoint');
  assert.equal(await page.textContent('#train-start'), 'Train');
  assert.deepEqual(await weights(), expected);

  // The command line learns from all texts, which the page keeps some of apart.
  const lines = join(folder, 'sample.txt'), tuned = join(folder, 'by-command-line');
  writeFileSync(lines, own);
  run(bin, 'train', '-q', '-m', defaultModel, '--data', lines, '--steps', '4', '--batch', '4', '--length', '16', '--learning-rate', '3e-4', '--warmup', '1', '--mask-rate', '0.2', '--save-every', '2', '-o', tuned);
  await page.setInputFiles('#train-checkpoint', join(tuned, 'checkpoint-2.safetensors'));
  await page.click('#train-start');
  assert.equal(await done(page), 4);
  assert.equal(await page.textContent('#train-held'), '–');
  await page.setInputFiles('#train-checkpoint', join(tuned, 'checkpoint-4.safetensors')); // with nothing left to do
  await page.click('#train-start');
  assert.equal(await done(page), 4);
  assert.equal(await page.textContent('#train-loss'), '–');
  assert.deepEqual(page.complaints, []);
});

test('Train: a checkpoint goes from the processor to a graphics card, and back', rules, async () => {
  const { address } = await served();
  const page = await openPage(`${address}#about`, { args: ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-dawn-features=disable_workgroup_init'] });
  await ready(page);
  const lines = join(folder, 'tides.txt'), small = join(folder, 'small');
  writeFileSync(lines, Array.from({ length: 60 }, (_, i) => `The tide ${['rises', 'falls', 'turns'][i % 3]} and the ${['boat', 'gull'][i % 2]} waits for the ${['captain', 'lamp', 'bell', 'fog'][i % 4]}.\n`).join(''));
  run(bin, 'train', '-q', '--tokenizer', defaultModel, '--layers', '1', '--hidden', '32', '--heads', '2', '--positions', '32', '--data', lines, '--steps', '1', '--batch', '2', '--length', '16', '-o', small);
  await page.setInputFiles('#about-file', ['config.json', 'vocab.txt', 'tokenizer_config.json', 'model.safetensors'].map((name) => join(small, name)));
  await page.waitForFunction(() => /is open/.test(document.querySelector('#about-opened').textContent));
  const on = async (device, pattern) => {
    await open(page, 'about');
    await page.selectOption('#about-compute', device);
    await says(page, pattern);
    await open(page, 'train');
    await page.selectOption('#train-model', 'Yours');
  };
  await open(page, 'train');
  await page.selectOption('#train-model', 'Yours');
  await page.fill('#train-text', readFileSync(lines, 'utf8'));
  for (const [field, value] of [['epochs', '2'], ['batch_size', '2']]) await page.fill(`#train [name=${field}]`, value);
  await page.selectOption('#train [name=chunk]', '16');
  await page.click('#train-start');
  const steps = await done(page), held = Number(await page.textContent('#train-held'));
  assert.ok(steps > 20);
  const goOn = async ({ path }) => {
    await page.setInputFiles('#train-checkpoint', path);
    await page.waitForSelector('#train-from:not([hidden])');
  };
  const stop = async () => {
    await page.click('#train-stop');
    await page.waitForSelector('#train-start:not(:disabled)');
  };
  const first = await paused(page, 2);
  await stop();
  await on('webgpu', /WebGPU/);
  await goOn(first);
  const second = await paused(page, first.step + 2);
  await stop();
  assert.ok(second.step < steps, `${second.step} of ${steps}`);
  await on('wasm', /thread/);
  await goOn(second);
  await page.click('#train-start');
  assert.equal(await done(page), steps);
  assert.ok(Math.abs(Number(await page.textContent('#train-held')) - held) <= 0.02, `${await page.textContent('#train-held')} instead of ${held}`);
});

test('About: card, device, speed, size, a model of one’s own', rules, async () => {
  const { address } = await served();
  const page = await opened(address, '#about');
  await page.waitForFunction(() => /measured just now/.test(document.querySelector('#about-speed-state').textContent), null, { timeout: 60_000 });
  const speeds = await page.$$eval('#about-speed tr', (rows) => rows.map((row) => [...row.children].map((cell) => Number(cell.textContent))));
  assert.deepEqual(speeds.map(([tokens]) => tokens), [16, 64, 128]);
  assert.ok(speeds.every(([, milliseconds, each]) => milliseconds > 0 && each > 0 && Math.abs(milliseconds * each - 1000) < 1000), JSON.stringify(speeds));
  const facts = async (list) => Object.fromEntries(await page.$$eval(`${list} dt`, (all) => all.map((name) => [name.textContent, name.nextElementSibling.textContent])));
  const device = await facts('#about-device');
  assert.equal(device.Build, 'relaxed SIMD');
  assert.match(device.Weights, /^7\.4 million, int8$/);
  const { files } = JSON.parse(/\{.*\}/s.exec(readFileSync(join(site, 'site.js'), 'utf8'))[0]);
  const own = Object.entries(files).filter(([path]) => /^web\/[^/]+\.js$|-relaxed\.wasm$/.test(path)).reduce((sum, [, { gzip }]) => sum + gzip, 0);
  assert.equal((await facts('#about-sizes'))['Fillmask in all'], `${Math.round(own / 1000)} kB`);
  assert.equal(await page.textContent('#about-card h3'), 'fillmask-small-en');
  assert.ok((await texts(page, '#about-card tbody tr')).length > 3);

  await page.setInputFiles('#about-file', [join(defaultModel, 'config.json')]);
  await page.waitForSelector('#about-notice:not([hidden])');
  assert.match(await page.textContent('#about-notice'), /has no/);
  await page.setInputFiles('#about-file', ['config.json', 'vocab.txt', 'tokenizer_config.json', 'model.safetensors', 'README.md'].map((name) => join(defaultModel, name)));
  await page.waitForFunction(() => /is open/.test(document.querySelector('#about-opened').textContent));
  await page.selectOption('#about-model', 'Yours');
  await page.waitForFunction(() => document.querySelector('#about-card h3')?.textContent === 'fillmask-small-en');
  assert.deepEqual(page.complaints, []);
});

test('About: a graphics card computes where there is one; else the processor goes on', rules, async () => {
  const { address } = await served();
  const without = await opened(address, '#about');
  await without.selectOption('#about-compute', 'webgpu');
  await eventually(async () => assert.match(await without.textContent('#about-compute-state'), /^The graphics card cannot be used: .*The processor goes on computing\.$/));
  assert.equal(await without.inputValue('#about-compute'), 'wasm');
  await without.context().close();

  const page = await openPage(`${address}#about`, { args: ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'] });
  await ready(page);
  await page.selectOption('#about-compute', 'webgpu');
  await says(page, /WebGPU/);
  await eventually(async () => assert.match(await page.textContent('#about-device'), /Device.*swiftshader/i));
  await open(page, 'fill');
  await fills(page, usual);
});

test('a vocabulary of markup and formulas stays text', rules, async () => {
  const hostile = ['<img src=x onerror=globalThis.caught=1>', '<script>globalThis.caught=1</script>', '"><svg/onload=globalThis.caught=1>', 'javascript:globalThis.caught=1', '&lt;b&gt;&amp;'];
  const model = join(folder, 'hostile');
  cpSync(defaultModel, model, { recursive: true });
  const vocabulary = readFileSync(join(model, 'vocab.txt'), 'utf8').split('\n');
  native('fill', '--json', usual).forEach(({ token }, i) => (vocabulary[token] = hostile[i]));
  writeFileSync(join(model, 'vocab.txt'), vocabulary.join('\n'));
  writeFileSync(join(model, 'README.md'), `# ${hostile[0]}\n${hostile[1]} [a link](javascript:globalThis.caught=1)\n\n- ${hostile[2]}\n  goes on\n- two\n`);
  const { address } = await served();
  const page = await opened(address, '#about');
  await page.setInputFiles('#about-file', ['config.json', 'vocab.txt', 'tokenizer_config.json', 'model.safetensors', 'README.md'].map((name) => join(model, name)));
  await page.waitForFunction(() => /is open/.test(document.querySelector('#about-opened').textContent));
  await page.selectOption('#about-model', 'Yours');
  await page.waitForFunction((title) => document.querySelector('#about-card h3')?.textContent === title, hostile[0]);
  assert.equal(await page.textContent('#about-card p'), `${hostile[1]} a link`);
  assert.deepEqual(await texts(page, '#about-card li'), [`${hostile[2]} goes on`, 'two']);
  await open(page, 'fill');
  await page.fill('#fill-text', usual);
  await eventually(async () => assert.deepEqual((await shown(page))[1]?.toSorted(), hostile.toSorted()));
  const [, [best]] = await shown(page);
  await page.click('#fill-cards .column:nth-child(2) .candidate'); // into the sentence
  assert.equal(await page.inputValue('#fill-text'), usual.replace('[MASK]', best));
  assert.equal(await page.textContent('#fill-words'), usual.replace('[MASK]', best));
  await open(page, 'score');
  await page.selectOption('#score-model', 'Yours');
  await page.fill('#score-text', 'This movie was really old.');
  await page.click('#score-words button:text-is("old")');
  await page.waitForFunction((best) => [...document.querySelectorAll('#score-expected .what')].some((what) => what.textContent === best), hostile[0]);
  await open(page, 'augment');
  await drop(page, 'augment', `${hostile[0]}.csv`, `${hostile[1]},text\n${hostile[4]},${hostile[3]}\n`);
  await page.waitForSelector('#augment-chosen:not([hidden])');
  assert.equal(await page.textContent('#augment-chosen p'), `${hostile[0]}.csv: 1 text`);
  assert.equal(await page.evaluate(() => globalThis.caught), undefined);
  assert.deepEqual(await texts(page, 'main :is(img, script, a, iframe, svg:not(.chart))'), []);
  assert.deepEqual(page.complaints, []);
});

// ---- without headers, without a network ----

test('a server without headers: one reload brings threads, at any path', rules, async () => {
  const { address, requests } = await served({ path: '/some/where/', headers: {} });
  const page = await opened(address);
  await says(page, /2 threads · works offline|[3-8] threads · works offline/);
  assert.ok(await page.evaluate(() => crossOriginIsolated));
  assert.equal(requests.filter((url) => url === '/some/where/').length, 2);
  assert.ok(requests.every((url) => url.startsWith('/some/where/')));
  await fills(page, usual);
  // The policy reaches the workers too.
  const policy = await page.evaluate(async () => (await fetch('web/worker.js')).headers.get('content-security-policy'));
  assert.match(policy, /script-src 'self' 'wasm-unsafe-eval'/);
  assert.deepEqual(page.complaints, []);
});

test('where no service worker helps, the page loads at most twice and works on one thread', rules, async () => {
  const useless = siteAt('useless'), none = siteAt('none');
  writeFileSync(join(useless, 'site.js'), readFileSync(join(useless, 'site.js'), 'utf8').replace(/"headers": \{[^}]*\}/, '"headers": {}'));
  rmSync(join(none, 'sw.js'));
  for (const [variant, loads] of [[useless, 2], [none, 1]]) {
    const { address, requests } = await served({ folder: variant, headers: {} });
    const page = await opened(address);
    await fills(page, usual);
    assert.match(await page.textContent('#engine'), /1 thread(?!s)/);
    assert.equal(requests.filter((url) => url === '/').length, loads);
  }
});

test('offline: every tab works with the network cut', rules, async () => {
  const { address, close } = await served({ headers: {} });
  const first = await opened(address);
  await wholly(first);
  close();
  await assert.rejects(fetch(address));
  await first.reload();
  await ready(first);
  const page = await first.context().newPage();
  await page.goto(address);
  await ready(page);
  await fills(page, usual);
  await open(page, 'augment');
  await page.click('#augment-run');
  await page.waitForSelector('.entry ins');
  await open(page, 'score');
  await page.waitForSelector('#score-expected .candidate');
  await open(page, 'train');
  await page.waitForFunction(() => document.querySelector('#train-text').value.includes('captain'));
  await page.fill('#train [name=epochs]', '1');
  await page.click('#train-start');
  await page.waitForSelector('#train-saving:not([hidden])', { timeout: 120_000 });
  await open(page, 'about');
  await page.waitForSelector('#about-card h3');
  assert.ok(await page.evaluate(() => crossOriginIsolated));
});

test('a model that cannot be loaded is named, and loaded when it is there', rules, async () => {
  const copy = siteAt('incomplete');
  const { address } = await served({ folder: copy });
  const weights = join(copy, 'weights', 'fillmask-small-en', 'model.safetensors');
  renameSync(weights, `${weights}.away`);
  const page = await openPage(address);
  await page.waitForSelector('#fill-notice:not([hidden])');
  assert.match(await page.textContent('#fill-notice'), /no model\.safetensors/);
  assert.equal(await page.textContent('#engine'), 'The model could not be loaded');
  renameSync(`${weights}.away`, weights);
  await page.click('#fill-notice button');
  await wholly(page);
  await fills(page, usual);
  assert.ok(await page.isHidden('#fill-notice'));
});

test('a newer version of the site is offered, and used when asked for', rules, async () => {
  const copy = siteAt('renewed');
  const { address } = await served({ folder: copy, headers: {} });
  const page = await opened(address);
  await wholly(page);
  change(join(copy, 'site.js'), '"version": "', '"version": "9.');
  await page.reload();
  await ready(page);
  await page.waitForSelector('#update:not([hidden])', { timeout: 60_000 });
  await Promise.all([page.waitForEvent('load'), page.click('#update button')]);
  await ready(page);
  await open(page, 'about');
  await page.waitForFunction(() => /^9\./.test(document.querySelector('#about-device dd')?.textContent));
  assert.ok(await page.isHidden('#update'));
});

test('the page can be installed', rules, async () => {
  const { address } = await served();
  const page = await opened(address);
  const session = await page.context().newCDPSession(page);
  const { errors, url } = await session.send('Page.getAppManifest');
  assert.deepEqual(errors, []);
  assert.equal(url, `${address}manifest.webmanifest`);
  const { installabilityErrors } = await session.send('Page.getInstallabilityErrors');
  assert.deepEqual(installabilityErrors.filter(({ errorId }) => errorId !== 'in-incognito'), []); // as tests' profiles are
});

// ---- for everybody ----

test('the keyboard reaches everything; nothing moves for those who want it so', rules, async () => {
  const { address } = await served();
  const page = await opened(address, '', { reducedMotion: 'reduce' });
  await page.waitForSelector('#fill-cards .candidate');
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.className || document.activeElement.name);
  await page.keyboard.press('Tab');
  assert.equal(await focused(), 'tab-fill');
  const order = [];
  for (let i = 0; i < 5; i++) {
    await page.keyboard.press('Tab');
    order.push(await focused());
  }
  assert.deepEqual(order, ['fill-share', 'fill-text', 'word', 'example', 'example']);
  await page.focus('#tab-fill');
  for (const tab of ['augment', 'score', 'train', 'about', 'fill', 'about']) {
    await page.keyboard.press(tab === 'about' && (await focused()) === 'tab-fill' ? 'End' : 'ArrowRight');
    assert.equal(await focused(), `tab-${tab}`);
    assert.deepEqual(await page.$$eval('[role=tabpanel]:not([hidden])', (all) => all.map(({ id }) => id)), [tab]);
    assert.equal(await page.getAttribute(`#tab-${tab}`, 'aria-selected'), 'true');
  }
  await page.waitForTimeout(1200); // longer than announcements wait
  assert.match(await page.textContent('#fill-live'), /^Mask 1: \w+, \w+, \w+\.$/);
  await open(page, 'fill');
  assert.deepEqual(await page.evaluate(() => document.getAnimations().length), 0);
  assert.equal(await page.$eval('#fill-cards .bar', (bar) => getComputedStyle(bar).transitionDuration), '0s');
});

/** Uses every tab, so that there is something to look at. */
async function used(page, look) {
  await page.waitForSelector('#fill-cards .candidate');
  await page.fill('#fill-text', 'He [MASK] the door and walked into the [MASK].');
  await page.waitForSelector('#fill-cards .card:nth-child(2) .candidate');
  await look('fill');
  await open(page, 'augment');
  await page.click('#augment-run');
  await page.waitForSelector('#augment-downloads:not([hidden])');
  await look('augment');
  await open(page, 'score');
  await page.waitForSelector('#score-expected .candidate');
  await page.click('summary');
  await look('score');
  await open(page, 'train');
  await page.waitForFunction(() => document.querySelector('#train-text').value.includes('captain'));
  await page.fill('#train [name=epochs]', '2');
  await page.click('#train-start');
  await page.waitForSelector('#train-saving:not([hidden])', { timeout: 120_000 });
  await look('train');
  await open(page, 'about');
  await page.waitForSelector('#about-card table');
  await look('about');
}

for (const colorScheme of ['light', 'dark'])
  test(`axe finds nothing in any tab, ${colorScheme}; no tab is wider than a narrow screen`, rules, async () => {
    const { address } = await served();
    const page = await opened(address, '', { colorScheme, reducedMotion: 'reduce', viewport: { width: 1280, height: 900 } });
    const axe = readFileSync(join(process.env.FILLMASK_WEB_TOOLS ?? join(root, 'build-web'), 'node_modules/axe-core/axe.min.js'), 'utf8');
    await page.evaluate(axe);
    await used(page, async (tab) => {
      for (const width of [1280, 320]) {
        await page.setViewportSize({ width, height: 800 });
        const found = await page.evaluate(() => globalThis.axe.run({ resultTypes: ['violations'] }));
        assert.deepEqual(found.violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]), [], `${tab} at ${width}`);
        assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${tab} at ${width} scrolls sideways`);
      }
    });
    assert.deepEqual(page.complaints, []);
  });

test('Firefox: threads by the service worker alone, and each tab', { ...rules, skip: noFirefox }, async () => {
  const { address } = await served({ headers: {} });
  const page = await openFirefox(address);
  await page.waitForFunction(() => /[2-8] threads · works offline/.test(document.querySelector('#engine').textContent), { timeout: 60_000 });
  await fills(page, usual);
  const show = (tab) => page.$eval(`#tab-${tab}`, (button) => button.click());
  await show('augment');
  await page.$eval('#augment-run', (button) => button.click());
  await page.waitForSelector('.entry ins');
  await show('score');
  await page.waitForSelector('#score-expected .candidate');
  await show('train');
  await page.waitForFunction(() => document.querySelector('#train-text').value.includes('captain'));
  await page.$eval('#train [name=epochs]', (input) => (input.value = '1'));
  await page.$eval('#train-start', (button) => button.click());
  await page.waitForSelector('#train-saving:not([hidden])', { timeout: 120_000 });
  await show('about');
  await page.waitForSelector('#about-card h3');
  assert.equal(await page.$eval('#about-device dd:nth-of-type(3)', (build) => build.textContent), 'relaxed SIMD');
  assert.deepEqual(page.complaints, []);
});

// policy.test.mjs - what a strict content security policy forbids, one thing at a time, in headless Chromium: the package,
// doing all that it can with two threads, and the demo page with each of its tabs never try it. That it would be noticed
// is shown by trying it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { noBrowser, openPage, root, serveFolder } from './helpers.mjs';

const rules = { skip: noBrowser, timeout: 120_000 };
const site = mkdtempSync(join(tmpdir(), 'fillmask-policy-'));
after(() => rmSync(site, { recursive: true, force: true }));
const { status, stderr } = spawnSync(process.execPath, [join(root, 'tools', 'site.mjs'), '--out', site], { encoding: 'utf8' });
assert.equal(status, 0, stderr);

const EVAL = "try { eval('1'); } catch {}";

/** A page under a policy whose breaches, those of workers too, and requests to others are written down. */
async function watched({ csp, folder = root, page: path = '/' }) {
  const breaches = [], others = [];
  const { origin } = await serveFolder({ folder, csp: `${csp}; report-uri /report`, answer: async (request, response, pathname) => {
    if (pathname === '/eval.js') return response.writeHead(200, { 'content-type': 'text/javascript' }).end(EVAL);
    if (pathname !== '/report') return false;
    let body = '';
    for await (const part of request) body += part;
    breaches.push(JSON.parse(body)['csp-report']['effective-directive']);
    return response.writeHead(204).end();
  } });
  const page = await openPage(origin + path);
  page.context().on('request', (request) => /^https?:/.test(request.url()) && new URL(request.url()).origin !== origin && others.push(request.url()));
  return { page, breaches, others };
}

/** All that the package does, with threads. */
const useAll = (page) => page.evaluate(async () => {
  const { loadModel, Trainer, dispose } = await import('/web/index.js');
  const model = await loadModel(undefined, { threads: 2 });
  await model.fill('The [MASK] was good.', { match: /o/ });
  await model.score('It was good.');
  await model.embed('It was good.');
  await model.augment('It was very good.');
  const trainer = new Trainer(model, { data: Array(8).fill('It was very good.'), steps: 1, length: 16, batch_size: 2 });
  for await (const { loss } of trainer) if (!(loss > 0)) throw new Error(`loss ${loss}`);
  await trainer.apply();
  await model.files();
  const { threads } = model.info;
  await dispose();
  return threads;
});

/** Waits for a report of each of these. */
async function noticed(breaches, expected) {
  for (const start = Date.now(); breaches.length < expected.length && Date.now() - start < 10_000;) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(breaches.toSorted(), expected.toSorted()); // reports may overtake one another
}

const scripts = "script-src 'self' 'wasm-unsafe-eval'";
const elsewhere = 'http://localhost:9/'; // where nobody answers, and that is no matter
const prohibitions = [
  ['no code of another origin, as of a CDN', scripts, ['script-src-elem'], (url) => import(`${url}code.js`).catch(() => {})],
  ['no eval, nor in workers', scripts, ['script-src', 'script-src'], async () => {
    await new Promise((resolve) => {
      new Worker('/eval.js');
      setTimeout(resolve, 500);
    });
    try {
      new Function('return 1');
    } catch {}
  }],
  ['no worker of a blob', "worker-src 'self'", ['worker-src'], () => {
    try {
      new Worker(URL.createObjectURL(new Blob(['0'])));
    } catch {}
  }],
  ['no script in the page', scripts, ['script-src-elem', 'script-src-attr'], () => {
    document.head.append(Object.assign(document.createElement('script'), { textContent: '0' }));
    document.head.setAttribute('onclick', '0');
    document.head.click();
  }],
  ['no style in the page', "style-src 'self'", ['style-src-elem', 'style-src-attr'], () => {
    document.head.append(Object.assign(document.createElement('style'), { textContent: 'p { color: red }' }));
    document.head.setAttribute('style', 'color: red');
  }],
  ['no request to another origin', "connect-src 'self'; img-src 'self'", ['connect-src', 'img-src'], async (url) => {
    await fetch(url).catch(() => {});
    await new Promise((resolve) => Object.assign(new Image(), { onerror: resolve, src: `${url}dot.png` }));
  }],
];

for (const [name, csp, directives, attempt] of prohibitions)
  test(`the package: ${name}`, rules, async () => {
    const { page, breaches, others } = await watched({ csp });
    assert.equal(await useAll(page), 2);
    assert.deepEqual(breaches, []);
    assert.deepEqual(others, []);
    await page.evaluate(attempt, elsewhere);
    await noticed(breaches, directives);
  });

test('the package asks another origin where the URL of a model does, and that one alone', rules, async () => {
  const { page, others } = await watched({ csp: scripts });
  await page.evaluate(async (url) => {
    const { loadModel } = await import('/web/index.js');
    await loadModel(url.replace('http:', 'https:'), { threads: 1 }).catch(() => {});
  }, elsewhere);
  assert.ok(others.length > 0 && others.every((url) => url.startsWith('https://localhost:9/')), others.join());
});

test('the demo page tries none of it', rules, async () => {
  const csp = [...new Set(prohibitions.map(([, part]) => part))].join('; ');
  const { page, breaches, others } = await watched({ csp, folder: site, page: '/index.html' });
  await page.waitForFunction(() => /thread/.test(document.querySelector('#engine').textContent));
  for (const tab of ['fill', 'augment', 'score', 'train', 'about']) {
    await page.click(`#tab-${tab}`);
    await page.waitForSelector(`#${tab}:not([hidden])`);
  }
  assert.deepEqual(breaches, []);
  assert.deepEqual(others, []);
  for (const [, , , attempt] of prohibitions) await page.evaluate(attempt, elsewhere);
  await noticed(breaches, prohibitions.flatMap(([, , directives]) => directives));
});

// demo.test.mjs - the demo page in headless Chromium, from the folder that `npm run site` makes: each tab, threads by
// the service worker alone, offline, the content security policy, a hostile vocabulary, accessibility, narrow screens.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { serve, siteHeaders } from '../../tools/serve.mjs';
import { native, noBrowser, openPage, root } from './helpers.mjs';

const site = join(root, 'dist', 'site');
const made = spawnSync(process.execPath, [join(root, 'tools', 'site.mjs')], { encoding: 'utf8' });
assert.equal(made.status, 0, made.stderr);

const rules = { skip: noBrowser, timeout: 180_000 };

/** Serves the site, or a folder like it, until the tests end. */
async function served(options = {}) {
  const { address, server } = await serve({ folder: site, headers: siteHeaders(site), ...options });
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
async function opened(address, hash = '') {
  const page = await openPage(address + hash);
  const asked = [];
  page.on('request', (request) => asked.push(request.url()));
  await ready(page);
  return Object.assign(page, { asked });
}

const ready = (page) => page.waitForFunction(() => /thread/.test(document.querySelector('#engine').textContent), null, { timeout: 60_000 });
const candidates = (page) => page.$$eval('#fill-cards .card', (cards) => cards.map((card) => [...card.querySelectorAll('.what')].map((what) => what.textContent)));
/** Waits until the first candidate of each mask is what it should be. */
const shows = (page, best) => page.waitForFunction(
  (best) => JSON.stringify([...document.querySelectorAll('#fill-cards .card')].map((card) => card.querySelector('.what')?.textContent)) === JSON.stringify(best),
  best, { timeout: 20_000 });
const words = (found) => found.map((filling) => filling.token_str);
const share = (page) => page.waitForFunction((hash) => location.hash !== hash, new URL(page.url()).hash).then(() => page.url());

test('Fill: typing, masking, targets, taking candidates, links', rules, async () => {
  const { address } = await served();
  const page = await opened(address);
  const text = 'The cat sat on the [MASK].';
  const expected = words(native('fill', '--json', text));
  await page.fill('#fill-text', text);
  await shows(page, [expected[0]]);
  assert.deepEqual(await candidates(page), [expected]);
  assert.equal(await page.textContent('#fill-words'), `The cat sat on the ${expected[0]}.`);

  // A word masked by the keyboard alone, and put back.
  await page.focus('#fill-words button');
  await page.keyboard.press('ArrowRight');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'cat');
  await page.keyboard.press('Enter');
  const two = 'The [MASK] sat on the [MASK].';
  assert.equal(await page.inputValue('#fill-text'), two);
  const both = native('fill', '--json', two).map(words);
  await shows(page, both.map((list) => list[0]));
  assert.deepEqual(await candidates(page), both);
  assert.match(await share(page), /#fill\?text=/);
  await page.keyboard.press('Enter');
  assert.equal(await page.inputValue('#fill-text'), text);
  await shows(page, [expected[0]]);

  await page.fill('#fill-options [name=targets]', 'table, moon');
  const among = words(native('fill', '--json', '-t', 'table', '-t', 'moon', text));
  await shows(page, [among[0]]);
  assert.deepEqual(await candidates(page), [among]);

  // Together, and the best sentence taken; a link brings all of it to another page.
  await page.fill('#fill-options [name=targets]', '');
  await page.fill('#fill-text', two);
  await page.check('#fill-options [name=joint]');
  const sentences = native('fill', '--json', '--joint', two).map((filled) => filled.sequence);
  await shows(page, [sentences[0]]);
  assert.deepEqual(await candidates(page), [sentences]);
  const other = await opened(await share(page));
  await shows(other, [sentences[0]]);
  assert.equal(await other.inputValue('#fill-text'), two);
  await page.click('.candidate');
  assert.equal(await page.inputValue('#fill-text'), sentences[0]);
  await page.waitForSelector('#fill-cards .empty');
  assert.deepEqual(page.complaints, []);
  assert.ok([...page.asked, ...other.asked].every((url) => url.startsWith(address)), page.asked.join());
});

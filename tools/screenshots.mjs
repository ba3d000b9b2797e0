// screenshots.mjs - takes pictures of the demo page in dist/site, in use (tools/screenshots.sh makes them small).
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { serve, siteHeaders } from './serve.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const site = join(root, 'dist', 'site');
const { chromium } = createRequire(join(root, 'build-web', 'package.json'))('playwright-core');

const { address, server } = await serve({ folder: site, headers: siteHeaders(site) });
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });

/** Opens the page at a tab, has it used, and takes the picture. */
async function take(name, hash, how, use) {
  const context = await browser.newContext({ reducedMotion: 'reduce', ...how });
  const page = await context.newPage();
  await page.goto(address + hash);
  await page.waitForFunction(() => /works offline/.test(document.querySelector('#engine').textContent));
  await use(page);
  await page.evaluate(() => /** @type {any} */ (document.activeElement).blur());
  await page.screenshot({ path: join(root, 'web', 'demo', name) });
  await context.close();
}

const sentence = 'The [MASK] of the film is slow, but the actors are [MASK].';
await take('screenshot.png', '#fill', { viewport: { width: 1160, height: 800 }, deviceScaleFactor: 2 }, async (page) => {
  await page.fill('#fill-text', sentence);
  await page.waitForSelector('#fill-cards .card:nth-child(2) .candidate');
  await page.waitForTimeout(1000);
  await page.type('#fill-text', ' '); // filled anew, with nothing else to do, so that the time shown is the usual one
  await page.waitForTimeout(1000);
});
const text = new URLSearchParams({ text: 'The actors were excellent and the story was very well cheese.' });
await take('screenshot-phone.png', `#score?${text}`, { viewport: { width: 390, height: 800 }, deviceScaleFactor: 2, isMobile: true, colorScheme: 'dark' },
  (page) => page.waitForSelector('#score-expected .candidate'));
await browser.close();
server.closeAllConnections();
server.close();

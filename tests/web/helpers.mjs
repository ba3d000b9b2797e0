// helpers.mjs - what the tests of the package share: a server of the repository, headless Chromium and Firefox.
import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../../', import.meta.url));
export const bin = process.env.FILLMASK_BIN ?? join(root, 'build', 'fillmask');
export const defaultModel = join(root, 'weights', 'fillmask-small-en');

/** Runs the native command line; returns the JSON that it printed. */
export function native(...args) {
  const result = spawnSync(bin, args, { encoding: 'utf8', env: { ...process.env, FILLMASK_MODEL: defaultModel } });
  if (result.status !== 0) throw new Error(`fillmask ${args.join(' ')}: ${result.error ?? result.stderr}`);
  return JSON.parse(result.stdout);
}

const types = { '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.json': 'application/json', '.wasm': 'application/wasm', '.css': 'text/css' };
const strict = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'";

/**
 * Serves a folder, with an empty page at "/", until the tests end. `answer` may answer requests itself: it returns
 * true for those.
 */
export async function serveFolder({ folder = root, isolated = true, csp = strict, answer = () => false } = {}) {
  const requests = [];
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    requests.push(pathname);
    if (csp) response.setHeader('content-security-policy', csp);
    if (isolated) {
      response.setHeader('cross-origin-opener-policy', 'same-origin');
      response.setHeader('cross-origin-embedder-policy', 'require-corp');
      response.setHeader('cross-origin-resource-policy', 'cross-origin');
    }
    if (await answer(request, response, pathname)) return;
    try {
      const body = pathname === '/' ? '<!doctype html><title>Test</title>' : await readFile(join(folder, decodeURIComponent(pathname)));
      response.writeHead(200, { 'content-type': pathname === '/' ? 'text/html' : types[extname(pathname)] ?? 'application/octet-stream', 'content-length': body.length }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { origin: `http://127.0.0.1:${server.address().port}`, requests, close: () => server.closeAllConnections() };
}

const chromium = process.env.CHROMIUM ?? '/usr/bin/chromium';
export const noBrowser = spawnSync(chromium, ['--version']).status !== 0 && 'there is no Chromium';

/** By what they were started with. @type {Map<string, Promise<any>>} */
const browsers = new Map();

/**
 * A page of a fresh profile, with playwright's options for its `context`. `complaints` has the errors and warnings of its
 * console, but for a missing icon.
 */
export async function openPage(url, { args = [], context: options = {} } = {}) {
  const { chromium: playwright } = await import(join(process.env.FILLMASK_WEB_TOOLS ?? join(root, 'build-web'), 'node_modules/playwright-core/index.mjs'));
  const key = args.join(' ');
  if (!browsers.has(key)) browsers.set(key, playwright.launch({ executablePath: chromium, args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking', '--disable-component-update', '--disable-sync', ...args] }));
  const context = await (await browsers.get(key)).newContext(options);
  const page = await context.newPage();
  const complaints = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type()) && !message.location().url.endsWith('/favicon.ico')) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  await page.goto(url);
  return Object.assign(page, { complaints });
}
after(async () => Promise.all([...browsers.values()].map(async (browser) => (await browser).close())));

const firefox = process.env.FIREFOX ?? '/usr/bin/firefox-esr';
export const noFirefox = spawnSync(firefox, ['--version']).status !== 0 && 'there is no Firefox';

let fox;
/** A page of Firefox, driven by puppeteer over WebDriver BiDi; `complaints` has the errors that its scripts threw. */
export async function openFirefox(url) {
  const { default: puppeteer } = await import(join(process.env.FILLMASK_WEB_TOOLS ?? join(root, 'build-web'), 'node_modules/puppeteer-core/lib/esm/puppeteer/puppeteer-core.js'));
  fox ??= await puppeteer.launch({ browser: 'firefox', executablePath: firefox, headless: true });
  const page = await (await fox.createBrowserContext()).newPage();
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  await page.goto(url);
  return Object.assign(page, { complaints });
}
after(async () => fox?.close());

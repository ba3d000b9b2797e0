// browser.test.mjs - engine.js and thread.js in headless Chromium under a strict content security policy, with threads
// where the page is cross-origin isolated and on one thread where it is not. CHROMIUM names the browser.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { built, folder, native } from './helpers.mjs';

const chromium = process.env.CHROMIUM ?? 'chromium';
const skip = spawnSync(chromium, ['--version']).status !== 0 && 'there is no Chromium';
const root = fileURLToPath(new URL('../../', import.meta.url));
const types = { '.js': 'text/javascript', '.mjs': 'text/javascript', '.wasm': 'application/wasm' };

/** Serves the repository, the build and the model; resolves with what the page sends to /report. */
async function visit(isolated) {
  let report;
  const reported = new Promise((resolve) => (report = resolve));
  const server = createServer(async (request, response) => {
    const path = new URL(request.url, 'http://localhost').pathname;
    const headers = {
      'content-type': types[extname(path)] ?? 'text/html',
      'content-security-policy': "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'",
      ...(isolated && { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' }),
    };
    try {
      let body;
      if (path === '/') body = '<!doctype html><script type="module" src="/tests/wasm/browser_page.mjs"></script>';
      else if (path === '/report') for await (const part of request) body = report(JSON.parse(part)) ?? '';
      else if (path.startsWith('/build/')) body = built(path.slice(7));
      else body = await readFile(join(path.startsWith('/model/') ? folder : root, path));
      response.writeHead(200, headers).end(body);
    } catch {
      response.writeHead(404, headers).end();
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const profile = mkdtempSync(join(tmpdir(), 'fillmask-chromium-'));
  const browser = spawn(chromium, ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync', `--user-data-dir=${profile}`,
    `http://127.0.0.1:${server.address().port}/`], { stdio: 'ignore', detached: true });
  const ended = new Promise((resolve) => browser.once('exit', resolve));
  try {
    return await Promise.race([reported, ended.then(() => ({ error: 'Chromium ended' }))]);
  } finally {
    if (browser.exitCode === null) process.kill(-browser.pid, 'SIGKILL'); // with all its children, which would go on writing their profile
    await ended;
    server.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 20 });
  }
}

for (const isolated of [true, false])
  test(`a worker of a page that is ${isolated ? '' : 'not '}cross-origin isolated`, { skip, timeout: 300_000 }, async () => {
    const { error, threads, fillings, losses } = await visit(isolated);
    assert.equal(error, undefined);
    assert.equal(threads, isolated ? 2 : 1);
    const expected = JSON.parse(native('fill', '-m', 'model', '--json', 'The red cat sat on the [MASK].'));
    assert.deepEqual(fillings.map((f) => f.token_str), expected.map((f) => f.token_str));
    fillings.forEach((f, i) => assert.ok(Math.abs(f.score - expected[i].score) < 1e-4));
    assert.ok(losses.every((loss) => loss > 0));
    assert.equal(losses.length, 2);
  });

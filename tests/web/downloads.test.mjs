// downloads.test.mjs - models from a server that cuts connections, ignores ranges, changes what it serves and lies: in
// Node.js on both devices, with what is kept in a folder; and in Chromium, with the Cache API and without.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { dispose, loadModel } from '../../web/index-node.js';
import { defaultModel, noBrowser, openPage, serveFolder } from './helpers.mjs';

const PART = 1 << 22;
const files = Object.fromEntries(['config.json', 'tokenizer.json', 'tokenizer_config.json', 'model.safetensors'].map((name) => [name, readFileSync(join(defaultModel, name))]));
const weights = files['model.safetensors'];
assert.ok(weights.length > PART && weights.length < 2 * PART);
const sha256 = createHash('sha256').update(weights).digest('hex');
const text = 'This movie was [MASK].';

/**
 * A server of the model, whose weights go through `behave`, which may change what is said and sent. `asked` are the
 * requests for the weights: [range, if-range or if-none-match, status].
 */
async function server(behave = () => {}, headers = {}) {
  const asked = [];
  const state = { tag: '"one"', bytes: weights };
  const listening = createServer((request, response) => {
    const name = request.url.split('/').at(-1);
    const isWeights = name === 'model.safetensors', bytes = isWeights ? state.bytes : files[name];
    for (const [key, value] of Object.entries(headers)) response.setHeader(key, value);
    if (request.method === 'OPTIONS') return response.writeHead(204).end();
    if (!bytes) return response.writeHead(404).end();
    const { range, 'if-range': ifRange, 'if-none-match': ifNone } = request.headers;
    const answer = { status: 200, from: 0, to: bytes.length, length: undefined, cut: Infinity, tag: isWeights ? state.tag : '"small"' };
    const from = Number(/^bytes=(\d+)-$/.exec(range)?.[1] ?? 0);
    if (range && (!ifRange || ifRange === answer.tag)) Object.assign(answer, { status: 206, from });
    if (ifNone && ifNone === answer.tag) answer.status = 304;
    if (isWeights) behave(answer, { count: asked.length, state, range });
    if (isWeights) asked.push([range, ifRange ?? ifNone, answer.status]);
    if (answer.tag) response.setHeader('etag', answer.tag);
    if (answer.status === 206) response.setHeader('content-range', `bytes ${answer.from}-${answer.to - 1}/${answer.total ?? bytes.length}`);
    if (answer.status >= 300) return response.writeHead(answer.status).end();
    const body = bytes.subarray(answer.from, answer.to);
    if (answer.length !== null) response.setHeader('content-length', answer.length ?? body.length);
    response.writeHead(answer.status);
    if (answer.cut >= body.length) return response.end(body);
    response.write(body.subarray(0, answer.cut), () => setTimeout(() => response.destroy(), 300));
  });
  listening.listen(0, '127.0.0.1');
  await once(listening, 'listening');
  const close = () => (listening.closeAllConnections(), listening.close());
  after(close);
  return { origin: `http://127.0.0.1:${listening.address().port}`, asked, state, close };
}

const folders = [];
const newCache = () => {
  folders.push(mkdtempSync(join(tmpdir(), 'fillmask-cache-')));
  return folders.at(-1);
};
after(async () => {
  await dispose();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

const plain = await loadModel(undefined, { device: 'wasm', threads: 1 });
const expected = await plain.fill(text, { top_k: 1 });
const [{ token_str }] = expected;

/** Loads and uses; returns the events of the weights. */
async function loads(url, options) {
  const events = [];
  const model = await loadModel(url, { device: 'wasm', threads: 1, progress_callback: (event) => event.file === 'model.safetensors' && events.push(event), ...options });
  assert.equal((await model.fill(text, { top_k: 1 }))[0].token_str, token_str);
  await model.dispose();
  assert.equal(events.at(-1).status, 'done');
  assert.equal(events.at(-2).loaded, weights.length);
  return events;
}
const fails = (url, options, error) => assert.rejects(loadModel(url, { device: 'wasm', threads: 1, ...options }), error);

for (const device of ['wasm', 'native'])
  test(`what was downloaded is kept, asked for again in vain, and there without a network: ${device}`, async () => {
    const cache = newCache(), { origin, asked, state, close } = await server();
    await fails(origin, { device, cache, local_files_only: true }, { code: 'E_IO', message: /config\.json is not in the cache/ });
    assert.equal(asked.length, 0);
    await loads(origin, { device, cache });
    await loads(origin, { device, cache });
    assert.deepEqual(asked, [[undefined, undefined, 200], [undefined, '"one"', 304]]);
    await loads(origin, { device, cache, local_files_only: true });
    await loads(origin, { device, cache, integrity: { 'model.safetensors': sha256 } });
    assert.equal(asked.length, 2);
    await loads(origin, { device, cache: false });
    state.tag = '"two"';
    await loads(origin, { device, cache });
    assert.deepEqual(asked.slice(2), [[undefined, undefined, 200], [undefined, '"one"', 200]]);
    close();
    await loads(origin, { device, cache });
  });

test('a connection that is cut is gone on with', async () => {
  const { origin, asked } = await server((answer, { count }) => (answer.cut = count < 3 ? 2_000_000 : Infinity));
  const events = await loads(origin, { cache: newCache() });
  assert.ok(events.some((event) => event.status === 'progress' && event.total === weights.length && event.progress < 100));
  assert.deepEqual(asked.map(([range, validator, status]) => [/^bytes=\d+-$/.test(range), validator, status]), [[false, undefined, 200], ...Array(3).fill([true, '"one"', 206])]);
});

test('one that is cut again and again is an error, and the next attempt starts behind the parts that are kept', async () => {
  const cache = newCache();
  let good = false;
  const { origin, asked } = await server((answer, { count }) => (answer.cut = good ? Infinity : count === 0 ? PART + 1_000_000 : 0));
  await fails(origin, { cache }, { code: 'E_IO', message: /was cut off after \d+ of \d+ bytes, and again when it was tried 3 times more/ });
  assert.equal(asked.length, 4);
  good = true;
  await loads(origin, { cache });
  assert.deepEqual(asked.slice(4), [[`bytes=${PART}-`, '"one"', 206]]);
});

test('a server that ignores ranges', async () => {
  const { origin, asked } = await server((answer, { count }) => {
    Object.assign(answer, { status: 200, from: 0, cut: count < 2 ? 3_000_000 + 2_000_000 * count : Infinity });
  });
  await loads(origin, { cache: newCache() });
  assert.deepEqual(asked.map(([, , status]) => status), [200, 200, 200]);
});

test('a file that changes: while it comes, and between two attempts', async () => {
  const cache = newCache();
  const other = Buffer.from(weights); // with another last byte
  other[other.length - 1] ^= 1;
  const { origin, asked } = await server((answer, { count, state }) => {
    if (count === 0) answer.cut = PART + 500_000;
    if (count === 0) Object.assign(state, { tag: '"two"', bytes: other });
  });
  await fails(origin, { cache }, { code: 'E_IO', message: /may have changed on the server while it was downloaded/ });
  await loads(origin, { cache });
  assert.deepEqual(asked.map(([range, validator, status]) => [range !== undefined, validator, status]), [[false, undefined, 200], [true, '"one"', 200], [true, '"one"', 200]]);
  await loads(origin, { cache, local_files_only: true, integrity: { 'model.safetensors': createHash('sha256').update(other).digest('hex') } });
});

test('lengths that are not true, and more than is allowed', async () => {
  const long = await server((answer, { count }) => Object.assign(answer, { length: weights.length + 1000, cut: count ? 0 : weights.length - 1 }));
  await fails(long.origin, { cache: newCache() }, { code: 'E_IO', message: /was cut off/ });
  const short = await server((answer) => Object.assign(answer, { to: 1_000_000 })); // whole, as far as the server knows
  await fails(short.origin, { cache: newCache() }, { code: 'E_FORMAT', message: /model\.safetensors/ });
  const huge = await server((answer) => Object.assign(answer, { length: 2 ** 40, cut: 10 }));
  await fails(huge.origin, { cache: newCache() }, { code: 'E_LIMIT', message: /model\.safetensors of .* has 1099511627776 bytes or more, and 2147483648 are allowed/ });
  assert.equal(huge.asked.length, 1);
  const silent = await server((answer) => (answer.length = null));
  await fails(silent.origin, { cache: newCache(), max_bytes: 5_000_000 }, { code: 'E_LIMIT' });
  await loads(silent.origin, { cache: newCache() });
});

test('sums: what is not as integrity says is refused, and a damaged copy is noticed', async () => {
  const cache = newCache(), { origin, asked, state } = await server();
  const base64 = `sha256-${Buffer.from(sha256, 'hex').toString('base64')}`;
  await fails(origin, { cache, integrity: { 'model.safetensors': 'f'.repeat(64) } }, { code: 'E_FORMAT', message: new RegExp(`SHA-256 ${sha256}, but integrity says f{64}`) });
  await loads(origin, { cache, integrity: { 'model.safetensors': base64 } });
  assert.deepEqual(asked.map(([range]) => range), [undefined, undefined]);
  await fails(origin, { cache, integrity: { 'model.safetensors': 'md5-abc' } }, { code: 'E_ARGUMENT', message: /md5-abc/ });
  await fails(origin, { cache, integrity: { 'model.bin': base64 } }, { code: 'E_ARGUMENT', message: /model\.bin/ });
  await fails(defaultModel, { integrity: { 'model.safetensors': 'f'.repeat(64) } }, { code: 'E_FORMAT' });
  await fails(defaultModel, { device: 'native', integrity: { 'config.json': 'f'.repeat(64) } }, { code: 'E_FORMAT' });
  for (const name of readdirSync(cache)) {
    const path = join(cache, name), bytes = readFileSync(path);
    if (bytes.length === PART) writeFileSync(path, bytes.fill(1, 5000, 6000));
  }
  await fails(origin, { cache, local_files_only: true }, { code: /E_IO|E_FORMAT/ });
  state.tag = '"one"';
  await loads(origin, { cache });
});

test('only https, the same origin and this machine', async () => {
  await fails('http://models.example/a', {}, { code: 'E_ARGUMENT', message: /must be https/ });
  await fails('ftp://models.example/a', {}, { code: 'E_ARGUMENT' });
  const { origin } = await serveFolder({ answer: async (request, response) => response.writeHead(302, { location: 'http://models.example/b' }).end() });
  await fails(origin, { cache: false }, { code: /E_ARGUMENT|E_IO/ });
});

test('in Chromium: the Cache API, going on after a cut, without a network, and memory where there is no Cache API', { skip: noBrowser, timeout: 120_000 }, async () => {
  let bad = true;
  const remote = await server((answer, { count }) => (answer.cut = bad && count ? 0 : bad ? PART + 100_000 : Infinity), {
    'access-control-allow-origin': '*', 'access-control-allow-headers': '*', 'access-control-expose-headers': 'etag, content-range', 'cross-origin-resource-policy': 'cross-origin',
  });
  const scripts = { '/no-cache.js': "Object.defineProperty(globalThis, 'caches', { value: undefined });", '/worker.js': "import '/no-cache.js'; import '/web/worker.js';" };
  const own = await serveFolder({ answer: async (request, response, path) => {
    if (scripts[path]) return response.writeHead(200, { 'content-type': 'text/javascript' }).end(scripts[path]);
    if (!path.startsWith('/models/')) return false;
    const found = await fetch(`${remote.origin}/${path.split('/').at(-1)}`, { headers: Object.fromEntries(['range', 'if-range', 'if-none-match'].flatMap((name) => (request.headers[name] ? [[name, request.headers[name]]] : []))) });
    response.writeHead(found.status, Object.fromEntries(['etag', 'content-range', 'content-length'].flatMap((name) => (found.headers.get(name) ? [[name, found.headers.get(name)]] : []))));
    try {
      for await (const part of found.body ?? []) response.write(part);
      response.end();
    } catch {
      setTimeout(() => response.destroy(), 300); // what came before is to arrive
    }
    return true;
  } });
  const page = await openPage(own.origin);
  const load = (url, options) => page.evaluate(async ([url, options, text]) => {
    const { loadModel } = await import('/web/index.js');
    try {
      const model = await loadModel(url, { threads: 1, ...options });
      const [best] = await model.fill(text, { top_k: 1 });
      await model.dispose();
      return best.token_str;
    } catch ({ code, message }) {
      return { code, message };
    }
  }, [url, options, text]);
  assert.match((await load('/models/', {})).message, /was cut off/);
  bad = false;
  const before = remote.asked.length;
  assert.equal(await load('/models/', {}), token_str);
  assert.equal(await load('/models/', {}), token_str);
  assert.deepEqual(remote.asked.slice(before), [[`bytes=${PART}-`, '"one"', 206], [undefined, '"one"', 304]]);
  assert.equal(await load('/models/', { local_files_only: true }), token_str);
  assert.equal((await load('/other/', { local_files_only: true })).code, 'E_IO');
  const strange = await load(`${remote.origin}/models/`, {}); // http of another origin
  assert.equal(strange.code, 'E_ARGUMENT');
  assert.equal(remote.asked.length, before + 2);

  const asked = remote.asked.length; // the worker's memory goes with the worker
  assert.deepEqual(await page.evaluate(async () => {
    const { loadModel, dispose } = await import('/web/index.js');
    const fillings = [];
    for (let i = 0; i < 3; i++) {
      fillings.push((await (await loadModel('/models/', { threads: 1, workerUrl: '/worker.js' })).fill('This movie was [MASK].', { top_k: 1 }))[0].token_str);
      if (i === 1) await dispose();
    }
    await dispose();
    return fillings;
  }), Array(3).fill(token_str));
  assert.deepEqual(remote.asked.slice(asked).map(([, , status]) => status), [200, 304, 200]);
});

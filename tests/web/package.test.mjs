// package.test.mjs - the package as npm packs it: its types, what linters say of it, how bundlers build it, and its size.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, join } from 'node:path';
import { after, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { bundle, writeBundle } from '../../tools/bundle.mjs';
import { sizes } from '../../tools/size.mjs';
import { noBrowser, openPage, root, serveFolder } from './helpers.mjs';

const tools = join(root, 'build-web'), modules = join(tools, 'node_modules');
const tool = (name) => join(modules, '.bin', name);
const load = (name) => import(pathToFileURL(createRequire(join(tools, 'package.json')).resolve(name)).href);

// A folder among the tools, in which the package is installed from its archive.
const folder = mkdtempSync(join(tools, 'package-'));
after(() => rmSync(folder, { recursive: true, force: true }));
execFileSync(tool('tsc'), ['-p', join(root, 'web')]);
await writeBundle();
const archive = execFileSync('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', folder], { cwd: root, encoding: 'utf8' }).trim();
mkdirSync(join(folder, 'node_modules/fillmask'), { recursive: true });
execFileSync('tar', ['-xf', join(folder, archive), '--strip-components=1', '-C', join(folder, 'node_modules/fillmask')]);
cpSync(new URL('samples', import.meta.url), folder, { recursive: true });
writeFileSync(join(folder, 'package.json'), '{ "type": "module", "private": true }');
const html = (script) => `<!doctype html><title>Sample</title><script type="module" src="/${script}"></script>`;
writeFileSync(join(folder, 'index.html'), html('main.js'));

const strict = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; img-src 'self'";
const opens = async (site, { page = '/index.html', csp = strict } = {}) => {
  const { origin } = await serveFolder({ folder: site, csp });
  return result(`${origin}${page}`);
};
const result = async (url, expected = /^$/) => {
  const page = await openPage(url);
  const found = await page.waitForFunction(() => globalThis.result, null, { timeout: 60_000 });
  assert.match(await found.jsonValue(), /^This movie was really \w+\.$/);
  assert.deepEqual(page.complaints.filter((text) => !expected.test(text)), []);
};

test('the archive holds what it should, and nothing else', () => {
  const list = execFileSync('tar', ['-tf', join(folder, archive)], { encoding: 'utf8' }).split('\n');
  for (const file of ['README.md', 'LICENSE', 'package.json', 'build-js/index.js', 'build-types/index.d.ts', 'build-wasm/fillmask.wasm', 'build-wasm/fillmask-relaxed.wasm', 'weights/fillmask-small-en/model.safetensors'])
    assert.ok(list.includes(`package/${file}`), file);
  const other = list.filter((file) => file && !/^package\/((README.md|LICENSE|package.json)$|build-js\/[\w-]+\.js$|bin\/[\w-]+\.js$|build-types\/[\w-]+\.d\.ts$|build-wasm\/fillmask(-relaxed|-cli)?\.wasm$|build-wasm\/fillmask-cli\.cjs$|weights\/[\w-]+\/[\w.-]+$)/.test(file));
  assert.deepEqual(other, []);
  const manifest = JSON.parse(readFileSync(join(root, 'package.json')));
  assert.equal(manifest.dependencies, undefined);
  for (const script of ['preinstall', 'install', 'postinstall', 'prepare']) assert.equal(manifest.scripts[script], undefined);
});

test('the default model is the one that weights/default names', async () => {
  const { default: model } = await import('../../web/default-model.js');
  assert.equal(model.name, readFileSync(join(root, 'weights/default'), 'utf8').trim());
  for (const url of Object.values(model.files)) assert.ok(existsSync(new URL(url)), url);
});

test('the browser\'s modules name no module of Node.js, and await nothing at their top', async () => {
  const texts = await bundle();
  const seen = (await sizes()).map(([path]) => path.replace('build-js/', '')).filter((path) => path.endsWith('.js'));
  assert.ok(seen.includes('worker.js') && seen.includes('index.js'));
  const { transform } = await load('esbuild');
  for (const name of seen) {
    assert.doesNotMatch(texts.get(name), /["']node:/, name);
    // Which esbuild refuses in a format that has none.
    await transform(texts.get(name).replaceAll('import.meta', 'meta'), { format: 'cjs', logLevel: 'silent' });
  }
});

test('a page loads at most 150 KB of it, after gzip -9', async (t) => {
  const all = (await sizes()).reduce((sum, [, bytes]) => sum + bytes, 0);
  t.diagnostic(`${all} bytes`);
  assert.ok(all <= 150_000, `${all} bytes`);
});

for (const [name, options] of [
  ['a bundler\'s', { moduleResolution: 'bundler', module: 'esnext', lib: ['es2022', 'dom', 'dom.iterable', 'dom.asynciterable'], types: [] }],
  ['Node.js\'s', { moduleResolution: 'nodenext', module: 'nodenext', lib: ['es2022'], types: ['node'] }],
])
  test(`types, strict, with ${name} resolution`, () => {
    const compilerOptions = { strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, noEmit: true, target: 'es2022', typeRoots: [join(modules, '@types')], ...options };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['types.ts'] }));
    const { status, stdout } = spawnSync(tool('tsc'), ['-p', folder], { encoding: 'utf8' });
    assert.equal(status, 0, stdout);
  });

test('publint and attw have nothing to say', () => {
  const { status, stdout, stderr } = spawnSync(tool('publint'), ['--strict', join(folder, archive)], { encoding: 'utf8' });
  assert.equal(status, 0, stdout + stderr);
  assert.doesNotMatch(stdout, /(Suggestions|Warnings|Errors):/);
  // What is no module is no business of types.
  const entries = ['.', './default-model'];
  const types = spawnSync(tool('attw'), [join(folder, archive), '--profile', 'esm-only', '--format', 'ascii', '--entrypoints', ...entries], { encoding: 'utf8' });
  assert.equal(types.status, 0, types.stdout + types.stderr);
});

test('its command line runs', () => {
  const script = join(folder, 'node_modules/fillmask', JSON.parse(readFileSync(join(root, 'package.json'))).bin.fillmask);
  const { stdout, stderr, status } = spawnSync(process.execPath, [script, 'fill', '--json', '-k', '1', 'This movie was really [MASK].'], { encoding: 'utf8', env: { ...process.env, FILLMASK_DEVICE: 'wasm' } });
  assert.equal(status, 0, stderr);
  assert.match(JSON.parse(stdout)[0].sequence, /^This movie was really \w+\.$/);
});

test('CommonJS imports it', () => {
  const script = "import('fillmask').then(async ({ pipeline }) => { const fill = await pipeline('fill-mask'); console.log((await fill('This is [MASK].')).length); })";
  const { stdout, stderr, status } = spawnSync(process.execPath, ['-e', script], { cwd: folder, encoding: 'utf8', timeout: 30_000 });
  assert.deepEqual({ stdout, stderr, status }, { stdout: '5\n', stderr: '', status: 0 });
});

test('a worker in a blob, beside which no model lies, says so, and takes one of modelUrl', { skip: noBrowser, timeout: 60_000 }, async () => {
  const { origin } = await serveFolder({ folder: join(folder, 'node_modules/fillmask'), csp: null });
  const page = await openPage(origin);
  const { refused, name } = await page.evaluate(async () => {
    const { loadModel } = await import('/build-js/index.js');
    const script = URL.createObjectURL(await (await fetch('/build-js/worker.js')).blob());
    const createWorker = () => new Worker(script, { type: 'module' });
    const refused = await loadModel(undefined, { createWorker }).catch(({ code, message }) => ({ code, message }));
    const { name } = await loadModel(undefined, { createWorker, modelUrl: '/weights/' });
    return { refused, name };
  });
  assert.equal(refused.code, 'E_ARGUMENT');
  assert.match(refused.message, /^The worker's script is in a blob .*modelUrl/);
  assert.equal(name, 'fillmask-small-en');
});

/** Each bundler, with a page's script in the folder and a folder to build into. */
const builds = {
  async Vite(script, outDir) {
    const { build } = await load('vite');
    const page = join(folder, `${basename(script, '.js')}.html`);
    writeFileSync(page, html(script));
    await build({ root: folder, logLevel: 'error', configFile: false, build: { target: 'es2022', outDir, rolldownOptions: { input: page } } });
  },
  async webpack(script, path) {
    const { default: webpack } = await load('webpack');
    const stats = await new Promise((resolve, reject) => webpack({
      context: folder, mode: 'production', entry: `./${script}`, target: 'web', output: { path, filename: 'main.js', publicPath: '/' },
    }, (error, found) => (error ? reject(error) : resolve(found))));
    assert.ok(!stats.hasErrors(), stats.toString());
  },
  async esbuild(script, outdir, entryPoints = {}) {
    const { build } = await load('esbuild');
    await build({ absWorkingDir: folder, bundle: true, minify: true, splitting: true, format: 'esm', outdir, logLevel: 'error', entryPoints: { main: script, ...entryPoints } });
  },
};

/** What is built of the model that ships. */
const model = (site) => readdirSync(site, { recursive: true }).filter((name) => /safetensors|default-model|vocab/.test(name) || (/\.js$/.test(name) && /fillmask-small-en/.test(readFileSync(join(site, name)))));

for (const [bundler, build] of Object.entries(builds))
  for (const [name, use] of [['similarity', 'similarity([1, 0], [1, 1])'], ['Tokenizer', 'new Tokenizer(async () => 1, async () => {})'], ['Trainer', 'Trainer.name']])
    test(`${bundler} leaves the model that ships out of a page that only uses ${name}`, async () => {
      writeFileSync(join(folder, `${name}.js`), `import { ${name} } from 'fillmask';\nglobalThis.result = ${use};\n`);
      const site = join(folder, bundler, name);
      await build(`${name}.js`, site);
      assert.ok(readdirSync(site).length > 0);
      assert.deepEqual(model(site), []);
    });

test('Vite builds it', { skip: noBrowser, timeout: 120_000 }, async () => {
  const site = join(folder, 'vite');
  await builds.Vite('main.js', site);
  assert.ok(model(site).some((name) => /\.safetensors$/.test(name)));
  await opens(site, { page: '/main.html' });
});

test('Vite serves it', { skip: noBrowser, timeout: 120_000 }, async (t) => {
  const { createServer } = await load('vite');
  const server = await createServer({
    root: folder, logLevel: 'error', configFile: false, cacheDir: join(folder, 'vite-cache'), optimizeDeps: { exclude: ['fillmask'] },
    server: { host: '127.0.0.1', port: 0, hmr: false, headers: { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' } },
  });
  t.after(() => server.close());
  await server.listen();
  await result(`http://127.0.0.1:${server.httpServer.address().port}/`, /WebSocket/i); // which is for its reloading
});

test('webpack builds it', { skip: noBrowser, timeout: 120_000 }, async () => {
  const site = join(folder, 'webpack');
  await builds.webpack('main.js', site);
  assert.ok(model(site).some((name) => /\.safetensors$/.test(name)));
  cpSync(join(folder, 'index.html'), join(site, 'index.html'));
  await opens(site);
});

test('Next.js builds it, for the server and for browsers', { skip: noBrowser, timeout: 120_000 }, async () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [createRequire(join(tools, 'package.json')).resolve('next/dist/bin/next'), 'build'], {
    cwd: join(folder, 'next'), encoding: 'utf8', env: { ...process.env, NEXT_TELEMETRY_DISABLED: '1' },
  });
  assert.equal(status, 0, stdout + stderr);
  await opens(join(folder, 'next/out'), { csp: strict.replace("script-src 'self'", "script-src 'self' 'unsafe-inline'") }); // its own are inline
});

test('esbuild builds it', { skip: noBrowser, timeout: 120_000 }, async () => {
  const site = join(folder, 'esbuild');
  await builds.esbuild('esbuild.js', site, { worker: 'fillmask/worker' });
  const installed = join(folder, 'node_modules/fillmask');
  for (const name of ['fillmask.wasm', 'fillmask-relaxed.wasm']) cpSync(join(installed, 'build-wasm', name), join(site, name));
  cpSync(join(installed, 'weights'), join(site, 'weights'), { recursive: true });
  cpSync(join(folder, 'index.html'), join(site, 'index.html'));
  await opens(site);
});

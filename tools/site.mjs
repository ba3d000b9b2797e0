// site.mjs - `npm run site`, after the builds: puts the demo page together in dist/site, a folder of plain files for
// any static server and any path. What the page loads keeps its place in the repository; index.html, sw.js and the
// manifest go to the top, and site.js is written there: the files with their hashes and sizes, for the service worker
// and the About tab, and the headers that the service worker or a server adds. The models are those in weights/, and
// any that are named: `npm run site -- [--out FOLDER] [--model FOLDER]...`.
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, posix, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';

const root = fileURLToPath(new URL('..', import.meta.url));
const { values } = parseArgs({ options: { out: { type: 'string', default: join(root, 'dist', 'site') }, model: { type: 'string', multiple: true, default: [] } } });
const out = resolve(values.out);
const top = ['index.html', 'sw.js', 'manifest.webmanifest'];

/** The default model, those that lie beside it, and those that are named. */
function models() {
  const weights = join(root, 'weights');
  const shipped = readdirSync(weights).map((name) => join(weights, name));
  return [...shipped.filter((folder) => existsSync(join(folder, 'model.safetensors'))), ...values.model.map((folder) => resolve(folder))];
}

/** The scripts that these ones import, and they themselves. @param {string[]} paths */
function scripts(...paths) {
  const all = new Set(paths);
  for (const path of all)
    for (const [, from, lazy] of readFileSync(join(root, path), 'utf8').matchAll(/^(?:import|export)\b[^;]*?from '(\.[^']+)'|\bimport\('(\.[^']+)'\)/gm))
      all.add(posix.join(posix.dirname(path), from ?? lazy));
  return [...all];
}

/** Files with their paths in the site. @returns {[string, string][]} */
function sources() {
  const list = (folder, pattern, path = folder) =>
    readdirSync(resolve(root, folder)).filter((name) => pattern.test(name)).map((name) => [resolve(root, folder, name), `${path}/${name}`]);
  return [
    ...scripts('web/demo/app.js', 'web/demo/sw.js', 'web/worker.js').map((path) => [join(root, path), path]),
    ...list('web/demo', /\.(css|svg|txt)$|^icon.*\.png$|^index\.html$|\.webmanifest$/),
    ...list('build-wasm', /^fillmask(-relaxed)?\.wasm$/),
    ...models().flatMap((folder) => list(folder, /^((tokenizer_)?config\.json|vocab\.txt|model\.safetensors|README\.md)$/, `weights/${basename(folder)}`)),
  ];
}

/** Its content security policy is the page's own, so that workers, which a page's meta elements do not reach, obey it. */
function headers() {
  const page = readFileSync(join(root, 'web/demo/index.html'), 'utf8');
  const policy = /http-equiv="Content-Security-Policy"\s+content="([^"]+)"/.exec(page);
  if (!policy) throw new Error('web/demo/index.html has no content security policy.');
  return {
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-embedder-policy': 'require-corp',
    'cross-origin-resource-policy': 'same-origin',
    'content-security-policy': policy[1],
  };
}

if (!existsSync(join(root, 'build-wasm/fillmask.wasm'))) {
  console.error('build-wasm/fillmask.wasm is missing; `npm run site` builds it first.');
  process.exit(1);
}
rmSync(out, { recursive: true, force: true });
const files = {};
for (const [source, place] of sources()) {
  const name = place.replace('web/demo/', '');
  const path = top.includes(name) ? name : place;
  const bytes = readFileSync(source);
  mkdirSync(dirname(join(out, path)), { recursive: true });
  cpSync(source, join(out, path));
  if (path === 'sw.js') continue; // browsers keep it themselves
  files[path] = { sha256: createHash('sha256').update(bytes).digest('base64'), bytes: bytes.length, gzip: gzipSync(bytes, { level: 9 }).length };
}
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
writeFileSync(join(out, 'site.js'), `globalThis.site = ${JSON.stringify({ version, headers: headers(), files }, null, 1)};\n`);
const sum = (name) => Object.values(files).reduce((total, file) => total + file[name], 0);
console.log(`${relative(process.cwd(), out) || '.'}: ${Object.keys(files).length + 2} files, ${(sum('bytes') / 1e6).toFixed(1)} MB`);

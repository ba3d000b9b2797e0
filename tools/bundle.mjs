// bundle.mjs - `npm run bundle`: writes build-js, the scripts of the package as they are published. The modules of web/
// are joined and minified, because a page pays for each file and each comment; their names and what they export stay.
// Needs esbuild (tools/web_setup.sh). What the repository itself runs, tests and the demo page, are the sources.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/**
 * The scripts, not written anywhere.
 * @returns {Promise<Map<string, string>>} texts by name: one of each entry, and what several share
 */
export async function bundle() {
  const { build } = createRequire(join(root, 'build-web', 'package.json'))('esbuild');
  const { files } = JSON.parse(readFileSync(join(root, 'web', 'tsconfig.json'), 'utf8')); // whose types are written, too
  const options = {
    absWorkingDir: join(root, 'web'), outdir: join(root, 'build-js'), write: false, bundle: true, minify: true, format: 'esm',
    target: 'es2022', external: ['node:*'], logLevel: 'error',
  };
  // A worker's script may have to be copied elsewhere, so that it is whole by itself; the others share what they can.
  const isWorker = (file) => /^worker/.test(file);
  const built = await Promise.all([
    build({ ...options, entryPoints: files.filter(isWorker) }),
    build({ ...options, entryPoints: files.filter((file) => !isWorker(file)), splitting: true }),
  ]);
  return new Map(built.flatMap(({ outputFiles }) => outputFiles).map(({ path, text }) => [basename(path), text]));
}

/** Writes build-js anew. */
export async function writeBundle() {
  const folder = join(root, 'build-js');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  for (const [name, text] of await bundle()) writeFileSync(join(folder, name), text);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await writeBundle();

// module.test.mjs - the modules themselves: what they ask of the host, what they offer, and how large they are.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { hasRelaxedSimd } from '../../web/engine.js';
import { built } from './helpers.mjs';

const names = ['fillmask.wasm', 'fillmask-relaxed.wasm'];

for (const name of names) {
  const skip = name.includes('relaxed') && !hasRelaxedSimd() && 'this Node.js has no relaxed SIMD';
  test(`${name} imports memory, clock, progress, a GPU, two conversions and the notice of growth, and exports what exports.txt lists`, { skip }, () => {
    const module = new WebAssembly.Module(built(name));
    const imports = WebAssembly.Module.imports(module).map((i) => `${i.kind} ${i.module}.${i.name}`);
    assert.deepEqual(imports.sort(), [
      ...['emscripten_notify_memory_growth', 'gpu_close', 'gpu_finish', 'gpu_half', 'gpu_play', 'now', 'print_number', 'progress', 'read_number'].map((name) => `function env.${name}`),
      'memory env.memory',
    ]);
    // Emscripten and wasm-merge add these on their own account.
    const added = ['__errno_location', '__indirect_function_table', 'stackAlloc', 'stackSave', 'madd', 'dot'];
    const listed = readFileSync(new URL('../../wasm/exports.txt', import.meta.url), 'utf8').split('\n').filter(Boolean);
    const exports = WebAssembly.Module.exports(module).map((e) => e.name).filter((e) => !added.includes(e));
    assert.deepEqual(exports.sort(), listed.sort());
  });
}

test('the core prints with no other formats than wasm/text.c knows', () => {
  const core = new URL('../../core/', import.meta.url);
  const sources = readdirSync(core, { recursive: true }).filter((path) => path.endsWith('.c') && !path.startsWith('cli'));
  assert.ok(sources.length > 50);
  const known = /%(%|0?(\d+)?(\.(\d+|\*))?(s|c|g|f|l{0,2}[diux]|z[ux]))/y;
  for (const path of sources)
    for (const [text] of readFileSync(new URL(path, core), 'utf8').matchAll(/(?<=(?:print|format|fail|fail_msg)\([^;]*)"(?:[^"\\]|\\.)*"/g))
      for (let at = text.indexOf('%'); at >= 0; at = text.indexOf('%', known.lastIndex)) {
        known.lastIndex = at;
        assert.ok(known.test(text), `core/${path}: ${text}`);
      }
});

test('the modules are small', (t) => {
  for (const name of names) {
    const size = gzipSync(built(name), { level: 9 }).length;
    t.diagnostic(`${name}: ${size} bytes after gzip -9`);
    assert.ok(size < 150_000, `${name} has ${size} bytes after gzip -9; the budget is 150,000`);
  }
});

// agreement.test.mjs - the native program, both WebAssembly builds and the scalar kernels fill the same texts alike, in
// f32, with the default model: the same five words, and scores within 1e-4.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { hasRelaxedSimd } from '../../web/engine.js';
import { built, createEngine, folder, native } from './helpers.mjs';

const weights = fileURLToPath(new URL('../../weights/', import.meta.url));
native('quantize', '-m', join(weights, readFileSync(join(weights, 'default'), 'utf8').trim()), '--dtype', 'f32', '-o', 'default-f32', '--quiet');
const read = (name) => readFileSync(join(folder, 'default-f32', name));

const texts = [
  'This movie was really [MASK].', 'He [MASK] the door and walked into the [MASK].', 'The capital of France is [MASK].', '[MASK]',
  'A [MASK], short and well acted comedy about two [MASK] who meet in Rome.', `${'It went on and on. '.repeat(20)}Then it [MASK].`,
];
const expected = texts.map((text) => JSON.parse(native('fill', '--json', '-m', 'default-f32', text)));

for (const [name, instructionSet] of [['fillmask.wasm', 'simd128'], ['fillmask-relaxed.wasm', 'relaxed'], ['fillmask.wasm', 'scalar']]) {
  const skip = name.includes('relaxed') && !hasRelaxedSimd() && 'this Node.js has no relaxed SIMD';
  test(`${instructionSet} fills as the native program does`, { skip }, async () => {
    const engine = await createEngine({ wasm: await WebAssembly.compile(built(name)), instructionSet });
    const model = await engine.open({ config: read('config.json'), tokenizer: { json: read('tokenizer.json'), config: read('tokenizer_config.json') }, weights: read('model.safetensors') });
    assert.equal(engine.call('info', { model }).instruction_set, instructionSet);
    engine.call('fill', { model, texts, top_k: 5 }).forEach((masks, i) => masks.forEach((found, j) => {
      const native = Array.isArray(expected[i][0]) ? expected[i][j] : expected[i];
      assert.deepEqual(found.map((x) => x.token_str), native.map((x) => x.token_str), texts[i]);
      found.forEach((x, k) => assert.ok(Math.abs(x.score - native[k].score) < 1e-4, `${texts[i]}: ${x.score} and ${native[k].score}`));
    }));
  });
}

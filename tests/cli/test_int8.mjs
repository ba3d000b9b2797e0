// test_int8.mjs - what the model that ships loses by int8 products, against its own weights computed as f32: at most
// 0.02 nats, and 0.3 points of top-1, on text that it has not seen. On a text of our own, and on labelled reviews of
// ../shared/data where they are (fewer under the sanitizers).
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { bin, json, root, write } from './helper.mjs';

const model = join(root, 'weights', 'fillmask-small-en');
const reviews = join(root, '..', 'shared', 'data', 'imdb-train.jsonl.xz');
const skip = !existsSync(reviews) && `${reviews} is absent` || spawnSync('xz', ['--version']).error && 'xz is absent';

// Losses and hits over some draws of the masks, and how many tokens were masked.
function measure(dtype, data, seeds) {
  const sum = { loss: 0, hits: 0, tokens: 0 };
  for (let seed = 0; seed < seeds; seed++) {
    const e = json(['eval', '-m', model, '--dtype', dtype, '--data', data, '--seed', `${seed}`, '-q']);
    sum.loss += e.loss * e.masked_tokens;
    sum.hits += e.accuracy * e.masked_tokens;
    sum.tokens += e.masked_tokens;
  }
  return { loss: sum.loss / sum.tokens, accuracy: sum.hits / sum.tokens, tokens: sum.tokens };
}

test('on a text of our own', () => {
  const data = join(root, 'web', 'demo', 'sample.txt');
  const [f32, int8] = [measure('fp32', data, 5), measure('q8', data, 5)];
  assert.ok(f32.tokens > 400 && f32.loss < 6);
  assert.notEqual(int8.loss, f32.loss); // or nothing was rounded
  assert.ok(int8.loss - f32.loss < 0.02, `${int8.loss} instead of ${f32.loss}`);
});

test('on reviews', { skip }, () => {
  const rows = spawnSync('xz', ['-dc', reviews], { encoding: 'utf8', maxBuffer: 1 << 30 }).stdout.split('\n');
  write('reviews.jsonl', rows.filter((row, i) => row && i % (/build-/.test(bin) ? 1000 : 100) === 0).join('\n'));
  const [f32, int8] = [measure('fp32', 'reviews.jsonl', 1), measure('q8', 'reviews.jsonl', 1)];
  assert.ok(int8.loss - f32.loss < 0.02, `${int8.loss} instead of ${f32.loss}`);
  assert.ok(f32.accuracy - int8.accuracy < 0.003 || f32.tokens < 5000, `${int8.accuracy} instead of ${f32.accuracy}`);
});

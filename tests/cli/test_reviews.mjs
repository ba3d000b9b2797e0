// test_reviews.mjs - `fillmask augment` on the reviews of ../shared/data: every byte that it was not asked to change
// survives. The check knows nothing of how changes are made. Skipped where the data or xz is absent; under the
// sanitizers fewer reviews do.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { bin, path, root, works, write } from './helper.mjs';

const data = join(root, '..', 'shared', 'data', 'imdb-train.jsonl.xz');
const skip = !existsSync(data) && `${data} is absent` || spawnSync('xz', ['--version']).error && 'xz is absent';
const most = /build-/.test(bin) ? 200 : 10000;
const tiny = join(root, 'tests', 'vectors', 'model');
let rows; // of both labels, which come one after the other

before(() => {
  if (skip) return;
  const { stdout } = spawnSync('xz', ['-dc', data], { encoding: 'utf8', maxBuffer: 1 << 30 });
  rows = stdout.split('\n').filter((line, i) => line && i % 2 === 0).slice(0, 10000);
  assert.equal(rows.length, 10000);
});

// White space and what stands between it, one after the other.
const chunks = (text) => text.split(/([\s\x85]+)/);

// A word with nothing but common punctuation around it: what may change.
const plain = /^(["'(*\u201c\u2018\u00ab\u00bf\u00a1]*)(\p{L}[\p{L}\p{M}]*)([.,;:!?"')*\u201d\u2019\u00bb\u2026]*)$/u;

const caseOf = (word) =>
  word.length < 2 ? 'short' : word === word.toLowerCase() ? 'lower' : word === word.toUpperCase() ? 'upper'
    : word.slice(1) === word.slice(1).toLowerCase() ? 'title' : 'mixed';

// The number of words that differ; fails if anything else does.
function exchanged(source, variant) {
  const before = chunks(source), after = chunks(variant);
  assert.equal(after.length, before.length);
  return before.filter((chunk, i) => {
    if (chunk === after[i]) return false;
    const [, open, word, close] = chunk.match(plain) ?? assert.fail(`"${chunk}" became "${after[i]}"`);
    const [, opened, given, closed] = after[i].match(plain) ?? assert.fail(`"${chunk}" became "${after[i]}"`);
    assert.deepEqual([opened, closed], [open, close]);
    if (!['short', 'mixed'].includes(caseOf(word)) && given.length > 1) assert.equal(caseOf(given), caseOf(word));
    return true;
  }).length;
}

// The number of words that were put in; fails if anything else was done.
function inserted(source, variant) {
  const [before, after] = [source, variant].map((text) => text.split(/(?<=[^\s\x85])(?=[\s\x85])/));
  let next = 0;
  for (const unit of after) {
    if (unit === before[next]) next++;
    else assert.match(unit, /^ \p{L}[\p{L}\p{M}]*$/u);
  }
  assert.equal(next, before.length);
  return after.length - before.length;
}

// The number of words that were taken out, with the blanks before them but not the punctuation behind; fails if anything
// else was done.
function deleted(source, variant) {
  const [before, after] = [source, variant].map((text) => text.split(/(?<=\S)(?=\s)/)), failed = new Set();
  // What stays of a unit without its word; false for one that must stay.
  const closing = before.map((unit) =>
    unit.match(/^[ \t]+\p{L}[\p{L}\p{M}]*([.,;:!?"')*\u201d\u2019\u00bb\u2026]*(\x85.*)?)$/u)?.[1] ?? false);
  const match = (i, j) => {
    if (i === before.length || j === after.length) return i === before.length && j === after.length;
    if (failed.has(i * after.length + j)) return false;
    let unit = before[i];
    for (let next = i + 1; ; unit += closing[next++]) {
      if (unit === after[j] && match(next, j + 1)) return true;
      if (next === before.length || closing[next] === false) break;
    }
    failed.add(i * after.length + j);
    return false;
  };
  assert.ok(match(0, 0), `"${source}" became "${variant}"`);
  return before.length - after.length;
}

function check(model, action, rate, lines, compare) {
  write('reviews.jsonl', lines.join('\n') + '\n');
  const args = ['augment', ...model, '-a', action, '--rate', `${rate}`, '-q', '--data'];
  const variants = works([...args, path('reviews.jsonl')]).trimEnd().split('\n');
  assert.equal(variants.length, lines.length);
  let changed = 0;
  lines.forEach((line, i) => {
    if (line === variants[i]) return;
    const source = JSON.parse(line), variant = JSON.parse(variants[i]);
    assert.deepEqual({ ...variant, text: '' }, { ...source, text: '' });
    const words = source.text.match(/\p{L}+/gu).length;
    const count = compare(source.text, variant.text);
    assert.ok(count > 0 && count <= Math.max(1, Math.round(rate * words)), `${count} of ${words}`);
    changed++;
  });
  assert.ok(changed > 0.99 * lines.length, `${changed}`);
}

for (const [name, model, share] of [['the tiny model', ['-m', tiny], 1], ['the model that ships', [], 0.005]]) {
  test(`substitution in reviews, with ${name}`, { skip }, () =>
    check(model, 'substitute', 0.15, rows.slice(0, most * share), exchanged));
  test(`insertion in reviews, with ${name}`, { skip }, () =>
    check(model, 'insert', 0.15, rows.slice(0, most * share), inserted));
  test(`deletion in reviews, with ${name}`, { skip }, () =>
    check(model, 'delete', 0.05, rows.slice(0, most * share), deleted));
}

// test_imdb.mjs - the Large Movie Review Dataset as it is published: its folder and archives of it read as the same
// reviews in JSON lines do, damaged archives are refused, and the collection itself gives the chunks of the original run.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { before, test } from 'node:test';
import { bin, folder, json, jsonl, path, read, refused, root, texts, write, writeData } from './helper.mjs';

const count = 60;
const name = (i) => `${i}_${1 + (i % 10)}.txt`;

function put(file, text) {
  mkdirSync(path(dirname(file)), { recursive: true });
  write(file, text);
}

const tar = (...args) => assert.equal(spawnSync('tar', args, { cwd: folder }).status, 0, args.join(' '));

before(() => {
  writeData();
  for (let i = 0; i < count; i++) {
    put(`aclImdb/train/neg/${name(i)}`, texts[i]);
    put(`aclImdb/train/pos/${name(i)}`, texts[count + i]);
    put(`aclImdb/test/pos/${name(i)}`, texts[2 * count + i]);
    put(`aclImdb/train/unsup/${i}_0.txt`, texts[3 * count + i]);
  }
  for (const other of ['aclImdb/README', 'aclImdb/train/urls_neg.txt', 'aclImdb/train/neg/notes.txt', 'aclImdb/train/neg/x_1.txt'])
    put(other, 'Nothing to train on. '.repeat(50));
  for (const format of ['v7', 'ustar', 'gnu', 'posix']) tar('-cf', `${format}.tar`, `--format=${format}`, 'aclImdb');
  write('train.jsonl', jsonl(texts.slice(0, 2 * count)));
  write('test.jsonl', jsonl(texts.slice(2 * count, 3 * count)));
  write('unsup.jsonl', jsonl(texts.slice(3 * count, 4 * count)));
});

// A loss is a fingerprint of texts and their order.
const plan = ['train', '--plan', '--tokenizer', 'tokens', '--length', '16', '--positions', '32', '-q'];
const measured = (data, options) => json(['eval', '-m', join(root, 'tests/vectors/model'), '--length', '16', '-q', '--data', ...data], options);

test('folder, archives, standard input and JSON lines are the same collection', () => {
  const expected = measured(['train.jsonl']);
  assert.equal(json([...plan, '--data', 'train.jsonl']).documents, 2 * count);
  assert.equal(json([...plan, '--data', 'aclImdb']).documents, 2 * count);
  for (const data of ['aclImdb', './aclImdb/', '.', 'v7.tar', 'ustar.tar', 'gnu.tar', 'posix.tar'])
    assert.deepEqual(measured([data]), expected, data);
  for (const archive of ['v7.tar', 'gnu.tar']) assert.deepEqual(measured(['-'], { input: read(archive) }), expected);
  write('unnamed', read('posix.tar'));
  assert.deepEqual(measured(['unnamed']), expected);
  for (const data of ['aclImdb', 'ustar.tar']) {
    assert.deepEqual(measured([data, '--format', 'imdb-test']), measured(['test.jsonl']));
    assert.deepEqual(measured([data, '--format', 'imdb-unsupervised']), measured(['unsup.jsonl']));
  }
});

test('names that are too long for a header', () => {
  const deep = Array.from({ length: 4 }, () => 'a-folder-with-a-long-name-'.repeat(3)).join('/');
  mkdirSync(path(deep), { recursive: true });
  assert.equal(spawnSync('cp', ['-r', 'aclImdb', deep], { cwd: folder }).status, 0);
  for (const format of ['gnu', 'posix']) {
    tar('-cf', 'deep.tar', `--format=${format}`, deep.split('/')[0]);
    assert.deepEqual(measured(['deep.tar']), measured(['train.jsonl']), format);
  }
});

test('archives that are damaged, or none, are refused', () => {
  const good = read('ustar.tar');
  const refuse = (content, ...patterns) => {
    write('bad.tar', content);
    refused(['eval', '-m', join(root, 'tests/vectors/model'), '-q', '--data', 'bad.tar'], 1, ...patterns);
  };
  const spoil = (change) => {
    const copy = Buffer.from(good);
    change(copy);
    return copy;
  };
  // Where the header of a review is.
  const at = (() => {
    for (let i = 0; i < good.length; i += 512) if (good.toString('latin1', i, i + 60).includes('train/neg/7_8.txt')) return i;
    throw new Error('no such review');
  })();
  const sum = (copy, from = at) => {
    copy.fill(32, from + 148, from + 156);
    const total = copy.subarray(from, from + 512).reduce((a, b) => a + b, 0);
    copy.write(total.toString(8).padStart(6, '0') + '\0 ', from + 148, 'latin1');
  };
  const size = (text) => spoil((copy) => {
    copy.fill(0, at + 124, at + 136);
    copy.write(text, at + 124, 'latin1');
    sum(copy);
  });
  refuse('', /bad\.tar is empty/);
  refuse('no archive', /bad\.tar is cut short: it ends after 10 bytes/);
  refuse('x'.repeat(5000), /bad\.tar is no tar archive/);
  refuse(gzipSync(good), /bad\.tar is gzip data.*gzip -dc FILE \| fillmask/);
  refuse(good.subarray(0, at + 100), /bad\.tar is cut short: it ends after \d+ bytes/);
  refuse(good.subarray(0, at + 512), /bad\.tar is cut short/);
  refuse(good.subarray(0, at + 520), /bad\.tar is cut short/);
  refuse(spoil((copy) => copy.write('8', at + 5)), /bad\.tar is damaged at byte \d+: a header does not have the checksum/);
  refuse(size('00000000zz\0'), /a file's size is no number/);
  refuse(size('77777777777'), /7_8\.txt in bad\.tar is said to have 8589934591 bytes; a review may have 64 MB/);
  refuse(size('\x80\0\0\0\x08\0\0\0\0\0\0\0'), /is said to have 576460752303423488 bytes/);
  refuse(size('\x80\0\0\0\x18\0\0\0\0\0\0\0'), /a file's size is beyond all disks/);
  refuse(size('\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff'), /a file's size is no number/);
  // Twice the same review.
  const entry = good.subarray(at, at + 1024);
  refuse(Buffer.concat([good.subarray(0, at), entry, good.subarray(at)]), /bad\.tar has the review 7 of train\/neg twice/);
  tar('-cf', 'bad.tar', 'aclImdb/README');
  refuse(read('bad.tar'), /bad\.tar has no reviews train\/neg\/NUMBER_RATING\.txt; name the folder aclImdb/);
  // pax records that lie about their length.
  const pax = read('posix.tar');
  const record = pax.indexOf(' mtime=');
  assert.ok(record > 0);
  for (const text of ['99999', '0', '-']) {
    const copy = Buffer.from(pax);
    copy.write(text, record - 2, 'latin1');
    refuse(copy, /its pax records do not have the lengths|checksum/);
  }
});

test('folders without reviews', () => {
  mkdirSync(path('empty'));
  refused([...plan, '--data', 'empty'], 1, /empty is a folder without reviews train\/neg\/NUMBER_RATING\.txt/);
  refused([...plan, '--data', 'empty', '--format', 'txt'], 1, /empty is a folder; name the files/);
  refused([...plan, '--data', 'train.jsonl', '--format', 'imdb'], 1, /train\.jsonl is no tar archive/);
  rmSync(path('empty'), { recursive: true });
});

// ---- the collection itself ----

const shared = join(root, '..', 'shared');
const files = [['imdb-train', 61291], ['imdb-unsupervised', 122957]];
const absent = [...files.map(([file]) => join(shared, 'data', `${file}.jsonl.xz`)), join(shared, 'tokenizer', 'vocab.txt')].find((file) => !existsSync(file));
const skip = (absent && `${absent} is absent`) || (spawnSync('xz', ['--version']).error && 'xz is absent');

test('the collection gives the chunks of the original run, within 0.02 %', { skip }, () => {
  for (const [file, expected] of files) {
    const command = `xz -dc "$1" | "$2" train --plan --json -q --tokenizer "$3" --data - --format jsonl`;
    const result = spawnSync('sh', ['-c', command, 'sh', join(shared, 'data', `${file}.jsonl.xz`), bin, join(shared, 'tokenizer', 'vocab.txt')], { encoding: 'utf8' });
    assert.equal(result.status, 0, result.stderr);
    const { chunks } = JSON.parse(result.stdout);
    assert.ok(Math.abs(chunks / expected - 1) < 2e-4, `${file}: ${chunks} chunks where the original has ${expected}`);
  }
});

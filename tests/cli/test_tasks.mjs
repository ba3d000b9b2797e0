// test_tasks.mjs - fillmask score, augment and embed, and fill's targets and joint fillings, as their users meet them:
// formats, streams, errors. What they compute is tested in tests/c against tests/vectors, whose tiny model is used here.
// Run with `node --test tests/cli/test_tasks.mjs`; FILLMASK_BIN names the program if it is not build/fillmask.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const path = (name) => fileURLToPath(new URL(name, import.meta.url));
const bin = process.env.FILLMASK_BIN ?? path('../../build/fillmask');
const model = path('../vectors/model');
const vectors = (name) => JSON.parse(readFileSync(path(`../vectors/${name}.json`), 'utf8'));
const folder = mkdtempSync(join(tmpdir(), 'fillmask-tasks-'));
after(() => rmSync(folder, { recursive: true }));

function run(args, { input = '', code = 0, env = {} } = {}) {
  const result = spawnSync(bin, args, {
    cwd: folder,
    input,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    env: { ...process.env, FILLMASK_MODEL: model, ...env },
  });
  if (result.error) throw result.error;
  assert.equal(result.status, code, `${args.join(' ')}: ${result.stderr}`);
  return { out: result.stdout, err: result.stderr };
}

function refused(args, code, pattern, input) {
  const { out, err } = run(args, { code, input });
  assert.equal(out, '');
  assert.match(err, pattern);
  assert.match(err, /^fillmask[^\n]*\n$/);
}

const near = (a, b, tolerance) => assert.ok(Math.abs(a - b) < tolerance, `${a} is not near ${b}`);

// The flags for the options of a case in the vectors.
const singular = { targets: 'target', labels: 'label' };
function flags({ mode, ...others }) {
  if (mode) others[mode] = true;
  return Object.entries(others).flatMap(([name, values]) => [values].flat().map((value) =>
    `--${singular[name] ?? name.replaceAll('_', '-')}` + (value === true ? '' : `=${value}`)));
}

// ---- score ----

test('score: the vectors, as JSON', () => {
  for (const { text, method, score, tokens } of vectors('score')) {
    const got = JSON.parse(run(['score', '--json', '--mask', method, '--', text]).out);
    assert.equal(got.text, text);
    near(got.score, score, 1e-4);
    near(got.pseudo_perplexity, Math.exp(-score / tokens.length), 1e-3 * got.pseudo_perplexity + 1e-3);
    assert.deepEqual(got.tokens.map(({ start, end }) => [start, end]), tokens.map(({ start, end }) => [start, end]));
    got.tokens.forEach((token, i) => near(token.log_probability, tokens[i].log_probability, 2e-5));
  }
});

test('score: a picture, lines, rankings, corpora', () => {
  const picture = run(['score', 'This movie was really good.']).out.split('\n');
  assert.equal(picture[0], 'This movie was really good.');
  assert.match(picture[2], /^ {2}movie +-2\.47 {2}█████$/);
  assert.equal(picture[7], 'score -7.39, 6 tokens, pseudo-perplexity 3.43');
  const several = run(['score', 'good', 'I loved it.']).out;
  assert.equal(several.match(/^score /gm).length, 2);
  assert.match(several, /^ {2}loved /m); // one line for the three pieces of a word

  const texts = ['Norway is the capital of Oslo.', 'Oslo is the capital of Norway.', 'Norway Oslo.'];
  const ranked = run(['score', '--rank', ...texts]).out.split('\n');
  assert.ok(ranked[0].endsWith('Oslo is the capital of Norway.'));
  assert.match(ranked[3], /^3 texts, \d+ tokens, pseudo-perplexity [\d.]+$/);
  assert.equal(JSON.parse(run(['score', '--rank', '--json', ...texts]).out)[0].text, texts[1]);

  const lines = run(['score', '-'], { input: 'good\n\nbad movie\r\n' }).out.trimEnd().split('\n');
  assert.deepEqual(lines.map((line) => line.trim().split(/ {2,}/).at(-1)),
    ['good', 'bad movie', '2 texts, 3 tokens, pseudo-perplexity ' + lines[2].split(' ').at(-1)]);
  writeFileSync(join(folder, 's.jsonl'), '{"body": "good"}\n{"body": "bad movie"}\n');
  assert.equal(run(['score', '--data', 's.jsonl', '--field', 'body']).out.trimEnd().split('\n').at(-1), lines[2]);
  const list = JSON.parse(run(['score', '--json', '-'], { input: 'good\nbad movie' }).out);
  assert.deepEqual(list.map(({ text }) => text), ['good', 'bad movie']);
});

test('score and embed: rows without a text keep their places, and the rest goes on', () => {
  const csv = 'id,body\n1,good\n2,\n3\n4," "\n\n5,"bad" x\n6,bad movie\n7,"never closed\n';
  writeFileSync(join(folder, 'b.csv'), csv);
  const args = ['--data', 'b.csv', '--field', 'body'];
  const reasons = [/no word to score|no token/, /1 fields and the header 2/, /no word to score|no token/, /closing quote/, /never closed/];
  for (const [task, value, fate] of [['score', 'score', 'scored'], ['embed', 'vector', 'embedded']]) {
    const { out, err } = run([task, '--json', ...args]);
    const got = JSON.parse(out);
    assert.deepEqual(got.map(({ text }) => text), ['good', '', null, ' ', null, 'bad movie', null]);
    assert.deepEqual(got.map((one) => value in one), [true, false, false, false, false, true, false]);
    got.filter(({ reason }) => reason).forEach(({ reason }, i) => assert.match(reason, reasons[i]));
    assert.match(err, RegExp(`^fillmask ${task}: The row on line 3 of b\\.csv has no `));
    assert.match(err, RegExp(`5 of 7 rows could not be ${fate}\\.\n$`));
    const lines = run([task, '-q', ...args]);
    assert.equal(lines.err, '');
    assert.deepEqual(lines.out.split('\n').slice(0, 7).map((line) => /^ +- /.test(line)), [false, true, true, true, true, false, true]);
    const none = run([task, '--json', '-'], { input: ' \u00a0\n[]' });
    assert.equal(JSON.parse(none.out).length, 2);
    const bad = run([task, '--json', '--format', 'jsonl', '-'], { input: '[]\n{}\n', code: 1 });
    assert.deepEqual(JSON.parse(bad.out).map(({ text }) => text), [null, null]);
    assert.match(bad.err, RegExp(`None of the 2 rows could be ${fate}\\.\n$`));
    refused([task, '-'], 1, /stdin is gzip data/, Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]));
    const long = run([task, '-'], { input: `good\n${'x'.repeat(20 << 20)}\nbad` });
    assert.match(long.err, /line 2 of stdin has no \w+\. It is longer than 8 MB/);
    assert.equal(long.out.split('\n').filter((line) => /good|bad/.test(line)).length, 2);
  }
});

test('score: the sum of a corpus', () => {
  const list = vectors('score').filter(({ method }) => method === 'word');
  writeFileSync(join(folder, 'sum.jsonl'), list.map(({ text }) => JSON.stringify({ text }) + '\n').join(''));
  const got = JSON.parse(run(['score', '--summary', '--json', '--data', 'sum.jsonl']).out);
  const tokens = list.reduce((sum, one) => sum + one.tokens.length, 0), score = list.reduce((sum, one) => sum + one.score, 0);
  assert.deepEqual([got.texts, got.tokens], [list.length, tokens]);
  near(got.score, score, 1e-3);
  near(got.pseudo_perplexity, Math.exp(-score / tokens), 1e-3);
  assert.match(run(['score', '--summary', 'good', 'bad movie']).out, /^2 texts, 3 tokens, pseudo-perplexity [\d.]+\n$/);
  refused(['score', '--summary', '--rank', 'good'], 2, /exclude each other/);
});

test('score: what it refuses', () => {
  refused(['score'], 2, /nothing to score/);
  refused(['score', ''], 1, /no word to score/);
  refused(['score', '--json', ' ', 'good'], 1, /no word to score/);
  refused(['score', '--mask', 'all', 'good'], 2, /--mask is "all"; it must be word or token/);
  refused(['score', '-m', folder, 'good'], 1, /config\.json/);
  refused(['score', '-'], 1, /holds no text/);
  refused(['score', '--data', 'missing.jsonl'], 1, /missing\.jsonl/);
});

// ---- fill ----

// Offsets are of bytes.
const written = (text, { start, end, word }) => {
  const bytes = Buffer.from(text);
  return Buffer.concat([bytes.subarray(0, start), Buffer.from(word), bytes.subarray(end)]).toString();
};

test('fill: the vectors, as JSON', () => {
  const check = (got, expected) => {
    near(got.log_probability, expected.log_probability, 2e-5 * (1 - expected.log_probability));
    near(got.score, Math.exp(expected.log_probability), 1e-5);
    assert.deepEqual(got.tokens ?? [got.token], expected.tokens);
  };
  for (const { text, masks, texts, ...options } of vectors('fill')) {
    const got = JSON.parse(run(['fill', '--json', ...flags(options), '--', text]).out);
    if (masks) {
      assert.equal(masks.length > 1 ? got.length : 1, masks.length);
      masks.forEach((top, m) => top.forEach((expected, i) => {
        const found = (masks.length > 1 ? got[m] : got)[i];
        check(found, expected);
        assert.equal(found.sequence, written(text, expected));
        assert.equal(Buffer.from(text).subarray(found.start, found.end).toString(), '[MASK]');
        if (options.targets) assert.ok(options.targets.includes(found.token_str));
      }));
    } else {
      assert.equal(got.length, texts.length);
      texts.forEach(({ log_probability, fillings }, i) => {
        near(got[i].log_probability, log_probability, 1e-4);
        near(got[i].score, Math.exp(log_probability), 1e-5);
        assert.equal(got[i].sequence, fillings.reduceRight(written, text));
        fillings.forEach((expected, m) => check(got[i].fillings[m], expected));
      });
    }
  }
  for (const { text, sequences, ...options } of vectors('sample')) {
    const got = JSON.parse(run(['fill', '--json', ...flags(options), '--', text]).out);
    assert.deepEqual(got.map(({ sequence }) => sequence), sequences);
  }
});

test('fill: targets of a file, and pictures of whole texts', () => {
  writeFileSync(join(folder, 'targets.txt'), 'good\r\nbad\n');
  const args = ['fill', '--json', 'This movie was [MASK].'];
  const got = JSON.parse(run([...args, '--target-file', 'targets.txt', '-t', 'unheard of']).out);
  assert.deepEqual(got, JSON.parse(run([...args, '-t', 'unheard of', '-t', 'good', '-t', 'bad']).out));
  assert.equal(got.length, 3);
  writeFileSync(join(folder, 'not.txt'), 'DULL\n');
  const left = JSON.parse(run([...args, '-k', '300', '--exclude', 'bad', '--exclude-file', 'not.txt']).out).map(({ token_str }) => token_str);
  const all = JSON.parse(run([...args, '-k', '300']).out).map(({ token_str }) => token_str);
  assert.deepEqual(left, all.filter((word) => !['bad', 'dull'].includes(word)));
  assert.equal(left.length, all.length - 2);
  const lines = run(['fill', '--joint', '-k', '3', 'THE [MASK] WAS [MASK].']).out.trimEnd().split('\n');
  assert.equal(lines.length, 4);
  for (const line of lines.slice(1)) assert.match(line, /^ +-\d+\.\d\d {2}THE [A-Z]+ WAS [A-Z]+\.$/);
});

// ---- embed ----

test('embed: the vectors, as JSON', () => {
  const cases = vectors('embed');
  const same = (got, { text, vector }) => {
    assert.equal(got.text, text);
    assert.equal(got.vector.length, vector.length);
    vector.forEach((value, i) => near(got.vector[i], value, 1e-5));
  };
  for (const one of cases) same(JSON.parse(run(['embed', '--json', '--', one.text]).out), one);
  JSON.parse(run(['embed', '--json', '--', ...cases.map(({ text }) => text)]).out).forEach((got, i) => same(got, cases[i]));
  writeFileSync(join(folder, 'e.jsonl'), Array.from({ length: 40 }, () => cases).flat()
    .map(({ text }) => JSON.stringify({ text })).join('\n'));
  const all = JSON.parse(run(['embed', '--json', '--data', 'e.jsonl']).out); // more texts than a batch
  assert.equal(all.length, 40 * cases.length);
  all.forEach((got, i) => same(got, cases[i % cases.length]));
});

test('embed: lengths, streams, refusals', () => {
  const [{ vector }] = JSON.parse(run(['embed', '--json', '--normalize', '-'], { input: 'good movie\n' }).out);
  near(Math.hypot(...vector), 1, 1e-6);
  const plain = JSON.parse(run(['embed', '--json', 'good movie']).out).vector;
  near(plain[3] / vector[3], Math.hypot(...plain), 1e-4);
  const lines = run(['embed', 'This movie was good.', 'This film was great.', 'Rome\nis in Italy!']).out.split('\n');
  assert.deepEqual(lines.map((line) => line.slice(9)), ['This movie was good.', 'This film was great.', 'Rome is in Italy!', '']);
  const [one, alike, other] = lines.map(Number.parseFloat);
  assert.ok(one === 1 && alike < 1 && other < alike - 0.1);
  refused(['embed'], 2, /nothing to embed/);
  refused(['embed', ' '], 1, /no token/);
  refused(['embed', '-'], 1, /holds no text/);
  refused(['embed', '-', '-'], 2, /read only once/);
  refused(['embed', '--data', 'missing.jsonl'], 1, /missing\.jsonl/);
});

// ---- augment ----

test('augment: the vectors', () => {
  for (const { text, result, ...options } of vectors('augment')) {
    const { reason, ...got } = JSON.parse(run(['augment', '--json', ...flags(options), '--', text]).out);
    assert.deepEqual(got, { text, variants: result });
    assert.equal(Boolean(reason), result.length < (options.variants ?? 1));
  }
});

test('what no task can do: the vectors', () => {
  for (const { task, text, options = {}, error, reason } of vectors('refused')) {
    const args = [task, '--json', ...flags({ ...options }), '--', text];
    const { status, stdout, stderr } = spawnSync(bin, args, { encoding: 'utf8', env: { ...process.env, FILLMASK_MODEL: model } });
    if (reason) assert.deepEqual([status, JSON.parse(stdout)], [0, { text, variants: [], reason }]);
    else assert.ok(status > 0 && stdout === '' && RegExp(`^fillmask ${task}: .*(${error})[^\n]*\n$`).test(stderr), `${args}: ${stderr}`);
  }
});

const texts = ['This movie was really good.', 'The  plot was\tclever, and the "music" was warm!', 'I liked it twice.'];

test('augment: arguments', () => {
  const lines = run(['augment', '-n', '2', ...texts]).out.trimEnd().split('\n');
  assert.equal(lines.length, 6);
  assert.equal(new Set([...lines, ...texts]).size, 9);
  assert.match(lines[2], /^\S+ {2}\S+ \S+\t\S+, \S+ \S+ "\S+" \S+ \S+!$/);
  const sourced = run(['augment', '-n', '2', '--with-source', ...texts]).out.trimEnd().split('\n');
  assert.deepEqual(sourced.filter((_, i) => i % 3 === 0), texts);
  assert.deepEqual(sourced.filter((_, i) => i % 3), lines);
  assert.notEqual(run(['augment', '--seed', '1', ...texts]).out, run(['augment', ...texts]).out);
  const kept = run(['augment', '123', 'good']);
  assert.equal(kept.out.split('\n')[0], '123');
  assert.match(kept.err, /^fillmask augment: Text 1 stays as it is\. No word of the text may be changed\.\n$/);
  const few = ['augment', '-n', '3', '-k', '1'];
  for (const { out, err } of [run([...few, 'good movie']), run([...few, '-'], { input: 'good movie\n' })]) {
    assert.ok(out.trimEnd().split('\n').length < 3);
    assert.match(err, /^fillmask augment: 1 of 1 texts got fewer variants than were asked for\.\n$/);
  }
});

test('augment: words and patterns that stay', () => {
  writeFileSync(join(folder, 'keep.txt'), 'movie\r\nWAS\n\n');
  const args = ['augment', '--rate', '1', '-n', '5', '--keep', 'good', '--keep-file', 'keep.txt'];
  for (const line of run([...args, 'Good movie was really fun']).out.trimEnd().split('\n'))
    assert.match(line, /^Good movie was (?!really)[a-z]+ (?!fun$)[a-z]+$/);
  const protect = ['augment', '--rate', '1', '-n', '5', '--protect', '^[a-z]+', '--protect', 'in [A-Z][a-z]+'];
  for (const line of run([...protect, 'good movie in Paris\nbad plot']).out.trimEnd().split('\n'))
    assert.match(line, /^(good (?!movie)[a-z]+ in Paris|bad (?!plot)[a-z]+)$/);
  run(['augment', '--protect', '', '--protect', 'x*', 'good movie']); // empty matches
});

function separators(text) {
  return text.match(/[^A-Za-z]+|[A-Za-z]+/g).map((part) => (/[A-Za-z]/.test(part) ? 'w' : part)).join('');
}

const rows = Array.from({ length: 300 }, (_, i) => ({ id: i, n: i / 3, text: `${texts[i % 3]} <br />${i} ${texts[(i + 1) % 3]}`, tags: ['é', i] }));

test('augment: JSON lines keep their fields and their order', () => {
  const input = rows.map((row) => JSON.stringify(row)).join('\n') + '\n';
  writeFileSync(join(folder, 'rows.jsonl'), input);
  const { out, err } = run(['augment', '--data', 'rows.jsonl', '-n', '2']);
  assert.equal(err, '');
  const got = out.trimEnd().split('\n').map((line) => JSON.parse(line));
  assert.equal(got.length, 600);
  got.forEach(({ text, ...others }, i) => {
    const { text: source, ...fields } = rows[i >> 1];
    assert.deepEqual(others, fields);
    assert.notEqual(text, source);
    assert.equal(separators(text), separators(source));
  });
  // Standard input, another number of threads, another instruction set: the same.
  assert.equal(run(['augment', '-n', '2', '-', '--threads', '2', '--isa', 'scalar'], { input }).out, out);
  // A run that goes on where another one stopped.
  assert.equal(run(['augment', '-n', '2', '-', '--skip', '123'], { input }).out, out.split('\n').slice(246).join('\n'));
  assert.equal(run(['augment', '-n', '2', '-', '--skip', '300'], { input }).out, '');
});

test('augment: CSV and lines', () => {
  const quote = (text) => `"${text.replaceAll('"', '""')}"`;
  const csv = 'id,review,x\r\n' + rows.slice(0, 30).map(({ id, text }) => `${id},${quote(text)}, é \r\n`).join('');
  writeFileSync(join(folder, 'rows.csv'), csv);
  const out = run(['augment', '--data', 'rows.csv', '--field', 'review']).out;
  assert.notEqual(out, csv);
  assert.equal(separators(out), separators(csv));
  assert.equal(run(['augment', '--format', 'csv', '--field', 'review', '-'], { input: csv }).out, out);
  assert.ok(out.startsWith('id,review,x\r\n'));
  const lines = rows.slice(0, 30).map(({ text }) => text).join('\r\n');
  writeFileSync(join(folder, 'rows.txt'), lines);
  const changed = run(['augment', '--data', 'rows.txt', '-n', '2']).out;
  assert.equal(changed.split('\n').length, 60);
  assert.equal(run(['augment', '-', '-n', '2'], { input: lines }).out, changed);
});

test('augment: rows that cannot be changed go out as they came', () => {
  const bad = ['{"text": "12"}', '{"txt": "good"}', '{"text": "good"', '', '[]', '{"text": null}', '{"text": ""}'];
  const input = bad.join('\n') + '\n{"text": "good"}';
  const { out, err } = run(['augment', '--format', 'jsonl', '-'], { input });
  assert.equal(out.split('\n').slice(0, 7).join('\n'), bad.join('\n'));
  assert.notEqual(out.split('\n')[7], '{"text": "good"}');
  assert.match(err, /The row on line 1 stays as it is\. No word of the text may be changed\./);
  assert.match(err, /The row on line 2 stays as it is\. It has no field "text"\./);
  assert.match(err, /line 3 .* not valid JSON/);
  assert.match(err, /line 5 .*no object/);
  assert.match(err, /6 of 7 rows stayed as they were\.\n$/);
  assert.equal(run(['augment', '-q', '--format', 'jsonl', '-'], { input }).err, '');

  const csv = 'text,n\n"good movie" x,1\ngood movie,2\n"never closed,3\ngood\n';
  const broken = run(['augment', '--format', 'csv', '-'], { input: csv });
  const lines = broken.out.split('\n');
  assert.deepEqual([lines[0], lines[1], ...lines.slice(3)], ['text,n', '"good movie" x,1', '"never closed,3', 'good', '']);
  assert.match(broken.err, /closing quote/);
  assert.match(broken.err, /never closed/);

  const many = run(['augment', '-'], { input: '1\n'.repeat(100) + 'good\n' });
  assert.ok(many.err.split('\n').length < 30);
  assert.match(many.err, /100 of 101 rows stayed/);
});

test('augment: a line of 100 MB and a constant memory', () => {
  const long = 'x'.repeat(1 << 20);
  const input = 'good movie\n' + long.repeat(100) + '\nbad plot\n';
  const { out, err } = run(['augment', '-'], { input });
  assert.ok(out.includes('\n' + long.repeat(100) + '\n'));
  assert.equal(out.split('\n').length, 4);
  assert.match(err, /The row on line 2 stays as it is\. It is longer than 8 MB/);
});

// The sanitizers reserve address space of their own.
test('augment, fill, score, embed: 100 MB go through 256 MB of memory', { skip: /build-/.test(bin) }, () => {
  const input = `${'good movie\n'.repeat(20)}${'x'.repeat(99 << 20)}\n${'\n'.repeat(1 << 20)}[MASK] movie\n`;
  for (const task of ['augment', 'fill', 'score', 'embed']) {
    const { status, stdout, stderr } = spawnSync('sh', ['-c', `ulimit -v 262144 && exec "$0" "$@"`, bin, task, '--threads', '1', '-q', '-'],
      { input, encoding: 'utf8', maxBuffer: 1 << 28, env: { ...process.env, FILLMASK_MODEL: model } });
    assert.deepEqual([status, stderr], [0, '']);
    assert.match(stdout, / movie\n/);
  }
});

test('augment: an output that is gone on with', async () => {
  const bad = ['', '{"text": "12"}', 'x'.repeat(9 << 20), ''];
  const input = 'id,text\n' + '\n1,12\n' + rows.map(({ id }) => `${id},${texts[id % 3].replaceAll('"', '')}\n`).join('\n')
    .replace('\n200,', `\n"${bad[2]}",x\n200,`);
  const args = ['augment', '--format', 'csv', '-', '-q', '-n', '2'];
  const expected = run(args, { input }).out;
  const output = join(folder, 'out.csv'), progress = join(folder, 'out.csv.progress');
  const resume = [...args, '-o', 'out.csv', '--resume'];
  const read = (name) => readFileSync(name, 'utf8');
  run([...args, '-o', 'out.csv'], { input });
  assert.ok(read(output) === expected && !existsSync(progress));
  refused(resume, 1, /out\.csv is complete/);
  const { options } = JSON.parse(await killed([...args, '-o', 'other.csv'], 'other.csv.progress'));
  // Wherever it was stopped, with more written than was kept count of.
  const starts = expected.split('\n').reduce((all, line) => [...all, all.at(-1) + Buffer.byteLength(line) + 1], [0]);
  for (const [written, count] of [[0, 0], [1, 1], [2, 2], [3, 3], [5, 4], [6, 5]]) {
    writeFileSync(output, expected.slice(0, starts[written]) + 'half a row');
    writeFileSync(progress, JSON.stringify({ rows: count, bytes: starts[written], options }));
    refused([...args, '-o', 'out.csv'], 1, /out\.csv is half done; give --resume/);
    refused([...resume, '--seed', '1'], 1, /other options/);
    run(resume, { input });
    assert.ok(read(output) === expected && !existsSync(progress), `${written} lines`);
  }
  writeFileSync(progress, JSON.stringify({ rows: 9, bytes: 1e9, options }));
  refused(resume, 1, /fewer bytes than/);
  writeFileSync(progress, '{}');
  refused(resume, 1, /damaged/);
  rmSync(progress);
  refused(['augment', '--data', 'out.csv', '-o', 'out.csv'], 1, /--output is the file that is read/);
  refused([...args, '-o', '.'], 1, /no plain file/);
  refused([...args, '-o', 'missing/x'], 1, /missing\/x could not be opened/);
  refused(['augment', '-o', 'x', 'good'], 2, /--output is for rows/);
  refused(['augment', '--resume', '-'], 2, /--resume needs/);
});

// A file of the program's, which waits for input, when it is killed.
async function killed(args, name) {
  const child = spawn(bin, args, { cwd: folder, env: { ...process.env, FILLMASK_MODEL: model } });
  const file = join(folder, name);
  while (!existsSync(file)) await new Promise((done) => setTimeout(done, 5));
  child.kill('SIGKILL');
  await new Promise((done) => child.on('close', done));
  return readFileSync(file, 'utf8');
}

test('augment: filters and labels', () => {
  const args = ['augment', '--json', '-n', '5', '--rate', '0.5', texts[0]];
  const { variants } = JSON.parse(run(args).out);
  const alike = JSON.parse(run([...args, '--min-similarity', '0.97']).out).variants;
  const vector = (text) => JSON.parse(run(['embed', '--json', text]).out).vector;
  const similarity = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0) / Math.hypot(...a) / Math.hypot(...b);
  const source = vector(texts[0]);
  assert.ok(alike.length > 0 && alike.every((text) => similarity(vector(text), source) >= 0.97 - 1e-6));
  assert.ok(variants.some((text) => similarity(vector(text), source) < 0.97));
  const mean = (text) => Math.log(JSON.parse(run(['score', '--json', text]).out).pseudo_perplexity);
  const expected = JSON.parse(run([...args, '--max-drop', '0.1']).out).variants;
  assert.ok(expected.length > 0 && expected.every((text) => mean(text) <= mean(texts[0]) + 0.1 + 1e-4));
  assert.ok(variants.some((text) => mean(text) > mean(texts[0]) + 0.1));
  const { err } = run(['augment', '--min-similarity', '1', texts[0]]);
  assert.match(err, /Only 0 of 1 variants differ .*, and pass the filters/);
  writeFileSync(join(folder, 'labels.txt'), 'movie\nwas\nreally\n');
  for (const line of run(['augment', '-n', '5', '--rate', '1', '--label-safe', '--label-file', 'labels.txt', '--label-share', '1', texts[0]]).out.trimEnd().split('\n'))
    assert.match(line, /^(?!This)[A-Z][a-z]+ movie was really (?!good)[a-z]+\.$/);
  refused(['augment', '--label', 'good', 'good'], 2, /need --label-safe/);
});

test('augment: what it refuses', () => {
  refused(['augment'], 2, /nothing to augment/);
  refused(['augment', 'good', '-'], 2, /either texts/);
  refused(['augment', '--data', 'x', 'good'], 2, /either texts/);
  refused(['augment', '--min', '3', '--max', '2', 'good'], 2, /--min 3 is more than --max 2/);
  refused(['augment', '--action', 'swap', 'good'], 2, /substitute, insert or delete/);
  refused(['augment', '--protect', '(', 'good'], 1, /--protect "\(" is no extended regular expression/);
  refused(['augment', '--keep-file', 'missing.txt', 'good'], 1, /missing\.txt/);
  refused(['augment', '--data', 'missing.jsonl'], 1, /missing\.jsonl/);
  refused(['augment', '--data', '.'], 1, /is a folder/);
  refused(['augment', '--format', 'csv', '-'], 1, /no column "text".*"a", "b"/, 'a,b\n1,2\n');
  refused(['augment', '-'], 1, /stdin is gzip data/, Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]));
  const { out, err } = run(['augment', '--format', 'jsonl', '--field', 'review', '-'], { input: '{"text": "good"}\n', code: 1 });
  assert.equal(out, '{"text": "good"}\n');
  assert.match(err, /no field "review"[^]*None of its 1 rows has a text/);
});

test('augment: rows come out while the input stays open, and Ctrl-C says how to go on', async () => {
  const child = spawn(bin, ['augment', '-'], { env: { ...process.env, FILLMASK_MODEL: model } });
  let out = '', err = '';
  child.stderr.on('data', (data) => (err += data));
  child.stdin.write('good movie\nbad plot\n');
  await new Promise((done) => child.stdout.on('data', (data) => (out += data).split('\n').length === 3 && done()));
  child.kill('SIGINT');
  const [code] = await new Promise((done) => child.on('close', (...all) => done(all)));
  assert.equal(code, 1);
  assert.match(err, /Stopped after 2 rows; --skip 2 goes on/);
});

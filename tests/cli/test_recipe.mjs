// test_recipe.mjs - the recipes of `fillmask train`: the preset, what each setting does to a training, and the card that
// it leaves, whose figures `fillmask eval` gives again.
import assert from 'node:assert/strict';
import { cpSync, existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { bin, json, path, read, readJson, refused, root, run, trainModel, works, write, writeData } from './helper.mjs';

before(() => {
  writeData();
  trainModel('model');
});

const tune = (output, ...more) => ['train', '-m', 'model', '--data', 'data.jsonl', '--length', '16', '--batch', '8',
  '--threads', '2', '-q', '--out', output, ...more];
const log = (output) => read(output, 'metrics.jsonl').toString().trimEnd().split('\n').map((line) => JSON.parse(line));
const evaluations = (output) => log(output).filter((line) => line.eval);
const steps = (output) => log(output).filter((line) => !line.eval);
const same = (a, b) => read(a, 'model.safetensors').equals(read(b, 'model.safetensors'));
const tiny = join(root, 'tests/vectors/model');

// The tensors of a folder, by name.
function tensors(name) {
  const file = read(name, 'model.safetensors'), end = 8 + Number(file.readBigUInt64LE(0));
  return Object.fromEntries(Object.entries(JSON.parse(file.toString('utf8', 8, end)))
    .filter(([key]) => key !== '__metadata__')
    .map(([key, { data_offsets: [from, to] }]) => [key, file.subarray(end + from, end + to)]));
}

test('--preset imdb is the recipe of the model card, and what is given beside it wins', () => {
  const plan = (...more) => json(['train', '--preset', 'imdb', '--data', 'data.jsonl', '--plan', '-q', '-m', tiny, '--length', '8', ...more]);
  assert.equal(plan('--eval-chunks', '100').chunks, plan('--eval-chunks', '0').chunks - 100);
  assert.equal(plan('--eval-chunks', '100').learning_rate, 2e-5);
  const few = plan('--eval-chunks', '100', '--limit', '640');
  assert.deepEqual([few.chunks, few.steps], [640, 30]);
  assert.deepEqual(few, plan('--preset=imdb', '--limit', '640', '--eval-chunks', '100'));
  const own = plan('--eval-chunks', '7', '--learning-rate', '1e-4', '--epochs', '2', '--batch', '10', '--limit', '100');
  assert.deepEqual([own.eval_chunks, own.learning_rate, own.steps], [7, 1e-4, 20]);
  assert.ok(!existsSync(path('unborn')));
  refused(['train', '--preset', 'imbd', '--data', 'data.jsonl', '-o', 'x'], 2, /--preset is "imbd"; it must be none or imdb/);
  // With the data of the card: 10,000 and 1,000 chunks, 157 steps an epoch.
  const help = works(['train', '--help']);
  assert.match(help, /imdb: --length 128 --limit 10000 --eval-chunks 1000\s+--learning-rate 2e-5 --epochs 3 --precision bf16/);
  assert.match(help, /fillmask train --preset imdb --data aclImdb -o tuned\n/);
});

test('names of the output, and the model that ships where none is named', () => {
  for (const name of ['-o', '--out', '--output'])
    refused(['train', '--data', 'missing.jsonl', name, 'x', '-m', 'model', '-q'], 1, /missing\.jsonl could not be opened/);
  const result = json(['train', '--data', 'data.jsonl', '--plan', '-q'], { env: { FILLMASK_MODEL: 'model' } });
  assert.equal(result.parameters, json(['info', 'model']).parameters ?? result.parameters);
  refused(['train', '--data', 'data.jsonl', '-o', 'x', '--config', 'model/config.json'], 2, /--config is the shape of a new model/);
  const fresh = json(['train', '--data', 'data.jsonl', '--plan', '-q', '--tokenizer', 'tokens', '--config', 'model/config.json']);
  assert.equal(fresh.parameters, result.parameters);
});

test('accumulation is a larger batch, and a micro-batch of any size the same step', () => {
  works(tune('large', '--batch', '24', '--steps', '6'));
  works(tune('added', '--accumulate', '3', '--steps', '6'));
  assert.ok(same('large', 'added'));
  works(tune('pieces', '--batch', '24', '--micro-batch', '5', '--steps', '6'));
  steps('large').forEach(({ loss }, i) => assert.ok(Math.abs(loss - steps('pieces')[i].loss) < 1e-4));
  const rate = (...more) => steps((works(tune('rated', '--steps', '1', ...more)), 'rated'))[0].learning_rate;
  const once = (...more) => {
    const found = rate(...more);
    rmSync(path('rated'), { recursive: true });
    return found;
  };
  const near = (a, b) => assert.ok(Math.abs(a / b - 1) < 1e-3, `${a} and ${b}`);
  near(once('--learning-rate', '1e-4', '--batch', '16', '--accumulate', '2'), 1e-4);
  near(once('--learning-rate', '1e-4', '--batch', '16', '--accumulate', '2', '--scale-rate', 'linear'), 5e-5);
  near(once('--learning-rate', '1e-4', '--batch', '8', '--accumulate', '2', '--scale-rate', 'sqrt'), 5e-5);
});

test('schedules', () => {
  const rates = (name, ...more) => (works(tune(name, '--steps', '10', '--learning-rate', '1e-4', ...more)), steps(name).map((line) => line.learning_rate * 1e4));
  const near = (found, expected) => found.forEach((rate, i) => assert.ok(Math.abs(rate - expected(i)) < 1e-3, `${i}: ${rate}`));
  near(rates('linear'), (i) => 1 - i / 10);
  near(rates('cosine', '--schedule', 'cosine'), (i) => 0.5 + 0.5 * Math.cos((Math.PI * i) / 10));
  near(rates('constant', '--schedule', 'constant', '--warmup', '0.5'), (i) => Math.min(1, i / 5));
});

test('masking: its rates and shares, whole words', () => {
  const few = ['--steps', '3', '--learning-rate', '1e-3'];
  works(tune('usual', ...few));
  for (const [name, more] of Object.entries({ rate: ['--mask-rate', '0.4'], shares: ['--mask-share', '0.5', '--random-share', '0.5']})) {
    works(tune(name, ...few, ...more));
    assert.ok(!same(name, 'usual'), name);
  }
  works(tune('spelled', ...few, '--mask-rate', '0.15', '--mask-share', '0.8', '--random-share', '0.1'));
  assert.ok(same('spelled', 'usual'));
  for (const [name, more] of [['by-pieces', []], ['by-words', ['--whole-words']]])
    works(['train', '-m', tiny, '--data', 'data.jsonl', '--length', '16', '-q', '-o', name, ...few, ...more]);
  assert.ok(!same('by-pieces', 'by-words'));
  // Nothing but kept tokens: the model may look at what it predicts, and knows it.
  const measure = (...more) => json(['eval', '-m', 'model', '--data', 'data.jsonl', '--length', '16', '-q', ...more]);
  assert.ok(measure('--mask-share', '0', '--random-share', '0').loss < measure().loss);
  assert.ok(measure('--mask-share', '0', '--random-share', '1').loss > measure().loss);
  refused(tune('x', '--mask-share', '0.8', '--random-share', '0.3'), 2, /are more than 1 together/);
});

test('line by line a document is a chunk', () => {
  write('lines.txt', 'the film was good\n'.repeat(30) + 'bad\n'.repeat(12));
  const plan = (...more) => json(['train', '--plan', '-m', tiny, '--data', 'lines.txt', '--length', '16', '-q', ...more]).chunks;
  assert.equal(plan('--line-by-line'), 42);
  assert.ok(plan() < 42);
  works(['train', '-m', tiny, '--data', 'lines.txt', '--length', '16', '-q', '-o', 'lines', '--batch', '42', '--steps', '2', '--line-by-line']);
  const joined = ['train', '-m', tiny, '--data', 'lines.txt', '--length', '16', '-q', '-o', 'lines', '--batch', '42', '--steps', '2', '--resume'];
  refused(joined, 1, /lines belongs to another training|line by line/);
  refused(['train', '--preset', 'imdb', '-m', tiny, '--data', 'lines.txt', '-o', 'x', '--line-by-line'], 2, /--eval-chunks 0/);
});

test('frozen parts stay to the bit', () => {
  const start = tensors('model');
  const changed = (name, ...more) => {
    works(tune(name, '--steps', '3', '--learning-rate', '1e-2', ...more));
    return Object.entries(tensors(name)).filter(([key, value]) => !value.equals(start[key])).map(([key]) => key);
  };
  assert.equal(changed('all').length, Object.keys(start).length);
  assert.ok(changed('no-layer', '--freeze-layers', '1').every((key) => !key.includes('.layer.0.')));
  const head = changed('head', '--freeze-embeddings', '--freeze-layers', '1');
  assert.ok(head.length >= 5 && head.every((key) => /^vocab_/.test(key)), head.join());
  refused(tune('x', '--freeze-layers', '2'), 1, /2 layers cannot be frozen in a model of 1/);
});

test('evaluations are of chunks that are set aside, before the first step and after each epoch', () => {
  const result = json(tune('measured', '--eval-chunks', '40', '--epochs', '3', '--learning-rate', '1e-3'));
  const all = json(['train', '--plan', '-m', 'model', '--data', 'data.jsonl', '--length', '16', '-q']).chunks;
  assert.equal(result.chunks, all - 40);
  const each = Math.ceil(result.chunks / 8);
  assert.deepEqual(evaluations('measured').map((line) => line.step), [0, each, 2 * each, 3 * each]);
  assert.deepEqual(evaluations('measured').map((line) => line.epoch), [0, 1, 2, 3]);
  assert.equal(result.eval.chunks, 40);
  // From the folder, and from the model that it was made of.
  const measure = (model, ...more) => json(['eval', '-m', model, '--data', 'data.jsonl', '--length', '16', '-q', ...more]);
  assert.deepEqual(measure('measured', '--eval-chunks', '40'), result.eval);
  assert.deepEqual(measure('model', '--eval-chunks', '40'), result.eval_before);
  assert.notEqual(measure('measured', '--eval-chunks', '40', '--seed', '7').loss, result.eval.loss);
  const other = json(tune('other', '--eval-chunks', '40', '--eval-seed', '7', '--steps', '2'));
  assert.deepEqual(measure('model', '--eval-chunks', '40', '--seed', '7'), other.eval_before);
  refused(tune('x', '--eval-chunks', `${all}`), 1, /which leaves none to train on/);
  refused(['eval', '-m', 'model', '--data', 'data.jsonl', '--length', '16', '-q', '--eval-chunks', `${all + 1}`], 1, /cannot be set aside of the/);
  refused(tune('x', '--eval-chunks', '4', '--eval-data', 'held.jsonl'), 2, /Give either --eval-data or --eval-chunks/);
  refused(tune('x', '--patience', '1'), 2, /--patience needs evaluations/);
});

test('early stopping, and the best model', () => {
  const much = ['--eval-chunks', '40', '--eval-every', '5', '--learning-rate', '0.05', '--clip', '0', '--epochs', '50'];
  const losses = (name) => evaluations(name).map((line) => line.eval.loss);
  works(tune('stopped', ...much, '--patience', '3', '--keep-best'));
  const found = losses('stopped'), best = found.indexOf(Math.min(...found));
  assert.equal(found.length - 1 - best, 3);
  assert.ok(steps('stopped').at(-1).step === 5 * (found.length - 1));
  const measure = (model) => json(['eval', '-m', model, '--data', 'data.jsonl', '--length', '16', '-q', '--eval-chunks', '40']).loss;
  assert.equal(measure('stopped'), found[best]);
  works(tune('last', ...much, '--patience', '3'));
  assert.deepEqual(losses('last'), found);
  assert.equal(measure('last'), found.at(-1));
  assert.match(read('stopped', 'README.md').toString(), new RegExp(`stopped early\\. The model is that of the best evaluation, after step ${5 * best}\\.`));
  const before = read('stopped', 'model.safetensors');
  assert.equal(json([...tune('stopped', ...much, '--patience', '3', '--keep-best'), '--resume']).steps, 5 * (found.length - 1));
  assert.ok(read('stopped', 'model.safetensors').equals(before));
  assert.deepEqual(losses('stopped'), found);
});

test('a loss that is no number ends the training and says where', () => {
  cpSync(path('model'), path('huge'), { recursive: true });
  const file = read('huge', 'model.safetensors'), end = 8 + Number(file.readBigUInt64LE(0));
  const { data_offsets: [from, to] } = JSON.parse(file.toString('utf8', 8, end))['vocab_projector.bias'];
  for (let at = end + from; at < end + to; at += 4) file.writeFloatLE(at % 8 ? 3e38 : -3e38, at);
  write('huge/model.safetensors', file);
  const args = tune('diverged', '--steps', '4').map((arg) => (arg === 'model' ? 'huge' : arg));
  refused(args, 1, /^fillmask train: The loss is -?(inf|nan) at step 1 of 4, in batch 1 of its epoch, among chunks 1 to \d+/);
  assert.deepEqual(readdirSync(path('diverged')).filter((name) => /^(check|model)/.test(name)), []);
});

test('a prompt without a mask is refused before the training', () => {
  refused(tune('unprompted', '--steps', '2', '--prompt', 'A [MASK] film.', 'A good film.'), 1, /--prompt "A good film\." has no \[MASK\]; put one/);
  assert.deepEqual(readdirSync(path('unprompted')), []);
});

test('the card has the sections of the original, figures of the log, and a command that gives them again', () => {
  write('odd name.jsonl', read('data.jsonl'));
  const args = tune('carded', '--eval-chunks', '30', '--epochs', '2', '--learning-rate', '1e-3', '--prompt', 'The [MASK] | was *good*.', 'A [MASK] film.')
    .map((arg) => (arg === 'data.jsonl' ? 'odd name.jsonl' : arg));
  works(args);
  const card = read('carded', 'README.md').toString();
  for (const line of ['# carded', '## Model description', '## Intended uses & limitations', '## Training and evaluation data',
    '## Training procedure', '### Training hyperparameters', '### Training results', '### Predictions', '### Framework versions',
    '- learning_rate: 0.001', '- train_batch_size: 8', '- num_epochs: 2', '- lr_scheduler_type: linear', 'base_model: "model"',
    '![Losses of the training](training.svg)'])
    assert.ok(card.includes(`${line}\n`), line);
  const rows = evaluations('carded').map(({ step, epoch, eval: e }) =>
    `| ${epoch.toFixed(2)} | ${step} | ${e.loss.toFixed(4)} | ${Math.exp(e.loss).toFixed(2)} | ${e.accuracy.toFixed(4)} |`);
  for (const row of rows) assert.ok(card.includes(row), row);
  // The training loss of an epoch is the mean of its steps.
  const last = evaluations('carded').at(-1).step, half = last / 2;
  const mean = steps('carded').filter((line) => line.step > half).reduce((sum, line) => sum + line.loss, 0) / half;
  assert.ok(card.includes(`| ${mean.toFixed(4)} | 2.00 | ${last} |`), card);
  assert.match(card, /\| The \\\[MASK\\\] \\\| was \\\*good\\\*\. \| .*%.* \| .*%.* \|\n/);
  assert.match(card, /- Fillmask \d+\.\d+\.\d+, instruction set \w+, 2 threads\n/);
  const command = card.match(/```sh\nfillmask (eval .*)\n```/)[1];
  const { code, out, err } = run(['-c', `exec "$0" ${command} --json -q`, bin], { program: 'sh' });
  assert.equal(code, 0, err);
  assert.deepEqual(JSON.parse(out), evaluations('carded').at(-1).eval);
  assert.deepEqual(readJson('carded', 'config.json'), readJson('model', 'config.json'));
});

/* wasm.mjs - Fillmask's WebAssembly against onnxruntime-web and, in Chromium, transformers.js: DistilBERT's shape, batch
 * 1, one masked row, in f32 and int8; and training with the default model. All sides of a row take turns in the same
 * run, each in a worker of its own. See README.md. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { extname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { Engine, hasRelaxedSimd } from '../../web/engine.js';
import { DISTILBERT, buildGraph, randomWeights, writeGraph } from './onnx_graph.mjs';

const FOLDER = fileURLToPath(new URL('.', import.meta.url)), ROOT = fileURLToPath(new URL('../../', import.meta.url));
const TOOLS = createRequire(join(ROOT, 'build-web', 'package.json')); // tools/web_setup.sh
const MODULES = join(FOLDER, 'node_modules');
const SMALL = join(ROOT, 'weights', readFileSync(join(ROOT, 'weights/default'), 'utf8').trim());
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

/* ---- models ---- */

/* A tokenizer of the model's size: the default model's words, and as many others as are missing. */
function tokenizerFiles(size) {
  const words = readFileSync(join(SMALL, 'vocab.txt'), 'utf8').split('\n').filter(Boolean);
  while (words.length < size) words.push(`[unused${words.length}]`);
  const vocab = Object.fromEntries(words.map((word, id) => [word, id]));
  const special = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'];
  const [cls, sep] = ['[CLS]', '[SEP]'].map((id) => ({ SpecialToken: { id, type_id: 0 } }));
  const named = (id) => ({ id, ids: [vocab[id]], tokens: [id] });
  return {
    'tokenizer.json': {
      version: '1.0', truncation: null, padding: null,
      added_tokens: special.map((content) => ({ id: vocab[content], content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true })),
      normalizer: { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: true },
      pre_tokenizer: { type: 'BertPreTokenizer' },
      post_processor: { type: 'TemplateProcessing', single: [cls, { Sequence: { id: 'A', type_id: 0 } }, sep], pair: [cls, { Sequence: { id: 'A', type_id: 0 } }, sep, { Sequence: { id: 'B', type_id: 1 } }, sep], special_tokens: { '[CLS]': named('[CLS]'), '[SEP]': named('[SEP]') } },
      decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
      model: { type: 'WordPiece', unk_token: '[UNK]', continuing_subword_prefix: '##', max_input_chars_per_word: 100, vocab },
    },
    'tokenizer_config.json': { tokenizer_class: 'DistilBertTokenizer', do_lower_case: true, model_max_length: 512, pad_token: '[PAD]', unk_token: '[UNK]', cls_token: '[CLS]', sep_token: '[SEP]', mask_token: '[MASK]' },
  };
}

function safetensors(config, weights) {
  const shapes = new Map([...weights].map(([name, values]) => {
    const matrix = name.endsWith('.weight') && !/[Ll]ayer_?[Nn]orm/.test(name);
    const cols = !matrix ? values.length : name.endsWith('lin2.weight') ? config.hidden_dim : config.dim;
    return [name, matrix ? [values.length / cols, cols] : [cols]];
  }));
  let at = 0;
  const header = Object.fromEntries([...weights].map(([name, values]) => {
    const entry = { dtype: 'F32', shape: shapes.get(name), data_offsets: [at, at += values.byteLength] };
    return [name, entry];
  }));
  let text = JSON.stringify({ __metadata__: { format: 'pt' }, ...header });
  text += ' '.repeat((8 - (text.length % 8)) % 8);
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  return [size, Buffer.from(text), ...[...weights.values()].map((x) => new Uint8Array(x.buffer, x.byteOffset, x.byteLength))];
}

/* All models in a folder, or those of an earlier run that are there. */
async function writeModels(folder, tokens, dtypes) {
  if (existsSync(join(folder, 'complete'))) return;
  const config = { ...DISTILBERT, model_type: 'distilbert', architectures: ['DistilBertForMaskedLM'], activation: 'gelu', pad_token_id: 0, dropout: 0.1, attention_dropout: 0.1, initializer_range: 0.02, tie_weights_: true, sinusoidal_pos_embds: false };
  const weights = randomWeights(config), tokenizer = tokenizerFiles(config.vocab_size);
  const put = (path, data) => {
    mkdirSync(join(folder, path, '..'), { recursive: true });
    writeFileSync(join(folder, path), data);
  };
  for (const name of ['f32', 'int8', 'onnx'])
    for (const [file, content] of Object.entries({ 'config.json': config, ...tokenizer })) put(`${name}/${file}`, JSON.stringify(content));
  put('f32/model.safetensors', Buffer.concat(safetensors(config, weights)));
  if (dtypes.includes('int8')) {
    const engine = await Engine.create({ wasm: readFileSync(join(ROOT, 'build-wasm/fillmask.wasm')) });
    const files = { config: JSON.stringify(config), tokenizer: { json: JSON.stringify(tokenizer['tokenizer.json']) }, weights: readFileSync(join(folder, 'f32/model.safetensors')) };
    put('int8/model.safetensors', engine.save(await engine.open(files), { dtype: 'q8' }));
    engine.close();
  }
  mkdirSync(join(folder, 'onnx/onnx'), { recursive: true });
  for (const dtype of dtypes) {
    const form = dtype === 'int8' ? 'int8' : 'fused';
    for (const head of ['one', 'all']) writeGraph(join(folder, `onnx/${dtype}-${head}.onnx`), { config, weights, tokens, head, form });
    writeGraph(join(folder, `onnx/onnx/model${dtype === 'int8' ? '_quantized' : ''}.onnx`), { config, weights, tokens, head: 'all', form, mask: true });
  }
  put('complete', '');
}

/* ---- where sides run ---- */

const TYPES = { '.js': 'text/javascript', '.mjs': 'text/javascript', '.wasm': 'application/wasm', '.json': 'application/json' };

async function chromium(models) {
  const { build } = TOOLS('esbuild');
  const { outputFiles: [script] } = await build({
    entryPoints: [join(FOLDER, 'wasm_side.mjs')], bundle: true, format: 'esm', platform: 'browser', write: false, logLevel: 'error',
    define: { NODE: 'false' }, external: ['node:*'],
  });
  const roots = { repository: ROOT, models, ort: join(MODULES, 'onnxruntime-web/dist'),
    'ort-transformers': join(createRequire(join(MODULES, '@huggingface/transformers/package.json')).resolve('onnxruntime-web'), '..') };
  const server = createServer(async ({ url }, response) => {
    const [, top, ...rest] = decodeURIComponent(url.split('?')[0]).split('/');
    response.setHeader('cross-origin-opener-policy', 'same-origin');
    response.setHeader('cross-origin-embedder-policy', 'require-corp');
    try {
      const body = url === '/' ? '<!doctype html>' : top === 'side.js' ? script.contents : await readFile(join(roots[top], ...rest));
      response.writeHead(200, { 'content-type': url === '/' ? 'text/html' : TYPES[extname(url)] ?? (top === 'side.js' ? TYPES['.js'] : 'application/octet-stream'), 'content-length': body.length }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const origin = `http://127.0.0.1:${server.address().port}`;
  const browser = await TOOLS('playwright-core').chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
  const page = await (await browser.newContext()).newPage();
  await page.goto(origin);
  await page.evaluate(() => {
    globalThis.workers = [];
    globalThis.ask = (number, message) => new Promise((resolve, reject) => {
      const worker = globalThis.workers[number];
      worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data.result));
      worker.onerror = (event) => reject(new Error(event.message));
      if (message) worker.postMessage(message);
    });
  });
  let count = 0;
  return {
    name: `Chromium ${browser.version()}`, relaxed: true, transformers: true,
    places: { engine: '/repository/web/engine.js', thread: '/repository/web/worker.js', wasm: '/repository/build-wasm/', models: '/models/', small: `/repository/weights/${SMALL.split('/').at(-1)}/`, ort: `${origin}/ort/`, ortTransformers: `${origin}/ort-transformers/`, localModelPath: '/models/' },
    async open() {
      const number = count++;
      await page.evaluate((number) => {
        globalThis.workers[number] = new Worker('/side.js', { type: 'module' });
        return globalThis.ask(number);
      }, number);
      return {
        ask: (message) => page.evaluate(([number, message]) => globalThis.ask(number, message), [number, message]),
        close: () => page.evaluate((number) => globalThis.workers[number].terminate(), number),
      };
    },
    async close() {
      await browser.close();
      server.close();
    },
  };
}

async function node(models) {
  const url = (...path) => pathToFileURL(join(...path)).href;
  return {
    name: `Node.js ${process.version}`, relaxed: hasRelaxedSimd(), transformers: false,
    places: { engine: url(ROOT, 'web/engine.js'), thread: url(ROOT, 'web/worker-node.js'), wasm: url(ROOT, 'build-wasm/') , models: url(models, '/'), small: url(SMALL, '/') },
    async open() {
      const worker = new Worker(join(FOLDER, 'wasm_side.mjs'));
      const answer = () => new Promise((resolve, reject) => {
        worker.once('message', ({ error, result }) => (error ? reject(new Error(error)) : resolve(result)));
        worker.once('error', reject);
      });
      await answer();
      return {
        ask(message) {
          const answered = answer();
          worker.postMessage(message);
          return answered;
        },
        close: () => worker.terminate(),
      };
    },
    close() {},
  };
}

/* ---- comparisons ---- */

const builds = (where) => [['simd128', 'fillmask.wasm'], ...(where.relaxed ? [['relaxed', 'fillmask-relaxed.wasm']] : [])];

function sidesOf(where, dtype, threads, tokens) {
  const { places } = where;
  const mask = tokens >> 1, text = Array.from({ length: tokens - 2 }, (_, i) => (i + 1 === mask ? '[MASK]' : 'movie')).join(' ');
  const ids = Array.from({ length: tokens }, (_, i) => (i * 7919 + 13) % DISTILBERT.vocab_size);
  const ours = builds(where).map(([name, file]) => [`fillmask ${name}`, { side: 'fillmask', engine: places.engine, thread: places.thread, wasm: places.wasm + file, model: `${places.models}${dtype}/`, threads, text }]);
  const theirs = ['one', 'all'].map((head) => [`onnxruntime-web ${head}`, { side: 'onnxruntime', wasmPaths: places.ort, model: `${places.models}onnx/${dtype}-${head}.onnx`, threads, ids, row: mask }]);
  const hugging = [['transformers.js', { side: 'transformers', wasmPaths: places.ortTransformers, localModelPath: places.localModelPath, name: 'onnx', dtype: dtype === 'int8' ? 'q8' : 'fp32', threads, text }]];
  return [...ours, ...theirs, ...(where.transformers ? hugging : [])];
}

async function compare(where, dtype, threads, { tokens, rounds, repeat }) {
  const sides = [];
  for (const [name, options] of sidesOf(where, dtype, threads, tokens)) {
    const worker = await where.open();
    sides.push({ name, worker, ...(await worker.ask({ op: 'open', ...options })), times: [] });
  }
  for (let round = 0; round < rounds; round++) {
    for (const side of sides) side.times.push(await side.worker.ask({ op: 'run', repeat }));
    process.stderr.write(`\r${where.name}, ${dtype}, ${threads} threads: round ${round + 1} of ${rounds} `);
  }
  process.stderr.write('\n');
  for (const { worker } of sides) await worker.close();
  const medians = (side) => side.times.map(median);
  const best = sides.filter(({ name }) => name.startsWith('fillmask')).at(-1);
  return sides.map((side) => {
    const ratios = medians(side).map((time, round) => time / medians(best)[round]);
    return { where: where.name, dtype, threads, side: side.name, load_ms: side.load, first_ms: side.first, fill_ms: median(medians(side)),
      best_ms: Math.min(...side.times.flat()), ratio: median(ratios), ratio_least: Math.min(...ratios), ratio_most: Math.max(...ratios) };
  });
}

async function training(where, threads) {
  const text = readFileSync(join(ROOT, 'web/demo/sample.txt'), 'utf8').split('\n').filter(Boolean);
  const texts = Array.from({ length: 40 }, () => text).flat(), rows = [];
  for (const [name, file] of builds(where)) {
    const { places } = where, worker = await where.open();
    await worker.ask({ op: 'open', side: 'fillmask', engine: places.engine, thread: places.thread, wasm: places.wasm + file, model: places.small, threads, text: 'This is [MASK].' });
    const rates = [];
    for (let i = 0; i < 3; i++) rates.push(await worker.ask({ op: 'train', texts }));
    await worker.close();
    rows.push({ where: where.name, threads, build: name, tokens_per_second: median(rates), best: Math.max(...rates) });
  }
  return rows;
}

function printTable(heads, rows) {
  for (const cells of [heads, heads.map(() => '---'), ...rows]) console.log(`| ${cells.join(' | ')} |`);
}

const HELP = `Usage: node wasm.mjs [options]
  --where LIST     chromium, node (default both)
  --dtypes LIST    f32, int8 (default both)
  --threads LIST   numbers of threads (default 1,2)
  --rounds N       rounds, each of which measures every side once (default 7)
  --repeat N       fills a round (default 5)
  --tokens N       length of the sequence (default 128)
  --models FOLDER  keep the models there, and use those that an earlier run with the same options left
  --train          only training
  --no-train       only fills
  --json           print one JSON object`;

async function main() {
  const text = (value) => ({ type: 'string', default: value });
  const { values } = parseArgs({ options: { where: text('chromium,node'), dtypes: text('f32,int8'), threads: text('1,2'), rounds: text('7'),
    repeat: text('5'), tokens: text('128'), models: { type: 'string' }, train: { type: 'boolean' }, 'no-train': { type: 'boolean' }, json: { type: 'boolean' }, help: { type: 'boolean' } } });
  if (values.help) return console.log(HELP);
  const [rounds, repeat, tokens] = ['rounds', 'repeat', 'tokens'].map((name) => Number(values[name]));
  const threads = values.threads.split(',').map(Number), dtypes = values.dtypes.split(','), wheres = values.where.split(',');
  if (![rounds, repeat, tokens, ...threads].every((n) => Number.isInteger(n) && n > 0) || !dtypes.every((x) => ['f32', 'int8'].includes(x)) ||
    !wheres.every((x) => ['chromium', 'node'].includes(x))) throw new Error(`An option is out of its range.\n${HELP}`);
  const folder = values.models ? resolve(values.models) : mkdtempSync(join(tmpdir(), 'fillmask-bench-'));
  const fills = [], trainings = [];
  try {
    if (!values.train) await writeModels(folder, tokens, dtypes);
    for (const name of wheres) {
      const where = await (name === 'node' ? node : chromium)(folder);
      try {
        if (!values.train)
          for (const dtype of dtypes) for (const count of threads) fills.push(...await compare(where, dtype, count, { rounds, repeat, tokens }));
        if (!values['no-train']) for (const count of threads) trainings.push(...await training(where, count));
      } finally {
        await where.close();
      }
    }
  } finally {
    if (!values.models) rmSync(folder, { recursive: true, force: true });
  }
  if (values.json) return console.log(JSON.stringify({ fills, trainings }, null, 2));
  const fixed = (value, digits = 1) => value.toFixed(digits);
  if (fills.length > 0)
    printTable(['where', 'numbers', 'threads', 'side', 'load ms', 'fill ms', 'best ms', 'ratio (least to most)'], fills.map((x) =>
      [x.where, x.dtype, x.threads, x.side, fixed(x.load_ms, 0), fixed(x.fill_ms), fixed(x.best_ms), `${fixed(x.ratio, 2)} (${fixed(x.ratio_least, 2)} to ${fixed(x.ratio_most, 2)})`]));
  if (fills.length > 0) console.log('A ratio is the time over that of the last build of Fillmask: above 1, that build is faster.\n');
  if (trainings.length > 0)
    printTable(['where', 'threads', 'build', 'training, tokens/s', 'best'], trainings.map((x) => [x.where, x.threads, x.build, fixed(x.tokens_per_second, 0), fixed(x.best, 0)]));
}

await main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});

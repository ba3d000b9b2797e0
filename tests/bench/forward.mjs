/* forward.mjs - the forward pass of DistilBERT's shape, batch 1, one masked row, in f32 or with --dtype q8 in int8:
 * `fillmask bench` against onnxruntime-node and, with --python, PyTorch (always f32). Every round measures each of them once, one after the other, so that
 * what else the machine does falls on all alike; a ratio is the median of the rounds' ratios. See README.md. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import * as ort from 'onnxruntime-node';
import { DISTILBERT, buildGraph, randomWeights } from './onnx_graph.mjs';

const FOLDER = dirname(fileURLToPath(import.meta.url));
export const PROGRAM = join(FOLDER, '../../build/fillmask');

/* A session over a graph (a list of byte arrays), with all of ONNX Runtime's own optimisations. */
export function openSession(graph, threads) {
  return ort.InferenceSession.create(new Uint8Array(Buffer.concat(graph)), { intraOpNumThreads: threads,
    interOpNumThreads: 1, executionMode: 'sequential', graphOptimizationLevel: 'all', logSeverityLevel: 3 });
}

/* Logits of the session for these ids; row is left out if the graph has the head on all rows. */
export async function runSession(session, ids, row) {
  const feeds = { input_ids: new ort.Tensor('int64', BigInt64Array.from(ids, BigInt), [1, ids.length]) };
  if (session.inputNames.includes('row')) feeds.row = new ort.Tensor('int64', BigInt64Array.of(BigInt(row)), [1]);
  return (await session.run(feeds)).logits;
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

function runFillmask({ program, tokens, repeat, dtype }, threads) {
  const args = ['bench', '--json', '--threads', threads, '--tokens', tokens, '--repeat', repeat, '--dtype', dtype].map(String);
  const result = spawnSync(program, args, { encoding: 'utf8' });
  if (result.status !== 0) throw new Error(`${program} ${args.join(' ')}: ${result.error?.message ?? result.stderr}`);
  return JSON.parse(result.stdout);
}

async function onnxPeer(model, head, form, threads, tokens) {
  const ids = Array.from({ length: tokens }, (_, i) => (i * 7919 + 13) % model.config.vocab_size);
  const session = await openSession(buildGraph({ ...model, tokens, head, form }), threads);
  const measure = async (repeat) => {
    const times = [];
    for (let i = -1; i < repeat; i++) { // the first run warms the caches up and is not counted, as in fillmask's
      const start = performance.now();
      await runSession(session, ids, tokens >> 1);
      if (i >= 0) times.push(performance.now() - start);
    }
    return { median_ms: median(times), best_ms: Math.min(...times) };
  };
  return { name: `onnxruntime ${head}`, measure, close: () => session.release() };
}

/* forward_torch.py answers each line (a number of runs) with a line of figures. */
async function torchPeer(python, threads, tokens) {
  const child = spawn(python, [join(FOLDER, 'forward_torch.py'), `${threads}`, `${tokens}`],
    { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout });
  const measure = async (repeat) => {
    child.stdin.write(`${repeat}\n`);
    const [line] = await Promise.race([once(lines, 'line'), once(child, 'close').then(() => [])]);
    if (!line) throw new Error(`${python} forward_torch.py failed; it needs torch and transformers.`);
    return JSON.parse(line);
  };
  return { name: 'PyTorch one', measure, close: () => child.stdin.end() };
}

/* All peers of one number of threads, round by round. Returns a row of the table for each. */
async function compare(options, model, threads) {
  const { tokens, rounds, repeat } = options, form = options.dtype === 'q8' ? 'int8' : options.form;
  const peers = [];
  for (const head of options.heads) peers.push(await onnxPeer(model, head, form, threads, tokens));
  if (options.python) peers.push(await torchPeer(options.python, threads, tokens));
  const ours = [], theirs = peers.map(() => []);
  for (let round = 0; round < rounds; round++) {
    ours.push(runFillmask(options, threads));
    for (const [i, peer] of peers.entries()) theirs[i].push(await peer.measure(repeat));
    process.stderr.write(`\r${threads} threads: round ${round + 1} of ${rounds} `);
  }
  process.stderr.write('\n');
  for (const peer of peers) await peer.close();
  return peers.map((peer, i) => {
    const ratios = ours.map((x, round) => theirs[i][round].median_ms / x.median_ms);
    return { threads, peer: peer.name, fillmask_ms: median(ours.map((x) => x.median_ms)),
      peer_ms: median(theirs[i].map((x) => x.median_ms)), ratio: median(ratios), ratio_least: Math.min(...ratios),
      ratio_most: Math.max(...ratios), fillmask_best_ms: Math.min(...ours.map((x) => x.best_ms)),
      peer_best_ms: Math.min(...theirs[i].map((x) => x.best_ms)), peak_gflops: Math.max(...ours.map((x) => x.peak_gflops)),
      instruction_set: ours[0].instruction_set };
  });
}

function printTable(rows) {
  const line = (cells) => console.log(`| ${cells.join(' | ')} |`);
  line(['threads', 'peer', 'fillmask ms', 'peer ms', 'ratio (least to most)', 'best: fillmask ms', 'peer ms', 'ratio']);
  line(Array(8).fill('---'));
  for (const x of rows)
    line([x.threads, x.peer, x.fillmask_ms.toFixed(1), x.peer_ms.toFixed(1),
      `${x.ratio.toFixed(2)} (${x.ratio_least.toFixed(2)} to ${x.ratio_most.toFixed(2)})`,
      x.fillmask_best_ms.toFixed(1), x.peer_best_ms.toFixed(1), (x.peer_best_ms / x.fillmask_best_ms).toFixed(2)]);
  console.log('A ratio above 1: fillmask is faster.');
}

const HELP = `Usage: node forward.mjs [options]
  --threads LIST   numbers of threads (default 1,2)
  --rounds N       rounds, each of which measures everybody once (default 9)
  --repeat N       runs a round (default 15)
  --tokens N       length of the sequence (default 128)
  --heads LIST     onnxruntime's graphs: one, early, all (default one; see onnx_graph.mjs)
  --form NAME      how they are spelt: fused or standard (default fused)
  --dtype TYPE     fp32, or q8: int8, and a dynamically quantised graph (default fp32)
  --python PATH    also measure PyTorch, with this Python
  --program PATH   fillmask (default build/fillmask)
  --json           print one JSON array`;

function readOptions() {
  const text = (value) => ({ type: 'string', default: value });
  const { values } = parseArgs({ options: { threads: text('1,2'), rounds: text('9'), repeat: text('15'),
    tokens: text('128'), heads: text('one'), form: text('fused'), dtype: text('fp32'), python: { type: 'string' }, program: text(PROGRAM),
    json: { type: 'boolean' }, help: { type: 'boolean' } } });
  if (values.help) {
    console.log(HELP);
    process.exit(0);
  }
  const counts = Object.fromEntries(['rounds', 'repeat', 'tokens'].map((name) => [name, Number(values[name])]));
  const threads = values.threads.split(',').map(Number), heads = values.heads.split(',');
  const good = [...threads, ...Object.values(counts)].every((n) => Number.isInteger(n) && n > 0) &&
    heads.every((x) => ['one', 'early', 'all'].includes(x)) && ['fused', 'standard'].includes(values.form) && ['fp32', 'q8'].includes(values.dtype);
  if (!good) throw new Error(`An option is out of its range.\n${HELP}`);
  return { ...values, ...counts, threads, heads };
}

async function main() {
  const options = readOptions();
  const model = { config: { ...DISTILBERT, max_position_embeddings: Math.max(512, options.tokens) } };
  model.weights = randomWeights(model.config);
  const rows = [];
  for (const threads of options.threads) rows.push(...await compare(options, model, threads));
  if (options.json) console.log(JSON.stringify(rows, null, 2));
  else printTable(rows);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href)
  await main().catch((error) => {
    console.error(error.message);
    process.exitCode = 1;
  });

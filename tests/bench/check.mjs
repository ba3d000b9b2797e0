/* check.mjs - that forward.mjs compares like with like: every form of the ONNX graph and `fillmask fill` compute, from
 * one folder of weights that transformers saved, what PyTorch computes in double precision. Measures no time.
 *
 * Usage: node check.mjs [--python PATH] [--program PATH]   (the Python needs torch and transformers) */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { PROGRAM, openSession, runSession } from './forward.mjs';
import { buildGraph, readModel } from './onnx_graph.mjs';

const MOST = 2e-4; // of logits whose standard deviation is about 1

function run(command, args) {
  const result = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (result.status !== 0) throw new Error(`${command} failed: ${result.error?.message ?? result.stderr}`);
  return result.stdout;
}

const difference = (a, b) => a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0);

/* fill gives probabilities, so log probabilities are compared. */
function checkFillmask(program, folder, reference) {
  const { vocab_size: vocab } = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
  const found = JSON.parse(run(program, ['fill', '--json', '--model', folder, '--top-k', `${vocab}`, reference.text]));
  const logs = new Float64Array(vocab);
  for (const { token, score } of found) logs[token] = Math.log(score);
  const sum = reference.logits.reduce((total, x) => total + Math.exp(x), 0);
  return difference(reference.logits.map((x) => x - Math.log(sum)), logs);
}

async function checkGraph(model, head, form, reference) {
  const tokens = reference.ids.length;
  const session = await openSession(buildGraph({ ...model, tokens, head, form }), 1);
  const { data } = await runSession(session, reference.ids, reference.row);
  await session.release();
  if (head !== 'all') return difference(reference.logits, data);
  const vocab = model.config.vocab_size, rowAt = (row) => data.subarray(row * vocab, (row + 1) * vocab);
  return Math.max(difference(reference.logits, rowAt(reference.row)), difference(reference.first_logits, rowAt(0)));
}

async function main() {
  const { values } = parseArgs({ options: { python: { type: 'string', default: 'python3' },
    program: { type: 'string', default: PROGRAM } } });
  const folder = mkdtempSync(join(tmpdir(), 'fillmask-check-'));
  let failed = false;
  const report = (name, error) => {
    console.log(`${error < MOST ? 'ok  ' : 'FAIL'} ${name}: largest difference ${error.toExponential(1)}`);
    failed ||= !(error < MOST);
  };
  try {
    run(values.python, [join(dirname(fileURLToPath(import.meta.url)), 'check_reference.py'), folder]);
    const reference = JSON.parse(readFileSync(join(folder, 'reference.json'), 'utf8'));
    report('fillmask fill', checkFillmask(values.program, folder, reference));
    const model = readModel(folder);
    for (const form of ['fused', 'standard'])
      for (const head of ['one', 'early', 'all'])
        report(`onnxruntime, ${form}, head on ${head}`, await checkGraph(model, head, form, reference));
  } finally {
    rmSync(folder, { recursive: true });
  }
  if (failed) process.exitCode = 1;
}

await main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});

/* node.mjs - the package in Node.js against transformers.js, as users call them: `await fill(text)` with a text of so many
 * tokens and one mask, DistilBERT's shape, the same weights, f32. From the text to the five best words: tokenising and
 * all. Every round measures each side once, one after the other; a ratio is the median of the rounds' ratios. The model
 * folders are made here, of random weights; nothing comes from a network. See README.md.
 *
 * Usage: node node.mjs [--tokens N] [--threads N] [--rounds N] [--repeat N] [--devices native,wasm] [--json] */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { env, pipeline as peerPipeline } from '@huggingface/transformers';
import { dispose, pipeline } from '../../web/index-node.js';
import { DISTILBERT, randomWeights, writeGraph } from './onnx_graph.mjs';

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

/* A tokenizer.json of as many tokens as the model has: five special ones and words of our own. */
function tokenizer(size) {
  const special = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'];
  const vocab = Object.fromEntries(Array.from({ length: size }, (_, i) => [special[i] ?? `word${i}`, i]));
  const added = special.map((content, id) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }));
  const template = (ids) => ids.map((id) => (typeof id === 'number' ? { Sequence: { id: 'AB'[id], type_id: id } } : { SpecialToken: { id, type_id: 0 } }));
  return {
    version: '1.0', truncation: null, padding: null, added_tokens: added,
    normalizer: { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: true },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: { type: 'TemplateProcessing', single: template(['[CLS]', 0, '[SEP]']), pair: template(['[CLS]', 0, '[SEP]', 1, '[SEP]']),
      special_tokens: { '[CLS]': { id: '[CLS]', ids: [2], tokens: ['[CLS]'] }, '[SEP]': { id: '[SEP]', ids: [3], tokens: ['[SEP]'] } } },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: { type: 'WordPiece', unk_token: '[UNK]', continuing_subword_prefix: '##', max_input_chars_per_word: 100, vocab },
  };
}

function writeSafetensors(path, weights, config) {
  const header = {}, { dim, hidden_dim: wide } = config;
  let at = 0;
  for (const [name, values] of weights) {
    const cols = /lin2\.weight$/.test(name) ? wide : dim;
    const shape = /(embeddings|_lin|lin\d|vocab_transform)\.weight$/.test(name) ? [values.length / cols, cols] : [values.length];
    header[name] = { dtype: 'F32', shape, data_offsets: [at, (at += values.byteLength)] };
  }
  const text = Buffer.from(JSON.stringify(header)), size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(path, Buffer.concat([size, text, ...[...weights.values()].map((values) => new Uint8Array(values.buffer))]));
}

/* One folder that both sides read. */
function makeModel(folder, tokens) {
  const config = DISTILBERT, weights = randomWeights(config);
  mkdirSync(join(folder, 'onnx'), { recursive: true });
  const json = (name, value) => writeFileSync(join(folder, name), JSON.stringify(value));
  json('config.json', { ...config, model_type: 'distilbert', architectures: ['DistilBertForMaskedLM'], activation: 'gelu', dropout: 0, attention_dropout: 0, pad_token_id: 0, sinusoidal_pos_embds: false });
  json('tokenizer.json', tokenizer(config.vocab_size));
  json('tokenizer_config.json', { tokenizer_class: 'DistilBertTokenizer', do_lower_case: true, model_max_length: 512, mask_token: '[MASK]', unk_token: '[UNK]', pad_token: '[PAD]', cls_token: '[CLS]', sep_token: '[SEP]' });
  writeSafetensors(join(folder, 'model.safetensors'), weights, config);
  writeGraph(join(folder, 'onnx', 'model.onnx'), { config, weights, tokens, head: 'all' });
}

async function time(fill, text, repeat) {
  const times = [];
  for (let i = -1; i < repeat; i++) { // the first run is not counted
    const start = performance.now();
    await fill(text);
    if (i >= 0) times.push(performance.now() - start);
  }
  return median(times);
}

const { values } = parseArgs({ options: { tokens: { type: 'string', default: '128' }, threads: { type: 'string', default: '2' }, rounds: { type: 'string', default: '5' },
  repeat: { type: 'string', default: '10' }, devices: { type: 'string', default: 'native' }, json: { type: 'boolean' } } });
const [tokens, threads, rounds, repeat] = ['tokens', 'threads', 'rounds', 'repeat'].map((name) => Number(values[name]));
const root = mkdtempSync(join(tmpdir(), 'fillmask-bench-'));
try {
  makeModel(join(root, 'model'), tokens);
  const text = Array.from({ length: tokens - 2 }, (_, i) => (i === tokens >> 1 ? '[MASK]' : `word${(i * 7919 + 13) % 30000 + 5}`)).join(' ');
  Object.assign(env, { localModelPath: root, allowRemoteModels: false });
  const peer = await peerPipeline('fill-mask', 'model', { dtype: 'fp32', device: 'cpu', session_options: { intraOpNumThreads: threads, interOpNumThreads: 1 } });
  const rows = [];
  for (const device of values.devices.split(',')) {
    const fill = await pipeline('fill-mask', join(root, 'model'), { device, threads, dtype: 'fp32' });
    const [ours, theirs] = [(await fill(text)).map((f) => f.token), (await peer(text)).map((f) => f.token)];
    if (String(ours) !== String(theirs)) throw new Error(`The sides differ: ${ours} and ${theirs}.`);
    const times = { ours: [], theirs: [] };
    for (let round = 0; round < rounds; round++) {
      times.ours.push(await time(fill, text, repeat));
      times.theirs.push(await time(peer, text, repeat));
    }
    const ratios = times.theirs.map((ms, i) => ms / times.ours[i]);
    rows.push({ device, threads, tokens, fillmask_ms: median(times.ours), transformers_js_ms: median(times.theirs), ratio: median(ratios), least: Math.min(...ratios), most: Math.max(...ratios) });
  }
  if (values.json) console.log(JSON.stringify(rows));
  else for (const r of rows) console.log(`${r.device}, ${r.threads} threads, ${r.tokens} tokens: Fillmask ${r.fillmask_ms.toFixed(1)} ms, transformers.js ${r.transformers_js_ms.toFixed(1)} ms, ratio ${r.ratio.toFixed(2)} (${r.least.toFixed(2)} to ${r.most.toFixed(2)})`);
} finally {
  await dispose();
  rmSync(root, { recursive: true });
}
process.exit();

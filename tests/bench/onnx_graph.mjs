/* onnx_graph.mjs - builds DistilBertForMaskedLM as an ONNX graph, for comparisons with ONNX Runtime. It writes the
 * protobuf itself (field numbers of onnx.proto3), so it needs nothing but Node.js; it is no exporter for anything else.
 *
 * One sequence of a fixed length without padding, so there is no attention mask. `head` says which rows reach the
 * vocabulary:
 *   all    every row, as an exported model does;
 *   one    one row, taken by a Gather after the last layer;
 *   early  one row, taken by a Gather already after the last layer's attention, which is what Fillmask does.
 * `form` says how it is spelt:
 *   fused     with the com.microsoft operators that ONNX Runtime itself fuses BERT into (Attention,
 *             SkipLayerNormalization, BiasGelu);
 *   standard  with ONNX operators alone (LayerNormalization, Gelu, MatMul, Softmax);
 *   int8      as fused, with the products that its dynamic quantisation puts in (DynamicQuantizeMatMul, QAttention):
 *             weights in int8 with a scale a column, inputs rounded to uint8 with one scale each time.
 *
 * Usage: node onnx_graph.mjs FILE [--head all|one|early] [--form fused|standard|int8] [--tokens N]
 *   [--model FOLDER]
 * Without a model folder (config.json and an f32 model.safetensors) it has DistilBERT's shape and random weights. */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

/* ---- protobuf: a message is a list of byte arrays ---- */

const varint = (value) => {
  const out = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest > 127n; rest >>= 7n) out.push(Number(rest & 127n) | 128);
  return Uint8Array.of(...out, Number(rest));
};
const integer = (field, value) => [varint(field * 8), varint(value)];
const float = (field, value) => [varint(field * 8 + 5), new Uint8Array(Float32Array.of(value).buffer)];
const message = (field, chunks) => {
  const size = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  return [varint(field * 8 + 2), varint(size), ...chunks];
};
const text = (field, string) => message(field, [new TextEncoder().encode(string)]);

const FLOAT = 1, INT8 = 3, INT64 = 7; // TensorProto.DataType

const attribute = (name, value) => {
  const head = text(1, name);
  if (Array.isArray(value)) return [...head, ...value.flatMap((x) => integer(8, x)), ...integer(20, 7)];
  if (Number.isInteger(value)) return [...head, ...integer(3, value), ...integer(20, 2)];
  return [...head, ...float(2, value), ...integer(20, 1)];
};

const valueInfo = (name, type, shape) => {
  const dims = shape.flatMap((size) => message(1, integer(1, size)));
  return [...text(1, name), ...message(2, message(1, [...integer(1, type), ...message(2, dims)]))];
};

class Graph {
  chunks = [];
  count = 0;

  /* A constant of floats, of an Int8Array, or of 64-bit integers if `data` is an ordinary array. */
  constant(name, shape, data) {
    const type = Array.isArray(data) ? INT64 : data instanceof Int8Array ? INT8 : FLOAT;
    const raw = type === INT64 ? BigInt64Array.from(data.map(BigInt)) : data;
    const bytes = new Uint8Array(raw.buffer, raw.byteOffset, raw.byteLength);
    const tensor = [...shape.flatMap((size) => integer(1, size)), ...integer(2, type), ...text(8, name),
      ...message(9, [bytes])];
    this.chunks.push(...message(5, tensor));
    return name;
  }

  /* A node; its output, or the first of several, is returned. "com.microsoft.X" is in that domain. */
  node(operator, inputs, attributes = {}, output = `${operator}_${this.count++}`, more = []) {
    const at = operator.lastIndexOf('.');
    const outputs = [output, ...more].flatMap((name) => text(2, name));
    const fields = [...inputs.flatMap((name) => text(1, name)), ...outputs, ...text(3, output),
      ...text(4, operator.slice(at + 1)), ...(at < 0 ? [] : text(7, operator.slice(0, at))),
      ...Object.entries(attributes).flatMap(([name, value]) => message(5, attribute(name, value)))];
    this.chunks.push(...message(1, fields));
    return output;
  }

  input(name, type, shape) {
    this.chunks.push(...message(11, valueInfo(name, type, shape)));
    return name;
  }

  output(name, type, shape) {
    this.chunks.push(...message(12, valueInfo(name, type, shape)));
  }

  model() {
    const opset = (domain, version) => message(8, [...text(1, domain), ...integer(2, version)]);
    return [...integer(1, 9), ...text(2, 'fillmask bench'), ...message(7, [...text(2, 'distilbert'), ...this.chunks]),
      ...opset('', 20), ...opset('com.microsoft', 1)];
  }
}

/* ---- weights: name -> Float32Array, as Hugging Face names and lays them out ---- */

export const DISTILBERT = { vocab_size: 30522, dim: 768, n_layers: 6, n_heads: 12, hidden_dim: 3072,
  max_position_embeddings: 512 };

const LINEAR = ['attention.q_lin', 'attention.k_lin', 'attention.v_lin', 'attention.out_lin'];

function shapes(config) {
  const { vocab_size: vocab, dim, hidden_dim: wide } = config;
  const list = [['distilbert.embeddings.word_embeddings.weight', [vocab, dim]],
    ['distilbert.embeddings.position_embeddings.weight', [config.max_position_embeddings, dim]]];
  const linear = (name, out, into) => list.push([`${name}.weight`, [out, into]], [`${name}.bias`, [out]]);
  linear('distilbert.embeddings.LayerNorm', dim, null);
  for (let i = 0; i < config.n_layers; i++) {
    const layer = `distilbert.transformer.layer.${i}`;
    for (const name of LINEAR) linear(`${layer}.${name}`, dim, dim);
    linear(`${layer}.ffn.lin1`, wide, dim);
    linear(`${layer}.ffn.lin2`, dim, wide);
    for (const name of ['sa_layer_norm', 'output_layer_norm']) linear(`${layer}.${name}`, dim, null);
  }
  linear('vocab_transform', dim, dim);
  linear('vocab_layer_norm', dim, null);
  list.push(['vocab_projector.bias', [vocab]]);
  return list.map(([name, shape]) => [name, shape.filter((size) => size !== null)]);
}

/* Matrices of a standard deviation of about 0.02, as training starts with; norms of 1, biases of 0. */
export function randomWeights(config) {
  let state = 42;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  };
  return new Map(shapes(config).map(([name, shape]) => {
    const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
    if (shape.length === 2) for (let i = 0; i < values.length; i++) values[i] = 0.07 * uniform();
    else if (name.endsWith('weight')) values.fill(1);
    return [name, values];
  }));
}

export function readModel(folder) {
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
  const file = readFileSync(join(folder, 'model.safetensors'));
  const start = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, start));
  const weights = new Map(shapes(config).map(([name, shape]) => {
    const tensor = header[name];
    if (!tensor || tensor.dtype !== 'F32' || `${tensor.shape}` !== `${shape}`)
      throw new Error(`${folder}: the tensor ${name} is not F32 of shape ${shape}.`);
    const [from, to] = tensor.data_offsets;
    return [name, new Float32Array(file.buffer.slice(file.byteOffset + start + from, file.byteOffset + start + to))];
  }));
  return { config, weights };
}

/* (rows, cols) turned, beside other matrices of as many columns: (cols, all rows). In squares, for the caches. */
function turned(matrices, cols) {
  const all = matrices.reduce((sum, x) => sum + x.length / cols, 0);
  const out = new Float32Array(all * cols);
  let before = 0;
  for (const x of matrices) {
    const rows = x.length / cols;
    for (let row = 0; row < rows; row += 16)
      for (let j = 0; j < cols; j++)
        for (let i = row; i < Math.min(row + 16, rows); i++) out[j * all + before + i] = x[i * cols + j];
    before += rows;
  }
  return out;
}

function joined(vectors) {
  const out = new Float32Array(vectors.reduce((sum, x) => sum + x.length, 0));
  let at = 0;
  for (const x of vectors) {
    out.set(x, at);
    at += x.length;
  }
  return out;
}

/* ---- the network ---- */

/* The model as a list of byte arrays. Inputs: input_ids (1, tokens) and, unless head is "all", row (1); output: logits
 * (1, rows, vocabulary). */
export function buildGraph({ config, weights, tokens = 128, head = 'one', form = 'fused', mask = false }) {
  const { dim, n_heads: heads, vocab_size: vocab } = config;
  const int8 = form === 'int8', fused = int8 || form === 'fused';
  const g = new Graph();
  const vector = (name) => g.constant(name, [weights.get(name).length], weights.get(name));
  /* A matrix (into, columns) of int8, and its scales. */
  const quantised = (name, values, into) => {
    const columns = values.length / into, scales = new Float32Array(columns), bytes = new Int8Array(values.length);
    values.forEach((x, i) => { scales[i % columns] = Math.max(scales[i % columns], Math.abs(x) / 127); });
    values.forEach((x, i) => { bytes[i] = Math.round(x / scales[i % columns]); });
    return [g.constant(name, [into, columns], bytes), g.constant(`${name}.scale`, [columns], scales)];
  };
  const multiply = (x, name, values, into) => (int8
    ? g.node('com.microsoft.DynamicQuantizeMatMul', [x, ...quantised(name, values, into)])
    : g.node('MatMul', [x, g.constant(name, [into, values.length / into], values)]));
  const product = (x, name, into) => multiply(x, `${name}.turned`, turned([weights.get(`${name}.weight`)], into), into);
  const linear = (x, name, into) => g.node('Add', [product(x, name, into), vector(`${name}.bias`)]);
  const norm = (x, name) => g.node('LayerNormalization', [x, vector(`${name}.weight`), vector(`${name}.bias`)],
    { axis: -1, epsilon: 1e-12 });
  /* norm(residual + x w + bias) */
  const projected = (x, residual, name, into, normName) => (fused
    ? g.node('com.microsoft.SkipLayerNormalization', [product(x, name, into), residual, vector(`${normName}.weight`),
      vector(`${normName}.bias`), vector(`${name}.bias`)], { epsilon: 1e-12 })
    : norm(g.node('Add', [linear(x, name, into), residual]), normName));
  const gelu = (x, name, into) => (fused
    ? g.node('com.microsoft.BiasGelu', [product(x, name, into), vector(`${name}.bias`)])
    : g.node('Gelu', [linear(x, name, into)]));

  const headsOf = (x, layer, name, perm) =>
    g.node('Transpose', [g.node('Reshape', [linear(x, `${layer}.attention.${name}`, dim), 'split'])], { perm });
  const standardAttention = (x, layer) => {
    const q = headsOf(x, layer, 'q_lin', [0, 2, 1, 3]), k = headsOf(x, layer, 'k_lin', [0, 2, 3, 1]);
    const v = headsOf(x, layer, 'v_lin', [0, 2, 1, 3]);
    const shares = g.node('Softmax', [g.node('Div', [g.node('MatMul', [q, k]), 'root'])], { axis: -1 });
    return g.node('Reshape', [g.node('Transpose', [g.node('MatMul', [shares, v])], { perm: [0, 2, 1, 3] }), 'merge']);
  };
  const fusedAttention = (x, layer) => {
    const names = LINEAR.slice(0, 3).map((name) => `${layer}.${name}`), all = `${layer}.qkv`;
    const values = turned(names.map((name) => weights.get(`${name}.weight`)), dim);
    const bias = g.constant(`${all}.bias`, [3 * dim], joined(names.map((name) => weights.get(`${name}.bias`))));
    if (!int8)
      return g.node('com.microsoft.Attention', [x, g.constant(all, [dim, 3 * dim], values), bias], { num_heads: heads });
    const [scale, zero] = [`${all}.in.scale`, `${all}.in.zero`];
    const rounded = g.node('DynamicQuantizeLinear', [x], {}, `${all}.in`, [scale, zero]);
    const [matrix, scales] = quantised(all, values, dim);
    return g.node('com.microsoft.QAttention', [rounded, matrix, bias, scale, scales, '', zero], { num_heads: heads });
  };

  if (!fused) {
    g.constant('split', [4], [0, 0, heads, dim / heads]);
    g.constant('merge', [3], [0, 0, dim]);
    g.constant('root', [], Float32Array.of(Math.sqrt(dim / heads)));
  }
  const ids = g.input('input_ids', INT64, [1, tokens]);
  if (mask) g.input('attention_mask', INT64, [1, tokens]);
  const row = head === 'all' ? null : g.input('row', INT64, [1]);
  const oneRow = (x) => g.node('Gather', [x, row], { axis: 1 });

  const embeddings = 'distilbert.embeddings', word = weights.get(`${embeddings}.word_embeddings.weight`);
  const position = weights.get(`${embeddings}.position_embeddings.weight`).slice(0, tokens * dim);
  let x = g.node('Gather', [g.constant('word', [vocab, dim], word), ids], { axis: 0 });
  x = norm(g.node('Add', [x, g.constant('position', [1, tokens, dim], position)]), `${embeddings}.LayerNorm`);
  for (let i = 0; i < config.n_layers; i++) {
    const layer = `distilbert.transformer.layer.${i}`;
    let context = (fused ? fusedAttention : standardAttention)(x, layer);
    if (head === 'early' && i === config.n_layers - 1) [context, x] = [oneRow(context), oneRow(x)];
    x = projected(context, x, `${layer}.attention.out_lin`, dim, `${layer}.sa_layer_norm`);
    const wide = gelu(x, `${layer}.ffn.lin1`, dim);
    x = projected(wide, x, `${layer}.ffn.lin2`, config.hidden_dim, `${layer}.output_layer_norm`);
  }
  if (head === 'one') x = oneRow(x);
  x = norm(gelu(x, 'vocab_transform', dim), 'vocab_layer_norm');
  x = multiply(x, 'word.turned', turned([word], dim), dim);
  g.node('Add', [x, vector('vocab_projector.bias')], {}, 'logits');
  g.output('logits', FLOAT, [1, head === 'all' ? tokens : 1, vocab]);
  return g.model();
}

export function writeGraph(path, options) {
  const file = openSync(path, 'w');
  for (const chunk of buildGraph(options)) for (let at = 0; at < chunk.length;) at += writeSync(file, chunk, at);
  closeSync(file);
}

function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { head: { type: 'string', default: 'one' }, form: { type: 'string', default: 'fused' },
      tokens: { type: 'string', default: '128' }, model: { type: 'string' } },
  });
  const known = ['all', 'one', 'early'].includes(values.head) && ['fused', 'standard', 'int8'].includes(values.form);
  if (positionals.length !== 1 || !known || !(Number(values.tokens) > 0)) {
    console.error('Usage: node onnx_graph.mjs FILE [--head all|one|early] [--form fused|standard|int8] [--tokens N] ' +
      '[--model FOLDER]');
    process.exit(2);
  }
  const model = values.model ? readModel(values.model)
    : { config: DISTILBERT, weights: randomWeights(DISTILBERT) };
  writeGraph(positionals[0], { ...model, ...values, tokens: Number(values.tokens) });
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) main();

// types.ts - what a strict TypeScript program may write, and what it may not; it is only checked.
import { dispose, FillmaskError, loadModel, loadTokenizer, pipeline, similarity, Trainer } from 'fillmask';
import type { Augmented, Encoding, Filling, Model, ModelInfo, Score, TextFilling, TrainReport } from 'fillmask';
import defaultModel from 'fillmask/default-model';

const fill = await pipeline('fill-mask', undefined, { threads: 2, dtype: 'q8', device: 'native', signal: new AbortController().signal });
const remote = await loadModel('https://models.example/one/', { local_files_only: true, cache: '/tmp/models', integrity: { 'model.safetensors': `sha256-${'A'.repeat(43)}=` }, max_bytes: 1e9 });
const one: Filling[] | Filling[][] = await fill('This is [MASK].', { top_k: 3, targets: ['good'] });
const many: (Filling[] | Filling[][])[] = await fill(['This is [MASK].']);
const together: TextFilling[] = await fill('[MASK] [MASK]', { joint: true });
const model: Model = fill.model;
const info: ModelInfo = model.info;
const score = await pipeline('score', model);
const scores: Score[] = await score(['a', 'b'], { mask: 'token' });
const augment = await pipeline('augment', defaultModel, { progress_callback: (event) => event.status === 'progress' && event.loaded });
const augmented: Augmented = await augment('A text.', { variants: 2, action: 'insert' });
const rows = [{ id: 1, text: 'A text.' }];
for await (const { rows: [first], reason } of augment.stream(rows, { protect: /\d/, label_safe: true, skip: 0 })) console.log(first?.id, reason);
for await (const { line, rows } of augment.stream(new Blob(['A text.']), { format: 'csv', field: 'a' })) console.log(line, rows.join(''));
const words: Filling[] | Filling[][] = await fill('[MASK]', { match: /ing$/, exclude: ['thing'] });
const { pseudo_perplexity } = await score.perplexity(['a', 'b']);
const embed = await pipeline('embed', model);
const vectors: Float32Array[] = await embed(['a', 'b'], { normalize: true });
console.log(words, pseudo_perplexity, vectors.map((vector) => similarity(vector, [1, 2])));
const tokenizer = await loadTokenizer();
const encoding: Encoding = await tokenizer.encode('a');
const trainer = new Trainer(await loadModel('folder'), { data: ['a'], epochs: 2, eval_data: new Blob(['a']), eval_steps: 5 });
for await (const report of trainer) {
  const { loss, evaluation }: TrainReport = report;
  console.log(loss, evaluation?.perplexity);
}
const files: File[] = await (await trainer.apply()).files({ dtype: 'fp32' });
if (new Error() instanceof FillmaskError) await dispose();
console.log(one, many, together, info.layers, scores, augmented.variants, encoding.ids, files, remote.name);

// @ts-expect-error there is no such task
await pipeline('translation');
// @ts-expect-error there is no such option
await fill('This is [MASK].', { topk: 3 });
// @ts-expect-error a number is no text
await fill(3);
// @ts-expect-error data is missing
new Trainer(model, { epochs: 1 });
// @ts-expect-error there is no such type
await loadModel('folder', { dtype: 'q3' });
// @ts-expect-error there is no such device
await loadModel('folder', { device: 'abacus' });

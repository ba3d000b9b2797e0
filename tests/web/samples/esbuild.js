// esbuild.js - the sample for esbuild, which copies neither workers nor other files: the page says where they are.
import { pipeline } from 'fillmask';

const fill = await pipeline('fill-mask', 'fillmask-small-en', {
  workerUrl: '/worker.js',
  wasmUrl: { simd128: '/fillmask.wasm', relaxed: '/fillmask-relaxed.wasm' },
  modelUrl: '/weights/',
});
const [best] = await fill('This movie was really [MASK].');
globalThis.result = best.sequence;

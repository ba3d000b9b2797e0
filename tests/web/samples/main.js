// main.js - the sample that each bundler builds: a page of one sentence.
import { pipeline } from 'fillmask';

const fill = await pipeline('fill-mask');
const [best] = await fill('This movie was really [MASK].');
globalThis.result = best.sequence;

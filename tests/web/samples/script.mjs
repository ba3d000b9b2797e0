// script.mjs - the sample for Node.js, Bun and Deno: it ends by itself.
import { pathToFileURL } from 'node:url';

const [, , file, device] = process.argv;
const { pipeline, Trainer } = await import(file ? pathToFileURL(file).href : 'fillmask');
const fill = await pipeline('fill-mask', undefined, { device, threads: 2 });
const [best] = await fill('This movie was really [MASK].');
console.log(best.sequence);
const trainer = new Trainer(fill.model, { data: Array(20).fill('The red cat sat on the mat.'), steps: 2, batch_size: 2, length: 32 });
let steps = 0;
for await (const { step } of trainer) steps = step;
console.log(`${steps} steps`);

// browser_worker.mjs - the worker of browser.test.mjs: opens the model, fills a mask and makes two steps of a training.
import { Engine, hasRelaxedSimd } from '/web/engine.js';

async function run() {
  const engine = await Engine.create({
    wasm: fetch(hasRelaxedSimd() ? '/build/fillmask-relaxed.wasm' : '/build/fillmask.wasm'),
    threads: 2,
    createThread: () => new Worker('/web/worker.js', { type: 'module' }),
  });
  const text = async (name) => (await fetch(`/model/${name}`)).text();
  await engine.open({
    config: await text('config.json'),
    tokenizer: { json: await text('tokenizer.json') },
    weights: await fetch('/model/model.safetensors'),
  });
  const [fillings] = await engine.fill('The red cat sat on the [MASK].');
  const trainer = await engine.trainer(Array(40).fill('The red cat sat on the mat.'), { length: 32, batch: 4, steps: 2 });
  const losses = [];
  for await (const { loss } of trainer) losses.push(loss);
  return { threads: engine.threads, fillings, losses };
}

run().then(postMessage, (error) => postMessage({ error: String(error.stack ?? error) }));

/* wasm_side.mjs - one side of wasm.mjs, in a worker of a browser or of Node.js: Fillmask's engine, onnxruntime-web or
 * transformers.js. It opens a model and measures fills of it, when it is told to. esbuild joins it for browsers, with
 * NODE false, so that no module of Node.js gets there. */
const inNode = typeof NODE === 'undefined';
const channel = inNode ? (await import('node:worker_threads')).parentPort : globalThis;
const listen = (use) => (inNode ? channel.on('message', use) : channel.addEventListener('message', ({ data }) => use(data)));

const bytesOf = async (url) => (inNode
  ? new Uint8Array(await (await import('node:fs/promises')).readFile(new URL(url)))
  : new Uint8Array(await (await fetch(url)).arrayBuffer()));

/* Each opens a model and gives a function that fills the mask once. */
const sides = {
  async fillmask({ engine, wasm, model, thread, threads, text }) {
    const { Engine } = await import(engine);
    const createThread = inNode
      ? (await import('node:worker_threads')).Worker
      : function create(url) { return new Worker(url, { type: 'module' }); };
    const core = await Engine.create({ wasm: await bytesOf(wasm), threads, createThread: () => new createThread(inNode ? new URL(thread) : thread) });
    if (!core.check()) throw new Error(`${wasm} computes wrongly here.`);
    const files = Object.fromEntries(await Promise.all(['config.json', 'tokenizer.json', 'tokenizer_config.json'].map(async (name) => [name, await bytesOf(model + name)])));
    const weights = inNode ? (await import('node:fs')).createReadStream(new URL(`${model}model.safetensors`)) : await fetch(`${model}model.safetensors`);
    const number = await core.open({ config: files['config.json'], tokenizer: { json: files['tokenizer.json'], config: files['tokenizer_config.json'] }, weights });
    return {
      run: () => core.call('fill', { model: number, texts: [text], top_k: 5 }),
      train: (texts) => trainOnce(core, number, texts),
    };
  },
  async onnxruntime({ wasmPaths, model, threads, ids, row }) {
    const ort = inNode ? await import('onnxruntime-web') : await import('onnxruntime-web/wasm');
    if (wasmPaths) ort.env.wasm.wasmPaths = wasmPaths;
    ort.env.wasm.numThreads = threads;
    const session = await ort.InferenceSession.create(await bytesOf(model), { executionProviders: ['wasm'], graphOptimizationLevel: 'all' });
    return {
      async run() {
        const feeds = { input_ids: new ort.Tensor('int64', BigInt64Array.from(ids, BigInt), [1, ids.length]) };
        if (session.inputNames.includes('row')) feeds.row = new ort.Tensor('int64', BigInt64Array.of(BigInt(row)), [1]);
        if (!((await session.run(feeds)).logits.data.length > 0)) throw new Error('no logits');
      },
    };
  },
  /* In browsers alone: in Node.js it uses onnxruntime-node. */
  async transformers({ wasmPaths, localModelPath, name, dtype, threads, text }) {
    const { env, pipeline } = await import('@huggingface/transformers');
    Object.assign(env, { allowRemoteModels: false, allowLocalModels: true, localModelPath, useBrowserCache: false, useWasmCache: false });
    Object.assign(env.backends.onnx.wasm, { wasmPaths, numThreads: threads, proxy: false });
    const fill = await pipeline('fill-mask', name, { device: 'wasm', dtype });
    return { run: () => fill(text, { top_k: 5 }) };
  },
};

/* Tokens a second of training: eight steps of 16 sequences of 128, after one that is not counted. */
function trainOnce(core, model, texts) {
  const corpus = core.call('corpus', { model });
  core.call('corpus_add', { corpus, texts });
  const { training } = core.call('train', { model, corpus, length: 128, batch_size: 16, steps: 9 });
  let report, before, start;
  do {
    report = core.call('train_advance', { training, milliseconds: 1e6 });
    if (report.step === 1) [before, start] = [report.tokens, performance.now()];
  } while (report.step < report.steps);
  const rate = (1000 * (report.tokens - before)) / (performance.now() - start);
  core.call('close', { number: training });
  core.call('close', { number: corpus });
  return rate;
}

let side;
listen(async ({ op, ...args }) => {
  try {
    let result;
    if (op === 'open') {
      const start = performance.now();
      side = await sides[args.side](args);
      const loaded = performance.now();
      await side.run();
      result = { load: loaded - start, first: performance.now() - loaded };
    } else if (op === 'train') {
      result = side.train(args.texts);
    } else {
      result = [];
      for (let i = -1; i < args.repeat; i++) { // the first run warms the caches up and is not counted
        const start = performance.now();
        await side.run();
        if (i >= 0) result.push(performance.now() - start);
      }
    }
    channel.postMessage({ result });
  } catch (error) {
    channel.postMessage({ error: error.stack ?? String(error) });
  }
});
channel.postMessage({ ready: true });

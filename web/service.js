// service.js - what the worker does: opens and saves models, whose bytes it fetches and posts, makes and takes checkpoints
// of trainings, and hands all other calls of client.js to the core. The core does one call after the other; what waits for
// bytes lets others pass.
import { checkDtype, Engine, hasRelaxedSimd } from './engine.js';
import { FillmaskError, packError } from './errors.js';
import { Files, located } from './files.js';

/** How far a GPU's logits may be from the processor's, relative to 1 + the largest of these. */
const APART = 1e-3;

/**
 * @typedef {import('./gpu.js').GpuOptions} GpuOptions
 *
 * @typedef {object} Host  What differs between browsers and Node.js, and what the first message brought.
 * @property {() => any} createThread
 * @property {(url: URL) => Promise<import('./files.js').OpenFile | null>} [openFile]
 * @property {(cache: boolean | string) => Promise<import('./downloads.js').Store>} openStore
 * @property {{simd128: string, relaxed?: string}} wasm URLs of the two builds
 * @property {number} threads
 * @property {string} [instructionSet]
 * @property {string} [device] "webgpu" if a GPU is to compute
 * @property {GpuOptions} [gpu] which one
 * @property {(adapter?: string) => Promise<any>} openGpu navigator.gpu, or what Node.js has for it
 * @property {SharedArrayBuffer} [aborted] where the client notes the numbers of calls that are aborted
 */

/**
 * @param {(message: any, transfer?: any[]) => void} post
 * @param {Host} host
 * @returns {(message: any) => void} takes what the client posts
 */
export function serve(post, host) {
  const controllers = new Map(); // of calls that wait for something
  const small = new Map(); // the small files of each model, for those who save it
  const aborted = host.aborted && new Int32Array(host.aborted);
  /** @type {Promise<Engine> | undefined} */
  let engine;
  /** @type {import('./gpu.js').Gpu | undefined} */
  let gpu;
  const onGpu = new Set(); // numbers of the models
  const notes = new Map(); // why others are not, where they should be
  let turn = Promise.resolve(); // of the calls, where they may have to wait

  const start = () => (engine ??= create().catch((error) => {
    gpu?.close();
    gpu = engine = undefined;
    throw error;
  }));

  async function create() {
    if (host.device === 'webgpu') gpu = await (await import('./gpu.js')).Gpu.create(await host.openGpu(host.gpu?.adapter), host.gpu);
    return createEngine({ ...host, gpu });
  }

  /**
   * A request to the core. With a GPU it waits its turn, and for the answers.
   * @param {string} op @param {any} args @param {(done: number, total: number) => boolean} [progress]
   * @param {(core: Engine) => any} [work] what it is, if it is none in JSON
   */
  async function ask(op, args, progress, work = (core) => core.call(op, args, progress)) {
    const core = await start();
    if (!gpu) return work(core);
    const mine = turn.then(() => core.later(() => work(core)));
    turn = mine.then(() => {}, () => {});
    try {
      return await mine;
    } catch (error) {
      if (error.code !== 'E_DEVICE') throw error;
      leaveGpu(core, [...onGpu], error.message);
      if ('training' in args || 'evaluation' in args || op === 'check')
        throw new FillmaskError('E_DEVICE', `${error.message} What it had learnt since it was last applied, or since its last checkpoint, is lost.`);
      return work(core);
    }
  }

  /** Lets the processor compute for models from now on. */
  function leaveGpu(core, models, reason) {
    for (const model of models) {
      onGpu.delete(model);
      core.useGpu(model, false);
      notes.set(model, reason);
    }
    console.warn(`Fillmask: WebAssembly computes now, and not the GPU ${gpu?.name}. ${reason}`);
  }

  /** Gives a model to the GPU if it computes the same as the processor. */
  async function tryGpu(core, model) {
    core.useGpu(model, true);
    onGpu.add(model);
    let reason = '';
    try {
      const apart = await ask('check', { model });
      if (!(apart <= APART)) reason = `Its logits are ${apart ?? 'not even numbers'} away from the processor's, where ${APART} would be normal.`;
    } catch (error) {
      reason = error.message;
    }
    if (reason && onGpu.has(model)) leaveGpu(core, [model], reason);
  }

  function close(core, number) {
    small.delete(number);
    onGpu.delete(number);
    notes.delete(number);
    return core.call('close', { number });
  }

  /** What a model is, and what computes it. */
  async function describe(core, model) {
    const info = core.call('info', { model });
    const device = onGpu.has(model) ? { device: 'webgpu', adapter: gpu?.name } : { device: 'wasm' };
    return { ...info, ...device, ...(notes.has(model) ? { warning: notes.get(model) } : {}) };
  }

  /** @type {Record<string, (args: any, how: any) => Promise<any>>} */
  const own = {
    async open({ source, dtype, untrained, tokenizerOnly }, { signal, onEvent }) {
      if (dtype && dtype !== 'auto') checkDtype(dtype);
      const starting = start();
      starting.catch(() => {}); // is heard below
      const files = new Files(await located(source), { signal, onEvent, openFile: host.openFile, openStore: host.openStore, hasher: async () => (await start()).hasher() });
      const kept = {};
      const read = async (file) => {
        const bytes = await files.read(file);
        if (bytes) kept[file] = bytes;
        return bytes ?? undefined;
      };
      const config = tokenizerOnly ? undefined : (await read('config.json')) ?? files.missing('config.json');
      /** @type {import('./engine.js').TokenizerFiles} */
      const tokenizer = { config: await read('tokenizer_config.json'), json: await read('tokenizer.json') };
      if (!tokenizer.json) tokenizer.vocab = (await read('vocab.txt')) ?? files.missing('tokenizer.json and no vocab.txt');
      const core = await starting;
      const weights = tokenizerOnly || untrained ? null : (await files.open('model.safetensors')) ?? files.missing('model.safetensors');
      const number = await core.open({ config, tokenizer, weights: weights?.stream ?? null, checked: weights?.checked, dtype, signal });
      try {
        if (tokenizerOnly) return { number, info: core.call('info', { tokenizer: number }) };
        small.set(number, kept);
        if (gpu) await tryGpu(core, number);
        signal.throwIfAborted();
        return { number, info: await describe(core, number) };
      } catch (error) {
        close(core, number); // nobody learns its number
        throw error;
      }
    },

    async info(args) {
      const core = await start();
      return 'model' in args ? describe(core, args.model) : core.call('info', args);
    },

    async files({ model, dtype }) {
      const weights = (await start()).save(model, { dtype });
      return { ...small.get(model), 'model.safetensors': weights };
    },

    checkpoint: ({ training }) => ask('checkpoint', { training }, undefined, (core) => core.checkpoint(training)),

    resume: ({ training, checkpoint }) => ask('resume', { training }, undefined, (core) => core.resume(training, checkpoint)),

    close: async ({ number }) => close(await start(), number),

    memory: async () => (await engine)?.memoryBytes ?? 0,
  };

  const run = async ({ id, op, args }) => {
    const isAborted = () => aborted?.[id % aborted.length] === id;
    const controller = new AbortController();
    controllers.set(id, controller);
    try {
      if (isAborted()) throw new FillmaskError('E_ABORTED', 'Stopped.');
      const onEvent = (event) => post({ id, event });
      const result = own[op]
        ? await own[op](args, { signal: controller.signal, onEvent })
        : await ask(op, args, () => !isAborted());
      post({ id, result }, op === 'files' ? Object.values(result).slice(-1).map((bytes) => bytes.buffer) : op === 'checkpoint' ? [result.buffer] : []);
    } catch (error) {
      post(error.code === 'E_CRASHED' ? { died: error.message } : { id, error: packError(error) });
    } finally {
      controllers.delete(id);
    }
  };

  return (message) => {
    if (message.abort !== undefined) controllers.get(message.abort)?.abort();
    else run(message);
  };
}

/** The fastest build that this machine runs and computes right. @param {any} host with the GPU, if there is one */
async function createEngine({ wasm, openFile, threads, createThread, instructionSet, gpu }) {
  const create = async (url) => Engine.create({ threads, createThread, instructionSet, gpu, wasm: await source(new URL(url), openFile) });
  if (hasRelaxedSimd() && wasm.relaxed) {
    const engine = await create(wasm.relaxed);
    if (engine.check()) return engine;
    engine.close();
  }
  return create(wasm.simd128);
}

async function source(url, openFile) {
  if (url.protocol !== 'file:' || !openFile) return fetch(url);
  const file = await openFile(url);
  if (!file) throw new FillmaskError('E_IO', `${url.pathname} is missing; build it, or install the package anew.`);
  /** @type {any[]} */
  const all = [];
  for await (const part of file.stream) all.push(part);
  return new Response(new Blob(all));
}

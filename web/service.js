// service.js - what the worker does: opens and saves models, whose bytes it fetches and posts, and hands all other calls
// of client.js to the core. The core does one call after the other; what waits for bytes lets others pass.
import { Engine, hasRelaxedSimd } from './engine.js';
import { FillmaskError, packError } from './errors.js';
import { Files } from './files.js';

/**
 * @typedef {object} Host  What differs between browsers and Node.js, and what the first message brought.
 * @property {() => any} createThread
 * @property {(url: URL) => Promise<import('./files.js').OpenFile | null>} [openFile]
 * @property {{simd128: string, relaxed?: string}} wasm URLs of the two builds
 * @property {number} threads
 * @property {string} [instructionSet]
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

  const start = () => (engine ??= createEngine(host).catch((error) => {
    engine = undefined;
    throw error;
  }));

  /** @type {Record<string, (args: any, how: any) => Promise<any>>} */
  const own = {
    async open({ source, dtype, untrained, tokenizerOnly }, { signal, onEvent }) {
      const files = new Files(source, { signal, onEvent, openFile: host.openFile });
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
      const weights = tokenizerOnly || untrained ? null : (await files.open('model.safetensors')) ?? files.missing('model.safetensors');
      const core = await start();
      const number = await core.open({ config, tokenizer, weights: weights?.stream ?? null, weightsSize: weights?.size, signal });
      if (tokenizerOnly) return { number, info: core.call('info', { tokenizer: number }) };
      if (dtype && dtype !== 'auto') core.call('convert', { model: number, dtype });
      small.set(number, kept);
      return { number, info: core.call('info', { model: number }) };
    },

    async files({ model, dtype }) {
      const weights = (await start()).save(model, { dtype });
      return { ...small.get(model), 'model.safetensors': weights };
    },

    async close({ number }) {
      small.delete(number);
      return (await start()).call('close', { number });
    },

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
        : (await start()).call(op, args, () => !isAborted());
      post({ id, result }, op === 'files' ? Object.values(result).slice(-1).map((bytes) => bytes.buffer) : []);
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

/** The fastest build that this machine runs and computes right. @param {Host} host */
async function createEngine({ wasm, openFile, ...options }) {
  const create = async (url) => Engine.create({ ...options, wasm: await source(new URL(url), openFile) });
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

// service.js - what the worker does: carries out the calls of client.js with engines, and says what came of them.
import { Engine, hasRelaxedSimd } from './engine.js';
import { FillmaskError, packError } from './errors.js';
import { Files } from './files.js';

/**
 * @typedef {object} Host  What differs between browsers and Node.js, and what the first message brought.
 * @property {() => any} createThread
 * @property {(url: URL) => Promise<import('./files.js').OpenFile | null>} [openFile]
 * @property {{simd128: string, relaxed?: string}} wasm URLs of the two builds
 * @property {number} threads
 */

/**
 * @param {(message: any, transfer?: any[]) => void} post
 * @param {Host} host
 * @returns {(message: any) => void} takes what the client posts
 */
export function serve(post, host) {
  const running = new Map(); // calls that can be aborted
  const engines = new Map(); // by the numbers that stand for models
  let last = 0;

  const engineOf = ({ model }) => {
    const engine = engines.get(model);
    if (!engine) throw new FillmaskError('E_CLOSED', 'The model was disposed; load it again.');
    return engine;
  };

  const operations = {
    async open({ source }, { signal, onEvent }) {
      const files = new Files(source, { signal, onEvent, openFile: host.openFile });
      const config = await files.need('config.json');
      const tokenizer = { config: (await files.read('tokenizer_config.json')) ?? undefined };
      const json = await files.read('tokenizer.json');
      if (json) tokenizer.json = json;
      else tokenizer.vocab = (await files.read('vocab.txt')) ?? files.missing('tokenizer.json and no vocab.txt');
      const weights = (await files.open('model.safetensors')) ?? files.missing('model.safetensors');
      const engine = await createEngine(host);
      try {
        const info = await engine.open({ config, tokenizer, weights: weights.stream, weightsSize: weights.size, signal });
        engines.set(++last, engine);
        return { model: last, info };
      } catch (error) {
        engine.close();
        throw error;
      }
    },

    async close({ model }) {
      engines.get(model)?.close();
      engines.delete(model);
    },

    async fill({ texts, top_k, ...args }, { signal }) {
      const engine = engineOf(args);
      const results = [];
      for (const text of texts) {
        signal.throwIfAborted();
        results.push(await engine.fill(text, { top_k }));
      }
      return results;
    },

    encode: async ({ texts, special, ...args }) => texts.map((text) => engineOf(args).encode(text, { special })),
    decode: async ({ ids, options, ...args }) => engineOf(args).decode(ids, options),
  };

  return async ({ id, op, args, abort }) => {
    if (abort !== undefined) return running.get(abort)?.abort();
    const controller = new AbortController();
    running.set(id, controller);
    try {
      const result = await operations[op](args, { signal: controller.signal, onEvent: (event) => post({ id, event }) });
      post({ id, result });
    } catch (error) {
      post({ id, error: packError(error) });
    } finally {
      running.delete(id);
    }
  };
}

async function createEngine({ wasm, threads, createThread, openFile }) {
  const url = new URL(hasRelaxedSimd() && wasm.relaxed ? wasm.relaxed : wasm.simd128);
  let source;
  if (url.protocol === 'file:' && openFile) source = new Response(await readAll(await openFile(url), url));
  else source = await fetch(url);
  return Engine.create({ wasm: source, threads, createThread });
}

async function readAll(file, url) {
  if (!file) throw new FillmaskError('E_IO', `${url.pathname} is missing; build it, or install the package anew.`);
  const parts = [];
  for await (const part of file.stream) parts.push(part);
  return new Blob(parts);
}

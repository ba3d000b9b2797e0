// native.js - Node.js alone: the native program as what computes, by `fillmask serve --stdio`. It takes the messages that
// a worker takes (service.js) and answers alike; models that are no folders become some, for as long as they are open.
import { execFileSync, spawn } from 'node:child_process';
import { accessSync, constants, createWriteStream, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { FillmaskError, packError } from './errors.js';
import { Files, located } from './files.js';
import { hasher, openFile, openStore } from './files-node.js';
import { FILES } from './sources.js';

const SMALL = FILES.filter((file) => file !== 'model.safetensors');
const manifest = new URL('../package.json', import.meta.url); // a file, as bundlers want: servers may be built by them

// ---- the program ----

function versionOf(program) {
  try {
    accessSync(program, constants.X_OK);
    return execFileSync(program, ['--version'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], timeout: 10_000 }).trim();
  } catch {
    return null;
  }
}

/** @type {Map<string, string | null>} */
const versions = new Map();

/**
 * The native program of this version: the one that FILLMASK_BIN names, or else that of this folder, or of PATH.
 * @returns {{program?: string, problem: string}}
 */
export function findNative() {
  const { version } = JSON.parse(readFileSync(manifest, 'utf8'));
  const given = process.env.FILLMASK_BIN;
  const places = given ? [given] : [fileURLToPath(new URL('build/fillmask', manifest)), ...(process.env.PATH ?? '').split(delimiter).filter(Boolean).map((folder) => join(folder, 'fillmask'))];
  let problem = given ? `${given}, which FILLMASK_BIN names, cannot be run` : 'there is neither build/fillmask in the package nor fillmask on the PATH';
  for (const program of places) {
    if (!versions.has(program)) versions.set(program, versionOf(program));
    const found = versions.get(program);
    if (found === `fillmask ${version}`) return { program, problem: '' };
    if (found) problem = `${program} is ${found}, and not ${version}`;
  }
  return { problem };
}

// ---- folders for models that have none ----

/** @type {Set<string>} */
const temporary = new Set();
process.on('exit', () => temporary.forEach(remove));

function makeFolder() {
  const folder = mkdtempSync(join(tmpdir(), 'fillmask-'));
  temporary.add(folder);
  return folder;
}

function remove(folder) {
  if (temporary.delete(folder)) rmSync(folder, { recursive: true, force: true });
}

/** The folder that the files of a source are in, if it is one. @param {import('./files.js').ModelSource} source */
function folderOf({ base, files = {} }) {
  if (base) return base.startsWith('file:') ? fileURLToPath(base) : null;
  const folders = Object.entries(files).map(([name, url]) => (typeof url === 'string' && url.startsWith('file:') && url.endsWith(`/${name}`) ? dirname(fileURLToPath(url)) : null));
  return folders.every((folder) => folder === folders[0]) ? folders[0] : null;
}

// ---- the process ----

/**
 * @param {string} program
 * @param {import('./api.js').EngineOptions} options
 * @returns {import('./client.js').Start}
 */
export const startNative = (program, { threads = 0, instructionSet }) => (heard, died) => {
  const child = spawn(program, ['serve', '--stdio', '--utf16', '--threads', String(threads), ...(instructionSet ? ['--isa', instructionSet] : [])]);
  /** @type {Map<number, {resolve: (value: any) => void, reject: (error: any) => void}>} */
  const asked = new Map(); // by the numbers of lines
  /** @type {Map<number, {controller: AbortController, line?: number}>} */
  const calls = new Map(); // by the numbers of the client's calls
  const folders = new Map(); // of open models
  let last = 0, complaint = '', begun = '', ended = false;
  const gone = () => new FillmaskError('E_CRASHED', 'The native program ended.');

  child.stdout.setEncoding('utf8').on('data', (part) => {
    const lines = (begun + part).split('\n');
    begun = /** @type {string} */ (lines.pop());
    for (const line of lines) hear(JSON.parse(line));
  });
  child.stderr.setEncoding('utf8').on('data', (part) => (complaint = (complaint + part).slice(-1000)));
  child.stdin.on('error', () => {}); // its end tells more
  child.on('error', (error) => died(`${program} could not be started (${error.message}).`));
  child.on('close', (code, signal) => {
    for (const folder of folders.values()) remove(folder);
    ended = true;
    for (const { reject } of asked.values()) reject(gone());
    asked.clear();
    died(`The native program of Fillmask ended (${signal ?? `exit code ${code}`})${complaint && `: ${complaint.trim()}`}`);
  });
  const hold = (busy) => {
    const name = busy ? 'ref' : 'unref';
    for (const one of [child, child.stdin, child.stdout, child.stderr]) /** @type {any} */ (one)[name]?.();
  };
  hold(false);

  function hear({ id, result, error }) {
    const call = asked.get(id);
    if (!call || (result === undefined && !error)) return; // progress that nobody asked for
    asked.delete(id);
    if (error) call.reject(new FillmaskError(error.code, error.message));
    else call.resolve(result);
  }

  /** Asks the program, on behalf of a call. */
  const ask = (call, op, args) => new Promise((resolve, reject) => {
    call.controller.signal.throwIfAborted();
    if (ended) throw gone();
    call.line = ++last;
    asked.set(last, { resolve, reject });
    child.stdin.write(`${JSON.stringify({ id: last, op, ...args })}\n`);
  });

  /** @type {Record<string, (call: any, args: any, onEvent: (event: any) => void) => Promise<any>>} */
  const own = {
    async open(call, { source: given, dtype, untrained, tokenizerOnly }, onEvent) {
      const source = await located(given);
      const files = new Files(source, { signal: call.controller.signal, onEvent, openFile, openStore, hasher });
      const needed = [...(tokenizerOnly ? [] : ['config.json']), 'tokenizer_config.json', 'tokenizer.json', 'vocab.txt', ...(tokenizerOnly || untrained ? [] : ['model.safetensors'])];
      const folder = (source.integrity ? null : folderOf(source)) ?? makeFolder();
      try {
        const found = new Set();
        for (const name of needed)
          if (!(name === 'vocab.txt' && found.has('tokenizer.json')) && (await (temporary.has(folder) ? copy(files, name, folder) : tell(folder, name, source.name, onEvent)))) found.add(name);
        if (!tokenizerOnly && !found.has('config.json')) files.missing('config.json');
        if (!found.has('tokenizer.json') && !found.has('vocab.txt')) files.missing('tokenizer.json and no vocab.txt');
        if (needed.includes('model.safetensors') && !found.has('model.safetensors')) files.missing('model.safetensors');
        const number = await ask(call, 'open', { model: folder, untrained, tokenizer_only: tokenizerOnly });
        folders.set(number, folder);
        if (dtype && dtype !== 'auto') await ask(call, 'convert', { model: number, dtype });
        return { number, info: await ask(call, 'info', tokenizerOnly ? { tokenizer: number } : { model: number }) };
      } catch (error) {
        remove(folder);
        throw error;
      }
    },

    async files(call, { model, dtype }) {
      const folder = makeFolder();
      try {
        const path = join(folder, 'model.safetensors');
        await ask(call, 'save', { model, path, dtype });
        const all = {};
        for (const name of SMALL) {
          const bytes = await readFile(join(folders.get(model), name)).catch(() => null);
          if (bytes) all[name] = bytes;
        }
        return { ...all, 'model.safetensors': await readFile(path) };
      } finally {
        remove(folder);
      }
    },

    async checkpoint(call, { training }) {
      const folder = makeFolder();
      try {
        const path = join(folder, 'checkpoint.safetensors');
        await ask(call, 'checkpoint', { training, path });
        return await readFile(path);
      } finally {
        remove(folder);
      }
    },

    async resume(call, { training, checkpoint }) {
      const folder = makeFolder();
      try {
        const path = join(folder, 'checkpoint.safetensors');
        await writeFile(path, checkpoint);
        return await ask(call, 'resume', { training, path }).catch((error) => {
          error.message = error.message.replaceAll(path, 'The checkpoint');
          throw error;
        });
      } finally {
        remove(folder);
      }
    },

    async close(call, { number }) {
      await ask(call, 'close', { number });
      remove(folders.get(number));
      folders.delete(number);
      return null;
    },
  };

  return {
    post({ id, op, args }) {
      const call = { controller: new AbortController() };
      calls.set(id, call);
      const work = own[op] ? own[op](call, args, (event) => heard({ id, event })) : ask(call, op, args);
      work.then((result) => heard({ id, result }), (error) => heard({ id, error: packError(error) })).finally(() => calls.delete(id));
    },
    abort(id) {
      const call = calls.get(id);
      call?.controller.abort();
      if (call?.line) child.stdin.write(`{"abort": ${call.line}}\n`);
    },
    close: () => void child.kill(),
    hold,
  };
};

/** Copies a file of a model, if it has it. @returns {Promise<boolean>} whether it has */
async function copy(files, name, folder) {
  const opened = await files.open(name);
  if (opened) await pipeline(Readable.from(opened.stream), createWriteStream(join(folder, name)));
  return Boolean(opened);
}

/** The events of a file that the program reads where it is. */
async function tell(folder, file, name, onEvent) {
  const found = await stat(join(folder, file)).catch(() => null);
  if (!found) return false;
  onEvent({ status: 'initiate', name, file });
  onEvent({ status: 'download', name, file });
  onEvent({ status: 'progress', name, file, loaded: found.size, total: found.size, progress: 100 });
  onEvent({ status: 'done', name, file });
  return true;
}

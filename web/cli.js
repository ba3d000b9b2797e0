#!/usr/bin/env node
// cli.js - `npx fillmask`: the command line. It runs the native program where that is built or installed, and elsewhere
// the same source compiled to WebAssembly, on one thread; that one also has the graphics card. --device decides, or
// FILLMASK_DEVICE.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, realpathSync, rmSync, statSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { isatty } from 'node:tty';
import { fileURLToPath } from 'node:url';
import { MessageChannel, Worker } from 'node:worker_threads';
import { findNative } from './native.js';

const DEVICES = ['auto', 'native', 'wasm', 'webgpu'];
const ON_GPU = ['augment', 'embed', 'eval', 'fill', 'score', 'train']; // commands that have --device
const TWICE = 1000; // milliseconds: npx passes on a Ctrl-C that the terminal has sent too
const module = fileURLToPath(new URL('../build-wasm/fillmask-cli.cjs', import.meta.url));

function fail(sentence) {
  console.error(`fillmask: ${sentence}`);
  process.exitCode = 1;
}

/** The value of an option among arguments, null if it stands there without one. @param {string[]} args */
function valueOf(args, name) {
  const end = args.indexOf('--'), options = end < 0 ? args : args.slice(0, end);
  const at = options.findLastIndex((arg) => arg === name || arg.startsWith(`${name}=`));
  if (at < 0) return undefined;
  return options[at] === name ? options[at + 1] ?? null : options[at].slice(name.length + 1);
}

function runNative(program, args) {
  const child = spawn(program, args, { stdio: 'inherit' });
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  // A terminal sends it to both. (process.stderr.isTTY would make a pipe non-blocking, for the child too.)
  process.on('SIGINT', () => isatty(0) || isatty(2) || child.kill('SIGINT'));
  child.on('error', (error) => fail(`${program} could not be started: ${error.message}.`));
  child.on('exit', (code, signal) => {
    if (!signal) process.exitCode = code ?? 1;
    else {
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    }
  });
}

/** Arguments without an option and its values. @param {string[]} args */
function without(args, name) {
  const end = args.indexOf('--'), options = end < 0 ? args : args.slice(0, end);
  return [...options.filter((arg, i) => arg !== name && options[i - 1] !== name && !arg.startsWith(`${name}=`)), ...args.slice(options.length)];
}

/** From now on the first signal is a wish, which the command line hears of by a flag; the second one ends it. */
function catchSignals(flags) {
  let first = 0;
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM']))
    process.on(signal, () => {
      first ||= performance.now();
      if (Atomics.exchange(flags, 1, 1) === 0 || performance.now() - first < TWICE) return;
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    });
}

/**
 * Whether this process now holds a file, until it ends: a socket stands for it, which no dead process can hold.
 * @param {string} file
 * @returns {Promise<boolean>}
 */
async function hold(file) {
  const name = `fillmask-${createHash('sha256').update(`${statSync(dirname(file)).dev} ${join(realpathSync(dirname(file)), basename(file))}`).digest('hex').slice(0, 32)}`;
  const { platform } = process, isFile = platform !== 'win32' && platform !== 'linux'; // the others vanish with their process
  const path = platform === 'win32' ? `\\\\.\\pipe\\${name}` : isFile ? join(tmpdir(), name.slice(0, 25)) : `\0${name}`;
  for (let attempt = 0; attempt < 3; attempt++) {
    const server = createServer().listen(path).unref();
    const { code } = await once(server, 'listening').then(() => ({ code: '' }), (error) => error);
    if (!code && isFile) process.on('exit', () => rmSync(path, { force: true }));
    if (code !== 'EADDRINUSE') return true; // or a system without sockets
    if (!isFile) return false;
    const caller = connect(path);
    const dead = await once(caller, 'connect').then(() => false, (error) => error.code === 'ECONNREFUSED');
    caller.destroy();
    if (!dead) return false; // also where it is another user's
    try {
      rmSync(path, { force: true });
    } catch {
      return false;
    }
  }
  return false;
}

function runWasm(args) {
  if (!existsSync(module)) return fail(`${module} is missing; build it (see the README), or install the package anew.`);
  const { port1, port2 } = new MessageChannel();
  const flags = new Int32Array(new SharedArrayBuffer(8)); // see worker-cli.js
  const answer = (message, transfer = []) => {
    port1.postMessage(message, transfer);
    Atomics.add(flags, 0, 1);
    Atomics.notify(flags, 0);
  };
  // Without stdout and stderr of its own, the pipes of this process become non-blocking, and the thread's writes fail.
  const worker = new Worker(new URL('./worker-cli.js', import.meta.url), { workerData: { args, env: { ...process.env }, flags: flags.buffer, answers: port2 }, transferList: [port2], execArgv: [], stdout: true, stderr: true });
  /** @type {Promise<(message: any) => Promise<void>> | undefined} */
  let gpu;
  const serve = async (message) => {
    if (message.catchSignals) catchSignals(flags);
    else if (message.hold) answer({ held: await hold(message.hold) });
    else await (await (gpu ??= import('./cli-gpu.js').then(({ playFor }) => playFor(answer))))(message);
  };
  worker.on('message', (message) => serve(message).catch((error) => {
    fail(error.message);
    worker.terminate(); // it may wait for an answer
  }));
  worker.on('error', (error) => fail(`The command line failed: ${error.stack}`));
  worker.on('exit', (code) => process.exit(process.exitCode || code)); // a GPU that is open would keep it waiting
}

async function listAdapters() {
  const { listAdapters: list, noAdapter } = await import('./gpu-node.js');
  const names = await list();
  if (names.length === 0) throw noAdapter();
  for (const name of names) console.log(name);
}

/** @param {string[]} args */
async function run(args) {
  const named = valueOf(args, '--device'), given = named ?? process.env.FILLMASK_DEVICE ?? '';
  if (valueOf(args, '--adapter') === null || valueOf(args, '--adapter') === 'list') return listAdapters();
  let device = given || 'auto';
  if (!DEVICES.includes(device)) {
    if (named === undefined) return fail(`FILLMASK_DEVICE is "${device}"; it must be ${DEVICES.slice(0, -1).join(', ')} or webgpu.`);
    device = 'auto'; // the program says what is wrong
  }
  if (named === undefined && device === 'webgpu') {
    if (ON_GPU.includes(args[0])) args = [args[0], '--device', 'webgpu', ...args.slice(1)];
    else device = 'auto';
  }
  if (named !== undefined && device === named && device !== 'webgpu' && !ON_GPU.includes(args[0])) args = without(args, '--device');
  const { program, problem } = ['wasm', 'webgpu'].includes(device) ? { problem: '' } : findNative();
  if (program) runNative(program, args);
  else if (device === 'native') fail(`There is no native program: ${problem}.`);
  else runWasm(args);
}

try {
  await run(process.argv.slice(2));
} catch (error) {
  fail(error.message);
}

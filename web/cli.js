#!/usr/bin/env node
// cli.js - `npx fillmask`: the command line. It runs the native program where that is built or installed, and elsewhere
// the same source compiled to WebAssembly, on one thread; that one also has the graphics card. --device decides, or
// FILLMASK_DEVICE.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, realpathSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
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
  // A terminal sends it to both.
  process.on('SIGINT', () => process.stdin.isTTY || process.stderr.isTTY || child.kill('SIGINT'));
  child.on('error', (error) => fail(`${program} could not be started: ${error.message}.`));
  child.on('exit', (code, signal) => {
    if (!signal) process.exitCode = code ?? 1;
    else {
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    }
  });
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
  const name = `fillmask-${createHash('sha256').update(join(realpathSync(dirname(file)), basename(file))).digest('hex').slice(0, 32)}`;
  const path = process.platform === 'win32' ? `\\\\.\\pipe\\${name}` : join(tmpdir(), `${name}.socket`);
  for (;;) {
    const server = createServer().listen(path).unref();
    const { code } = await once(server, 'listening').then(() => ({ code: '' }), (error) => error);
    if (!code) process.on('exit', () => rmSync(path, { force: true }));
    if (code !== 'EADDRINUSE') return true; // or a system without sockets
    const caller = connect(path);
    const answered = await once(caller, 'connect').then(() => true, () => false);
    caller.destroy();
    if (answered || process.platform === 'win32') return false;
    rmSync(path, { force: true });
  }
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
  const worker = new Worker(new URL('./worker-cli.js', import.meta.url), { workerData: { args, env: { ...process.env }, flags: flags.buffer, answers: port2 }, transferList: [port2], execArgv: [] });
  /** @type {Promise<(message: any) => Promise<void>> | undefined} */
  let gpu;
  worker.on('message', async (message) => {
    if (message.catchSignals) catchSignals(flags);
    else if (message.hold) answer({ held: await hold(message.hold) });
    else await (await (gpu ??= import('./cli-gpu.js').then(({ playFor }) => playFor(answer))))(message);
  });
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

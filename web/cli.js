#!/usr/bin/env node
// cli.js - `npx fillmask`: the command line. It runs the native program where that is built or installed, and elsewhere
// the same source compiled to WebAssembly, on one thread. FILLMASK_DEVICE=native or wasm decides.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isatty } from 'node:tty';
import { fileURLToPath } from 'node:url';
import { findNative } from './native.js';

const path = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url));
const device = process.env.FILLMASK_DEVICE || 'auto';
const args = process.argv.slice(2);

function fail(sentence) {
  console.error(`fillmask: ${sentence}`);
  process.exitCode = 1;
}

function runNative(program) {
  const child = spawn(program, args, { stdio: 'inherit' });
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => fail(`${program} could not be started: ${error.message}.`));
  child.on('exit', (code, signal) => (signal ? process.kill(process.pid, signal) : (process.exitCode = code ?? 1)));
}

async function runWasm() {
  const module = path('build-wasm/fillmask-cli.cjs');
  if (!existsSync(module)) return fail(`${module} is missing; build it (see the README), or install the package anew.`);
  const { ENV, FS, callMain } = await createRequire(import.meta.url)(module)({
    wasmBinary: readFileSync(path('build-wasm/fillmask-cli.wasm')),
    preRun: [({ ENV }) => Object.assign(ENV, { FILLMASK_MODEL: path('weights/fillmask-small-en') }, process.env)],
  });
  for (const fd of [0, 1, 2]) Object.assign(FS.streams[fd], { tty: isatty(fd), path: `/dev/fd/${fd}` }); // for isatty and fstat
  callMain(args); // which ends the process
}

if (!['auto', 'native', 'wasm'].includes(device)) fail(`FILLMASK_DEVICE is "${device}"; it must be auto, native or wasm.`);
else {
  const { program, problem } = device === 'wasm' ? { problem: '' } : findNative();
  if (program) runNative(program);
  else if (device === 'native') fail(`There is no native program: ${problem}.`);
  else await runWasm();
}

// worker-cli.js - the thread that runs the command line compiled to WebAssembly, for cli.js. It waits for the GPU, whose
// lists the main thread plays (cli-gpu.js), as a native program would.
import { readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isatty } from 'node:tty';
import { fileURLToPath } from 'node:url';
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import model from './default-model.js';
import { copyOf } from './gpu.js';

const port = /** @type {import('node:worker_threads').MessagePort} */ (parentPort);
const { args, env, answers } = workerData;
const flags = new Int32Array(workerData.flags); // answers so far; whether a signal has come
const path = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url));
const decoder = new TextDecoder(), encoder = new TextEncoder();

/** Asks the main thread, and waits for its answer. */
function ask(message) {
  const before = Atomics.load(flags, 0);
  port.postMessage(message);
  Atomics.wait(flags, 0, before);
  return /** @type {any} */ (receiveMessageOnPort(answers)).message;
}

const text = (bytes, at) => decoder.decode(bytes.subarray(at, bytes.indexOf(0, at)));
function put(bytes, at, room, words) {
  bytes.fill(0, at, at + room).set(encoder.encode(words).subarray(0, room - 1), at);
}

let caught = false;
let half = 0; // what the graphics card can do in f16
const host = {
  catchSignals() {
    if (!caught) port.postMessage({ catchSignals: true });
    caught = true;
  },
  isInterrupted: () => Atomics.load(flags, 1),
  nanoseconds: (bytes, file) => Number((statSync(text(bytes, file), { bigint: true, throwIfNoEntry: false })?.mtimeNs ?? 0n) % 1_000_000_000n),
  hold: (bytes, file) => ask({ hold: text(bytes, file) }).held,
  open(bytes, adapter, power, kernels, at, room) {
    const { limit, half: found, name, error } = ask({ open: { adapter: text(bytes, adapter), powerPreference: text(bytes, power), kernels: text(bytes, kernels) } });
    put(bytes, at, room, error ?? name);
    half = Number(found ?? 0);
    return limit ?? 0;
  },
  half: () => half,
  play(bytes, gpu, at, words) {
    const { list, data } = copyOf(new Uint32Array(bytes.buffer, at, words), bytes.buffer);
    port.postMessage({ play: gpu, list, data }, [list.buffer, .../** @type {ArrayBuffer[]} */ ([...data.values()].map(({ buffer }) => buffer))]);
  },
  finish(bytes, gpu, at, room) {
    const { reads, error } = ask({ finish: gpu });
    if (error) put(bytes, at, room, error);
    for (const [to, found] of reads ?? []) bytes.set(found, to);
    return error ? 2 : 0;
  },
  close: (gpu) => port.postMessage({ close: gpu }),
};

const { FS, callMain } = await createRequire(import.meta.url)(path('build-wasm/fillmask-cli.cjs'))({
  wasmBinary: readFileSync(path('build-wasm/fillmask-cli.wasm')),
  preRun: [({ ENV }) => Object.assign(ENV, { FILLMASK_MODEL: path(`weights/${model.name}`) }, env)],
  host,
});
for (const fd of [0, 1, 2]) Object.assign(FS.streams[fd], { tty: isatty(fd), path: `/dev/fd/${fd}` }); // for isatty and fstat
callMain(args); // which ends the thread

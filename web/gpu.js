// gpu.js - plays the lists of commands that core/ops/webgpu writes on a GPUDevice, in a browser's worker and in Node.js
// alike. It knows no operations: kernels and their bindings come from the core, buffers have numbers. A page loads it
// only where a GPU is asked for.
import { FillmaskError } from './errors.js';

const CREATE = 1, RELEASE = 2, WRITE = 3, DATA = 4, READ = 5, FORGET = 6, ZERO = 7, COPY = 8; // RUN = 9
const SLOT = 256; // bytes of a uniform block, which begins at a multiple of them
const BLOCK = 112; // of which it has so many: see common.wgsl
const SLOTS = 512; // of a submit
const SUBMIT = 40; // milliseconds of work that a submit is to be, and a dispatch at most
const GROUPS = 8192; // bind groups that are kept
const FEATURES = ['subgroups', 'shader-f16'];
const MATRICES = 'chromium-experimental-subgroup-matrix';
const KEPT = 2 ** 22; // bytes of the largest buffer that is kept for another use

/**
 * @typedef {object} GpuOptions
 * @property {'low-power' | 'high-performance'} [powerPreference='high-performance']
 * @property {string} [adapter] in Node.js: its name, or part of it
 * @property {number} [limit] bytes of a binding at most, where it is to be less than the GPU allows
 * @property {number} [budget] thousands of multiply-adds of a submit and of a dispatch, where that is not to follow from
 *   what the GPU is seen to do
 */

/** A device, the kernels that it has compiled, and what uses it. */
export class Gpu {
  /**
   * @param {any} gpu navigator.gpu, or what create() of the npm package webgpu gives; with `matrices` subgroups may
   *   multiply matrices
   * @param {GpuOptions} [options]
   * @returns {Promise<Gpu>}
   */
  static async create(gpu, { powerPreference = 'high-performance', limit, budget } = {}) {
    const adapter = await gpu?.requestAdapter({ powerPreference });
    if (!adapter)
      throw new FillmaskError('E_UNSUPPORTED', 'WebGPU finds no adapter: the browser or system lacks a driver for the GPU, or keeps it from programs; use device "wasm".');
    const { maxStorageBufferBindingSize, maxBufferSize } = adapter.limits;
    const unit = gpu.matrices ? unitOf(adapter) : undefined;
    const requiredFeatures = FEATURES.filter((feature) => adapter.features.has(feature)).concat(unit ? MATRICES : []);
    const device = await adapter.requestDevice({ requiredFeatures, requiredLimits: { maxStorageBufferBindingSize, maxBufferSize } });
    return new Gpu(gpu, adapter, device, limit, budget, unit);
  }

  /** @type {Map<number, {pipeline: any, layout: any}>} */
  #pipelines = new Map();
  /** @type {Map<number, Promise<void>>} */
  #compiling = new Map();
  /** @type {string[]} */
  #sources = [];
  #common = '';
  /** @type {Map<string, any>} */
  #layouts = new Map();
  #players = new Map();
  #rate = 1e3; // thousands of multiply-adds a millisecond
  #budget;
  #lost = '';

  constructor(gpu, adapter, device, limit, budget, unit) {
    /** The matrices that subgroups multiply, if they do. */
    this.unit = unit;
    this.gpu = gpu; // Dawn's own must outlive the device
    this.adapter = adapter;
    this.device = device;
    /** Bytes of a binding at most. */
    this.limit = Math.min(limit ?? Infinity, device.limits.maxStorageBufferBindingSize, 2 ** 31);
    this.#budget = budget;
    device.lost.then(({ message, reason }) => this.fail(`The GPU was lost (${message || reason}).`));
    device.addEventListener?.('uncapturederror', ({ error }) => this.fail(`The GPU failed: ${error.message}`));
    this.uniforms = device.createBuffer({ size: SLOT * SLOTS, usage: 0x40 | 0x8 });
    this.none = Array.from({ length: 9 }, () => device.createBuffer({ size: 16, usage: 0x80 }));
  }

  /** What the GPU is, in words. */
  get name() {
    return nameOf(this.adapter);
  }

  /** Whether it has f16. */
  get half() {
    return this.device.features.has('shader-f16');
  }

  /** What the core is told of that: 2 with matrices. */
  get f16() {
    return this.half ? (this.unit ? 2 : 1) : 0;
  }

  /** Why nothing works any more, '' while it does. */
  get trouble() {
    return this.#lost;
  }

  fail(reason) {
    this.#lost ||= reason;
  }

  /** The kernels, as the core has them: one text for each, after one that goes before all. @param {string} text */
  set kernels(text) {
    [this.#common, ...this.#sources] = text.split('\n//\n');
  }

  /** What the core imports. @param {() => ArrayBuffer} memory */
  imports(memory) {
    return {
      gpu_play: (id, at, words) => this.player(id, memory).play(new Uint32Array(memory(), at >>> 0, words)),
      gpu_finish: (id, at, room) => this.player(id, memory).finish(at >>> 0, room),
      gpu_half: () => this.f16,
      gpu_close: (id) => this.closePlayer(id),
    };
  }

  /**
   * What plays the lists of one backend.
   * @param {number} id
   * @param {() => ArrayBuffer} [memory] of the core, where lists do not come with what they write
   * @returns {Player}
   */
  player(id, memory = () => new ArrayBuffer(0)) {
    if (!this.#players.has(id)) this.#players.set(id, new Player(this, memory));
    return this.#players.get(id);
  }

  /** @param {number} id */
  closePlayer(id) {
    this.#players.get(id)?.close();
    this.#players.delete(id);
  }

  /** Resolves when all that was read has arrived, or the GPU failed. */
  async settled() {
    for (const player of this.#players.values()) await player.settled();
  }

  close() {
    this.fail('The GPU was closed.');
    for (const player of this.#players.values()) player.close();
    this.device.destroy();
  }

  // ---- for players ----

  get budget() {
    return this.#budget ?? this.#rate * SUBMIT;
  }

  /** So much work has taken so long. */
  measured(work, milliseconds) {
    if (milliseconds > 1 && work > 1e4) this.#rate = 0.5 * this.#rate + 0.5 * (work / milliseconds);
  }

  pipeline(key) {
    return this.#pipelines.get(key);
  }

  /** Compiles a kernel, once. @param {number} key kernel and variant @returns {Promise<void>} */
  compile(key) {
    if (!this.#compiling.has(key)) this.#compiling.set(key, this.#compile(key));
    return /** @type {Promise<void>} */ (this.#compiling.get(key));
  }

  async #compile(key) {
    const variant = Math.floor(key / 32);
    const code = this.#chosen(`${this.#common}\n${this.#sources[key % 32]}`, variant);
    const kinds = [];
    for (const [, binding, kind] of code.matchAll(/@binding\((\d)\) var<storage, (\w+)>/g)) kinds[Number(binding) - 1] = kind;
    const layout = this.#layout(kinds);
    const enabled = [...code.matchAll(/^enable .*$/gm)].join('\n');
    const constants = Object.entries({ VARIANT: variant, ...this.unit }).map(([name, value]) => `const ${name} = ${value}u;\n`);
    const module = this.device.createShaderModule({ code: `${enabled}\n${constants.join('')}${code.replace(/^enable .*$/gm, '')}` });
    const pipeline = await this.device.createComputePipelineAsync({
      layout: this.device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: 'main' },
    });
    this.#pipelines.set(key, { pipeline, layout });
  }

  /** The lines that are for a variant and this GPU: see common.wgsl. */
  #chosen(code, variant) {
    const has = (bits) => (bits === 'subgroups' ? this.device.features.has(bits) : (variant & bits) !== 0);
    return code.replace(/^#(!?)(\w+) ?(.*)$/gm, (_, not, bits, line) => (has(bits) === !not ? line : ''));
  }

  #layout(kinds) {
    const key = kinds.join();
    if (!this.#layouts.has(key)) {
      const entry = (binding, buffer) => ({ binding, visibility: 4, buffer });
      const entries = kinds.map((kind, i) => entry(i + 1, { type: kind === 'read' ? 'read-only-storage' : 'storage' }));
      entries.unshift(entry(0, { type: 'uniform', hasDynamicOffset: true, minBindingSize: BLOCK }));
      this.#layouts.set(key, this.device.createBindGroupLayout({ entries }));
    }
    return this.#layouts.get(key);
  }
}

/** One backend of the core: its buffers, and the list under way. */
class Player {
  #gpu;
  #device;
  #memory;
  #buffers = new Map();
  #pool = new Map(); // released buffers by their sizes
  #groups = new Map();
  #encoder;
  #pass;
  #slot = 0;
  #uniforms = new Uint32Array((SLOT / 4) * SLOTS);
  #work = 0; // of the submit under construction
  #done = 0; // of those since there was nothing to wait for, or since all that was waited for had come
  #since = 0;
  #awaited = 0; // submits whose reads have not arrived
  /** @type {{to: number, from: any, staging?: any, size: number, ready?: boolean}[]} */
  #reads = [];
  /** @type {Promise<void> | null} */
  #waiting = null; // lists that wait for kernels to be compiled
  #arriving = Promise.resolve();
  #closed = false;

  constructor(gpu, memory) {
    this.#gpu = gpu;
    this.#device = gpu.device;
    this.#memory = memory;
  }

  /**
   * Plays a list. What cannot be played yet is copied and played later.
   * @param {Uint32Array} list
   * @param {Map<number, Uint8Array>} [data] what its WRITEs take, if that and the list are copies already
   */
  play(list, data) {
    if (this.#gpu.trouble) return;
    const missing = this.#missing(list);
    if (missing.length === 0 && !this.#waiting) return this.#run(list, data);
    const copy = data ? { list, data } : copyOf(list, this.#memory());
    const before = this.#waiting ?? Promise.resolve();
    const compiled = Promise.all(missing.map((key) => this.#gpu.compile(key)));
    const mine = (this.#waiting = Promise.all([before, compiled])
      .then(() => this.#closed || this.#run(copy.list, copy.data))
      .catch((error) => this.#gpu.fail(`A kernel could not be compiled: ${error.message}`))
      .then(() => {
        if (this.#waiting === mine) this.#waiting = null;
      }));
  }

  /** Puts what has arrived into the core's memory: 0, 1 if something is under way, 2 if the GPU has failed. */
  finish(at, room) {
    if (this.#gpu.trouble) {
      const bytes = new TextEncoder().encode(this.#gpu.trouble).subarray(0, room - 1);
      new Uint8Array(this.#memory(), at, room).fill(0).set(bytes);
      this.#reads = [];
      return 2;
    }
    return this.collect((to, bytes) => new Uint8Array(this.#memory(), to, bytes.length).set(bytes)) ? 0 : 1;
  }

  /**
   * Begins all before it, and hands over what was read: false, and nothing, if not all has arrived.
   * @param {(to: number, bytes: Uint8Array) => void} use bytes are gone afterwards
   */
  collect(use) {
    if (!this.#waiting) this.#submit();
    if (this.#waiting || this.#reads.some(({ ready }) => !ready)) return false;
    for (const { to, staging, size } of this.#reads) {
      use(to, new Uint8Array(staging.getMappedRange(0, size)));
      staging.destroy();
    }
    this.#reads = [];
    return true;
  }

  async settled() {
    while (!this.#gpu.trouble && (this.#waiting || this.#reads.some(({ ready }) => !ready))) {
      await this.#waiting;
      if (!this.#waiting) this.#submit();
      await this.#arriving;
    }
  }

  close() {
    this.#closed = true;
    for (const buffer of this.#buffers.values()) buffer.destroy();
    for (const list of this.#pool.values()) for (const buffer of list) buffer.destroy();
    for (const { staging } of this.#reads) staging?.destroy();
    this.#buffers.clear();
    this.#pool.clear();
    this.#groups.clear();
    this.#reads = [];
  }

  // ---- lists ----

  #missing(list) {
    const missing = new Set();
    for (const at of commands(list)) {
      const key = list[at] === 9 ? list[at + 1] + 32 * list[at + 2] : -1;
      if (key >= 0 && !this.#gpu.pipeline(key)) missing.add(key);
    }
    return [...missing];
  }

  /** @param {Uint32Array} list @param {Map<number, Uint8Array>} [data] */
  #run(list, data) {
    if (list.length === 0) this.#submit();
    for (const at of commands(list)) {
      const [, a, b, c, d, e] = list.subarray(at, at + 6);
      switch (list[at]) {
        case CREATE: this.#create(a, b); break;
        case RELEASE: this.#release(a); break;
        case WRITE: this.#write(a, b, data?.get(at) ?? new Uint8Array(this.#memory(), d, c).slice()); break;
        case DATA: this.#write(a, b, list.slice(at + 4, at + 4 + c / 4)); break;
        case READ: this.#read(a, b, c, d); break;
        case FORGET: this.#forget(a, b); break;
        case ZERO: this.#encode().clearBuffer(this.#buffers.get(a), b, c); break;
        case COPY: this.#encode().copyBufferToBuffer(this.#buffers.get(a), b, this.#buffers.get(c), d, e); break;
        default: this.#dispatch(list, at);
      }
    }
  }

  // ---- buffers ----

  #create(number, bytes) {
    const size = Math.max(16, Math.ceil(bytes / 16) * 16);
    const known = this.#pool.get(size)?.pop();
    if (known) this.#encode().clearBuffer(known);
    this.#buffers.set(number, known ?? this.#device.createBuffer({ size, usage: 0x80 | 0x8 | 0x4 }));
  }

  #release(number) {
    const buffer = this.#buffers.get(number);
    this.#buffers.delete(number);
    this.#groups.clear();
    if (buffer.size > KEPT) {
      this.#submit();
      buffer.destroy();
      return;
    }
    const list = this.#pool.get(buffer.size) ?? [];
    this.#pool.set(buffer.size, list);
    list.push(buffer);
  }

  #write(number, offset, bytes) {
    this.#submit(); // what came before must not see it
    this.#device.queue.writeBuffer(this.#buffers.get(number), offset, bytes);
  }

  #read(number, offset, size, to) {
    const staging = this.#device.createBuffer({ size, usage: 0x1 | 0x8 });
    this.#encode().copyBufferToBuffer(this.#buffers.get(number), offset, staging, 0, size);
    this.#reads.push({ to, from: number, staging, size });
  }

  #forget(start, size) {
    this.#reads = this.#reads.filter(({ to }) => to < start || to >= start + size);
  }

  // ---- work ----

  #encode() {
    this.#pass?.end();
    this.#pass = null;
    return (this.#encoder ??= this.#device.createCommandEncoder());
  }

  /** In as many dispatches as it takes for none to be long, each of a part of the workgroups. */
  #dispatch(list, at) {
    const [kernel, variant, x, y, z, work, count, words] = list.subarray(at + 1, at + 9);
    const { pipeline, layout } = this.#gpu.pipeline(kernel + 32 * variant);
    const bindings = list.subarray(at + 9, at + 9 + 3 * count);
    const block = list.subarray(at + 9 + 3 * count, at + 9 + 3 * count + words);
    const all = x * y * z;
    if (all === 0) return;
    const most = work > this.#gpu.budget ? Math.max(1, Math.floor((all * this.#gpu.budget) / work)) : all;
    const dx = Math.min(x, most), dy = Math.min(y, Math.max(1, Math.floor(most / x))), dz = Math.min(z, Math.max(1, Math.floor(most / x / y)));
    for (let k = 0; k < z; k += dz)
      for (let j = 0; j < y; j += dy)
        for (let i = 0; i < x; i += dx) {
          const part = [Math.min(dx, x - i), Math.min(dy, y - j), Math.min(dz, z - k)];
          const its = (work * part[0] * part[1] * part[2]) / all;
          if (this.#slot === SLOTS || (this.#work > 0 && this.#work + its > this.#gpu.budget)) this.#submit();
          this.#uniforms.set([i, j, k, x], (this.#slot * SLOT) / 4);
          this.#uniforms.set(block, (this.#slot * SLOT) / 4 + 4);
          this.#encoder ??= this.#device.createCommandEncoder();
          this.#pass ??= this.#encoder.beginComputePass();
          this.#pass.setPipeline(pipeline);
          this.#pass.setBindGroup(0, this.#group(layout, bindings), [this.#slot * SLOT]);
          this.#pass.dispatchWorkgroups(...part);
          this.#slot++;
          this.#work += its;
        }
  }

  #group(layout, bindings) {
    const key = bindings.join();
    const kept = this.#groups.get(layout) ?? new Map();
    this.#groups.set(layout, kept);
    if (!kept.has(key)) {
      /** @type {any[]} */
      const entries = [{ binding: 0, resource: { buffer: this.#gpu.uniforms, size: BLOCK } }];
      for (let i = 0; i < bindings.length; i += 3) {
        const buffer = bindings[i] ? this.#buffers.get(bindings[i]) : this.#gpu.none[i / 3];
        const resource = bindings[i] ? { buffer, offset: bindings[i + 1], size: bindings[i + 2] } : { buffer };
        entries.push({ binding: i / 3 + 1, resource });
      }
      if (kept.size > GROUPS) kept.clear();
      kept.set(key, this.#device.createBindGroup({ layout, entries }));
    }
    return kept.get(key);
  }

  #submit() {
    if (!this.#encoder) return;
    this.#pass?.end();
    this.#device.queue.writeBuffer(this.#gpu.uniforms, 0, this.#uniforms, 0, (this.#slot * SLOT) / 4);
    if (this.#done === 0) this.#since = performance.now();
    this.#device.queue.submit([this.#encoder.finish()]);
    this.#done += this.#work;
    this.#pass = this.#encoder = null;
    this.#slot = this.#work = 0;
    const fresh = this.#reads.filter((read) => read.ready === undefined);
    for (const read of fresh) read.ready = false;
    if (fresh.length > 0) this.#arriving = this.#arrive(fresh, this.#done);
  }

  async #arrive(reads, work) {
    this.#awaited++;
    try {
      await Promise.all(reads.map(({ staging }) => staging.mapAsync(1)));
      for (const read of reads) read.ready = true;
      if (--this.#awaited > 0) return; // only the last of several answers says how long all took
      const now = performance.now();
      this.#gpu.measured(work, now - this.#since);
      this.#done -= work;
      this.#since = now;
    } catch (error) {
      if (!this.#closed) this.#gpu.fail(`The GPU did not answer: ${error.message}`);
    }
  }
}

/**
 * A list and what its WRITEs would read, which may be another thing later.
 * @param {Uint32Array} list
 * @param {ArrayBuffer} memory of the core
 */
export function copyOf(list, memory) {
  /** @type {Map<number, Uint8Array>} */
  const data = new Map();
  for (const at of commands(list)) if (list[at] === WRITE) data.set(at, new Uint8Array(memory, list[at + 4], list[at + 3]).slice());
  return { list: list.slice(), data };
}

/**
 * Matrices of f16 that subgroups multiply, with sums in f32, in sizes that product_matrices.wgsl can take.
 * @param {any} adapter
 * @returns {{UNIT_M: number, UNIT_N: number, UNIT_K: number, SUBGROUP: number} | undefined}
 */
function unitOf({ features, info }) {
  const size = info.subgroupMaxSize;
  if (![MATRICES, ...FEATURES].every((feature) => features.has(feature)) || info.subgroupMinSize !== size || size > 64) return undefined;
  const found = [...info.subgroupMatrixConfigs].find(({ componentType, resultComponentType, M, N, K }) =>
    componentType === 'f16' && resultComponentType === 'f32' && [M, N, K].every((side) => side >= 4 && 16 % side === 0) && M * N <= 8 * size);
  return found && { UNIT_M: found.M, UNIT_N: found.N, UNIT_K: found.K, SUBGROUP: size };
}

function nameOf(adapter) {
  const { vendor, architecture, device, description } = adapter.info ?? {};
  return [vendor, architecture, device, description && `(${description})`].filter(Boolean).join(' ') || 'unknown';
}

/** Where the commands of a list begin. @param {Uint32Array} list */
function* commands(list) {
  const sizes = [0, 3, 2, 5, 4, 5, 3, 4, 6];
  for (let at = 0; at < list.length; ) {
    yield at;
    if (list[at] === DATA) at += 4 + list[at + 3] / 4;
    else if (list[at] < 9) at += sizes[list[at]];
    else at += 9 + 3 * list[at + 7] + list[at + 8];
  }
}

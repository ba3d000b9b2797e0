// cli-gpu.js - the GPU of the command line (worker-cli.js): opened, and its lists played, in the main thread, whose event
// loop Dawn needs.
import { openGpu } from './gpu-node.js';
import { Gpu } from './gpu.js';

/**
 * @param {(message: any, transfer?: any[]) => void} answer
 * @returns {(message: any) => Promise<void>} takes what the command line asks for, one after the other
 */
export function playFor(answer) {
  /** @type {Gpu} */
  let gpu;

  async function open({ adapter, powerPreference, kernels }) {
    try {
      gpu = await Gpu.create(await openGpu(adapter || undefined), { powerPreference });
      gpu.kernels = kernels;
      answer({ limit: gpu.limit, half: gpu.f16, name: gpu.name });
    } catch (error) {
      answer({ error: error.message });
    }
  }

  async function finish(id) {
    const player = gpu.player(id);
    /** @type {[number, Uint8Array][]} */
    const reads = [];
    while (!gpu.trouble && !player.collect((to, bytes) => reads.push([to, bytes.slice()]))) await player.settled();
    answer(gpu.trouble ? { error: gpu.trouble } : { reads }, reads.map(([, { buffer }]) => /** @type {ArrayBuffer} */ (buffer)));
  }

  /** What cannot be played is an error of the next answer. */
  function play(id, list, data) {
    try {
      gpu.player(id).play(list, data);
    } catch (error) {
      gpu.fail(`The GPU failed: ${error.message}`);
    }
  }

  return async (message) => {
    if (message.open) await open(message.open);
    else if (message.finish) await finish(message.finish);
    else if (message.play) play(message.play, message.list, message.data);
    else if (message.close) gpu.closePlayer(message.close);
  };
}

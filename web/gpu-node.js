// gpu-node.js - navigator.gpu for Node.js: Dawn, the npm package webgpu, which is 132 MB and so only there if it was
// installed.
import { platform } from 'node:process';
import { pathToFileURL } from 'node:url';
import { FillmaskError } from './errors.js';

/** Dawn, from where FILLMASK_WEBGPU says or as installed beside this package. */
async function loadDawn() {
  const given = process.env.FILLMASK_WEBGPU, place = given ? pathToFileURL(given).href : 'webgpu';
  try {
    const dawn = await import(place);
    Object.assign(globalThis, dawn.globals);
    return dawn;
  } catch (error) {
    const remedy = given ? `correct FILLMASK_WEBGPU, which is ${given}` : 'npm install webgpu';
    throw new FillmaskError('E_UNSUPPORTED', `device "webgpu" needs the package webgpu (Dawn for Node.js, 132 MB), which cannot be loaded: ${remedy} (${error.message.split('\n')[0]}).`);
  }
}

export function noAdapter() {
  const install = platform === 'linux'
    ? ' Install the Vulkan loader and the driver of the card: on Debian and Ubuntu libvulkan1, with mesa-vulkan-drivers for AMD and Intel, and nvidia-vulkan-icd or NVIDIA\'s own driver with its Vulkan part for NVIDIA; vulkaninfo --summary then names the card, and in a container the card must be passed on, graphics included.'
    : ' Install the driver of the card.';
  return new FillmaskError('E_UNSUPPORTED', `WebGPU finds no adapter: there is no graphics card, or no driver that it can use.${install} Or take another device.`);
}

/** What Dawn says about adapters when it is asked for one that is not there. */
const namesIn = (text) => [...text.matchAll(/^ \* backend: '(.*?)', name: '(.*)'$/gm)].map(([, , name]) => name);

/**
 * The names of the adapters that there are.
 * @returns {Promise<string[]>}
 */
export async function listAdapters() {
  const dawn = await loadDawn();
  try {
    await dawn.create(['adapter=\n']).requestAdapter(); // no name has a line in it
  } catch (error) {
    const names = namesIn(error.message);
    if (names.length === 0) throw error;
    return [...new Set(names)];
  }
  return [];
}

/**
 * What is asked for adapters. It says what to do where there is none. FILLMASK_SUBGROUP_MATRICES=1 lets subgroups
 * multiply matrices where the card has that, which is an experiment of Dawn's.
 * @param {string} [name] of the adapter, or part of it; FILLMASK_ADAPTER unless given
 * @returns {Promise<{matrices: boolean, requestAdapter: (options: any) => Promise<any>}>}
 */
export async function openGpu(name = process.env.FILLMASK_ADAPTER) {
  const matrices = process.env.FILLMASK_SUBGROUP_MATRICES === '1';
  const gpu = (await loadDawn()).create([...(name ? [`adapter=${name}`] : []), ...(matrices ? ['enable-dawn-features=allow_unsafe_apis'] : [])]);
  return {
    matrices,
    async requestAdapter(options) {
      let adapter;
      try {
        adapter = await gpu.requestAdapter(options);
      } catch (error) {
        const names = namesIn(error.message);
        if (names.length === 0) throw error;
        throw new FillmaskError('E_ARGUMENT', `No adapter has "${name}" in its name; there ${names.length > 1 ? 'are' : 'is'} ${names.join(', ')}.`);
      }
      if (!adapter) throw noAdapter();
      return adapter;
    },
  };
}

// helpers.mjs - what the tests of the GPU path share: Dawn for Node.js (tools/gpu_setup.sh) on the SwiftShader of
// Chromium, and the module that tests/webgpu/test_webgpu.c becomes.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
export const dawn = join(root, 'build-dawn/node_modules/webgpu/index.js');
export const driver = ['/usr/lib/chromium/vk_swiftshader_icd.json', '/usr/lib64/chromium-browser/vk_swiftshader_icd.json'].find(existsSync);

/** Mesa's GPU in software, which has the f16 that SwiftShader lacks: the file that tells the Vulkan loader of it. */
export const lavapipe = join(root, 'build-dawn/lavapipe.json');

const wasm = (name) => join(process.env.FILLMASK_WASM ?? join(root, 'build-wasm'), name);

/** A file of the WebAssembly build: its bytes, its URL. */
export const built = (name) => readFileSync(wasm(name));
export const wasmFile = (name) => pathToFileURL(wasm(name)).href;

/** Why there is no GPU to test with, or false. */
export const noGpu = !existsSync(dawn) ? 'Dawn for Node.js is missing (tools/gpu_setup.sh)' : !process.env.VK_ICD_FILENAMES && !driver && 'Chromium\'s SwiftShader is missing';

/**
 * navigator.gpu of Dawn: on the system's GPU if VK_ICD_FILENAMES names its driver, else on SwiftShader, which takes most
 * of a test's time to compile the clearing of workgroup memory, something that no kernel relies on.
 * @param {{matrices?: boolean}} [options] whether subgroups may multiply matrices, as gpu-node.js has it
 */
export async function dawnGpu({ matrices = process.env.FILLMASK_SUBGROUP_MATRICES === '1' } = {}) {
  process.env.VK_ICD_FILENAMES ??= driver;
  const { create, globals } = await import(pathToFileURL(dawn).href);
  Object.assign(globalThis, globals);
  const gpu = create([`enable-dawn-features=disable_workgroup_init${matrices ? ',allow_unsafe_apis' : ''}`]);
  return matrices ? { matrices, requestAdapter: (options) => gpu.requestAdapter(options) } : gpu;
}

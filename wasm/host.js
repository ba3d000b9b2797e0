// host.js - tells emcc which functions the host provides, so that it refuses all others that are undefined. None of
// this file gets into the module; web/engine.js has the real ones.
mergeInto(LibraryManager.library, {
  now: function () {}, // milliseconds
  progress: function () {}, // parts done and in all; 0 stops the request
  print_number: function () {}, // this and the next are described in text.c
  read_number: function () {},
  madd: function () {}, // this and the next are put in by wasm-merge
  dot: function () {},
  gpu_play: function () {}, // these are of core/ops/webgpu/webgpu.c
  gpu_finish: function () {},
  gpu_close: function () {},
  gpu_half: function () {},
});

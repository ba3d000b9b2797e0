// cli.js - the functions that the command line, compiled for Node.js, wants of its host. emcc puts them into
// fillmask-cli.cjs; what they do, but for the clock, is web/worker-cli.js's business, which hands it in as `host`.
mergeInto(LibraryManager.library, {
  now: function () {
    return performance.now();
  },
  catch_signals: function () {
    Module.host.catchSignals();
  },
  is_interrupted: function () {
    return Module.host.isInterrupted();
  },
  nanoseconds: function (path) {
    return Module.host.nanoseconds(HEAPU8, path >>> 0);
  },
  hold_file: function (path) {
    return Module.host.hold(HEAPU8, path >>> 0);
  },
  gpu_open: function (adapter, power, kernels, text, room) {
    return Module.host.open(HEAPU8, adapter >>> 0, power >>> 0, kernels >>> 0, text >>> 0, room);
  },
  gpu_play: function (gpu, at, words) {
    Module.host.play(HEAPU8, gpu, at >>> 0, words);
  },
  gpu_finish: function (gpu, text, room) {
    return Module.host.finish(HEAPU8, gpu, text >>> 0, room);
  },
  gpu_close: function (gpu) {
    Module.host.close(gpu);
  },
  gpu_half: function () {
    return Module.host.half();
  },
});

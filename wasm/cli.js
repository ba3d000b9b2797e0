// cli.js - the one function that the command line, compiled for Node.js, wants of its host. emcc puts it into
// fillmask-cli.cjs.
mergeInto(LibraryManager.library, {
  now: function () {
    return performance.now();
  },
});

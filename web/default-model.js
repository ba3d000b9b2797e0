// default-model.js - where the files of the model that ships are: the package's export "fillmask/default-model". It is
// only loaded when no other model is named. Each URL is written out, for bundlers to see.

/** @type {{name: string, files: Record<string, string>}} */
const model = {
  name: 'fillmask-small-en',
  files: {
    'config.json': new URL('../weights/fillmask-small-en/config.json', import.meta.url).href,
    'vocab.txt': new URL('../weights/fillmask-small-en/vocab.txt', import.meta.url).href,
    'tokenizer_config.json': new URL('../weights/fillmask-small-en/tokenizer_config.json', import.meta.url).href,
    'model.safetensors': new URL('../weights/fillmask-small-en/model.safetensors', import.meta.url).href,
  },
};

export default model;

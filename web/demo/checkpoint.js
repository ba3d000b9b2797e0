// checkpoint.js - what a training's checkpoint says of the training, read from the head of its file: one that the Train
// tab saved, or the command line. Whether it is whole, and fits the texts, is for the core to say.

const LARGEST_HEAD = 1e6; // bytes

/**
 * @typedef {object} Checkpoint
 * @property {File} file
 * @property {number} step that it was made at
 * @property {number} documents that the training learns from
 * @property {import('../trainer.js').TrainOptions & {steps: number, batch_size: number, length: number, learning_rate: number, seed: number}} options of the training
 */

/** The notes of a safetensors file. @param {Blob} file @returns {Promise<Record<string, unknown>>} */
async function notesOf(file) {
  try {
    const size = Number(new DataView(await file.slice(0, 8).arrayBuffer()).getBigUint64(0, true));
    return size <= LARGEST_HEAD ? JSON.parse(await file.slice(8, 8 + size).text()).__metadata__ ?? {} : {};
  } catch {
    return {};
  }
}

/** @param {File} file @returns {Promise<Checkpoint>} */
export async function readCheckpoint(file) {
  const notes = await notesOf(file);
  const training = String(notes['fillmask.training']); // items as core/train/checkpoint.c writes them
  const said = (name) => new RegExp(`(?:^|;)${name} ([^;]+);`).exec(training)?.[1];
  const number = (name) => Number(said(name));
  const [, batch_size, length, steps] = (/;(\d+) chunks of (\d+) up to step (\d+);/.exec(training) ?? []).map(Number);
  const [, documents] = (/;(\d+) documents of data/.exec(training) ?? []).map(Number);
  const step = Number(notes.step);
  if (!(steps > 0 && documents > 0 && step >= 0)) throw new Error(`${file.name} is not a checkpoint of a training; choose a file that was saved here, or by the command line in the folder of a training.`);
  const options = {
    steps,
    batch_size,
    length,
    warmup: number('warm-up'),
    learning_rate: number('learning rate'),
    weight_decay: number('weight decay'),
    clip: number('clip'),
    dropout: said('dropout') === said('attention dropout') ? number('dropout') : undefined, // else both are the model's
    mask_rate: number('mask rate'),
    whole_words: said('whole words') === '1',
    line_by_line: training.includes(';line by line;'),
    seed: number('seed'),
    limit: number('limit'),
    precision: said('precision') === 'f16' ? /** @type {const} */ ('f16') : /** @type {const} */ ('f32'),
  };
  return { file, step, documents, options };
}

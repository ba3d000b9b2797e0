// texts.js - the texts of a tab: lines that the user writes, or a file of which one column has them.
import { $, make, say } from './dom.js';
import { droppable } from './drop.js';
import { fromFile, fromLines, textColumn } from './records.js';

const LARGEST = 256e6; // bytes of a file, which is read whole

export class Texts {
  #write;
  #file;
  #chosen;
  #column;
  /** What a file brought. @type {import('./records.js').Table | null} */
  #table = null;

  /**
   * @param {string} tab whose elements these are
   * @param {(problem: string) => void} tell what went wrong; '' for nothing
   * @param {(file: File) => any} [take] a file that is no text's, and then says so
   */
  constructor(tab, tell, take = () => false) {
    [this.#write, this.#file, this.#chosen, this.#column] = ['text', 'file', 'chosen', 'column'].map((name) => $(`#${tab}-${name}`));
    droppable($(`#${tab}`), this.#file, (file) => take(file) || this.#open(file).then(() => tell(''), (error) => tell(error.message)));
    $('button', this.#chosen).addEventListener('click', () => this.close());
  }

  /** Rows of which one column has the text. */
  get table() {
    return this.#table ?? fromLines(this.#write.value);
  }

  get column() {
    return this.#table ? this.#column.value : 'text';
  }

  /** @returns {string[]} */
  get all() {
    return this.table.rows.map((row) => String(row[this.column] ?? ''));
  }

  get written() {
    return this.#write.value;
  }

  /** Puts lines into the text field, in place of a file. */
  set written(text) {
    this.close();
    this.#write.value = text;
  }

  close() {
    this.#table = null;
    this.#show();
  }

  async #open(file) {
    this.#table = null;
    try {
      if (file.size > LARGEST) throw new Error(`${file.name} has ${Math.round(file.size / 1e6)} MB; this page takes files of up to ${LARGEST / 1e6} MB, the command line of any size.`);
      const table = fromFile(await file.text(), file.name);
      const likely = textColumn(table);
      if (table.rows.length === 0 || likely === undefined) throw new Error(`${file.name} has no texts.`);
      this.#column.replaceChildren(...table.columns.map((name) => make('option', { value: name }, name)));
      this.#column.value = likely;
      say($('p', this.#chosen), `${file.name}: ${table.rows.length.toLocaleString('en')} ${table.rows.length === 1 ? 'text' : 'texts'}`);
      this.#table = table;
    } finally {
      this.#show();
    }
  }

  #show() {
    this.#file.value = ''; // so that the same file can be opened again
    this.#chosen.hidden = !this.#table;
    this.#write.hidden = Boolean(this.#table);
    this.#column.closest('label').hidden = !this.#table || this.#table.columns.length < 2;
  }
}

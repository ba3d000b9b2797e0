// records.js - texts in files: lines, CSV and JSON lines, read into rows and written again.

/**
 * @typedef {object} Table
 * @property {string[]} columns
 * @property {Record<string, any>[]} rows
 */

/** What a column of text is called in files that others made, the likeliest first. */
const TEXTS = ['text', 'sentence', 'review', 'content', 'body'];

/** One document a line. @param {string} text @returns {Table} */
export function fromLines(text) {
  return { columns: ['text'], rows: text.split(/\r\n|\r|\n/).filter((line) => line.trim()).map((line) => ({ text: line })) };
}

/** @param {string} text @param {string} name of the file, which tells its kind @returns {Table} */
export function fromFile(text, name) {
  const whole = text.replace(/^\ufeff/, '');
  if (/\.(jsonl|ndjson)$/i.test(name)) return fromJsonLines(whole);
  if (/\.(csv|tsv)$/i.test(name)) return fromCsv(whole);
  return fromLines(whole);
}

function fromJsonLines(text) {
  const columns = new Set();
  const rows = [];
  text.split(/\r?\n/).forEach((line, i) => {
    if (!line.trim()) return;
    let row;
    try {
      row = JSON.parse(line);
    } catch (error) {
      throw new Error(`Line ${i + 1} is not JSON (${error.message}); each line must be one object.`);
    }
    if (typeof row !== 'object' || row === null || Array.isArray(row)) throw new Error(`Line ${i + 1} is not an object; each line must be one.`);
    for (const key of Object.keys(row)) columns.add(key);
    rows.push(row);
  });
  return { columns: [...columns], rows };
}

/** As RFC 4180 has it; what separates the cells is what the first line has most of. */
function fromCsv(text) {
  const first = text.split(/\r?\n/, 1)[0].replace(/"[^"]*"/g, '');
  const separator = [',', ';', '\t'].map((mark) => ({ mark, count: first.split(mark).length })).reduce((a, b) => (b.count > a.count ? b : a)).mark;
  const lines = cellsOf(text, separator).filter((cells) => cells.length > 1 || cells[0] !== '');
  const columns = lines.shift() ?? [];
  return { columns, rows: lines.map((cells) => Object.fromEntries(columns.map((column, i) => [column, cells[i] ?? '']))) };
}

function cellsOf(text, separator) {
  const lines = [];
  let cells = [], cell = '', quoted = false;
  const endCell = () => (cells.push(cell), (cell = ''));
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted && c === '"' && text[i + 1] === '"') cell += text[++i];
    else if (quoted) c === '"' ? (quoted = false) : (cell += c);
    else if (c === '"' && cell === '') quoted = true;
    else if (c === separator) endCell();
    else if (c === '\n') {
      endCell();
      lines.push(cells);
      cells = [];
    } else if (c !== '\r' || text[i + 1] !== '\n') cell += c;
  }
  if (quoted) throw new Error('The CSV ends within a quoted cell; close its quotation mark.');
  endCell();
  return [...lines, cells];
}

/** The column that most likely holds the text. @param {Table} table @returns {string | undefined} */
export function textColumn({ columns, rows }) {
  const named = TEXTS.find((name) => columns.includes(name));
  const longest = (column) => rows.slice(0, 50).reduce((sum, row) => sum + String(row[column] ?? '').length, 0);
  return named ?? columns.reduce((best, column) => (best === undefined || longest(column) > longest(best) ? column : best), undefined);
}

/**
 * A cell that no spreadsheet takes for a formula: what starts like one, and is no number, gets an apostrophe before it.
 * @param {unknown} value
 */
function cellOf(value) {
  const text = value === null || value === undefined ? '' : typeof value === 'object' ? JSON.stringify(value) : String(value);
  const formula = /^\s*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]/.test(text) && !/^[+-]?\d+(\.\d+)?(e[+-]?\d+)?$/i.test(text);
  const safe = formula ? `'${text}` : text;
  return /[",;\t\r\n]|^\s|\s$/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** @param {Table} table */
export const toCsv = ({ columns, rows }) => [columns, ...rows.map((row) => columns.map((column) => row[column]))].map((cells) => `${cells.map(cellOf).join(',')}\r\n`).join('');

/** @param {Table} table */
export const toJsonLines = ({ rows }) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

// card.js - a model's card, which is Markdown, as elements: headings, paragraphs, lists, tables and code. Pictures are
// left out; what else Markdown has is left as text.
import { make } from './dom.js';

/** `code` and **bold** within a line; links lose their addresses. */
function inline(text) {
  return text.replace(/\[([^\]]+)\]\([^)]*\)/g, '$1').split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith('`')) return make('code', null, part.slice(1, -1));
    return part.startsWith('**') ? make('b', null, part.slice(2, -2)) : part;
  });
}

const cells = (line) => line.trim().replace(/^\||\|$/g, '').split('|').map((cell) => cell.trim());

function table([head, , ...rows]) {
  const columns = cells(head);
  const header = make('tr', null, ...columns.map((cell) => (cell ? make('th', { scope: 'col' }, ...inline(cell)) : make('td'))));
  const body = rows.map((row) => make('tr', null, ...cells(row).map((cell, i) => (i ? make('td', null, ...inline(cell)) : make('th', { scope: 'row' }, ...inline(cell))))));
  return make('div.scroll', { tabindex: 0, role: 'region', 'aria-label': columns.filter(Boolean).join(', ') }, make('table', null, make('thead', null, header), make('tbody', null, ...body)));
}

const ITEM = /^(?:[-*]|\d+\.)\s+/;

/** Items, each of one line or several. */
function list(lines) {
  const items = [];
  for (const line of lines) ITEM.test(line) ? items.push(line.replace(ITEM, '')) : (items[items.length - 1] += ` ${line.trim()}`);
  return make('ul', null, ...items.map((item) => make('li', null, ...inline(item))));
}

/** What the lines between two empty ones are. @returns {HTMLElement[]} */
function block(lines) {
  const heading = /^(#+)\s+(.*)/.exec(lines[0]);
  if (heading) return [make(heading[1].length === 1 ? 'h3' : 'h4', null, ...inline(heading[2])), ...(lines.length > 1 ? block(lines.slice(1)) : [])];
  if (lines[0].startsWith('![')) return [];
  if (lines[0].startsWith('```')) return [make('pre', { tabindex: 0 }, make('code', null, lines.slice(1, -1).join('\n')))];
  if (lines[0].startsWith('|')) return [table(lines)];
  if (ITEM.test(lines[0])) return [list(lines)];
  return [make('p', null, ...inline(lines.join(' ')))];
}

/**
 * @param {string} text
 * @returns {HTMLElement[]}
 */
export function cardOf(text) {
  const body = text.replace(/\r\n/g, '\n').replace(/^---\n.*?\n---\n/s, '');
  return body.split(/(^```[^\n]*\n.*?^```$)|\n{2,}/ms).filter((part) => part?.trim()).flatMap((part) => block(part.trim().split('\n')));
}

// card.js - a model's card, which is Markdown, as elements: headings, paragraphs, tables and code. What else Markdown
// has is left as text.
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
  const header = make('tr', null, ...cells(head).map((cell) => (cell ? make('th', { scope: 'col' }, ...inline(cell)) : make('td'))));
  const body = rows.map((row) => make('tr', null, ...cells(row).map((cell, i) => (i ? make('td', null, ...inline(cell)) : make('th', { scope: 'row' }, ...inline(cell))))));
  return make('div.scroll', { tabindex: 0, role: 'region', 'aria-label': 'Figures' }, make('table', null, make('thead', null, header), make('tbody', null, ...body)));
}

/**
 * @param {string} text
 * @returns {HTMLElement[]}
 */
export function cardOf(text) {
  const body = text.replace(/\r\n/g, '\n').replace(/^---\n.*?\n---\n/s, '');
  const blocks = body.split(/(^```[^\n]*\n.*?^```$)|\n{2,}/ms).filter((block) => block?.trim());
  return blocks.filter((block) => !block.trim().startsWith('![')).map((block) => {
    const lines = block.trim().split('\n');
    const heading = /^(#+)\s+(.*)/.exec(lines[0]);
    if (heading) return make(heading[1].length === 1 ? 'h3' : 'h4', null, ...inline(heading[2]));
    if (lines[0].startsWith('```')) return make('pre', { tabindex: 0 }, make('code', null, lines.slice(1, -1).join('\n')));
    if (lines[0].startsWith('|')) return table(lines);
    return make('p', null, ...inline(lines.join(' ')));
  });
}

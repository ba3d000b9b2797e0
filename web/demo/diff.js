// diff.js - what changed between two texts, word by word.

const words = (text) => text.match(/\s+|[\p{L}\p{N}\p{M}'’]+|[^\s\p{L}\p{N}\p{M}'’]/gu) ?? [];

/**
 * @param {string} before
 * @param {string} after
 * @returns {{kind: 'same' | 'gone' | 'new', text: string}[]}
 */
export function diff(before, after) {
  const a = words(before), b = words(after);
  // longest[i][j]: words that a from i and b from j have in common, in order
  const longest = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--) longest[i][j] = a[i] === b[j] ? longest[i + 1][j + 1] + 1 : Math.max(longest[i + 1][j], longest[i][j + 1]);
  const parts = [];
  const add = (kind, text) => {
    if (parts.at(-1)?.kind === kind) parts.at(-1).text += text;
    else parts.push({ kind, text });
  };
  let i = 0, j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) add('same', b[j++]), i++;
    else if (i < a.length && (j === b.length || longest[i + 1][j] >= longest[i][j + 1])) add('gone', a[i++]);
    else add('new', b[j++]);
  }
  return parts;
}

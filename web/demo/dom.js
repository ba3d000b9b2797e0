// dom.js - the few things that every tab does with elements. Text only ever becomes text: nothing here or elsewhere in
// the page makes markup of a string.

/** @type {(selector: string, root?: ParentNode) => any} */
export const $ = (selector, root = document) => root.querySelector(selector);

/**
 * Makes an element.
 * @param {string} name tag, with classes after dots
 * @param {Record<string, any> | null} [attributes] functions become listeners, false and null leave out
 * @param {...(Node | string)} children
 * @returns {any}
 */
export function make(name, attributes, ...children) {
  const [tag, ...classes] = name.split('.');
  const element = document.createElement(tag);
  if (tag === 'button') element.type = 'button';
  if (classes.length > 0) element.className = classes.join(' ');
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (typeof value === 'function') element.addEventListener(key, value);
    else if (value !== false && value !== null) element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children);
  return element;
}

/** Shows a text in an element that is hidden while it has none. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
  element.hidden = text === '';
}

/**
 * Makes a group of buttons one stop of the Tab key, with the arrow keys, Home and End between them.
 * @param {HTMLElement} group
 * @param {(button: HTMLElement) => void} [reached]
 */
export function roving(group, reached) {
  const buttons = () => /** @type {HTMLElement[]} */ ([...group.querySelectorAll('button')]);
  const mark = (current) => buttons().forEach((button) => (button.tabIndex = button === current ? 0 : -1));
  group.addEventListener('focusin', ({ target }) => target instanceof HTMLButtonElement && mark(target));
  group.addEventListener('keydown', (event) => {
    const all = buttons();
    const at = all.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    const next = all[(to + all.length) % all.length];
    next.focus();
    reached?.(next);
  });
  return mark;
}

/** Calls a function once, some time after the last of many calls. */
export function debounced(milliseconds, work) {
  let timer;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(work, milliseconds, ...args);
  };
}

/**
 * Does one thing at a time, of which a newer one ends the older.
 * @template T
 * @param {(signal: AbortSignal, ...args: any[]) => Promise<T>} work
 * @returns {(...args: any[]) => Promise<T | undefined>} undefined if a newer one came
 */
export function latest(work) {
  let controller = new AbortController();
  return async (...args) => {
    controller.abort();
    const mine = (controller = new AbortController());
    try {
      const result = await work(mine.signal, ...args);
      return mine.signal.aborted ? undefined : result;
    } catch (error) {
      if (!mine.signal.aborted) throw error;
    }
  };
}

/**
 * Tells screen readers how something long gets on, now and then, so that they can say it all.
 * @param {HTMLElement} live region
 * @returns {(text: string, last?: boolean) => void} the last text is told at once
 */
export function announcer(live) {
  let told = 0;
  return (text, last = false) => {
    if (!last && performance.now() - told < 10_000) return;
    told = performance.now();
    live.textContent = text;
  };
}

/** Offers a file to the user. @param {Blob} blob @param {string} name */
export function download(blob, name) {
  const link = make('a', { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

const percents = new Intl.NumberFormat('en', { style: 'percent', maximumSignificantDigits: 2 });

/** @param {number} share */
export const percent = (share) => (share > 0 && share < 1e-6 ? '< 0.0001%' : percents.format(share));

/** A time to wait for. @param {number} seconds */
export function duration(seconds) {
  if (seconds < 59.5) return `${Math.ceil(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 10) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

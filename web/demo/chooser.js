// chooser.js - selects that offer the page's models.
import { make } from './dom.js';
import { events, models } from './session.js';

/**
 * Fills a select, whose label is hidden while there is no choice.
 * @param {HTMLSelectElement} select
 * @param {{none?: string}} [options] none: what a first option says that stands for no model
 * @returns {() => import('./session.js').Known | undefined} the chosen one
 */
export function chooser(select, { none } = {}) {
  const draw = () => {
    const { value } = select;
    const titles = models.map(({ title }) => make('option', { value: title }, title));
    select.replaceChildren(...(none ? [make('option', { value: '' }, none)] : []), ...titles);
    if (models.some(({ title }) => title === value)) select.value = value;
    /** @type {HTMLElement} */ (select.closest('label')).hidden = models.length < 2;
  };
  events.addEventListener('models', draw);
  draw();
  return () => models.find(({ title }) => title === select.value);
}

// chart.js - the curve of a training's losses, as SVG.

const SVG = 'http://www.w3.org/2000/svg';
const HEIGHT = 240;
const EDGE = { left: 40, right: 12, top: 12, bottom: 26 };

function shape(name, attributes, text = '') {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.textContent = text;
  return element;
}

/** @typedef {{step: number, loss: number}} Point */

export class Chart {
  /** @type {Point[]} */
  #training = [];
  /** @type {Point[]} */
  #held = [];
  #steps = 1;
  #svg;

  /** @param {SVGSVGElement} svg */
  constructor(svg) {
    this.#svg = svg;
    new ResizeObserver(() => this.draw()).observe(svg);
  }

  /** Empties it, for so many steps. */
  start(steps) {
    this.#training = [];
    this.#held = [];
    this.#steps = steps;
  }

  addTraining(step, loss) {
    this.#training.push({ step, loss });
  }

  addHeld(step, loss) {
    this.#held.push({ step, loss });
  }

  draw() {
    const width = this.#svg.clientWidth;
    const all = [...this.#training, ...this.#held].map(({ loss }) => loss);
    if (width === 0 || all.length === 0) return this.#svg.replaceChildren();
    this.#svg.setAttribute('aria-label', `Loss by step: ${[told(this.#training), told(this.#held, ' on text kept apart')].filter(Boolean).join('; ')}`);
    this.#svg.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
    const highest = Math.max(1, Math.ceil(Math.max(...all)));
    const x = (step) => EDGE.left + (step / this.#steps) * (width - EDGE.left - EDGE.right);
    const y = (loss) => HEIGHT - EDGE.bottom - (loss / highest) * (HEIGHT - EDGE.top - EDGE.bottom);
    const line = (points) => points.map(({ step, loss }) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`).join(' ');
    this.#svg.replaceChildren(
      ...ticks(highest).flatMap((loss) => [
        shape('line', { class: 'grid', x1: EDGE.left, x2: width - EDGE.right, y1: y(loss), y2: y(loss) }),
        shape('text', { class: 'tick', x: EDGE.left - 8, y: y(loss) + 4, 'text-anchor': 'end' }, String(loss)),
      ]),
      ...ticks(this.#steps).filter((step) => x(step) < x(this.#steps) - 70).map((step) => shape('text', { class: 'tick', x: x(step), y: HEIGHT - 8, 'text-anchor': 'middle' }, String(step))),
      shape('text', { class: 'tick', x: x(this.#steps), y: HEIGHT - 8, 'text-anchor': 'end' }, `${this.#steps} steps`),
      shape('polyline', { class: 'each', points: line(this.#training) }),
      shape('polyline', { class: 'smooth', points: line(smooth(this.#training)) }),
      shape('polyline', { class: 'held', points: line(this.#held) }),
      ...this.#held.map(({ step, loss }) => shape('circle', { class: 'held', cx: x(step), cy: y(loss), r: 3.5 })),
    );
  }
}

/** Round numbers from 0 to an end, five or six of them. */
function ticks(end) {
  const rough = end / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough));
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, i) => i * step);
}

/** A moving average that starts without bias. @param {Point[]} points */
function smooth(points) {
  let sum = 0, weight = 0;
  return points.map(({ step, loss }) => {
    sum = 0.85 * sum + 0.15 * loss;
    weight = 0.85 * weight + 0.15;
    return { step, loss: sum / weight };
  });
}

/** A line in words. @param {Point[]} points */
function told(points, where = '') {
  if (points.length === 0) return '';
  return `from ${points[0].loss.toFixed(2)} to ${points.at(-1).loss.toFixed(2)}${where}`;
}

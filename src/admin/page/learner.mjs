// How learning goes: the curve, the terms of the loss, and what was seen.

import { el, svg } from './dom.mjs';
import { smooth, thin, ticks } from './layout.mjs';
import { compact, count, isNumber, many } from './words.mjs';

const POINTS = 400;

const LINES = [
  { at: 1, name: 'training', class: 'loss' },
  { at: 3, name: 'grammar', class: 'grammar' },
  { at: 2, name: 'VAE', class: 'vae' },
];

const TERMS = [
  ['node', 'nodes', 'L_node: services, operations, kinds, status, times'],
  ['edge', 'edges', 'L_edge: who calls whom'],
  ['kl_graph', 'KL graph', 'KL(q(z_G|G) || p): what the code of the whole trace costs'],
  ['kl_node', 'KL nodes', 'sum over spans of KL(q(z_v|G) || p)'],
];

export class Learner {
  constructor(section) {
    this.figures = section.querySelector('.figures');
    this.body = section.querySelector('.body');
    this.chart = el('div', { class: 'chart', tabindex: '0', role: 'img' });
    this.facts = el('div', { class: 'facts' });
    this.body.append(this.chart, this.facts);
    new ResizeObserver(() => this.#draw()).observe(this.chart);
    this.chart.addEventListener('pointermove', (event) => this.#point(event.offsetX));
    this.chart.addEventListener('pointerleave', () => this.#point(null));
    this.chart.addEventListener('blur', () => this.#point(null));
    this.chart.addEventListener('keydown', (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || !this.points?.length) return;
      event.preventDefault();
      this.at = Math.min(Math.max((this.at ?? this.points.length) + step, 0), this.points.length - 1);
      this.#cross();
    });
  }

  show(curve, since, serving) {
    this.curve = curve;
    this.takeover = serving === 'vae' ? since.steps : null;
    this.#draw();
  }

  beat(pulse) {
    const { learner } = pulse;
    this.figures.replaceChildren(
      el('span', {}, el('b', {}, compact(learner.steps)), ' steps '),
      el('span', { title: 'Published, to be drawn from' }, el('b', {}, compact(learner.snapshots)), learner.snapshots === 1 ? ' snapshot' : ' snapshots'),
    );
    this.facts.replaceChildren(terms(learner.loss, learner.steps), tally(pulse));
  }

  #draw() {
    const { width, height } = this.chart.getBoundingClientRect();
    if (!this.curve || width < 80 || height < 60) return;
    this.points = thin(this.curve, POINTS).filter((point) => point.slice(1).some(isNumber));
    if (this.points.length === 0) {
      this.chart.replaceChildren(el('p', { class: 'awaited' }, 'No scoring yet. The curve begins when traces held out from training are scored for the first time.'));
      return;
    }
    const edge = { left: 34, right: 100, top: 20, bottom: 18 };
    const [wide, tall] = [width - edge.left - edge.right, height - edge.top - edge.bottom];
    const steps = Math.max(this.points.at(-1)[0], 1);
    const [low, high, log] = range(this.points.flatMap((point) => point.slice(1).filter(isNumber)));
    const bent = (value) => (log ? Math.log(value) : value);
    this.x = (step) => edge.left + (wide * step) / steps;
    const free = (value) => edge.top + tall * (1 - (bent(value) - bent(low)) / Math.max(bent(high) - bent(low), 1e-9));
    this.y = (value) => Math.max(free(value), edge.top);
    const levels = (log ? powers(low, high) : ticks(high, 4, low)).filter((level) => level >= low && level <= high);
    const grid = levels.map((level) => svg('g', { class: 'grid' }, svg('line', { x1: edge.left, x2: edge.left + wide, y1: this.y(level), y2: this.y(level) }), svg('text', { x: edge.left - 5, y: this.y(level) + 3.5, class: 'left' }, compact(level))));
    grid.push(svg('text', { x: 8, y: 12, class: 'unit' }, 'nats a trace'));
    const below = ticks(steps, Math.max(2, Math.floor(wide / 70))).map((step) => svg('text', { x: this.x(step), y: height - 4, class: 'below' }, compact(step)));
    const lines = LINES.map((line) => {
      const known = this.points.filter((point) => isNumber(point[line.at]));
      return { ...line, known, end: known.at(-1)?.[line.at] };
    }).filter((line) => line.known.length > 0);
    // Scores are of a draw of held-out traces, the loss is of one step: a mean that follows slowly
    // shows where they go, thin lines what they were.
    const along = (points, at) => points.map((point) => `${this.x(point[0]).toFixed(1)},${this.y(point[at]).toFixed(1)}`).join(' ');
    const drawn = lines.flatMap(({ known, at, class: name }) => [svg('polyline', { class: `${name} thin`, points: along(known, at) }), svg('polyline', { class: name, points: along(smooth(known, at), at) })]);
    const dots = lines.map((line) => svg('circle', { class: line.class, cx: this.x(line.known.at(-1)[0]), cy: this.y(line.end), r: 2.5 }));
    const names = apart(lines.map((line) => ({ ...line, y: this.y(line.end) })), 12).map((line) => svg('text', { x: edge.left + wide + 7, y: line.y + 3.5, class: line.class }, `${line.name} ${line.end.toFixed(1)}`));
    const took = this.takeover !== null && this.takeover > 0 && this.takeover <= steps && svg('g', { class: 'takeover' }, svg('line', { x1: this.x(this.takeover), x2: this.x(this.takeover), y1: edge.top, y2: edge.top + tall }), svg('text', { x: this.x(this.takeover) + (this.takeover > steps / 2 ? -4 : 4), y: edge.top + tall - 4, class: this.takeover > steps / 2 ? 'left' : '' }, 'the VAE takes over'));
    this.hair = svg('g', { class: 'hair' });
    this.chart.setAttribute('aria-label', `Nats a trace over ${count(steps)} steps: ${lines.map((line) => `${line.name} ${line.end.toFixed(1)}`).join(', ')}`);
    this.chart.replaceChildren(svg('svg', { width, height, viewBox: `0 0 ${width} ${height}` }, grid, below, took || [], drawn, dots, names, this.hair));
    this.tall = [edge.top, edge.top + tall];
    this.#cross();
  }

  #point(x) {
    if (!this.points?.length || !this.x) return;
    this.at = x === null ? null : this.points.reduce((best, point, at) => (Math.abs(this.x(point[0]) - x) < Math.abs(this.x(this.points[best][0]) - x) ? at : best), 0);
    this.#cross();
  }

  #cross() {
    if (!this.hair) return;
    const point = this.at === null || this.at === undefined ? undefined : this.points[this.at];
    if (!point) return this.hair.replaceChildren();
    const x = this.x(point[0]);
    const told = [`step ${count(point[0])}`, ...LINES.filter((line) => isNumber(point[line.at])).map((line) => `${line.name} ${point[line.at].toFixed(1)}`)];
    const left = x > 170;
    this.hair.replaceChildren(
      svg('line', { x1: x, x2: x, y1: this.tall[0], y2: this.tall[1] }),
      ...LINES.filter((line) => isNumber(point[line.at])).map((line) => svg('circle', { class: line.class, cx: x, cy: this.y(point[line.at]), r: 3 })),
      ...told.map((text, at) => svg('text', { x: x + (left ? -7 : 7), y: this.tall[0] + 24 + at * 12, class: left ? 'left' : '' }, text)),
    );
  }
}

// The values' range with a little air, and whether a logarithmic axis shows it better. Of a steep
// beginning only the end is shown: it would press all that follows flat.
function range(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const [least, most] = [sorted[0], sorted[Math.floor((sorted.length - 1) * 0.97)]];
  if (least > 0 && most > 6 * least) return [least * 0.9, most * 1.1, true];
  const air = (most - least || Math.abs(most) || 1) * 0.08;
  return [least - air, most + air, false];
}

function powers(low, high) {
  const found = [];
  for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10) for (const factor of [1, 2, 5]) found.push(factor * power);
  return found;
}

// Moves labels apart until each has its line.
function apart(labels, gap) {
  const sorted = [...labels].sort((a, b) => a.y - b.y);
  for (let at = 1; at < sorted.length; at += 1) sorted[at].y = Math.max(sorted[at].y, sorted[at - 1].y + gap);
  return sorted;
}

function terms(loss, steps) {
  const known = TERMS.map(([key, name, title]) => ({ key, name, title, value: isNumber(loss[key]) ? loss[key] : 0 }));
  const all = known.reduce((sum, term) => sum + Math.max(term.value, 0), 0);
  return el(
    'div', { class: 'terms' },
    el('p', { class: 'quiet' }, steps > 0 ? 'Loss of the last step, nats a trace' : 'No step taken yet'),
    steps > 0 && el('div', { class: 'bar', 'aria-hidden': 'true' }, known.map((term) => el('i', { class: term.key, '--part': all > 0 ? Math.max(term.value, 0) / all : 0 }))),
    steps > 0 && el('ul', {}, known.map((term) => el('li', { title: term.title }, el('i', { class: term.key }), term.name, ' ', el('b', {}, term.value.toFixed(1))))),
  );
}

function tally(pulse) {
  const { learner } = pulse;
  const rows = [
    ['seen', learner.traces_seen, 'Complete traces that the learner was given'],
    ['held out', learner.traces_held_out, 'Of them, kept from training to score with'],
    ['waiting', learner.traces_waiting, 'A label of theirs is not yet in enough distinct traces to be told to anyone'],
    ['dropped', learner.traces_dropped, 'Came while the learner was busy'],
    ['assembling', pulse.open_traces, 'Traces whose spans are still coming'],
    ['tokens', learner.tokens, 'Labels in the vocabulary'],
    ['kept', learner.traces_kept, `Kept to be learnt from again, of ${many(learner.shapes_kept, 'distinct shape')}`],
    ['shapes', learner.shapes_kept, 'Distinct labelled shapes among those kept'],
    ['CPU s', learner.cpu_seconds, 'CPU seconds spent learning'],
  ];
  if (learner.traces_unlearnable > 0) rows.push(['given up', learner.traces_unlearnable, 'Too large, their times past all codes, or waiting when there was no room']);
  if (learner.steps_undone > 0) rows.push(['undone', learner.steps_undone, 'Steps undone because something was not finite']);
  if (pulse.admitted < 1) rows.push(['admitted', null, 'Share of the observed traces that the tap takes at present', `${(pulse.admitted * 100).toFixed(0)}%`]);
  return el('dl', {}, rows.map(([name, value, title, text]) => el('div', { title }, el('dt', {}, name), el('dd', {}, text ?? compact(value)))));
}

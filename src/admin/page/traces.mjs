// One side: its recent traces, and the waterfall of the picked one.

import { el, hue, svg } from './dom.mjs';
import { extent, ticks } from './layout.mjs';
import { nearest, operationKey, prepare } from './measures.mjs';
import { compact, count, duration, likeness, many, mark, rate } from './words.mjs';

const LISTED = 60;
const KEPT = 300;
const KEPT_SPANS = 30_000;
const ROWS = 400;

export class Side {
  // `picked` is called with a trace that the user picks; `pointed` with the operation pointed at.
  constructor(section, name, { picked, pointed }) {
    this.name = name;
    this.list = section.querySelector('.traces');
    this.pane = section.querySelector('.trace');
    this.figures = section.querySelector('.figures');
    this.spark = section.querySelector('.spark');
    this.kept = new Map();
    this.rates = [];
    this.picked = picked;
    this.pointed = pointed;
    this.chosen = null;
    this.held = false;
    this.list.addEventListener('pointerenter', () => (this.held = true));
    this.list.addEventListener('pointerleave', () => (this.held = false));
    this.list.addEventListener('keydown', (event) => this.#key(event));
  }

  forget() {
    this.kept.clear();
    this.rates = [];
    this.chosen = null;
    this.list.replaceChildren();
  }

  // Rates, once a second.
  beat(flow) {
    this.rates = [...this.rates, flow.traces_per_second].slice(-120);
    this.figures.replaceChildren(
      el('b', {}, rate(flow.traces_per_second)), ' traces/s  ', el('b', {}, rate(flow.spans_per_second)), ' spans/s  ',
      el('span', { class: 'quiet', title: `${count(flow.traces)} traces, ${count(flow.spans)} spans since the start` }, `${compact(flow.traces)} traces`),
    );
    this.#drawRates();
  }

  // Traces that are new since the last picture; older ones are remembered, to be found as nearest.
  take(recent) {
    for (const entry of [...recent].reverse()) {
      if (!this.kept.has(entry.number) && entry.trace.spans.length > 0) this.kept.set(entry.number, prepare(this.name, entry));
    }
    let spans = 0;
    for (const trace of this.kept.values()) spans += trace.size;
    for (const [number, trace] of this.kept) {
      if (this.kept.size <= KEPT && spans <= KEPT_SPANS) break;
      this.kept.delete(number);
      spans -= trace.size;
    }
    if (!this.#inUse()) this.drawList();
  }

  traces() {
    return [...this.kept.values()];
  }

  nearestTo(trace) {
    return nearest(trace, this.kept.values());
  }

  // Shows a trace; `partner` is the one on the other side that it was found for.
  choose(trace, partner, among) {
    this.chosen = trace;
    this.partner = partner;
    this.among = among;
    // A list that somebody walks through stays as it is.
    if (this.#inUse() && this.listed?.includes(trace)) this.#mark();
    else this.drawList();
  }

  #inUse() {
    return this.held || this.list.matches(':focus-visible');
  }

  #mark() {
    for (const [at, item] of [...this.list.children].entries()) item.setAttribute('aria-selected', String(this.listed[at] === this.chosen));
    this.list.setAttribute('aria-activedescendant', `${this.name}-${this.chosen.number}`);
  }

  // Says what is awaited where there is no trace yet.
  await(text) {
    this.list.replaceChildren();
    this.pane.replaceChildren(el('p', { class: 'awaited' }, text));
  }

  drawList() {
    const chosen = this.chosen;
    const newest = this.traces().slice(-LISTED).reverse().filter((trace) => trace !== chosen);
    if (chosen) newest.unshift(chosen);
    this.list.replaceChildren(...newest.map((trace) => el(
      'li',
      {
        role: 'option', id: `${this.name}-${trace.number}`, 'aria-selected': String(trace === chosen), '--hue': hue(trace.root.service),
        title: `${trace.root.service} ${trace.root.operation}: ${many(trace.size, 'span')}, ${duration(trace.duration)}, ${many(trace.errors, 'error')}`,
        onclick: () => this.picked(trace),
      },
      el('span', { class: 'dot' }),
      el('span', { class: 'name' }, trace.root.operation),
      trace.errors > 0 && el('span', { class: 'fault', 'aria-label': many(trace.errors, 'error') }, '!'),
      el('span', { class: 'size' }, count(trace.size)),
      el('span', { class: 'time' }, duration(trace.duration)),
    )));
    if (chosen) this.list.setAttribute('aria-activedescendant', `${this.name}-${chosen.number}`);
    this.listed = newest;
  }

  #key(event) {
    const listed = this.listed ?? [];
    const at = listed.indexOf(this.chosen);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: listed.length - 1 }[event.key];
    if (to === undefined || !listed[to]) return;
    event.preventDefault();
    this.picked(listed[to]);
    this.list.querySelector('[aria-selected=true]')?.scrollIntoView({ block: 'nearest' });
  }

  // The waterfall of the chosen trace over `scale` nanoseconds (its own extent if that is larger).
  drawTrace(scale, all = false) {
    const trace = this.chosen;
    if (!trace) return;
    const { spans, links } = trace.trace;
    const { from, to } = extent(spans);
    const width = Math.max(to - from, scale ?? 0) * 1.02;
    const at = (ns) => (ns - from) / width;
    const shown = all ? spans.length : Math.min(spans.length, ROWS);
    const strip = el('p', { class: 'strip' });
    const rest = this.#summary(trace);
    strip.append(...rest);
    const rows = spans.slice(0, shown).map((span, index) => this.#row(trace, span, index, at));
    const tree = el(
      'div', { class: 'rows', role: 'tree', tabindex: '0', 'aria-label': `Spans of ${trace.root.service} ${trace.root.operation}` },
      rows,
      arcs(spans, links, at, shown),
      shown < spans.length && el('button', { type: 'button', class: 'more', onclick: () => this.drawTrace(scale, true) }, `show all ${count(spans.length)} spans`),
    );
    const point = (index) => {
      for (const row of tree.querySelectorAll('.active')) row.classList.remove('active');
      const span = spans[index];
      this.pointed(span ? operationKey(span) : null);
      strip.replaceChildren(...(span ? describe(span, trace) : rest));
      rows[index]?.classList.add('active');
      this.active = index;
    };
    tree.addEventListener('pointermove', (event) => {
      const index = rows.indexOf(event.target.closest('.row'));
      if (index !== this.active) point(index);
    });
    tree.addEventListener('pointerleave', () => point(-1));
    tree.addEventListener('focus', () => tree.matches(':focus-visible') && point(0));
    tree.addEventListener('blur', () => point(-1));
    tree.addEventListener('keydown', (event) => {
      const to = { ArrowDown: this.active + 1, ArrowUp: this.active - 1, Home: 0, End: shown - 1 }[event.key];
      if (to === undefined || !rows[to]) return;
      event.preventDefault();
      point(to);
      rows[to].scrollIntoView({ block: 'nearest' });
    });
    const marks = ticks(width).filter((tick) => tick < width * 0.93);
    const axis = el('div', { class: 'axis' }, el('div', { class: 'track' }, marks.map((tick) => el('span', { '--at': tick / width }, tick === 0 ? '0' : mark(tick)))));
    this.active = -1;
    this.pane.replaceChildren(axis, tree, strip);
    tree.style.setProperty('--tick', marks.length > 1 ? marks[1] / width : 1);
  }

  // Marks the spans of the operation that is pointed at on either side.
  echo(key) {
    for (const row of this.pane.querySelectorAll('.row')) row.classList.toggle('echo', key !== null && row.dataset.key === key);
  }

  #summary(trace) {
    const what = [el('b', {}, trace.root.operation), ` ${many(trace.size, 'span')}, ${duration(trace.duration)}`];
    if (trace.errors > 0) what.push(', ', el('span', { class: 'fault' }, many(trace.errors, 'error')));
    if (this.partner) what.push(el('span', { class: 'quiet' }, ` — ${likeness(this.partner, trace, this.among)}`));
    return what;
  }

  #row(trace, span, index, at) {
    const parent = span.parent === null ? null : trace.trace.spans[span.parent];
    const outside = parent === null || parent.service !== span.service;
    return el(
      'div',
      {
        class: span.error ? 'row error' : 'row', role: 'treeitem', 'aria-level': trace.depth[index] + 1, 'data-key': operationKey(span),
        'aria-label': `${span.service} ${span.operation}, ${span.kind}, starts at ${duration(span.start_ns)}, takes ${duration(span.duration_ns)}${span.error ? ', error' : ''}`,
        '--hue': hue(span.service), '--depth': Math.min(trace.depth[index], 14),
      },
      el('div', { class: 'label' }, el('span', { class: 'dot' }), outside && el('b', {}, span.service), ' ', el('span', {}, span.operation)),
      el('div', { class: 'track' }, el('i', { '--from': at(span.start_ns), '--wide': span.duration_ns > 0 ? at(span.start_ns + span.duration_ns) - at(span.start_ns) : 0 })),
    );
  }

  #drawRates() {
    const { rates, spark } = this;
    const [width, height] = [90, 20];
    const most = Math.max(...rates, 1e-9);
    const points = rates.map((value, at) => `${(width * (at + 120 - rates.length)) / 119},${(height - 1 - (height - 2) * (value / most)).toFixed(1)}`);
    spark.setAttribute('viewBox', `0 0 ${width} ${height}`);
    spark.replaceChildren(svg('polyline', { points: points.join(' '), class: 'line' }));
  }
}

// Thin arcs from the start of a span to the start of the one that it is linked to.
function arcs(spans, links, at, shown) {
  const there = links.filter(([from, to]) => from < shown && to < shown);
  if (there.length === 0) return null;
  const [width, step] = [1_000, 18];
  const paths = there.map(([from, to]) => {
    const [x1, x2] = [at(spans[from].start_ns) * width, at(spans[to].start_ns) * width];
    const [y1, y2] = [(from + 0.5) * step, (to + 0.5) * step];
    const bend = Math.max(0, Math.min(x1, x2) - 60);
    return svg('path', { d: `M${x1},${y1} C${bend},${y1} ${bend},${y2} ${x2},${y2}` });
  });
  return svg('svg', { class: 'arcs', viewBox: `0 0 ${width} ${shown * step}`, preserveAspectRatio: 'none', '--rows': shown, 'aria-hidden': 'true' }, paths);
}

function describe(span, trace) {
  const parts = [
    el('b', { '--hue': hue(span.service), class: 'service' }, span.service), ` ${span.operation} `,
    el('span', { class: 'quiet' }, `${span.kind} · starts at ${duration(span.start_ns)} · takes `), el('b', {}, duration(span.duration_ns)),
  ];
  if (span.error) parts.push(' ', el('span', { class: 'fault' }, 'error'));
  const linked = trace.trace.links.filter(([from]) => trace.trace.spans[from] === span).map(([, to]) => trace.trace.spans[to].operation);
  if (linked.length > 0) parts.push(el('span', { class: 'quiet' }, ` · linked to ${linked.join(', ')}`));
  return parts;
}


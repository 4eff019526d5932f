// Operations: how often they are called, fail, and how long they take, on both sides.

import { el, hue, svg } from './dom.mjs';
import { binStart, ks, ksByChance, median, operationKey, quantile, shares, totalVariation } from './measures.mjs';
import { compact, count, duration, isNumber, share } from './words.mjs';

const ROWS = 200;
const ENOUGH = 30;

const COLUMNS = [
  { name: 'operation', title: 'Service and span name', of: (row) => row.key, up: true },
  { name: 'calls', title: 'Share of the calls, observed above synthetic', of: (row) => row.observed.share + row.synthetic.share },
  { name: 'errors', title: 'Share of the calls that end in an error', of: (row) => Math.max(row.observed.errors ?? 0, row.synthetic.errors ?? 0) },
  { name: 'p50', title: 'Half of the calls take less', of: (row) => row.observed.p50 ?? row.synthetic.p50 ?? 0 },
  { name: 'p95', title: '95 of 100 calls take less', of: (row) => row.observed.p95 ?? row.synthetic.p95 ?? 0 },
  { name: 'durations', title: 'Observed durations filled, synthetic ones as a line; a logarithmic axis, the same for all rows' },
  { name: 'KS', title: 'Kolmogorov-Smirnov distance of the durations: 0 for the same, 1 for nothing in common. Grey where chance alone explains it, or calls are too few to tell', of: (row) => row.ks ?? -1 },
];

export class Operations {
  constructor(section) {
    this.body = section.querySelector('.body');
    this.figures = section.querySelector('.figures');
    this.filter = section.querySelector('input');
    this.sort = { column: COLUMNS[1], up: false };
    this.filter.addEventListener('input', () => this.#draw());
  }

  await(text) {
    this.rows = [];
    this.figures.replaceChildren();
    this.body.replaceChildren(el('p', { class: 'awaited' }, text));
    this.table = null;
  }

  show(observed, synthetic) {
    this.rows = compare(observed, synthetic);
    const apart = totalVariation(shares(observed, operationKey), shares(synthetic, operationKey));
    const distances = this.rows.filter((row) => row.ks !== null && row.enough).map((row) => row.ks);
    const middle = median(distances);
    this.figures.replaceChildren(
      ...(apart === null ? [] : [el('span', { title: 'Total variation of the shares of calls by operation' }, 'calls apart ', el('b', {}, share(apart)))]),
      ...(middle === null ? [] : [el('span', { title: `Median of the Kolmogorov-Smirnov distances of ${count(distances.length)} operations with at least ${ENOUGH} calls on each side` }, ' KS ', el('b', {}, middle.toFixed(3)))]),
    );
    this.#draw();
  }

  #draw() {
    if (!this.rows?.length) return;
    if (!this.table) this.#table();
    const { column, up } = this.sort;
    for (const [at, head] of this.heads.entries()) {
      const sorted = COLUMNS[at] === column;
      head.setAttribute('aria-sort', sorted ? (up ? 'ascending' : 'descending') : 'none');
    }
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = this.rows.filter((row) => words.every((word) => row.key.toLowerCase().includes(word)));
    const order = (a, b) => (column.of(a) < column.of(b) ? -1 : column.of(a) > column.of(b) ? 1 : a.key < b.key ? -1 : 1);
    rows.sort((a, b) => (up ? order(a, b) : order(b, a)));
    const range = used(this.rows);
    this.axis.textContent = `${duration(binStart(range.first))} – ${duration(binStart(range.last + 1))}`;
    const drawn = rows.slice(0, ROWS).map((row) => this.#row(row, range));
    if (rows.length > ROWS) drawn.push(el('tr', {}, el('td', { colspan: COLUMNS.length, class: 'quiet' }, `${count(rows.length - ROWS)} more; filter to see them`)));
    if (rows.length === 0) drawn.push(el('tr', {}, el('td', { colspan: COLUMNS.length, class: 'quiet' }, 'no operation has these letters')));
    this.tbody.replaceChildren(...drawn);
  }

  #table() {
    this.heads = COLUMNS.map((column) => {
      const turn = () => {
        const same = this.sort.column === column;
        this.sort = { column, up: same ? !this.sort.up : Boolean(column.up) };
        this.#draw();
      };
      const label = column.of ? el('button', { type: 'button', title: column.title, onclick: turn }, column.name) : el('span', { title: column.title }, column.name);
      return el('th', { scope: 'col', class: column.name.toLowerCase() }, label);
    });
    this.axis = el('small', { class: 'quiet' });
    this.heads[5].append(' ', this.axis);
    this.tbody = el('tbody');
    this.table = el('table', {}, el('thead', {}, el('tr', {}, this.heads)), this.tbody);
    this.body.replaceChildren(this.table);
  }

  #row(row, range) {
    const both = (of, tell) => [el('span', { class: 'seen' }, tell(of(row.observed))), el('span', { class: 'made' }, tell(of(row.synthetic)))];
    const time = (ns) => (ns === null ? '–' : duration(ns));
    const part = (x) => (isNumber(x) ? share(x) : '–');
    return el(
      'tr', {},
      el('th', { scope: 'row', title: `${row.service} ${row.operation}: ${count(row.observed.calls)} observed calls, ${count(row.synthetic.calls)} synthetic ones among the sampled traces`, '--hue': hue(row.service) }, el('span', { class: 'dot' }), el('b', {}, row.service), el('span', {}, row.operation)),
      el('td', {}, both((side) => side.share, part)),
      el('td', {}, both((side) => side.errors, part)),
      el('td', {}, both((side) => side.p50, time)),
      el('td', {}, both((side) => side.p95, time)),
      el('td', { class: 'durations' }, histogram(row, range)),
      el('td', { class: row.notable ? 'ks' : 'ks quiet', title: ksTitle(row) }, row.ks === null ? '–' : row.ks.toFixed(2), el('i', { '--part': row.ks ?? 0 })),
    );
  }
}

function ksTitle(row) {
  if (row.ks === null) return 'one side has no call';
  if (!row.enough) return `too few calls to tell: ${compact(row.observed.calls)} and ${compact(row.synthetic.calls)}`;
  return row.notable ? 'more than chance explains' : 'no more than chance explains';
}

// One row for each operation of either side.
export function compare(observed, synthetic) {
  const all = [observed, synthetic].map((rows) => rows.reduce((sum, row) => sum + row.calls, 0));
  const found = new Map();
  for (const [at, rows] of [observed, synthetic].entries()) {
    for (const row of rows) {
      const key = operationKey(row);
      if (!found.has(key)) found.set(key, [null, null]);
      found.get(key)[at] = row;
    }
  }
  return [...found].map(([key, pair]) => {
    const [seen, made] = pair.map((row, at) => ({
      calls: row?.calls ?? 0,
      share: row && all[at] > 0 ? row.calls / all[at] : 0,
      errors: row?.calls ? row.errors / row.calls : null,
      p50: row ? quantile(row.durations, 0.5) : null,
      p95: row ? quantile(row.durations, 0.95) : null,
      durations: row?.durations ?? [],
    }));
    const [service, operation] = key.split('\u0000');
    const distance = ks(seen.durations, made.durations);
    const enough = seen.calls >= ENOUGH && made.calls >= ENOUGH;
    const notable = enough && distance > ksByChance(seen.calls, made.calls);
    return { key, service, operation, observed: seen, synthetic: made, ks: distance, enough, notable };
  });
}

// The bins that hold something, a few stray calls aside.
function used(rows) {
  const counts = [];
  for (const row of rows) {
    for (const side of [row.observed, row.synthetic]) side.durations.forEach((n, at) => (counts[at] = (counts[at] ?? 0) + n));
  }
  const stray = counts.reduce((sum, n) => sum + n, 0) / 2_000;
  let [first, last] = [0, counts.length - 1];
  for (let sum = 0; first < last && (sum += counts[first]) <= stray;) first += 1;
  for (let sum = 0; last > first && (sum += counts[last]) <= stray;) last -= 1;
  return { first, last };
}

function histogram(row, { first, last }) {
  const [width, height] = [100, 24];
  const bins = last - first + 1;
  const parts = (counts) => {
    const all = counts.reduce((sum, n) => sum + n, 0);
    return Array.from({ length: bins }, (_, at) => (all > 0 ? (counts[first + at] ?? 0) / all : 0));
  };
  const [seen, made] = [parts(row.observed.durations), parts(row.synthetic.durations)];
  const most = Math.max(...seen, ...made, 1e-9);
  const steps = (heights) => heights.map((part, at) => {
    const y = (height - (height - 1) * (part / most)).toFixed(1);
    return `${((at * width) / bins).toFixed(1)},${y} ${(((at + 1) * width) / bins).toFixed(1)},${y}`;
  }).join(' ');
  return svg(
    'svg', { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    row.observed.calls > 0 && svg('polygon', { points: `0,${height} ${steps(seen)} ${width},${height}`, class: 'seen' }),
    row.synthetic.calls > 0 && svg('polyline', { points: steps(made), class: 'made' }),
  );
}

// Who calls whom, on both sides in one drawing. Calls inside a service are not drawn.

import { el, hue, svg } from './dom.mjs';
import { layered } from './layout.mjs';
import { shares, totalVariation } from './measures.mjs';
import { many, share } from './words.mjs';

const SERVICES = 40;
const TALL = 19;
// A column needs so much room to be read; a letter is about so wide.
const COLUMN = 118;
const LETTER = 6.4;
// An edge with a smaller share on both sides is drawn faint.
const RARE = 0.002;
const key = (edge) => `${edge.from}\u0000${edge.to}`;

export class Graph {
  constructor(section) {
    this.body = section.querySelector('.body');
    this.figures = section.querySelector('.figures');
    this.strip = section.querySelector('.strip');
    this.lit = null;
    new ResizeObserver(() => this.#draw()).observe(this.body);
  }

  await(text) {
    this.edges = [];
    this.shape = null;
    this.figures.replaceChildren();
    this.strip.replaceChildren();
    this.body.replaceChildren(el('p', { class: 'awaited' }, text));
  }

  show(observed, synthetic) {
    const between = (edges) => edges.filter((edge) => edge.from !== edge.to);
    const [seen, made] = [shares(between(observed), key), shares(between(synthetic), key)];
    if (seen.size + made.size === 0) {
      const names = [...new Set([...observed, ...synthetic].map((edge) => edge.from))];
      return this.await(`No service calls another yet: every call stays inside ${names.join(', ')}.`);
    }
    const apart = totalVariation(seen, made);
    this.figures.replaceChildren(
      apart === null ? '' : el('span', { title: 'Total variation of the shares of calls between services: half the sum of their differences, 0 for the same graph, 100% for nothing in common' }, 'total variation ', el('b', {}, share(apart))),
    );
    this.edges = [...new Set([...seen.keys(), ...made.keys()])].map((id) => {
      const [from, to] = id.split('\u0000');
      return { from, to, observed: seen.get(id) ?? 0, synthetic: made.get(id) ?? 0, weight: (seen.get(id) ?? 0) + (made.get(id) ?? 0) };
    });
    this.bothSides = seen.size > 0 && made.size > 0;
    this.#draw();
  }

  #draw() {
    const { width, height } = this.body.getBoundingClientRect();
    if (!this.edges?.length || width < 50 || height < 50) return;
    const { edges, left } = busiest(this.edges);
    const lasting = skeleton(edges);
    const [rows, columns] = [Math.floor(height / (TALL + 5)), Math.max(2, Math.floor(width / COLUMN))];
    // The figures move every second; the drawing should not, as long as the same services call.
    const shape = [rows, columns, ...lasting.map(key).sort()].join('\n');
    if (shape !== this.shape) {
      this.shape = shape;
      this.layout = layered(lasting, rows, columns);
    }
    const { layers, column, place } = this.layout;
    // Calls within a column bulge to its right.
    const last = layers.length - 1;
    const inside = width - 16 - (edges.some((edge) => column.get(edge.from) === last && column.get(edge.to) === last) ? 24 : 0);
    const limit = Math.min(Math.max(inside / layers.length - 30, 40), 190);
    const wide = (name) => Math.min(limit, name.length * LETTER + 24);
    const broad = layers.map((names) => Math.max(...names.map(wide)));
    const gap = (inside - broad.reduce((sum, each) => sum + each, 0)) / Math.max(last, 1);
    const starts = broad.map((_, at) => 8 + broad.slice(0, at).reduce((sum, each) => sum + each + gap, 0));
    const [top, bottom] = [Math.min(...place.values()), Math.max(...place.values())];
    const room = height - TALL - 20;
    const spot = (name) => ({
      x: layers.length > 1 ? starts[column.get(name)] : (width - broad[0]) / 2,
      y: 10 + TALL / 2 + (bottom > top ? ((place.get(name) - top) / (bottom - top)) * room : room / 2),
      column: column.get(name),
      wide: wide(name),
    });
    const most = Math.max(...edges.map((edge) => Math.max(edge.observed, edge.synthetic)));
    const lines = [...edges].sort((a, b) => a.weight - b.weight).map((edge) => this.#edge(edge, spot, most));
    const nodes = [...column.keys()].map((name) => this.#node(name, spot(name), edges));
    const drawing = svg('svg', { width, height, viewBox: `0 0 ${width} ${height}`, role: 'group', 'aria-label': 'Service graph' }, lines, nodes);
    const focused = this.body.contains(document.activeElement) ? document.activeElement.dataset.name : undefined;
    this.body.replaceChildren(drawing);
    if (focused) [...drawing.querySelectorAll('.node')].find((node) => node.dataset.name === focused)?.focus();
    if (this.lit) this.#light(this.lit);
    else this.#rest(left);
  }

  #edge(edge, spot, most) {
    const [a, b] = [spot(edge.from), spot(edge.to)];
    const thick = (part) => (part > 0 ? 0.8 + 4.2 * Math.sqrt(part / most) : 0);
    const [seen, made] = [thick(edge.observed), thick(edge.synthetic)];
    const path = (shift) => {
      if (a.column === b.column) {
        const bulge = Math.max(a.x + a.wide, b.x + b.wide) + Math.min(14 + Math.abs(b.y - a.y) * 0.18, 40) + shift;
        return `M${a.x + a.wide},${a.y + shift} C${bulge},${a.y} ${bulge},${b.y} ${b.x + b.wide},${b.y + shift}`;
      }
      const [x1, x2] = a.column < b.column ? [a.x + a.wide, b.x] : [a.x, b.x + b.wide];
      const pull = (x2 - x1) * 0.5;
      return `M${x1},${a.y + shift} C${x1 + pull},${a.y + shift} ${x2 - pull},${b.y + shift} ${x2},${b.y + shift}`;
    };
    const text = told(edge);
    const faint = this.bothSides && Math.max(edge.observed, edge.synthetic) < RARE;
    const alone = this.bothSides && (seen === 0 || made === 0);
    return svg(
      'g', { class: `edge${faint ? ' faint' : ''}${alone ? ' alone' : ''}`, 'data-from': edge.from, 'data-to': edge.to, onpointerenter: () => this.#light([edge], text), onpointerleave: () => this.#light(null) },
      svg('title', {}, text),
      svg('path', { d: path(0), class: 'touch' }),
      seen > 0 && svg('path', { d: path(alone ? 0 : -(made + 0.6) / 2), class: 'seen', 'stroke-width': seen.toFixed(2) }),
      made > 0 && svg('path', { d: path(alone ? 0 : (seen + 0.6) / 2), class: 'made', 'stroke-width': made.toFixed(2) }),
    );
  }

  #node(name, { x, y, wide }, edges) {
    const touching = edges.filter((edge) => edge.from === name || edge.to === name);
    const sum = (side) => touching.filter((edge) => edge.to === name).reduce((all, edge) => all + edge[side], 0);
    const text = `${name}: gets ${share(sum('observed'))} of the observed calls, ${share(sum('synthetic'))} of the synthetic`;
    const light = () => this.#light(touching, text);
    const rest = () => this.#light(null);
    const letters = Math.floor((wide - 19) / LETTER);
    const label = name.length > letters + 1 ? `${name.slice(0, Math.max(1, letters))}…` : name;
    return svg(
      'g',
      { class: 'node', tabindex: '0', role: 'img', 'aria-label': text, 'data-name': name, transform: `translate(${x.toFixed(1)},${(y - TALL / 2).toFixed(1)})`, '--hue': hue(name), onpointerenter: light, onpointerleave: rest, onfocus: light, onblur: rest },
      svg('title', {}, name),
      svg('rect', { width: wide.toFixed(1), height: TALL, rx: 4 }),
      svg('rect', { x: 5.5, y: 5.5, width: 8, height: 8, rx: 2, class: 'tag' }),
      svg('text', { x: 18, y: TALL / 2 + 3.8 }, label),
    );
  }

  #light(edges, text) {
    this.lit = edges;
    const lit = new Set(edges?.map(key));
    for (const edge of this.body.querySelectorAll('.edge')) {
      const on = lit.has(key({ from: edge.dataset.from, to: edge.dataset.to }));
      edge.classList.toggle('dim', edges !== null && !on);
      edge.classList.toggle('lit', edges !== null && on);
    }
    if (edges === null) this.#rest(busiest(this.edges).left);
    else if (text) this.strip.replaceChildren(text);
  }

  // What the strip says while nothing is pointed at.
  #rest(left) {
    const parts = [el('span', { class: 'key seen' }), 'observed ', el('span', { class: 'key made' }), 'synthetic'];
    const more = [];
    const drift = [...this.edges].sort((a, b) => Math.abs(b.observed - b.synthetic) - Math.abs(a.observed - a.synthetic))[0];
    if (this.bothSides && drift) more.push(`furthest apart: ${told(drift)}`);
    if (left > 0) more.push(`${many(left, 'service')} not drawn`);
    this.strip.replaceChildren(...parts, el('span', { class: 'quiet' }, more.length ? ` · ${more.join(' · ')}` : ''));
  }
}

const told = (edge) => `${edge.from} → ${edge.to} ${share(edge.observed)} | ${share(edge.synthetic)}`;

// The edges that the layout goes by: those observed, and of the others what ties on services that
// were not. A rare slip of the sampler shall not turn the whole drawing.
function skeleton(edges) {
  const observed = edges.filter((edge) => edge.observed > 0);
  const known = new Set(observed.flatMap((edge) => [edge.from, edge.to]));
  return [...observed, ...edges.filter((edge) => edge.observed === 0 && !(known.has(edge.from) && known.has(edge.to)))];
}

// The edges between the services that are called and call most; how many services are left out.
function busiest(edges) {
  const weights = new Map();
  for (const edge of edges) for (const name of [edge.from, edge.to]) weights.set(name, (weights.get(name) ?? 0) + edge.weight);
  const names = [...weights.keys()].sort((a, b) => weights.get(b) - weights.get(a));
  const kept = new Set(names.slice(0, SERVICES));
  return { edges: edges.filter((edge) => kept.has(edge.from) && kept.has(edge.to)), left: names.length - kept.size };
}

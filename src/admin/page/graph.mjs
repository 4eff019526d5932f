// Who calls whom, on both sides in one drawing.

import { el, paint, svg } from './dom.mjs';
import { layered } from './layout.mjs';
import { shares, totalVariation } from './measures.mjs';
import { many, share } from './words.mjs';

const SERVICES = 40;
const TALL = 19;
const key = (edge) => `${edge.from}\u0000${edge.to}`;

export class Graph {
  constructor(section) {
    this.body = section.querySelector('.body');
    this.figures = section.querySelector('.figures');
    this.strip = section.querySelector('.strip');
    this.drawn = '';
    new ResizeObserver(() => this.#draw()).observe(this.body);
  }

  await(text) {
    this.edges = [];
    this.drawn = '';
    this.figures.replaceChildren();
    this.strip.replaceChildren();
    this.body.replaceChildren(el('p', { class: 'awaited' }, text));
  }

  show(observed, synthetic) {
    const [seen, made] = [shares(observed, key), shares(synthetic, key)];
    const apart = totalVariation(seen, made);
    this.figures.replaceChildren(
      apart === null ? '' : el('span', { title: 'Total variation of the shares of calls: half the sum of their differences, 0 for the same graph, 100% for nothing in common' }, 'apart ', el('b', {}, share(apart))),
    );
    this.edges = [...new Set([...seen.keys(), ...made.keys()])].map((id) => {
      const [from, to] = id.split('\u0000');
      return { from, to, observed: seen.get(id) ?? 0, synthetic: made.get(id) ?? 0, weight: (seen.get(id) ?? 0) + (made.get(id) ?? 0) };
    });
    this.#draw();
  }

  #draw() {
    const { width, height } = this.body.getBoundingClientRect();
    if (!this.edges?.length || width < 50 || height < 50) return;
    const { edges, left } = busiest(this.edges);
    // The figures move every second; the drawing should not, as long as the same services call.
    const shape = edges.map(key).sort().join('\n');
    if (shape !== this.shape) {
      this.shape = shape;
      this.layout = layered(edges, Math.floor(height / (TALL + 5)));
    }
    const { layers, column, place, back } = this.layout;
    const pitch = width / layers.length;
    const wide = Math.min(Math.max(pitch - (layers.length > 5 ? 22 : 34), 40), 128);
    const gap = layers.length > 1 ? (width - wide - 4) / (layers.length - 1) : 0;
    const spot = (name) => ({
      x: layers.length > 1 ? 2 + column.get(name) * gap : (width - wide) / 2,
      y: place.get(name) * (height - TALL - 14) + TALL / 2 + 9,
    });
    const most = Math.max(...edges.map((edge) => Math.max(edge.observed, edge.synthetic)));
    const backward = new Set([...back].map(key));
    const lines = edges.map((edge) => this.#edge(edge, spot, wide, most, backward.has(key(edge))));
    const nodes = [...column.keys()].map((name) => this.#node(name, spot(name), wide, edges));
    const drawing = svg('svg', { width, height, viewBox: `0 0 ${width} ${height}`, role: 'group', 'aria-label': 'Service graph' }, lines, nodes);
    const focused = this.body.contains(document.activeElement) ? document.activeElement.dataset.name : undefined;
    this.body.replaceChildren(drawing);
    if (focused) [...drawing.querySelectorAll('.node')].find((node) => node.dataset.name === focused)?.focus();
    if (this.lit) this.#light(this.lit);
    else this.#rest(left);
  }

  #edge(edge, spot, wide, most, backward) {
    const [a, b] = [spot(edge.from), spot(edge.to)];
    const thick = (part) => (part > 0 ? 0.8 + 5.2 * Math.sqrt(part / most) : 0);
    const [seen, made] = [thick(edge.observed), thick(edge.synthetic)];
    const path = (shift) => {
      if (edge.from === edge.to) {
        const [x, y] = [a.x + wide - 16, a.y - TALL / 2];
        const r = 5 + shift / 2;
        return `M${x - r},${y} C${x - r},${y - 2.2 * r} ${x + r},${y - 2.2 * r} ${x + r},${y}`;
      }
      if (backward) {
        const [x1, y1, x2, y2] = [a.x + wide / 2, a.y + TALL / 2, b.x + wide / 2, b.y + TALL / 2];
        return `M${x1 + shift},${y1} C${x1 + shift},${y1 + 30 + shift} ${x2 + shift},${y2 + 30 + shift} ${x2 + shift},${y2}`;
      }
      const [x1, x2] = [a.x + wide, b.x];
      const pull = Math.max(14, (x2 - x1) * 0.5);
      return `M${x1},${a.y + shift} C${x1 + pull},${a.y + shift} ${x2 - pull},${b.y + shift} ${x2},${b.y + shift}`;
    };
    const twin = edge.from === edge.to ? [0, 5] : [-(made + 0.6) / 2, (seen + 0.6) / 2];
    const text = told(edge);
    return svg(
      'g', { class: 'edge', 'data-from': edge.from, 'data-to': edge.to, onpointerenter: () => this.#light([edge], text), onpointerleave: () => this.#light(null) },
      svg('title', {}, text),
      svg('path', { d: path(0), class: 'touch' }),
      seen > 0 && svg('path', { d: path(twin[0]), class: 'seen', 'stroke-width': seen.toFixed(2) }),
      made > 0 && svg('path', { d: path(twin[1]), class: 'made', 'stroke-width': made.toFixed(2) }),
    );
  }

  #node(name, { x, y }, wide, edges) {
    const touching = edges.filter((edge) => edge.from === name || edge.to === name);
    const sum = (side) => touching.filter((edge) => edge.to === name).reduce((all, edge) => all + edge[side], 0);
    const text = `${name}: gets ${share(sum('observed'))} of the observed calls, ${share(sum('synthetic'))} of the synthetic`;
    const light = () => this.#light(touching, text);
    const rest = () => this.#light(null);
    const letters = Math.floor((wide - 16) / 5.9);
    const label = name.length > letters ? `${name.slice(0, Math.max(1, letters - 1))}…` : name;
    return svg(
      'g',
      { class: 'node', tabindex: '0', role: 'img', 'aria-label': text, 'data-name': name, transform: `translate(${x.toFixed(1)},${(y - TALL / 2).toFixed(1)})`, onpointerenter: light, onpointerleave: rest, onfocus: light, onblur: rest },
      svg('title', {}, name),
      svg('rect', { width: wide, height: TALL, rx: 4 }),
      svg('rect', { width: 5, height: TALL, rx: 2.5, class: 'tag', fill: paint(name) }),
      svg('text', { x: 10, y: TALL / 2 + 3.8 }, label),
    );
  }

  #light(edges, text) {
    this.lit = edges;
    const lit = new Set(edges?.map(key));
    for (const edge of this.body.querySelectorAll('.edge')) {
      edge.classList.toggle('dim', edges !== null && !lit.has(key({ from: edge.dataset.from, to: edge.dataset.to })));
    }
    if (edges === null) this.#rest(busiest(this.edges).left);
    else if (text) this.strip.replaceChildren(text);
  }

  #rest(left) {
    const lost = this.edges.filter((edge) => edge.observed >= 0.001 && edge.synthetic === 0);
    const invented = this.edges.filter((edge) => edge.synthetic >= 0.001 && edge.observed === 0);
    const parts = [el('span', { class: 'key seen' }), 'observed ', el('span', { class: 'key made' }), 'synthetic'];
    const only = [];
    if (lost.length > 0) only.push(`${many(lost.length, 'edge')} only observed`);
    if (invented.length > 0) only.push(`${many(invented.length, 'edge')} only synthetic`);
    if (left > 0) only.push(`${many(left, 'service')} not drawn`);
    const drift = [...this.edges].sort((a, b) => Math.abs(b.observed - b.synthetic) - Math.abs(a.observed - a.synthetic))[0];
    if (drift && only.length === 0 && drift.observed + drift.synthetic > 0) only.push(`furthest apart: ${told(drift)}`);
    this.strip.replaceChildren(...parts, el('span', { class: 'quiet' }, only.length ? ` · ${only.join(' · ')}` : ''));
  }
}

const told = (edge) => `${edge.from} → ${edge.to} ${share(edge.observed)} | ${share(edge.synthetic)}`;

// The edges between the services that are called and call most; how many services are left out.
function busiest(edges) {
  const weights = new Map();
  for (const edge of edges) for (const name of [edge.from, edge.to]) weights.set(name, (weights.get(name) ?? 0) + edge.weight);
  const names = [...weights.keys()].sort((a, b) => weights.get(b) - weights.get(a));
  const kept = new Set(names.slice(0, SERVICES));
  return { edges: edges.filter((edge) => kept.has(edge.from) && kept.has(edge.to)), left: names.length - kept.size };
}

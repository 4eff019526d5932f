// Where things go on the page.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { extent, layered, smooth, spread, thin, ticks } from '../../src/admin/page/layout.mjs';

const edges = (...texts) => texts.map((text) => {
  const [from, to] = text.split('>');
  return { from, to, weight: 1 };
});

test('callers stand left of those they call', () => {
  const { column } = layered(edges('web>cart', 'web>checkout', 'checkout>cart', 'cart>redis'));
  assert.deepEqual(['web', 'checkout', 'cart', 'redis'].map((name) => column.get(name)), [0, 1, 2, 3]);
});

test('a cycle is laid out as if one edge were not there, and a call to oneself takes no column', () => {
  const drawn = layered(edges('a>b', 'b>c', 'c>b', 'b>b'));
  assert.deepEqual(drawn.layers, [['a'], ['b'], ['c']]);
});

test('more columns than fit are drawn together, callers never right of those they call', () => {
  const chain = edges('a>b', 'b>c', 'c>d', 'd>e', 'e>f', 'f>g');
  const { layers, column } = layered(chain, 14, 3);
  assert.equal(layers.length, 3);
  assert.deepEqual(layers[0], ['a']);
  for (const edge of chain) assert.ok(column.get(edge.from) <= column.get(edge.to));
});

test('services of one column keep their distance and stay inside', () => {
  const names = Array.from({ length: 20 }, (_, at) => `s${at}`);
  const { place } = layered(edges(...names.map((name) => `web>${name}`)));
  const places = names.map((name) => place.get(name)).sort((a, b) => a - b);
  assert.ok(places[0] >= 0 && places.at(-1) <= 1);
  for (let at = 1; at < places.length; at += 1) assert.ok(places[at] - places[at - 1] > 1 / 20 - 1e-9);
});

test('the same edges in another order give the same drawing', () => {
  const some = edges('a>b', 'a>c', 'b>d', 'c>d', 'd>a');
  assert.deepEqual([...layered(some).place].sort(), [...layered([...some].reverse()).place].sort());
});

test('wishes are moved apart as little as it takes', () => {
  assert.deepEqual(spread([0.2, 0.8], 0.1), [0.2, 0.8]);
  const [low, high] = spread([0.5, 0.5], 0.2);
  assert.ok(Math.abs(low - 0.4) < 1e-9 && Math.abs(high - 0.6) < 1e-9);
  assert.ok(spread([0.99, 0.99], 0.2).at(-1) <= 1);
});

test('ticks are round and end below the most', () => {
  assert.deepEqual(ticks(100), [0, 50, 100]);
  assert.deepEqual(ticks(83), [0, 50]);
  assert.deepEqual(ticks(0), [0]);
  assert.deepEqual(ticks(145, 4, 112), [120, 130, 140]);
  assert.ok(ticks(7.3e6).length >= 2);
});

test('a trace covers children that begin before their root and outlive it', () => {
  const spans = [{ start_ns: 0, duration_ns: 10 }, { start_ns: -5, duration_ns: 3 }, { start_ns: 8, duration_ns: 9 }];
  assert.deepEqual(extent(spans), { from: -5, to: 17 });
});

test('a long curve is thinned to its ends and what lies between', () => {
  const points = Array.from({ length: 1_000 }, (_, at) => [at]);
  const thinned = thin(points, 100);
  assert.equal(thinned.length, 100);
  assert.deepEqual([thinned[0], thinned.at(-1)], [[0], [999]]);
  assert.equal(thin(points, 2_000), points);
});

test('a smoothed column keeps a level, follows a step slowly and leaves the rest alone', () => {
  assert.deepEqual(smooth([[0, 5, 1], [1, 5, 2]], 1), [[0, 5, 1], [1, 5, 2]]);
  const [, after] = smooth([[0, 0, 1], [1, 100, 2]], 1);
  assert.deepEqual(after, [1, 12, 2]);
  assert.deepEqual(smooth([[0, null]], 1), [[0, null]]);
});

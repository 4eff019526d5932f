// Distances between the two sides, against values worked by hand.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { binStart, ks, ksByChance, median, nearest, prepare, quantile, shares, totalVariation } from '../../src/admin/page/measures.mjs';

const near = (actual, expected) => assert.ok(Math.abs(actual - expected) < 1e-9, `${actual} is not ${expected}`);

test('the Kolmogorov-Smirnov distance is the largest difference of cumulative shares', () => {
  near(ks([1, 1, 2], [2, 2, 4]), 0);
  near(ks([1, 0, 0], [0, 0, 1]), 1);
  // Cumulative shares: 1/4, 3/4, 1 and 1/2, 1/2, 1.
  near(ks([1, 2, 1], [2, 0, 2]), 0.25);
  assert.equal(ks([0, 0], [1, 2]), null);
});

test('a distance below what chance does is larger for fewer calls', () => {
  near(ksByChance(100, 100), 1.358 * Math.sqrt(0.02));
  assert.ok(ksByChance(10, 10) > ksByChance(1_000, 1_000));
  assert.equal(ksByChance(0, 10), 1);
});

test('total variation is half the sum of the differences of shares', () => {
  const of = (rows) => shares(rows, (row) => row.name);
  const seen = of([{ name: 'a', calls: 3 }, { name: 'b', calls: 1 }]);
  const made = of([{ name: 'a', calls: 1 }, { name: 'c', calls: 1 }]);
  // |0.75 - 0.5| + |0.25 - 0| + |0 - 0.5| = 1
  near(totalVariation(seen, made), 0.5);
  near(totalVariation(seen, seen), 0);
  assert.equal(totalVariation(seen, of([])), null);
});

test('bins are four a decade from 1 µs and quantiles lie inside them', () => {
  near(binStart(0), 1_000);
  near(binStart(4), 10_000);
  near(quantile([0, 0, 0, 0, 10], 0.5), binStart(4.5));
  near(quantile([5, 0, 0, 0, 5], 0.5), binStart(1));
  near(quantile([5, 0, 0, 0, 5], 0.95), binStart(4.9));
  assert.equal(quantile([0, 0], 0.5), null);
});

test('the median of an even number is the mean of the middle two', () => {
  near(median([3, 1, 2]), 2);
  near(median([4, 1, 3, 2]), 2.5);
  assert.equal(median([]), null);
});

let number = 0;
const trace = (services, ms) => prepare('synthetic', {
  number: (number += 1),
  trace: {
    spans: services.map((service, at) => ({ parent: at === 0 ? null : at - 1, service, operation: 'GET', kind: 'server', error: false, start_ns: 0, duration_ns: ms * 1e6 })),
    links: [],
  },
});

test('a trace is prepared with its depths, size and root', () => {
  const prepared = trace(['web', 'cart', 'redis'], 5);
  assert.deepEqual(prepared.depth, [0, 1, 2]);
  assert.equal(prepared.size, 3);
  assert.equal(prepared.duration, 5e6);
  assert.equal(prepared.rootKey, 'web\u0000GET');
});

test('the nearest has the same root, then the same calls, then size and duration', () => {
  const picked = trace(['web', 'cart', 'redis'], 10);
  const otherRoot = trace(['shop', 'cart', 'redis'], 10);
  const otherCalls = trace(['web', 'cart', 'mail'], 10);
  const longer = trace(['web', 'cart', 'redis'], 100);
  const larger = trace(['web', 'cart', 'redis', 'redis'], 10);
  const close = trace(['web', 'cart', 'redis'], 12);
  assert.equal(nearest(picked, [otherRoot, otherCalls, longer, larger, close]), close);
  assert.equal(nearest(picked, [otherRoot, otherCalls, longer, larger]), larger);
  assert.equal(nearest(picked, [otherRoot, otherCalls]), otherCalls);
  assert.equal(nearest(picked, [otherRoot]), otherRoot);
  assert.equal(nearest(picked, []), undefined);
});

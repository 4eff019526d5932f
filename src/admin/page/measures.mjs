// Distances between the two sides. Pure functions.

// Bins of a duration histogram: four per decade from 1 µs, as the service counts them.
const FIRST_NS = 1_000;
const PER_DECADE = 4;

// Where bin `at` begins, in nanoseconds; bin 0 holds all that is shorter too.
export const binStart = (at) => FIRST_NS * 10 ** (at / PER_DECADE);

const total = (counts) => counts.reduce((sum, count) => sum + count, 0);

// Kolmogorov-Smirnov distance of two histograms over the same bins: the largest difference of their
// cumulative shares, 0 to 1; null where a side has nothing.
export function ks(a, b) {
  const [allA, allB] = [total(a), total(b)];
  if (allA === 0 || allB === 0) return null;
  let [sumA, sumB, most] = [0, 0, 0];
  for (let at = 0; at < Math.max(a.length, b.length); at += 1) {
    sumA += a[at] ?? 0;
    sumB += b[at] ?? 0;
    most = Math.max(most, Math.abs(sumA / allA - sumB / allB));
  }
  return most;
}

// What `ks` of n and m draws from one distribution stays under 95 times of 100.
export const ksByChance = (n, m) => (n > 0 && m > 0 ? 1.358 * Math.sqrt((n + m) / (n * m)) : 1);

// The duration in nanoseconds below which a share `q` of the histogram lies, evenly spread inside a
// bin on the log axis; null for an empty one.
export function quantile(counts, q) {
  const all = total(counts);
  if (all === 0) return null;
  let left = q * all;
  for (let at = 0; at < counts.length; at += 1) {
    if (counts[at] > 0 && left <= counts[at]) return binStart(at + left / counts[at]);
    left -= counts[at];
  }
  return binStart(counts.length);
}

// Rows to shares of their sum, by key.
export function shares(rows, key, weight = (row) => row.calls) {
  const all = total(rows.map(weight));
  return new Map(rows.map((row) => [key(row), all > 0 ? weight(row) / all : 0]));
}

// Total variation of two maps of shares: half the sum of their differences, 0 (alike) to 1 (nothing
// in common); null where a side has nothing.
export function totalVariation(a, b) {
  if (a.size === 0 || b.size === 0) return null;
  let sum = 0;
  for (const key of new Set([...a.keys(), ...b.keys()])) sum += Math.abs((a.get(key) ?? 0) - (b.get(key) ?? 0));
  return sum / 2;
}

// The middle of some numbers; null of none.
export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  if (sorted.length === 0) return null;
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

// What a trace is compared by, worked out once.
export function prepare(side, { number, trace }) {
  const { spans } = trace;
  const depth = [];
  const bag = new Map();
  let errors = 0;
  for (const [at, span] of spans.entries()) {
    depth[at] = span.parent === null ? 0 : (depth[span.parent] ?? 0) + 1;
    const key = operationKey(span);
    bag.set(key, (bag.get(key) ?? 0) + 1);
    errors += span.error ? 1 : 0;
  }
  const root = spans[0];
  return {
    side, number, trace, root, depth, bag, errors,
    rootKey: operationKey(root),
    size: spans.length,
    duration: root.duration_ns,
  };
}

export const operationKey = (row) => `${row.service}\u0000${row.operation}`;

// How unlike two prepared traces are: 0 for twins. Another root outweighs all else; then come the
// operations and how often each is called, the size, and the duration (both by their ratios).
export function unlikeness(a, b) {
  let apart = 0;
  for (const [key, times] of a.bag) apart += Math.abs(times - (b.bag.get(key) ?? 0));
  for (const [key, times] of b.bag) if (!a.bag.has(key)) apart += times;
  const ratio = (x, y) => Math.abs(Math.log(Math.max(x, 1) / Math.max(y, 1)));
  return (a.rootKey === b.rootKey ? 0 : 10)
    + (2 * apart) / (a.size + b.size)
    + ratio(a.size, b.size)
    + ratio(a.duration, b.duration) / 2
    + ((a.errors > 0) === (b.errors > 0) ? 0 : 0.5);
}

// The one of `others` that is least unlike `trace`; the first of several, undefined of none.
export function nearest(trace, others) {
  let [best, least] = [undefined, Infinity];
  for (const other of others) {
    const apart = unlikeness(trace, other);
    if (apart < least) [best, least] = [other, apart];
  }
  return best;
}

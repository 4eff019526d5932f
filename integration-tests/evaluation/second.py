"""A second implementation of the main figures of `doppelspan evaluate`, on numpy, scipy and
scikit-learn, from the same files. It shares no code with the first one.

    second.py TRAIN HELD_OUT SECOND SYNTHETIC [--seed 1] [--splits 3] [--no-importance]

prints JSON. Each file is OTLP/JSON lines, plain, .gz or .zst; SECOND may be `-`. Every sample is
cut to as many traces as HELD_OUT has (its first ones).
"""
import argparse
import gzip
import io
import json
import math
import os
import sys
from collections import Counter, defaultdict

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.spatial.distance import jensenshannon, pdist, squareform
from scipy.stats import ks_2samp, wasserstein_distance
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

DAY = 86_400_000_000_000
KERNEL_TRACES = 800
SIDE = 3_000
LEAF = 12
BUCKETS = 12
HEAD = 10


class Trace:
    """Spans in pre-order, siblings by start: parent, label, start after the root's, duration."""

    def __init__(self, parents, labels, starts, durations, links, failed, began):
        self.parents, self.labels = parents, labels
        self.starts, self.durations, self.links = starts, durations, links
        self.failed, self.began = failed, began
        self.children = [[] for _ in parents]
        self.depths = [0] * len(parents)
        for at, parent in enumerate(parents):
            if parent >= 0:
                self.children[parent].append(at)
                self.depths[at] = self.depths[parent] + 1

    def __len__(self):
        return len(self.parents)


def lines(path):
    if path.endswith(".zst"):
        import zstandard

        with open(path, "rb") as packed:
            yield from io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(packed))
    elif path.endswith(".gz"):
        with gzip.open(path, "rt") as text:
            yield from text
    else:
        with open(path) as text:
            yield from text


def load(path):
    """The whole traces: one root, every parent there; of spans with one id the earliest."""
    spans = defaultdict(dict)
    for line in lines(path):
        for resource in json.loads(line).get("resourceSpans", []):
            attributes = resource.get("resource", {}).get("attributes", [])
            service = next((a["value"].get("stringValue", "") for a in attributes if a["key"] == "service.name"), "")
            for scope in resource.get("scopeSpans", []):
                for span in scope.get("spans", []):
                    parent = span.get("parentSpanId", "").strip("0") and span["parentSpanId"]
                    start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
                    links = tuple(link["spanId"] for link in span.get("links", []) if link["traceId"] == span["traceId"])
                    failed = (span.get("status") or {}).get("code") in (2, "STATUS_CODE_ERROR")
                    one = (start, end, parent, (service, span.get("name", "")), links, failed)
                    known = spans[span["traceId"]]
                    known[span["spanId"]] = min(one, known.get(span["spanId"], one))
    built = (build(trace) for trace in spans.values())
    return [trace for trace in built if trace]


def build(spans):
    below, roots = defaultdict(list), []
    for span_id, (_, _, parent, *_) in spans.items():
        if not parent or parent == span_id:
            roots.append(span_id)
        elif parent in spans:
            below[parent].append(span_id)
        else:
            return None
    if len(roots) != 1:
        return None
    origin = spans[roots[0]][0]
    parents, labels, starts, durations, failed, places = [], [], [], [], [], {}
    stack = [(roots[0], -1)]
    while stack:
        span_id, parent = stack.pop()
        start, end, _, label, _, error = spans[span_id]
        if abs(start - origin) > DAY or end - start > DAY:
            return None
        at = places[span_id] = len(parents)
        parents.append(parent)
        labels.append(label)
        starts.append(start - origin)
        durations.append(max(end - start, 0))
        failed.append(error)
        ordered = sorted(below[span_id], key=lambda child: (spans[child][0], spans[child][1], spans[child][3], child))
        stack.extend((child, at) for child in reversed(ordered))
    if len(parents) < len(spans):
        return None
    links = {(places[f], places[t]) for f, span in spans.items() for t in span[4] if t in places and t != f}
    began = min(start for start, *_ in spans.values())
    return Trace(parents, labels, starts, durations, links, failed, began)


# --- features of one trace ---------------------------------------------------------------------


def structure_features(t):
    fan_out = [len(c) for c in t.children if c]
    features = {
        "size": len(t),
        "roots": 1,
        "depth max": max(t.depths),
        "depth mean": float(np.mean(t.depths)),
        "fan-out max": max(fan_out, default=0),
        "fan-out std": float(np.std(fan_out)) if fan_out else 0.0,
        "leaves": sum(not c for c in t.children),
        "distinct labels": len(set(t.labels)),
    }
    for label, count in Counter(t.labels).items():
        features["count " + name(label)] = count
    for (above, label), count in Counter(edges(t)).items():
        features[f"edge {name(above)} > {name(label)}"] = count
    return features


def time_features(t):
    logs = np.log1p(np.array(t.durations, float))
    contained, ratios, gaps, coverages, overlaps = [], [], [], [], []
    for parent, children in enumerate(t.children):
        if not children:
            continue
        begin, length = t.starts[parent], max(t.durations[parent], 1)
        finish = begin + t.durations[parent]
        latest, covered, reached, before = begin, 0, begin, 0
        for place, child in enumerate(children):
            start, end = t.starts[child], t.starts[child] + t.durations[child]
            contained.append(start >= begin and end <= finish)
            ratios.append(t.durations[child] / length)
            gaps.append((start - latest) / length)
            before += place > 0 and start < latest
            latest = end if place == 0 else max(latest, end)
            low, high = max(start, reached), min(end, finish)
            covered += max(high - low, 0)
            reached = max(reached, high)
        coverages.append(covered / length)
        if len(children) > 1:
            overlaps.append(before / (len(children) - 1))
    features = {
        "log duration max": logs.max(),
        "log duration median": float(np.median(logs)),
        "log duration std": logs.std(),
        "log duration root": logs[0],
        "contained share": float(np.mean(contained)) if contained else 1.0,
        "sibling overlap": float(np.mean(overlaps)) if overlaps else 0.0,
    }
    for key, values in (("child/parent duration", ratios), ("gap", gaps), ("child coverage", coverages)):
        features[key + " mean"] = float(np.mean(values)) if values else 0.0
        features[key + " std"] = float(np.std(values)) if values else 0.0
    by_label = defaultdict(list)
    for label, log in zip(t.labels, logs):
        by_label[label].append(log)
    for label, values in by_label.items():
        features["duration " + name(label)] = float(np.mean(values))
    return features


def name(label):
    return " ".join(label)


def edges(t):
    return [(t.labels[p], label) for p, label in zip(t.parents, t.labels) if p >= 0]


def triples(t):
    found = []
    for at, parent in enumerate(t.parents):
        if parent >= 0 and t.parents[parent] >= 0:
            found.append((t.labels[t.parents[parent]], t.labels[parent], t.labels[at]))
    return found


def shape(t):
    texts = [None] * len(t)
    for at in reversed(range(len(t))):
        texts[at] = hash((t.labels[at], tuple(sorted(texts[c] for c in t.children[at]))))
    return texts[0]


# --- figures of two samples --------------------------------------------------------------------


def alike(a, b):
    return 1.0 - float(ks_2samp(a, b, method="asymp").statistic)


def frequencies(a, b):
    a, b = Counter(a), Counter(b)
    keys = list(a.keys() | b.keys())
    p, q = (np.array([c[k] for k in keys], float) for c in (a, b))
    return p / max(p.sum(), 1), q / max(q.sum(), 1)


def likeness(a, b):
    p, q = frequencies(a, b)
    return 1.0 - float(np.nan_to_num(jensenshannon(p, q, base=2)))


def spread_over(traces, what):
    return [x for t in traces for x in what(t)]


def graph(t):
    """nodes, edges, density, average and maximum degree, degrees."""
    n = len(t)
    degrees = [len(c) + (p >= 0) for c, p in zip(t.children, t.parents)]
    for link in t.links:
        for end in link:
            degrees[end] += 1
    e = n - 1 + len(t.links)
    return n, e, e / max(n * (n - 1), 1), 2 * e / n, max(degrees), degrees


def pooled(t):
    n, e, density, average, largest, _ = graph(t)
    durations = np.array(t.durations, float)
    leaves = sum(not c for c in t.children)
    services, operations = ({label[i] for label in t.labels} for i in (0, 1))
    logs = [math.log1p(x) for x in (n, e, largest, durations.mean(), durations.std(), len(services), len(operations))]
    return logs[0], logs[1], density, average, logs[2], 1 / n, leaves / n, *logs[3:]


def kernel(a, b):
    sides = []
    for side in (a, b):
        points = sorted(map(pooled, side))
        sides.append(points[:: max(1, -(-len(points) // KERNEL_TRACES))])
    n, m = map(len, sides)
    points = np.array(sides[0] + sides[1])
    spread = points.std(0)
    points = (points - points.mean(0)) / np.where(spread > 1e-9, spread, 1)
    squared = pdist(points, "sqeuclidean")
    apart = squared[squared > 1e-12]
    if not len(apart):
        return 1.0
    median = np.partition(apart, len(apart) // 2)[len(apart) // 2]
    k = squareform(np.exp(-squared / (2 * median)))
    np.fill_diagonal(k, 1.0)
    mmd = k[:n, :n].mean() + k[n:, n:].mean() - 2 * k[:n, n:].mean()
    return math.exp(-max(mmd, 0.0))


def fidelity(a, b):
    sides = [[graph(t) for t in side] for side in (a, b)]
    f1 = [alike([g[i] for g in sides[0]], [g[i] for g in sides[1]]) for i in range(5)]
    f1.append(alike(*([d for g in side for d in g[5]] for side in sides)))
    f1.append(kernel(a, b))
    f2 = [
        alike(*([sum(t.durations) / len(t) for t in side] for side in (a, b))),
        alike(*(spread_over(side, lambda t: t.durations) for side in (a, b))),
    ]
    labels = [spread_over(side, lambda t: t.labels) for side in (a, b)]
    f3 = [likeness(*([label[i] for label in side] for side in labels)) for i in (0, 1)]
    f3.append(likeness(*labels))
    known = set(labels[0])
    f3.append(sum(label in known for label in labels[1]) / max(len(labels[1]), 1))
    means = [float(np.mean(f)) for f in (f1, f2, f3)]
    return {"f1": means[0], "f2": means[1], "f3": means[2], "overall": float(np.mean(means)), "f1 parts": f1, "f2 parts": f2, "f3 parts": f3}


def violation(traces):
    pairs = outside = 0
    for t in traces:
        for at, p in enumerate(t.parents):
            if p >= 0:
                end = t.starts[at] + t.durations[at]
                pairs += 1
                outside += t.starts[at] < t.starts[p] or end > t.starts[p] + t.durations[p]
    return outside / max(pairs, 1)


def operation_durations(a, b):
    sides = []
    for side in (a, b):
        by_label = defaultdict(list)
        for t in side:
            for label, duration in zip(t.labels, t.durations):
                by_label[label].append(math.log10(max(duration, 1)))
        sides.append(by_label)
    each = {k: (len(v), float(wasserstein_distance(v, sides[1][k]))) for k, v in sides[0].items() if k in sides[1]}
    total = sum(weight for weight, _ in each.values())
    mean = sum(weight * distance for weight, distance in each.values()) / max(total, 1)
    worst = sorted(each.items(), key=lambda item: -item[1][0] * item[1][1])[:12]
    return mean, {name(k): {"spans": w, "w1": d} for k, (w, d) in worst}


def quantile(values, level):
    """Nearest rank."""
    values = sorted(values)
    return values[min(max(math.ceil(level * len(values)), 1), len(values)) - 1]


def root_latency(a, b):
    sides = []
    for side in (a, b):
        by_label = defaultdict(list)
        for t in side:
            by_label["all"].append(t.durations[0])
            by_label[name(t.labels[0])].append(t.durations[0])
        sides.append(by_label)
    levels = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    told = {}
    for key, seen in sorted(sides[0].items(), key=lambda item: -len(item[1])):
        drawn = sides[1].get(key)
        row = {"observed": len(seen), "synthetic": len(drawn or [])}
        if drawn:
            row |= {k: quantile(drawn, v) / max(quantile(seen, v), 1) for k, v in levels.items()}
        told[key] = row
    return told


# --- operators' queries ------------------------------------------------------------------------


def answers(traces, first, last):
    """Errors by (bucket, service), calls by bucket, mean durations [bucket] by service."""
    errors, calls, sums = Counter(), set(), defaultdict(lambda: np.zeros((2, BUCKETS)))
    for t in traces:
        bucket = min(int((min(max(t.began, first), last) - first) / (last - first) * BUCKETS), BUCKETS - 1)
        for (service, _), failed, duration in zip(t.labels, t.failed, t.durations):
            errors[bucket, service] += failed
            sums[service][:, bucket] += 1, duration
        calls.update((bucket, above, label) for above, label in edges(t))
    return errors, calls, sums


def queries(held_out, other, what):
    first, last = min(t.began for t in held_out), max(t.began for t in held_out)
    (a, calls, sums), (b, other_calls, other_sums) = (answers(side, first, last) for side in (held_out, other))
    scale = len(held_out) / len(other)
    shared = sum(min(count, scale * b[key]) for key, count in a.items())
    told = {f"{what}_triggers": 2 * len(calls & other_calls) / (len(calls) + len(other_calls))}
    if sum(a.values()) >= 20:
        told[f"{what}_errors"] = 2 * shared / (sum(a.values()) + scale * sum(b.values()))
    moved = spans = 0
    for service, (count, _) in sums.items():
        series = [s[1] / np.maximum(s[0], 1) for s in (sums[service], other_sums[service])]
        if series[0].sum() == 0:
            continue
        at = np.arange(BUCKETS)
        far = wasserstein_distance(at, at, *series) / BUCKETS if series[1].sum() else 1.0
        moved += count.sum() * far
        spans += count.sum()
    return told | {f"{what}_durations": float(moved / spans)}


# --- the two-sample test -----------------------------------------------------------------------


def two_samples(a, b, seed, importance):
    """AUC of telling feature dictionaries a from b; equal sides, 70/30."""
    rng = np.random.RandomState(seed)
    side = min(len(a), len(b), SIDE)
    rows = [a[i] for i in rng.permutation(len(a))[:side]] + [b[i] for i in rng.permutation(len(b))[:side]]
    keys = sorted({key for row in rows for key in row})
    column = {key: i for i, key in enumerate(keys)}
    x = np.zeros((len(rows), len(keys)))
    x[:, [i for i, key in enumerate(keys) if key.startswith("duration ")]] = np.nan
    for at, row in enumerate(rows):
        for key, value in row.items():
            x[at, column[key]] = value
    # No tree uses a column that fewer rows than a leaf has tell apart, or one that is like another.
    some, seen = [], set()
    for i in range(x.shape[1]):
        column = np.ascontiguousarray(x[:, i])
        _, counts = np.unique(column, return_counts=True)
        if len(column) - counts.max() >= LEAF and column.tobytes() not in seen:
            seen.add(column.tobytes())
            some.append(i)
    x, keys = x[:, some], [keys[i] for i in some]
    y = np.repeat([0, 1], side)
    order = rng.permutation(2 * side)
    x, y = x[order], y[order]
    cut = int(0.7 * 2 * side)
    some = ~np.isnan(x[:cut]).all(0)
    x, keys = x[:, some], [key for key, has in zip(keys, some) if has]
    model = HistGradientBoostingClassifier(random_state=seed).fit(x[:cut], y[:cut])
    test, truth = x[cut:].copy(), y[cut:]
    auc = roc_auc_score(truth, model.predict_proba(test)[:, 1])
    tops = []
    if importance:
        used = {int(i) for trees in model._predictors for tree in trees for i in tree.nodes["feature_idx"][tree.nodes["is_leaf"] == 0]}
        for i in sorted(used):
            kept = test[:, i].copy()
            test[:, i] = rng.permutation(kept)
            tops.append((float(auc - roc_auc_score(truth, model.predict_proba(test)[:, 1])), keys[i]))
            test[:, i] = kept
        tops.sort(reverse=True)
    return float(auc), [[round(drop, 4), key] for drop, key in tops[:15]]


def c2st(a, b, arguments):
    told = [two_samples(a, b, arguments.seed + i, arguments.importance and i == 0) for i in range(arguments.splits)]
    return {"auc": float(np.mean([auc for auc, _ in told])), "splits": [auc for auc, _ in told], "importance": told[0][1]}


def compare(held_out, other, arguments):
    structure = [[structure_features(t) for t in side] for side in (held_out, other)]
    times = [[time_features(t) for t in side] for side in (held_out, other)]
    everything = [[s | t for s, t in zip(*side)] for side in zip(structure, times)]
    p, q = frequencies(map(shape, held_out), map(shape, other))
    w1, per_operation = operation_durations(held_out, other)
    outside = [violation(side) for side in (held_out, other)]
    return {
        "traces": [len(held_out), len(other)],
        "spans": [sum(map(len, side)) for side in (held_out, other)],
        "j1": c2st(*everything, arguments),
        "j2": c2st(*structure, arguments),
        "fidelity": fidelity(held_out, other),
        "v2": {"observed": outside[0], "synthetic": outside[1], "difference": abs(outside[0] - outside[1])},
        "s2": {"edges": likeness(*(spread_over(side, edges) for side in (held_out, other))),
               "triples": likeness(*(spread_over(side, triples) for side in (held_out, other)))},
        "s3": {"tv": float(np.abs(p - q).sum() / 2), "coverage": float(p[q > 0].sum()), "novelty": float(q[p == 0].sum())},
        "t1": {"w1": w1, "per operation": per_operation},
        "root latency": root_latency(held_out, other),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for path in ("train", "held_out", "second", "synthetic"):
        parser.add_argument(path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--no-importance", dest="importance", action="store_false")
    parser.add_argument("--ceiling", action="store_true", help="compare SECOND with HELD_OUT as well")
    arguments = parser.parse_args()
    held_out = load(arguments.held_out)
    told = {"synthetic": compare(held_out, load(arguments.synthetic)[: len(held_out)], arguments)}
    if arguments.ceiling and arguments.second != "-":
        arguments.importance = False
        second = load(arguments.second)[: len(held_out)]
        told["ceiling"] = compare(held_out, second, arguments)
        sampled = sorted(held_out, key=lambda t: t.began)[::HEAD]
        told["ceiling"]["u4"] = queries(held_out, second, "query") | queries(held_out, sampled, "head")
    json.dump(told, sys.stdout, indent=1)
    print()
    for sample, t in told.items():
        brief(sample, t)


def brief(sample, t):
    """A line for a person, on standard error."""
    latency = t["root latency"]["all"]
    tops = ", ".join(f"{key} {drop:+.3f}" for drop, key in t["j1"]["importance"][:6])
    print(
        f"{sample}: J1 {t['j1']['auc']:.3f} J2 {t['j2']['auc']:.3f} TV {t['s3']['tv']:.3f} novel {t['s3']['novelty']:.3f}"
        f" overall {t['fidelity']['overall']:.3f} V2 {t['v2']['observed']:.4f}/{t['v2']['synthetic']:.4f} W1 {t['t1']['w1']:.4f}"
        f" root p50/95/99 {latency['p50']:.2f}/{latency['p95']:.2f}/{latency['p99']:.2f}" + (f"\n  J1 by: {tops}" if tops else ""),
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()

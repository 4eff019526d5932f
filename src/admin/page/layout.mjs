// Where things go. Pure functions.

// Round values from `least` to `most`, about `wanted` of them.
export function ticks(most, wanted = 4, least = 0) {
  if (!(most > least)) return [least];
  const rough = (most - least) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999) * power;
  const found = [];
  for (let at = Math.ceil(least / step - 1e-4); at * step <= most * 1.0001; at += 1) found.push(at * step || 0);
  return found;
}

// The time that a trace covers: its children may begin before their root and outlive it.
export function extent(spans) {
  let [from, to] = [0, 1];
  for (const span of spans) {
    from = Math.min(from, span.start_ns);
    to = Math.max(to, span.start_ns + span.duration_ns);
  }
  return { from, to };
}

// A layered drawing of a call graph, left to right. `edges`: [{from, to, weight}]; `capacity`: how
// many names fit into a column; `most`: how many columns fit. Gives the column of each name, its
// place in it, from 0 to 1, and the columns.
export function layered(edges, capacity = 14, most = Infinity) {
  const names = [...new Set(edges.flatMap((edge) => [edge.from, edge.to]))].sort();
  const proper = edges.filter((edge) => edge.from !== edge.to);
  const back = backEdges(names, proper);
  const forward = proper.filter((edge) => !back.has(edge));
  const column = squeeze(columns(names, forward), most);
  const layers = [];
  for (const name of names) (layers[column.get(name)] ??= []).push(name);
  order(layers, forward, column);
  return { column, place: places(layers, forward, capacity), layers };
}

// Neighbouring columns become one where there are more than `most`, so that the fullest stays as
// short as it can. The first, where requests come in, stays alone; callers never come to stand
// right of those they call.
function squeeze(column, most) {
  const sizes = [];
  for (const at of column.values()) sizes[at] = (sizes[at] ?? 0) + 1;
  if (sizes.length <= most) return column;
  const [alone, rest] = most > 1 ? [1, sizes.slice(1)] : [0, sizes];
  let full = Math.max(...rest);
  while (cut(rest, full).at(-1) >= most - alone) full += 1;
  const into = cut(rest, full);
  return new Map([...column].map(([name, at]) => [name, at < alone ? 0 : alone + into[at - alone]]));
}

// The new column of each column, when they are filled up to `full` one after the other.
function cut(sizes, full) {
  let [at, filled] = [0, 0];
  return sizes.map((size) => {
    if (filled > 0 && filled + size > full) [at, filled] = [at + 1, 0];
    filled += size;
    return at;
  });
}

// Edges that would close a cycle, walking from those who call most and are called least.
function backEdges(names, edges) {
  const surplus = new Map(names.map((name) => [name, 0]));
  const out = new Map(names.map((name) => [name, []]));
  for (const edge of edges) {
    surplus.set(edge.from, surplus.get(edge.from) + edge.weight);
    surplus.set(edge.to, surplus.get(edge.to) - edge.weight);
    out.get(edge.from).push(edge);
  }
  for (const list of out.values()) list.sort((a, b) => b.weight - a.weight);
  const back = new Set();
  const state = new Map();
  const walk = (name) => {
    state.set(name, 'open');
    for (const edge of out.get(name)) {
      const there = state.get(edge.to);
      if (there === 'open') back.add(edge);
      else if (there === undefined) walk(edge.to);
    }
    state.set(name, 'done');
  };
  const called = new Set(edges.map((edge) => edge.to));
  const first = (a, b) => (called.has(a) - called.has(b)) || surplus.get(b) - surplus.get(a);
  for (const name of [...names].sort(first)) if (!state.has(name)) walk(name);
  return back;
}

// One column further than the furthest caller.
function columns(names, edges) {
  const into = new Map(names.map((name) => [name, []]));
  for (const edge of edges) into.get(edge.to).push(edge.from);
  const column = new Map();
  const of = (name) => {
    if (!column.has(name)) column.set(name, Math.max(0, ...into.get(name).map((from) => of(from) + 1)));
    return column.get(name);
  };
  names.forEach(of);
  return column;
}

// Sorts each column by where its neighbours lie, to and fro, so that few edges cross.
function order(layers, edges, column) {
  const rank = new Map();
  const rerank = (layer) => layer.forEach((name, at) => rank.set(name, (at + 0.5) / layer.length));
  layers.forEach(rerank);
  const sweep = (layer, before) => {
    const mean = new Map(layer.map((name) => {
      let [sum, weight] = [0, 0];
      for (const edge of edges) {
        const other = edge.to === name ? edge.from : edge.from === name ? edge.to : null;
        if (other === null || (column.get(other) < column.get(name)) !== before) continue;
        sum += rank.get(other) * edge.weight;
        weight += edge.weight;
      }
      return [name, weight > 0 ? sum / weight : rank.get(name)];
    }));
    layer.sort((a, b) => mean.get(a) - mean.get(b) || (a < b ? -1 : 1));
    rerank(layer);
  };
  for (let round = 0; round < 4; round += 1) {
    layers.forEach((layer) => sweep(layer, true));
    [...layers].reverse().forEach((layer) => sweep(layer, false));
  }
  layers.forEach((layer) => sweep(layer, true));
}

// Places from 0 to 1: near the neighbours, but never nearer to each other than there is room for.
function places(layers, edges, capacity) {
  const widest = Math.max(1, capacity, ...layers.map((layer) => layer.length));
  const gap = 1 / widest;
  const place = new Map();
  layers.forEach((layer) => layer.forEach((name, at) => place.set(name, (at + 0.5) / layer.length)));
  const settle = (layer) => {
    const wish = layer.map((name) => {
      let [sum, weight] = [place.get(name) * 0.02, 0.02];
      for (const edge of edges) {
        const other = edge.to === name ? edge.from : edge.from === name ? edge.to : null;
        if (other === null) continue;
        sum += place.get(other) * edge.weight;
        weight += edge.weight;
      }
      return sum / weight;
    });
    spread(wish, gap).forEach((at, index) => place.set(layer[index], at));
  };
  for (let round = 0; round < 6; round += 1) (round % 2 ? [...layers].reverse() : layers).forEach(settle);
  return place;
}

// Wishes in order, moved apart to at least `gap` and into 0 to 1, each as little as that takes.
export function spread(wishes, gap) {
  const blocks = [];
  wishes.forEach((wish, index) => {
    // What lies `index` gaps further along lies where it wished to be, `index` gaps less.
    let block = { sum: wish - index * gap, size: 1 };
    while (blocks.length > 0 && blocks.at(-1).sum / blocks.at(-1).size > block.sum / block.size) {
      const last = blocks.pop();
      block = { sum: last.sum + block.sum, size: last.size + block.size };
    }
    blocks.push(block);
  });
  const [low, high] = [gap / 2, 1 - gap / 2 - (wishes.length - 1) * gap];
  const settled = blocks.flatMap(({ sum, size }) => {
    const at = Math.min(Math.max(sum / size, low), Math.max(high, low));
    return Array(size).fill(at);
  });
  return settled.map((at, index) => at + index * gap);
}

// At most `most` points of a curve: the first, the last, and evenly spread ones between.
export function thin(points, most) {
  if (points.length <= most) return points;
  const step = (points.length - 1) / (most - 1);
  return Array.from({ length: most }, (_, at) => points[Math.round(at * step)]);
}

// The same rows, the values of one column being means that follow it slowly.
export function smooth(rows, column) {
  let mean = null;
  return rows.map((row) => {
    const value = row[column];
    if (typeof value !== 'number' || !Number.isFinite(value)) return row;
    mean = mean === null ? value : mean + (value - mean) * 0.12;
    return row.with(column, mean);
  });
}

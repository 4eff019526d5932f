// Figures and states in words. Pure functions.

const WHOLE = new Intl.NumberFormat('en');

// 12,345
export const count = (n) => WHOLE.format(Math.round(n ?? 0));

// 950, 12.3k, 4.56M
export function compact(n) {
  if (n < 9_999.5) return count(n);
  if (n < 999_500) return `${round3(n / 1e3)}k`;
  if (n < 999_500_000) return `${round3(n / 1e6)}M`;
  return `${round3(n / 1e9)}G`;
}

// 0.4, 7.3, 128, 12.3k
export const rate = (n) => (n < 10 ? n.toFixed(1) : compact(n));

// Three figures: 1.23, 12.3, 123
export function round3(x) {
  if (x === 0) return '0';
  const rounded = Number(x.toPrecision(3));
  const digits = 2 - Math.floor(Math.log10(Math.abs(rounded)) + 1e-9);
  return rounded.toFixed(Math.min(Math.max(digits, 0), 3));
}

// Nanoseconds: 850 ns, 12.3 µs, 4.56 ms, 1.23 s, 2 min 5 s
export function duration(ns) {
  const size = Math.abs(ns);
  if (size < 999.5) return `${Math.round(ns)} ns`;
  if (size < 999.5e3) return `${round3(ns / 1e3)} µs`;
  if (size < 999.5e6) return `${round3(ns / 1e6)} ms`;
  if (size < 99.95e9) return `${round3(ns / 1e9)} s`;
  return `${Math.floor(ns / 60e9)} min ${Math.round((ns % 60e9) / 1e9)} s`;
}

// A round duration on an axis: 50 ms, not 50.0 ms
export const mark = (ns) => duration(ns).replace(/\.0+ |(\.\d*[1-9])0+ /, '$1 ');

// Seconds since the start: 42 s, 3 min 20 s, 5 h 12 min, 3 d 4 h
export function uptime(seconds) {
  const s = Math.floor(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3_600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86_400) return `${Math.floor(s / 3_600)} h ${Math.floor((s % 3_600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3_600)} h`;
}

// 0, <0.1%, 4.2%, 37%
export function share(x) {
  if (!x) return '0';
  if (x < 0.001) return '<0.1%';
  return x < 0.0995 ? `${(x * 100).toFixed(1)}%` : `${Math.round(x * 100)}%`;
}

// 1 span, 12 spans
export const many = (n, noun) => `${count(n)} ${noun}${n === 1 ? '' : 's'}`;

// Which sampler serves, and what it would take for that to change.
export function learnerSentence({ observed, learner }) {
  const [vae, grammar] = [learner.held_out_vae, learner.held_out_grammar];
  const scored = isNumber(vae) && isNumber(grammar);
  if (learner.serving === 'vae') {
    if (!scored) return 'The VAE serves.';
    if (vae > grammar) return 'The VAE serves, though the last scoring put the table grammar ahead.';
    return `The VAE serves: ${(grammar - vae).toFixed(1)} nats a held-out trace better than the table grammar.`;
  }
  if (learner.serving === 'grammar') {
    if (!scored) return 'The table grammar serves; the VAE has not been scored on held-out traces yet.';
    const lack = vae - grammar;
    if (lack > 0) return `The table grammar serves; the VAE lacks ${lack.toFixed(1)} nats a held-out trace to take over.`;
    return 'The table grammar serves; the VAE has overtaken it and waits to be published.';
  }
  if (observed.traces === 0) return 'Nothing is emitted yet: no whole trace has come in.';
  const waiting = learner.traces_waiting > 0 ? `; ${many(learner.traces_waiting, 'trace')} wait for their labels to be seen often enough` : '';
  return `Nothing is emitted yet: ${many(learner.traces_seen, 'trace')} seen, too few to learn from${waiting}.`;
}

// How the trace on the other side differs from the one it was picked for.
export function likeness(picked, other, among) {
  const parts = [`nearest of ${count(among)}`];
  parts.push(picked.rootKey === other.rootKey ? 'same root' : 'another root');
  const spans = other.size - picked.size;
  if (spans === 0) parts.push('as many spans');
  else parts.push(`${many(Math.abs(spans), 'span')} ${spans > 0 ? 'more' : 'fewer'}`);
  if (picked.duration > 0 && other.duration > 0) {
    const ratio = other.duration / picked.duration;
    parts.push(`${ratio < 9.95 ? ratio.toFixed(2) : round3(ratio)}× as long`);
  }
  return parts.join(' · ');
}

export const isNumber = (x) => typeof x === 'number' && Number.isFinite(x);

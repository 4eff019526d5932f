// Figures and states in words.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { compact, duration, learnerSentence, likeness, mark, share, uptime } from '../../src/admin/page/words.mjs';

const check = (actual, expected) => assert.equal(actual, expected);

test('durations have three figures and the unit that a person would choose', () => {
  check(duration(850), '850 ns');
  check(duration(12_340), '12.3 µs');
  check(duration(4_560_000), '4.56 ms');
  check(duration(999_600_000), '1.00 s');
  check(duration(-2_000_000), '-2.00 ms');
  check(duration(125e9), '2 min 5 s');
});

test('round durations on an axis have no idle zeros', () => {
  check(mark(50e6), '50 ms');
  check(mark(2_500_000), '2.5 ms');
  check(mark(1e9), '1 s');
  check(mark(100e6), '100 ms');
});

test('counts and shares stay short', () => {
  check(compact(950), '950');
  check(compact(12_345), '12.3k');
  check(compact(4_560_000), '4.56M');
  check(share(0), '0');
  check(share(0.0004), '<0.1%');
  check(share(0.042), '4.2%');
  check(share(0.37), '37%');
  check(uptime(42), '42 s');
  check(uptime(3_725), '1 h 2 min');
});

const pulse = (serving, vae, grammar) => ({
  observed: { traces: 500 },
  learner: { serving, held_out_vae: vae, held_out_grammar: grammar, traces_seen: 50, traces_waiting: 7 },
});

test('the state of the learner is a sentence', () => {
  check(learnerSentence(pulse('grammar', 48.1, 35.8)), 'The table grammar serves; the VAE lacks 12.3 nats a held-out trace to take over.');
  check(learnerSentence(pulse('grammar', null, 35.8)), 'The table grammar serves; the VAE has not been scored on held-out traces yet.');
  check(learnerSentence(pulse('vae', 30, 35.8)), 'The VAE serves: 5.8 nats a held-out trace better than the table grammar.');
  check(learnerSentence(pulse('vae', 36, 35.8)), 'The VAE serves, though the last scoring put the table grammar ahead.');
  check(learnerSentence(pulse('grammar', 30, 35.8)), 'The table grammar serves; the VAE has overtaken it and waits to be published.');
  check(learnerSentence(pulse('nothing', null, null)), 'Nothing is emitted yet: 50 traces seen, too few to learn from; 7 traces wait for their labels to be seen often enough.');
  check(learnerSentence({ ...pulse('nothing', null, null), observed: { traces: 0 } }), 'Nothing is emitted yet: no whole trace has come in.');
});

test('a found trace is told by how it differs', () => {
  const picked = { rootKey: 'a', size: 12, duration: 100 };
  check(likeness(picked, { rootKey: 'a', size: 13, duration: 93 }, 40), 'nearest of 40 · same root · 1 span more · 0.93× as long');
  check(likeness(picked, { rootKey: 'b', size: 12, duration: 1_200 }, 1), 'nearest of 1 · another root · as many spans · 12.0× as long');
});

// The page: listens to the service, keeps what is picked, and lets each part draw.

import { connect, picture } from './connection.mjs';
import { el, learnServices, say } from './dom.mjs';
import { Graph } from './graph.mjs';
import { extent } from './layout.mjs';
import { Learner } from './learner.mjs';
import { Operations } from './operations.mjs';
import { Side } from './traces.mjs';
import { learnerSentence, many, uptime } from './words.mjs';

const FOLLOW_SECONDS = 6;

const by = (id) => document.getElementById(id);
const main = by('main');
const sides = {};
for (const name of ['observed', 'synthetic']) {
  sides[name] = new Side(by(name), name, {
    picked: (trace) => {
      follow(false);
      pick(trace);
    },
    pointed: (key) => Object.values(sides).forEach((side) => side.echo(key)),
  });
}
const graph = new Graph(by('graph'));
const operations = new Operations(by('operations'));
const learner = new Learner(by('learner'));

const state = { synthesizer: null, paused: false, following: false, beats: 0, sinceShuffle: 0, uptime: 0, asking: false, connected: false };

// Picks a trace and, on the other side, the one nearest to it.
function pick(trace) {
  const [here, there] = trace.side === 'observed' ? [sides.observed, sides.synthetic] : [sides.synthetic, sides.observed];
  const other = there.nearestTo(trace);
  here.choose(trace, null, 0);
  if (other) there.choose(other, trace, there.kept.size);
  draw();
}

function draw() {
  const shown = Object.values(sides).filter((side) => side.chosen);
  const same = pressed('scale');
  const scale = Math.max(...shown.map((side) => extentOf(side.chosen)));
  for (const side of shown) side.drawTrace(same ? scale : undefined);
}

function extentOf(trace) {
  const { from, to } = extent(trace.trace.spans);
  return to - from;
}

function shuffle() {
  const traces = sides.observed.traces();
  const others = traces.filter((trace) => trace !== sides.observed.chosen);
  // Chance may be anybody's here: it only picks what is looked at.
  const trace = others[Math.floor(Math.random() * others.length)] ?? traces[0] ?? sides.synthetic.traces()[0];
  state.sinceShuffle = 0;
  if (trace) pick(trace);
}

const pressed = (id) => by(id).getAttribute('aria-pressed') === 'true';
const press = (id, on) => by(id).setAttribute('aria-pressed', String(on));

function follow(on) {
  state.following = on;
  state.sinceShuffle = 0;
  press('follow', on);
}

function pause(on) {
  state.paused = on;
  press('pause', on);
  say(by('pause'), on ? 'Resume' : 'Pause');
  document.body.classList.toggle('paused', on);
  if (!on) refresh();
}

// Figures, once a second.
function beat(event) {
  if (event.uptime_seconds < state.uptime) Object.values(sides).forEach((side) => side.forget());
  state.uptime = event.uptime_seconds;
  if (state.paused) return;
  say(by('about'), `up ${uptime(event.uptime_seconds)} · v${event.version}`);
  offer(event.synthesizers.map((beat) => beat.id));
  const pulse = event.synthesizers.find((beat) => beat.id === state.synthesizer) ?? event.synthesizers[0];
  if (!pulse) return none();
  state.pulse = pulse;
  say(by('sentence'), learnerSentence(pulse));
  by('lamp').className = `lamp ${pulse.learner.serving}`;
  sides.observed.beat(pulse.observed);
  sides.synthetic.beat(pulse.synthetic);
  learner.beat(pulse);
  if (state.beats % 2 === 0) refresh();
  state.beats += 1;
  state.sinceShuffle += 1;
  if (state.following && state.sinceShuffle >= FOLLOW_SECONDS && !document.hidden && !main.querySelector('.side:hover')) shuffle();
}

// The whole picture.
async function refresh() {
  if (state.asking || document.hidden) return;
  state.asking = true;
  const asked = state.synthesizer;
  const snapshot = await picture(asked);
  state.asking = false;
  if (!snapshot?.board || state.paused || asked !== state.synthesizer) return;
  const { observed, synthetic } = snapshot.board;
  learnServices(busyServices(observed, synthetic));
  for (const [name, side] of Object.entries(sides)) side.take(snapshot.board[name].recent);
  if (!sides.observed.chosen || !sides.synthetic.chosen) start();
  if (observed.edges.length + synthetic.edges.length > 0) graph.show(observed.edges, synthetic.edges);
  else graph.await('No call seen yet: the graph is drawn from whole traces, by the services of parents and children.');
  if (observed.operations.length + synthetic.operations.length > 0) operations.show(observed.operations, synthetic.operations);
  else operations.await('No span of a whole trace seen yet.');
  learner.show(snapshot.board.learner.curve, snapshot.board.serving_since, snapshot.board.learner.serving);
}

// Until both sides show a trace: picks the first there is, and says what the other side waits for.
function start() {
  const chosen = sides.observed.chosen ?? sides.synthetic.chosen ?? sides.observed.traces().at(-1) ?? sides.synthetic.traces().at(-1);
  if (chosen) pick(chosen);
  const open = state.pulse?.open_traces ?? 0;
  if (!sides.observed.chosen) {
    const now = open > 0 ? ` ${many(open, 'trace')} ${open === 1 ? 'is' : 'are'} being assembled now.` : ' No span has come in lately: send OTLP to a receiver of the observed pipeline.';
    sides.observed.await(`No whole trace yet. A trace is complete when its root and the parents of all its spans have come and it has been quiet for a while.${now}`);
  }
  if (!sides.synthetic.chosen) {
    const serving = state.pulse?.learner.serving ?? 'nothing';
    sides.synthetic.await(serving === 'nothing'
      ? 'No synthetic trace yet. The table grammar begins to serve as soon as enough whole traces have been learnt from; the VAE takes over once it needs fewer nats on held-out ones.'
      : 'No synthetic trace yet, though a sampler serves: see `generation` of the synthesizer for the mode and rate, and the log for its exporters.');
  }
}

function busyServices(observed, synthetic) {
  const calls = new Map();
  for (const row of [...observed.operations, ...synthetic.operations]) calls.set(row.service, (calls.get(row.service) ?? 0) + row.calls);
  return [...calls.keys()].sort((a, b) => calls.get(b) - calls.get(a) || (a < b ? -1 : 1));
}

function none() {
  say(by('sentence'), 'No synthesizer runs: this service only forwards.');
  by('lamp').className = 'lamp nothing';
  const text = 'Nothing to show. Name a synthesizer in `connectors`, as an exporter of one pipeline and a receiver of another.';
  for (const part of [sides.observed, sides.synthetic, graph, operations]) part.await(text);
}

function offer(ids) {
  const select = by('synthesizers');
  by('pick').hidden = ids.length < 2;
  if (!ids.includes(state.synthesizer)) state.synthesizer = ids[0] ?? null;
  if ([...select.options].map((option) => option.value).join('\n') === ids.join('\n')) return;
  select.replaceChildren(...ids.map((id) => el('option', { value: id, selected: id === state.synthesizer }, id)));
}

by('synthesizers').addEventListener('change', (event) => {
  state.synthesizer = event.target.value;
  Object.values(sides).forEach((side) => side.forget());
  state.beats = 0;
  refresh();
});
by('shuffle').addEventListener('click', shuffle);
by('follow').addEventListener('click', () => {
  follow(!state.following);
  if (state.following) shuffle();
});
by('scale').addEventListener('click', () => {
  press('scale', !pressed('scale'));
  draw();
});
by('pause').addEventListener('click', () => pause(!state.paused));
for (const button of document.querySelectorAll('.widen')) {
  button.addEventListener('click', () => {
    const id = button.closest('section').id;
    main.dataset.wide = main.dataset.wide === id ? '' : id;
  });
}
document.addEventListener('keydown', (event) => {
  if (event.target.matches('input, select') || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === 'Escape') main.dataset.wide = '';
  const button = { s: 'shuffle', f: 'follow', t: 'scale', p: 'pause' }[event.key];
  if (button) by(button).click();
});
document.addEventListener('visibilitychange', () => document.hidden || state.paused || refresh());

// Moving pictures are for those who have not asked for less of them.
follow(!matchMedia('(prefers-reduced-motion: reduce)').matches);

connect({
  pulse: beat,
  state: ({ connected, since }) => {
    const lost = by('lost');
    lost.hidden = connected;
    if (!connected) {
      const seconds = Math.round((Date.now() - since) / 1_000);
      say(lost, seconds < 2 ? 'Connecting …' : `No connection for ${uptime(seconds)}; trying again. What you see is the last that was received.`);
    } else if (!state.paused) refresh();
    document.body.classList.toggle('offline', !connected);
  },
});

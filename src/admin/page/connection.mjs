// The line to the service: figures every second, the whole picture every other second.

const SILENT_MS = 5_000;
const LONGEST_WAIT_MS = 10_000;

// Calls `pulse` with each event and `state` with {connected, since} whenever that changes or a
// second of waiting has passed.
export function connect({ pulse, state }) {
  let source;
  let heard = Date.now();
  let wait = 1_000;
  let connected = false;
  let retry;

  const open = () => {
    source?.close();
    source = new EventSource('/api/stream');
    source.onmessage = (event) => {
      heard = Date.now();
      wait = 1_000;
      if (!connected) {
        connected = true;
        state({ connected, since: heard });
      }
      pulse(JSON.parse(event.data));
    };
    source.onerror = lose;
  };
  const lose = () => {
    source?.close();
    connected = false;
    state({ connected, since: heard });
    clearTimeout(retry);
    retry = setTimeout(open, wait);
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
  };
  setInterval(() => {
    if (!connected) state({ connected, since: heard });
    else if (Date.now() - heard > SILENT_MS) lose();
  }, 1_000);
  open();
}

// The whole picture of one synthesizer, of the first if none is named; null where it can't be had.
export async function picture(synthesizer) {
  const query = synthesizer ? `?synthesizer=${encodeURIComponent(synthesizer)}` : '';
  try {
    const answer = await fetch(`/api/snapshot${query}`, { signal: AbortSignal.timeout(8_000) });
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

// What happens, as it happens: one stream of server-sent events for the whole page; whoever is shown asks again for what changed.

import { happened } from "./api.js";

const KINDS = ["allocation", "forecast", "plan", "outcome", "migration", "reservation", "request", "notice", "stop", "mode", "statement"];
const AGAIN_MS = 400;

const listeners = new Set();
let source = null;
let state = "off";
let told = () => {};

/** Called with `live`, `waiting` (the connection is made again) or `off`. */
export function whenLive(listener) {
  told = listener;
}

export function open() {
  close();
  source = new EventSource("/v1/stream");
  source.addEventListener("open", () => become("live"));
  source.addEventListener("error", () => become(source?.readyState === EventSource.CLOSED ? "off" : "waiting"));
  source.addEventListener("lost", () => KINDS.forEach(tell));
  for (const kind of KINDS) source.addEventListener(kind, () => tell(kind));
}

export function close() {
  source?.close();
  source = null;
  become("off");
}

export const isLive = () => state === "live";

/** Call `listener` soon after something of these kinds happened; many at once count as one. Ends with `signal`. */
export function on(kinds, listener, signal) {
  let due = null;
  const entry = {
    kinds,
    heard: () => {
      due ??= setTimeout(() => {
        due = null;
        if (!signal.aborted) listener();
      }, AGAIN_MS);
    },
  };
  listeners.add(entry);
  signal.addEventListener("abort", () => listeners.delete(entry));
}

function tell(kind) {
  happened();
  for (const entry of listeners) if (entry.kinds.includes(kind)) entry.heard();
}

function become(word) {
  if (word === state) return;
  state = word;
  told(word);
}

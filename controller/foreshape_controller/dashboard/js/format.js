// Numbers, times and amounts as people read them. The controller's clock counts, not the browser's: a demo's days pass faster.

import { h } from "./dom.js";

let ahead = 0;

/** What the controller's clock says: ages are counted from it. */
export function setClock(epoch) {
  ahead = epoch - Date.now() / 1000;
}

export function now() {
  return Date.now() / 1000 + ahead;
}

/** 12345.6 → "12,346"; three digits that count. `fine`: also of what is below a hundredth, as on the axes of charts. */
export function number(value, fine = false) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (fine && value !== 0 && Math.abs(value) < 0.095) return value.toLocaleString("en", { maximumSignificantDigits: 2 });
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

/** An amount of a resource in the unit that people use: memory in GiB. */
export function amount(resource, value) {
  if (value === null || value === undefined) return "–";
  const [factor, unit] = scale(resource);
  return `${number(value * factor)} ${unit}`;
}

/** By which an amount of the API is multiplied to be shown, and its unit then. */
export function scale(resource) {
  return { cpu: [1, "cores"], memory: [1 / 1024, "GiB"], disk: [1 / 1024, "MiB/s"], net: [1 / 1024, "MiB/s"] }[resource] ?? [1, ""];
}

export function percent(share) {
  if (share === null || share === undefined) return "–";
  return `${(share * 100).toLocaleString("en", { maximumFractionDigits: share < 0.1 ? 2 : 1 })} %`;
}

export function age(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const steps = [[90, 1, "s"], [5400, 60, "min"], [172800, 3600, "h"], [Infinity, 86400, "days"]];
  const [, unit, word] = steps.find(([most]) => Math.abs(seconds) < most);
  return `${number(Math.round((seconds / unit) * (unit === 3600 ? 10 : 1)) / (unit === 3600 ? 10 : 1))} ${word}`;
}

const DAY = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const FULL = new Intl.DateTimeFormat("en-GB", { dateStyle: "full", timeStyle: "long" });

/** "Mon 5 Jan, 13:40", in the browser's time zone. */
export function clock(epoch) {
  return epoch === null || epoch === undefined || !Number.isFinite(epoch) ? "–" : DAY.format(new Date(epoch * 1000));
}

/** The same as an element; the whole date where the pointer rests. */
export function stamp(epoch) {
  if (epoch === null || epoch === undefined || !Number.isFinite(epoch) || epoch <= 0) return "–";
  const at = new Date(epoch * 1000);
  return h("time", { datetime: at.toISOString(), title: FULL.format(at) }, clock(epoch));
}

/** Seconds, as "in 5 min" or "5 min ago". */
export function relative(epoch) {
  if (!epoch) return "–";
  const s = epoch - now();
  return s >= 0 ? `in ${age(s)}` : `${age(-s)} ago`;
}

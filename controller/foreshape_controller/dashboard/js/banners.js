// What nobody may overlook, whichever page he is on.

import { h } from "./dom.js";
import { age, clock } from "./format.js";

/** Banners for an answer of GET /v1/overview, the gravest first. */
export function banners(o) {
  return [...stops(o), ...halts(o), ...data(o), ...alarms(o), ...simulated(o)].map(([kind, title, text]) =>
    h("div", { class: `banner ${kind}` }, h("strong", {}, title), " ", h("span", {}, text)));
}

function stops({ stops: all }) {
  return all.map((s) => ["bad", s.scope === "cloud" ? "EVERYTHING IS STOPPED." : `STOPPED: ${s.scope}.`, `Since ${clock(s.since)}: ${s.reason.replace(/^stopped: /, "")}`]);
}

function halts({ halts: all }) {
  const some = all.slice(0, 3).map((x) => ["warn", `Halted: ${x.scope}.`, `${x.reason} (until ${clock(x.until)} at least)`]);
  return all.length > 3 ? [...some, ["warn", `And ${all.length - 3} halts more.`, "The page Modes and stop has them all."]] : some;
}

function data(o) {
  if (o.data_age_s === null) return o.servers ? [["warn", "No measurements.", "No agent has reported a sample of these servers yet."]] : [];
  const old = o.data_age_s > o.stale_after_s ? [["bad", "The data is old.", `The newest sample is ${age(o.data_age_s)} old: nothing is decided by it.`]] : [];
  const silent = o.hosts - o.hosts_fresh;
  return silent > 0 ? [...old, ["warn", `${silent} of ${o.hosts} hosts are silent.`, "Their agents do not report, and nothing is ordered there."]] : old;
}

function alarms(o) {
  return o.alarm ? [["warn", "Forecasts change nothing.", o.alarm]] : [];
}

function simulated(o) {
  return o.simulated ? [["note", "SIMULATED.", "These hypervisors and servers are made up: nothing here is a real machine, and no saving is a real one."]] : [];
}

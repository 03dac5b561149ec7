// How far Foreshape may go, and stopping it: in one call, with the scope typed once more.

import { can, me, send } from "../api.js";
import { ask } from "../dialog.js";
import { badge, button, h } from "../dom.js";
import { relative, stamp } from "../format.js";
import { table } from "../table.js";

const KINDS = ["mode", "stop"];

export function modes(page) {
  const write = can("operator:write");
  page.head("Modes and stop", "observe: only look. advise: say what would be done. act: do it. The lowest that is set for the cloud, for a server's host, its project and itself counts.", write ? [button("STOP …", () => stop("cloud"), { class: "danger", id: "stop" })] : []);
  page.panel("Modes that are set", async (get) => ({ set: await get("/v1/modes"), stops: (await get("/v1/overview")).stops.map((s) => s.scope) }), ({ set, stops }) => table({
    caption: "Scopes with a mode of their own",
    key: "modes",
    file: "modes",
    rows: set,
    columns: [
      { name: "Scope", cell: (m) => m.scope, sort: (m) => m.scope },
      { name: "Mode", cell: (m) => [m.mode, stops.includes(m.scope) && [" ", badge("stopped", "bad")]], sort: (m) => m.mode },
      { name: "Since", cell: (m) => (m.since ? stamp(m.since) : "from the start"), sort: (m) => m.since },
      { name: "Why", cell: (m) => m.reason, wide: true },
      ...(write ? [{ name: "", cell: (m) => words(m, stops.includes(m.scope)) }] : []),
    ],
  }), { kinds: KINDS });
  page.panel(me().everywhere ? "Chosen by tenants" : "In or out: your choice", (get) => get("/v1/choices"), choices, { kinds: KINDS });
  if (can("operator:read")) page.panel("Halts", (get) => get("/v1/halts"), (rows) => halts(rows, write), { kinds: KINDS });
}

function words(m, stopped) {
  return h("span", { class: "buttons" },
    stopped && button("Go on …", () => resume(m.scope), { "data-key": `resume ${m.scope}`, "aria-label": `Let ${m.scope} go on` }),
    !stopped && button("Set …", () => setMode(m.scope, m.scope, m.mode), { "data-key": `set ${m.scope}`, "aria-label": `Set the mode of ${m.scope}` }),
    !stopped && m.scope !== "cloud" && button("Stop …", () => stop(m.scope), { "data-key": `stop ${m.scope}`, "aria-label": `Stop ${m.scope}` }));
}

/** How far tenants let Foreshape go: the lowest of their word and the operators' counts. */
function choices(rows) {
  return table({
    caption: "In and out: what tenants chose for their projects and servers",
    key: "choices",
    file: "choices",
    rows,
    empty: "Nobody has chosen anything: the operators' modes count.",
    filter: (c) => `${c.scope} ${c.name} ${c.mode} ${c.by}`,
    columns: [
      { name: "Scope", cell: (c) => [c.name || c.scope, h("small", {}, ` ${c.scope.split(":")[0]}`)], sort: (c) => c.name || c.scope },
      { name: "Chosen", cell: (c) => c.mode || `nothing: ${c.default}`, sort: (c) => c.mode },
      { name: "In force", cell: (c) => badge(c.in_force, c.in_force === "act" ? "good" : "note"), sort: (c) => c.in_force },
      { name: "Means", cell: (c) => [c.said, c.returning ? ` ${c.returning} servers are on their way back.` : ""], wide: true },
      { name: "By", cell: (c) => c.by, sort: (c) => c.by },
      { name: "Since", cell: (c) => stamp(c.since), sort: (c) => c.since },
      ...(can("modes:set") && !can("operator:write") ? [{ name: "", cell: (c) => button("Choose …", () => setMode(c.scope, c.name || c.scope, c.mode), { "data-key": `choose ${c.scope}`, "aria-label": `Choose for ${c.name || c.scope}` }) }] : []),
    ],
  });
}

/** A tenant's word for his own. */
function choose(scope, called, now) {
  ask({
    title: `How far may Foreshape go with ${called}?`,
    text: "Taking it out always works, at once: it is given back what was sold.",
    fields: [
      { name: "mode", label: "Choice", value: now, options: [["act", "in: it is resized while it runs"], ["advise", "only look and explain"], ["observe", "out: measure, and change nothing"], ["", "no choice of our own"]] },
      { name: "reason", label: "Why" },
    ],
    verb: "Choose",
    act: async ({ mode, reason }) => {
      const path = `/v1/choices/${encodeURIComponent(scope)}`;
      const got = mode ? await send("PUT", path, { mode, reason }) : await send("DELETE", `${path}?reason=${encodeURIComponent(reason)}`);
      return got ? got.said : "The choice is taken back";
    },
  });
}

/** Ask for a mode of a scope, and set it; of a tenant, for his choice. */
export function setMode(scope, called, now = "advise") {
  if (!can("operator:write")) return choose(scope, called, now);
  ask({
    title: `Mode of ${called}`,
    fields: [
      { name: "mode", label: "Mode", value: now, options: [["observe", "observe: only look"], ["advise", "advise: say what would be done"], ["act", "act: do it"], ...(scope === "cloud" ? [] : [["", "none of its own: follow the others"]])] },
      { name: "reason", label: "Why" },
    ],
    verb: "Set it",
    act: async ({ mode, reason }) => {
      const got = await send("PUT", "/v1/mode", { scope, mode, reason });
      return `${called} is in mode ${got.mode}`;
    },
  });
}

function stop(first) {
  const scope = h("strong", {}, first);
  ask({
    title: "Stop",
    text: [h("p", {}, "Nothing is ordered any more for ", scope, ", and open orders are withdrawn. Servers keep the size they have; agents still answer pressure by themselves."), "What an agent is doing right now it may finish."],
    fields: [
      { name: "scope", label: "What to stop", value: first, needed: true, hint: "cloud, host:NAME, project:ID or server:ID" },
      { name: "reason", label: "Why, for those who find it stopped", needed: true },
    ],
    typed: "STOP",
    verb: "Stop it",
    danger: true,
    act: async ({ scope: said, reason }) => {
      const got = await send("POST", "/v1/stop", { scope: said, reason, by: me().name });
      return `${got.scope} is stopped: ${got.withdrawn} orders withdrawn, ${got.with_agents} of them were with agents already`;
    },
  });
}

function resume(scope) {
  ask({
    title: `Let ${scope} go on`,
    text: "The mode from before the stop is put back.",
    fields: [{ name: "reason", label: "Why", needed: true }],
    verb: "Go on",
    act: async ({ reason }) => {
      const got = await send("POST", "/v1/resume", { scope, reason, by: me().name });
      return `${scope} goes on in mode ${got.mode}`;
    },
  });
}

function halts(rows, write) {
  return table({
    caption: "Where less is ordered now, and why",
    key: "halts",
    rows,
    empty: "Nothing is halted.",
    columns: [
      { name: "Scope", cell: (x) => x.scope, sort: (x) => x.scope },
      { name: "Kind", cell: (x) => badge(x.kind, "warn"), sort: (x) => x.kind },
      { name: "State", cell: (x) => (x.state === "half_open" ? "one order is tried" : "halted"), sort: (x) => x.state },
      { name: "Since", cell: (x) => stamp(x.since), sort: (x) => x.since },
      { name: "Until", cell: (x) => relative(x.until), sort: (x) => x.until },
      { name: "Why", cell: (x) => x.reason, wide: true },
      ...(write ? [{ name: "", cell: (x) => button("In order again …", () => clear(x), { "data-key": `clear ${x.scope} ${x.kind}`, "aria-label": `In order again: ${x.scope}` }) }] : []),
    ],
  });
}

function clear(x) {
  ask({ title: `${x.scope} is in order again`, text: x.reason, fields: [{ name: "reason", label: "How do you know", needed: true }], verb: "Clear the halt", act: async ({ reason }) => {
    await send("POST", "/v1/halts/clear", { scope: x.scope, reason, by: me().name });
    return `The halt of ${x.scope} is over`;
  } });
}

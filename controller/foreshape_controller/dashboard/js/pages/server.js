// One server: what it wanted and had, what is expected, what was decided and why, and what can be done to it.

import { can, get, me, send } from "../api.js";
import { chart } from "../chart.js";
import { ask } from "../dialog.js";
import { badge, button, h, link } from "../dom.js";
import { age, amount, clock, number, percent, scale, stamp } from "../format.js";
import { tiles } from "../page.js";
import { facts, table } from "../table.js";
import { hostOf, mode } from "./servers.js";
import { capsTable, setCap } from "./caps.js";
import { setMode } from "./modes.js";

const RESOURCES = ["cpu", "memory"];
/** Sentences that are not folded away: the decision in force. */
const FIRST = 6;

export function server(page, id) {
  const path = `/v1/servers/${encodeURIComponent(id)}`;
  const tools = [
    can("modes:set") && button("Mode …", () => setMode(`server:${id}`, "this server")),
    can("profiles:set") && button("What it does …", () => declare(path)),
    can("operator:write") && button("Tier …", () => setTier(path, again).catch((e) => page.say(e.message))),
    can("operator:write") && button("Hard cap …", () => setCap(`server:${id}`)),
  ];
  page.head("Server", "", tools);
  const again = page.panel("", (get) => get(path), (s) => {
    page.name(s.name);
    return standing(s);
  }, { kinds: ["allocation", "outcome", "mode"] });
  page.panel("What it wanted and had, and what is expected", (get) => ahead(get, path), charts, { kinds: ["forecast"] });
  page.panel("Why it has this size", (get) => get(`${path}/why?limit=20`), why, { kinds: ["allocation", "outcome"] });
  page.panel("Levers: what can be changed while it runs", (get) => get(path), (s) => levers(s.levers));
  page.panel("What it does", (get) => get(`${path}/profile`), profile);
  page.panel("What stands out", (get) => get(`/v1/anomalies?server=${encodeURIComponent(id)}`), anomalies, { quiet: true });
  page.panel("Hard caps", async (get) => (await get("/v1/caps")).filter((c) => c.scope === `server:${id}`), capsTable, { quiet: true });
  page.panel("Told to its owner", (get) => get(`/v1/notices?server=${encodeURIComponent(id)}&limit=50`), (rows) => noticesTable(rows), { quiet: true });
}

function standing(s) {
  const words = [["Host", hostOf(s)], ["Project", s.project_name || s.project], ["Flavor", s.flavor], ["Zone", s.zone], ["Id", h("code", {}, s.id)]];
  return [
    s.held && h("p", { class: "problem" }, `Nothing is changed on it: ${s.held}`),
    tiles([
      resourceTile("CPU", "cpu", s.cpu_demand_cores, s.cpu_allocated_cores, s.cpu_entitled_cores, s.cpu_ceiling_cores),
      resourceTile("Memory", "memory", s.memory_demand_mib, s.memory_allocated_mib, s.memory_entitled_mib, s.memory_ceiling_mib),
      ["Tier", s.tier],
      ["Mode", mode(s), s.state],
      ["Newest sample", `${age(s.last_sample_s_ago)} ago`, s.guest_vcpus === null ? "" : `${s.guest_vcpus} vCPUs online in the guest`],
    ]),
    facts(words),
  ];
}

function resourceTile(name, resource, demand, allocated, sold, ceiling) {
  return [name, `${amount(resource, demand)} wanted`, `has ${amount(resource, allocated)}; sold ${amount(resource, sold)}${ceiling > sold ? `, can reach ${amount(resource, ceiling)}` : ""}`];
}

/** Its past and its forecast; one without the other is shown, too. */
async function ahead(get, path) {
  const absent = (e) => {
    if (e.status === 404 || e.status === 409) return null;
    throw e;
  };
  const [past, forecast] = await Promise.all([get(`${path}/history?days=3`).catch(absent), get(`${path}/forecast`).catch(absent)]);
  return { past, forecast };
}

function charts({ past, forecast }) {
  const fans = Object.fromEntries((forecast?.fans ?? []).map((f) => [f.resource, f]));
  const drawn = ["cpu", "memory", "disk", "net"].map((resource) => {
    const told = past?.resources?.find((r) => r.resource === resource);
    const fan = fans[resource];
    if (!told && !fan) return null;
    return h("div", {}, chart({
      key: `server ${resource}`,
      title: { cpu: "CPU.", memory: "Memory.", disk: "Disk.", net: "Network." }[resource],
      resource,
      at: told ? past.at : [],
      step: past?.step_s ?? 300,
      lines: told ? { demand: told.demand, allocated: told.allocated, floor: told.floor, entitled: told.entitled, ceiling: told.ceiling } : {},
      fan: fan ? { origin: forecast.origin, step: fan.step_s * 6, levels: fan.levels, rows: fan.half_hours } : null,
    }), fan && said(fan));
  });
  return drawn.some(Boolean) ? h("div", { class: "beside" }, drawn) : h("p", { class: "empty" }, "Nothing was measured or forecast yet: the next plan makes a forecast.");
}

function said(fan) {
  const of = (levels, q) => levels[fan.levels.indexOf(q)];
  return h("p", { class: "foot" }, `Peak of the next half-hour: ${amount(fan.resource, of(fan.peak30m, 0.5))} (median), ${amount(fan.resource, of(fan.peak30m, 0.99))} (99 %). Peak of the day: ${amount(fan.resource, of(fan.peak24h, 0.5))}, ${amount(fan.resource, of(fan.peak24h, 0.99))}. By ${fan.source}: ${fan.reason}; ${age(fan.age_s)} of history.`);
}

// -- why ---------------------------------------------------------------------------------------------------------------

function why(w) {
  return [
    told(w.sentences.slice(0, FIRST)),
    w.sentences.length > FIRST && h("details", { "data-key": "sentences" }, h("summary", {}, `${w.sentences.length - FIRST} sentences more: what came before and after`), told(w.sentences.slice(FIRST))),
    w.decisions.length > 0 && table({
      caption: "Decisions, the newest first",
      key: "decisions",
      file: "decisions",
      rows: w.decisions.flatMap((d) => RESOURCES.map((r) => ({ d, z: d[r] }))).filter(({ z }, i) => z.choice !== "hold" || i < 2),
      columns: [
        { name: "When", cell: ({ d }) => stamp(d.at), sort: ({ d }) => d.at },
        { name: "What", cell: ({ z }) => [badge(z.choice, z.choice === "hold" ? "" : "note"), " ", z.resource === "cpu" ? "CPU" : "memory"], sort: ({ z }) => `${z.choice} ${z.resource}` },
        { name: "From", cell: ({ z }) => amount(z.resource, z.allocation), sort: ({ z }) => z.allocation, number: true },
        { name: "To", cell: ({ z }) => amount(z.resource, z.target), sort: ({ z }) => z.target, number: true },
        { name: "Because", cell: ({ z }) => [z.reason, gates(z)], wide: true, csv: ({ z }) => z.reason },
      ],
    }),
    ordersTable(w.orders),
    w.local_actions.length > 0 && outcomes("What its agent did by itself", w.local_actions),
  ];
}

const told = (sentences) => h("ul", { class: "sentences" }, sentences.map((s) => h("li", {}, s)));

function gates(z) {
  return h("details", { "data-key": `gates ${z.resource} ${z.target} ${z.code}` }, h("summary", {}, `${z.gates.length} rules asked`), h("ul", {}, z.gates.map((g) => h("li", {}, badge(g.passed ? "yes" : "no", g.passed ? "good" : "warn"), ` ${g.name}: ${g.detail}`))));
}

function ordersTable(orders) {
  return table({
    caption: "Orders and what came of them",
    key: "orders",
    file: "orders",
    rows: orders,
    empty: "Nothing was ordered yet.",
    columns: [
      { name: "Issued", cell: (o) => stamp(o.order.issued_at), sort: (o) => o.order.issued_at },
      { name: "State", cell: (o) => badge(o.status, { applied: "good", open: "note", refused: "warn", failed: "bad" }[o.status]), sort: (o) => o.status },
      { name: "Asks for", cell: (o) => asks(o.order), wide: true },
      { name: "Because", cell: (o) => o.order.reason, wide: true, csv: (o) => o.order.reason },
      { name: "Came of it", cell: (o) => o.outcomes.map((x) => h("div", {}, `${x.resource}: ${x.verdict}, ${amount(x.resource, x.after)}: ${x.proof || x.reason}`)), wide: true, csv: (o) => o.outcomes.map((x) => `${x.resource} ${x.verdict}`).join(" ") },
    ],
  });
}

/** The wire has a size as a bare number: cores, MiB. */
const asks = (o) => [["cpu", o.cpu], ["memory", o.memory]].filter(([, v]) => v !== null).map(([r, v]) => amount(r, typeof v === "number" ? v : Object.values(v)[0])).join(", ");

function outcomes(caption, rows) {
  return table({
    caption,
    key: "outcomes",
    rows,
    columns: [
      { name: "When", cell: (x) => stamp(x.at), sort: (x) => x.at },
      { name: "What", cell: (x) => `${x.resource}: ${amount(x.resource, x.before)} to ${amount(x.resource, x.after)}` },
      { name: "Verdict", cell: (x) => x.verdict, sort: (x) => x.verdict },
      { name: "Because", cell: (x) => x.reason, wide: true },
    ],
  });
}

// -- what it is --------------------------------------------------------------------------------------------------------

function levers(all) {
  return table({
    caption: "Levers, as its agent tells them",
    key: "levers",
    rows: all,
    empty: "Its agent has not told any yet.",
    columns: [
      { name: "Lever", cell: (l) => h("code", {}, l.lever), sort: (l) => l.lever },
      { name: "Now", cell: (l) => (l.reason ? badge("not usable", "warn") : badge("usable", "good")), sort: (l) => l.reason },
      { name: "Range", cell: (l) => range(l) },
      { name: "Why not", cell: (l) => l.reason, wide: true },
    ],
  });
}

function range(l) {
  const resource = l.lever.startsWith("cpu") ? "cpu" : l.lever.startsWith("mem") ? "memory" : "";
  if (!resource || l.highest <= 0) return "–";
  const [factor, unit] = scale(resource);
  return `${number(l.lowest * factor)} to ${number(l.highest * factor)} ${unit}`;
}

function profile(p) {
  return facts([["Workload", `${p.workload} (${p.declared ? "declared" : `inferred, ${percent(p.confidence)} sure`})`], ["Disk", p.read_write], ["Its history says", p.declared ? `${p.inferred}, ${percent(p.inferred_confidence)} sure` : ""], ["Note", p.note], ["Since", p.at ? clock(p.at) : ""]]);
}

function anomalies(rows) {
  return table({
    caption: "Anomalies of the last 30 days",
    key: "anomalies",
    rows,
    empty: "Nothing stood out in the last 30 days.",
    columns: [
      { name: "Since", cell: (a) => stamp(a.since), sort: (a) => a.since },
      { name: "Until", cell: (a) => (a.open ? badge("lasts", "warn") : stamp(a.until)), sort: (a) => a.until ?? Infinity },
      { name: "Resource", cell: (a) => a.resource, sort: (a) => a.resource },
      { name: "Kind", cell: (a) => a.kind, sort: (a) => a.kind },
      { name: "Strength", cell: (a) => number(a.strength), sort: (a) => a.strength, number: true },
    ],
  });
}

/** What owners were told. */
export function noticesTable(rows, withServer = false) {
  return table({
    caption: "Notices, the newest first",
    key: "notices",
    file: "notices",
    rows,
    empty: "Nothing was told.",
    filter: (n) => `${n.name} ${n.kind} ${n.text}`,
    columns: [
      { name: "When", cell: (n) => stamp(n.at), sort: (n) => n.at },
      ...(withServer ? [{ name: "Server", cell: (n) => (n.server ? link("servers", n.server, n.name, `notice ${n.id}`) : ""), sort: (n) => n.name }] : []),
      { name: "Kind", cell: (n) => badge(n.kind), sort: (n) => n.kind },
      { name: "Text", cell: (n) => n.text, wide: true, csv: (n) => n.text },
    ],
  });
}

/** Into a tier of its own, before every rule of the file. */
async function setTier(path, done) {
  const [{ tiers }, server] = await Promise.all([get("/v1/tiers"), get(path)]);
  ask({
    title: `Tier of ${server.name}`,
    text: "What is chosen here comes before every rule of tiers.yaml.",
    fields: [
      { name: "tier", label: "Tier", value: server.tier, options: [...tiers.map((t) => [t.name, t.name]), ["", "none of its own: as the rules say"]] },
      { name: "reason", label: "Why" },
    ],
    verb: "Set it",
    act: async ({ tier, reason }) => {
      const got = await send("PUT", `${path}/tier`, { tier, reason, by: me().name });
      done();
      return `${got.name} is in tier ${got.tier}`;
    },
  });
}

function declare(path) {
  const classes = ["idle", "steady", "diurnal", "bursty", "batch"];
  ask({
    title: "What this server does",
    text: ["What you say counts until it is taken back; how well it fits is measured all the same."],
    fields: [
      { name: "workload", label: "Workload class", options: classes.map((c) => [c, c]), needed: true },
      { name: "note", label: "Note" },
    ],
    verb: "Declare",
    act: async ({ workload, note }) => {
      await send("PUT", `${path}/profile`, { class: workload, note });
      return `Declared by ${me().name}`;
    },
  });
}

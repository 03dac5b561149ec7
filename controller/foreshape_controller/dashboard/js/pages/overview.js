// The fleet at one glance; for a tenant, his project.

import { chart } from "../chart.js";
import { bar, h, link } from "../dom.js";
import { age, amount, number, percent, relative, setClock, stamp } from "../format.js";
import { tiles } from "../page.js";
import { table } from "../table.js";
import { can, me } from "../api.js";

export function overview(page) {
  page.head(me().everywhere ? "Overview" : `Overview of ${me().project_name || "your project"}`);
  page.panel("", (get) => get("/v1/overview"), (o) => {
    setClock(o.at);
    return [figures(o)];
  }, { kinds: ["plan", "allocation", "stop", "mode", "outcome"] });
  if (can("statements:list")) page.panel("", (get) => get("/v1/statements"), money, { kinds: ["statement"], quiet: true });
  fleet(page, "/v1/overview/history?days=7", "last 7 days and the next");
  if (can("operator:read")) page.panel("Hosts that will be short", (get) => get("/v1/needs"), needs);
}

/** Charts of CPU and memory of a fleet or a group. */
export function fleet(page, path, span, title = "Demand, allocation and capacity") {
  page.panel(title, (get) => get(path), (f) => [
    f.note && h("p", { class: "lead" }, f.note),
    h("div", { class: "beside" }, f.resources.map((r) => chart({
      key: `fleet ${r.resource}`,
      title: `${r.resource === "cpu" ? "CPU" : "Memory"}, ${span}.`,
      resource: r.resource,
      at: f.at,
      step: f.step_s,
      lines: { demand: r.demand, allocated: r.allocated, entitled: r.entitled, capacity: r.capacity },
      fan: r.half_hours.length ? { origin: r.origin, step: f.step_s, levels: r.levels, rows: r.half_hours } : null,
    }))),
    f.resources[0].note && h("p", { class: "foot" }, `The range ahead: ${f.resources[0].note}.`),
  ], { kinds: ["forecast"] });
}

function figures(o) {
  return [
    h("div", { class: "beside" }, gauge("CPU", "cpu", o.cpu), gauge("Memory", "memory", o.memory)),
    tiles([
      ["Freed now", `${amount("cpu", Math.max(0, o.cpu.entitled - o.cpu.allocated))}, ${amount("memory", Math.max(0, o.memory.entitled - o.memory.allocated))}`, freed(o)],
      ...(o.scope === "cloud" ? [["Violations, last day", `CPU ${percent(o.cpu.violation_share_24h)}, memory ${percent(o.memory.violation_share_24h)}`, promised(o), missed(o) ? "warn" : ""]] : []),
      ["Mode", o.mode, Object.entries(o.modes).map(([mode, n]) => `${number(n)} in ${mode}`).join(", ") || "no server"],
      ["Servers", number(o.servers), o.servers_unmeasured ? `${number(o.servers_unmeasured)} without a measurement` : "all measured"],
      ...(o.scope === "cloud" ? [["Hosts", `${number(o.hosts_fresh)} of ${number(o.hosts)} report`, o.cloud, o.hosts_fresh < o.hosts ? "warn" : ""]] : []),
      ["Data", o.data_age_s === null ? "none" : `${age(o.data_age_s)} old`, `stale after ${age(o.stale_after_s)}`, o.data_age_s > o.stale_after_s ? "bad" : ""],
      ...(o.changed_share_24h === null ? [] : [["Changed by the forecast", percent(o.changed_share_24h), "of the last day's decisions", o.alarm ? "warn" : ""]]),
    ]),
  ];
}

/** The running month of all statements that he sees, added up in cents. */
function money(rows) {
  if (!rows.length) return [];
  const sum = (field) => (rows.reduce((cents, s) => cents + Math.round(Number(s[field]) * 100), 0) / 100).toFixed(2);
  const [{ currency, period, shadow }] = rows;
  return tiles([
    [`Saved in ${period}`, `${sum("saved")} ${currency}`, shadow ? "shadow prices: nothing is owed" : "against fixed sizes"],
    ["Comes to", `${sum("total")} ${currency}`, `fixed sizes: ${sum("static")} ${currency}`],
    ["Could be saved", `${sum("could_save")} ${currency}`, "where resizing is not allowed yet"],
  ]);
}

function freed(o) {
  const money = [o.cpu, o.memory].map((r) => r.money_freed_24h).filter((m) => m !== null);
  return money.length ? `worth ${number(money.reduce((a, b) => a + b, 0))} in the last day, by the tiers' prices` : "sold, and not allocated";
}

function promised(o) {
  const targets = [o.cpu.violation_target, o.memory.violation_target].filter((t) => t !== null);
  return targets.length ? `the strictest tier promises ${percent(Math.min(...targets))}` : "nothing is judged yet";
}

const missed = (o) => [o.cpu, o.memory].some((r) => r.violation_target !== null && r.violation_share_24h > r.violation_target);

/** How much of what is there is demanded, allocated and sold: bars with the numbers beside them. */
export function gauge(title, resource, r) {
  const most = Math.max(r.capacity ?? 0, r.entitled, r.allocated, r.demand) || 1;
  const rows = [["Demand", r.demand, "demand"], ["Allocated", r.allocated, "allocated"], ["Sold", r.entitled, "entitled"], ["Capacity", r.capacity, "capacity"]];
  return h("div", { class: "gauge" }, h("h2", {}, title), h("dl", {}, rows.filter(([, v]) => v !== null && v !== undefined).map(([name, v, kind]) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, bar(v / most, kind), h("span", {}, amount(resource, v)))))));
}

export function needs(rows) {
  return table({
    caption: "Hosts that no sharing can serve",
    key: "needs",
    rows,
    file: "needs",
    empty: "None: every host is expected to have enough.",
    columns: [
      { name: "Host", cell: (n) => link("hosts", n.host, n.host), sort: (n) => n.host },
      { name: "Lacks", cell: (n) => amount(n.resource, n.amount), sort: (n) => n.amount },
      { name: "Begins", cell: (n) => stamp(n.starts), sort: (n) => n.starts },
      { name: "Act before", cell: (n) => relative(n.deadline), sort: (n) => n.deadline },
      { name: "Probability", cell: (n) => percent(n.probability), sort: (n) => n.probability, number: true },
      { name: "Why", cell: (n) => n.reason, wide: true, csv: (n) => n.reason },
      { name: "Could leave", cell: (n) => n.candidates.slice(0, 3).map((c, i) => [i ? ", " : "", link("servers", c.server, c.name)]), csv: (n) => n.candidates.map((c) => c.name).join(" ") },
    ],
  });
}

// Hosts, and one host: what is on it, what it will need, and emptying it.

import { can, me, send } from "../api.js";
import { ask } from "../dialog.js";
import { badge, button, h, link } from "../dom.js";
import { age, clock, number, percent, relative, scale, stamp } from "../format.js";
import { openstack } from "../known.js";
import { searched, tiles } from "../page.js";
import { facts, table } from "../table.js";
import { fleet, gauge, needs } from "./overview.js";
import { listed } from "./servers.js";

export function hosts(page) {
  page.head("Hosts");
  searched(page, { path: "/v1/hosts", hint: "its name, or a part of it", key: "hosts" }, (rows, more) => table({
    caption: "Hypervisors whose agents have reported",
    key: "hosts",
    file: "hosts",
    rows,
    more,
    empty: "No agent of that name has reported yet: 'foreshape agent enroll HOST' lets one in.",
    columns: [
      { name: "Host", cell: (r) => link("hosts", r.name, r.name), sort: (r) => r.name },
      { name: "State", cell: (r) => state(r), sort: (r) => state(r).textContent },
      { name: "Mode", cell: (r) => r.mode, sort: (r) => r.mode },
      { name: "Servers", cell: (r) => number(r.servers), sort: (r) => r.servers, number: true },
      ...shares("cpu", "CPU"),
      ...shares("memory", "Memory"),
      { name: "Last report", cell: (r) => `${age(r.last_report_s_ago)} ago`, sort: (r) => r.last_report_s_ago, number: true },
      { name: "Nova", cell: (r) => r.cloud, sort: (r) => r.cloud, wide: true },
    ],
  }));
}

function shares(resource, name) {
  const [factor, unit] = scale(resource);
  const has = (r) => (resource === "cpu" ? r.cpus : r.memory_mib);
  const field = (word) => (r) => (resource === "cpu" ? r[`cpu_${word}_cores`] : r[`memory_${word}_mib`]);
  const column = (title, of) => ({ name: `${name} ${title}, ${unit}`, cell: (r) => number(of(r) * factor), sort: of, number: true, csv: (r) => of(r) * factor });
  return [column("allocated", field("allocated")), column("sold", field("entitled")), column("there", has)];
}

function state(r) {
  if (!r.fresh) return badge("silent", "bad");
  if (r.halts.length) return badge("halted", "warn");
  return r.safe_mode ? badge(r.safe_mode, "warn") : badge("reports", "good");
}

export function host(page, name) {
  const write = can("operator:write");
  page.head(name, "", write && openstack() ? [button("Empty it …", () => drain(name)), button("End emptying …", () => undrain(name))] : []);
  const path = encodeURIComponent(name);
  page.panel("", (get) => get(`/v1/hosts/${path}`), (r) => [
    h("p", {}, state(r), " ", r.cloud),
    r.halts.map((text) => h("p", { class: "problem" }, text)),
    h("div", { class: "beside" },
      gauge("CPU", "cpu", { demand: r.cpu_used_cores, allocated: r.cpu_allocated_cores, entitled: r.cpu_entitled_cores, capacity: r.cpus }),
      gauge("Memory", "memory", { demand: r.memory_mib - r.memory_available_mib, allocated: r.memory_allocated_mib, entitled: r.memory_entitled_mib, capacity: r.memory_mib })),
    tiles([
      ["Mode", r.mode],
      ["Servers", number(r.servers)],
      ["Last report", `${age(r.last_report_s_ago)} ago`, `agent ${r.agent_version}`],
      ...(r.safe_mode ? [["Safe mode", r.safe_mode, "", "warn"]] : []),
      ...(r.backlog_gap ? [["Gap in its samples", r.backlog_gap, "", "warn"]] : []),
    ]),
  ], { kinds: ["plan", "outcome", "stop"] });
  fleet(page, `/v1/overview/history?days=7&of=${encodeURIComponent(`host:${name}`)}`, "its servers in the last 7 days, and the next", "Demand, allocation and capacity");
  if (openstack()) page.panel("Emptying", async (get) => (await get("/v1/drains")).filter((d) => d.host === name), drains, { kinds: ["migration"], quiet: true });
  page.panel("What it will lack", async (get) => (await get("/v1/needs")).filter((n) => n.host === name), needs);
  if (openstack()) page.panel("Room for more, as Nova's scheduler hears it", (get) => get("/v1/headroom"), (all) => headroom(all, name), { quiet: true });
  page.panel("Servers on it", (get) => get(`/v1/servers?host=${path}&limit=500`), (rows) => listed(rows.filter((s) => s.host === name), null, true));
}

function drains(all) {
  if (!all.length) return h("p", { class: "empty" }, "It is not being emptied.");
  return all.map((d) => [
    h("p", {}, badge(d.state, d.state === "empty" ? "good" : "warn"), ` ${d.total - d.left} of ${d.total} servers have left, ${d.moving} are moving, ${d.proposed} wait for a word.`),
    h("progress", { max: d.total || 1, value: d.total - d.left, "aria-label": "Servers that have left" }),
    facts([["Why", d.reason], ["By", d.by], ["Since", stamp(d.since)], ["Empty by", d.until && relative(d.until)], ["Approved", d.approved ? "its moves need no further word" : "each move has to be approved"]]),
    d.kept.map((k) => h("p", { class: "foot" }, `${k.name} stays: ${k.reason}`)),
  ]);
}

function headroom(all, name) {
  const share = all.hosts[name];
  return h("p", {}, share === undefined ? "Nobody can tell yet." : `${percent(share)} of its fuller resource stays free in the day ahead, looked at ${clock(all.at)}.`);
}

function drain(name) {
  ask({
    title: `Empty ${name}`,
    text: ["Its servers are moved away, and nothing new is placed there by Foreshape until somebody ends it."],
    fields: [
      { name: "reason", label: "Why", needed: true },
      { name: "hours", label: "Has to be empty in so many hours (leave out: no hurry)", type: "number", min: 0 },
      { name: "approve", label: "Approve all its moves now", type: "checkbox", hint: "Otherwise each waits on the page Migrations." },
      { name: "disable", label: "Disable its nova-compute meanwhile", type: "checkbox" },
    ],
    verb: "Empty it",
    danger: true,
    act: async ({ reason, hours, approve, disable }) => {
      await send("POST", `/v1/hosts/${encodeURIComponent(name)}/drain`, { reason, approve, disable, ...(hours ? { for_s: hours * 3600 } : {}), by: me().name });
      return `${name} is being emptied`;
    },
  });
}

function undrain(name) {
  ask({
    title: `End emptying ${name}`,
    text: ["Moves that wait are withdrawn; those under way go on."],
    verb: "End it",
    act: async () => {
      await send("DELETE", `/v1/hosts/${encodeURIComponent(name)}/drain`);
      return `${name} may be used again`;
    },
  });
}


// Segments, and projects: what each wants, has and was sold, and who gave to whom.

import { h, link } from "../dom.js";
import { amount, number, percent, scale, stamp } from "../format.js";
import { table } from "../table.js";
import { fleet } from "./overview.js";

export function groups(page) {
  page.head("Segments and projects");
  page.panel("Segments", (get) => get("/v1/segments"), (rows) => table({
    caption: "Segments, as segments.yaml names them",
    key: "segments",
    file: "segments",
    rows,
    empty: "segments.yaml names no segment.",
    columns: [
      { name: "Segment", cell: (s) => link("groups", `segment:${s.name}`, s.name), sort: (s) => s.name },
      { name: "Servers", cell: (s) => number(s.servers), sort: (s) => s.servers, number: true },
      { name: "Hosts", cell: (s) => number(s.hosts), sort: (s) => s.hosts, number: true },
      ...["cpu", "memory"].flatMap(columns),
    ],
  }), { kinds: ["allocation"] });
  page.panel("Projects", (get) => get("/v1/overview/projects"), (rows) => table({
    caption: "Projects, by what they were sold",
    key: "projects",
    file: "projects",
    rows,
    filter: (p) => `${p.project} ${p.name}`,
    columns: [
      { name: "Project", cell: (p) => link("groups", `project:${p.project}`, p.name || p.project || "(none)"), sort: (p) => p.name || p.project },
      { name: "Servers", cell: (p) => number(p.servers), sort: (p) => p.servers, number: true },
      ...["cpu", "memory"].flatMap((r) => plain(r, (p) => p[r])),
    ],
  }), { kinds: ["allocation"] });
  page.panel("Who gave to whom on hosts that were short, in the last week", (get) => get("/v1/segments/report?since_s=604800"), (r) => table({
    caption: "Given and taken by plans, segment by segment",
    key: "transfers",
    file: "transfers",
    rows: r.transfers,
    empty: "No host was short: nobody had to give.",
    columns: [
      { name: "Gave", cell: (t) => t.giver, sort: (t) => t.giver },
      { name: "Got", cell: (t) => t.taker, sort: (t) => t.taker },
      { name: "How much", cell: (t) => amount(t.resource, t.amount), sort: (t) => t.amount, number: true },
      { name: "Times", cell: (t) => number(t.times), sort: (t) => t.times, number: true },
      { name: "Last", cell: (t) => stamp(t.last_at), sort: (t) => t.last_at },
    ],
  }));
}

const title = (resource) => (resource === "cpu" ? "CPU" : "Memory");

function plain(resource, of) {
  const [factor, unit] = scale(resource);
  return [["demand", "demand"], ["allocated", "allocated"], ["sold", "entitled"]].map(([word, field]) => ({
    name: `${title(resource)} ${word}, ${unit}`, cell: (row) => number(of(row)[field] * factor), sort: (row) => of(row)[field], csv: (row) => of(row)[field] * factor, number: true,
  }));
}

function columns(resource) {
  return [
    ...plain(resource, (s) => s[resource]),
    { name: `${title(resource)} slack`, cell: (s) => percent(s[resource].slack), sort: (s) => s[resource].slack, number: true },
    { name: `${title(resource)} peak ahead`, cell: (s) => amount(resource, s[resource].peak24h_q95), sort: (s) => s[resource].peak24h_q95, number: true },
  ];
}

export function segment(page, series) {
  const [kind, ...rest] = series.split(":");
  page.head(`${kind === "segment" ? "Segment" : "Project"} ${rest.join(":")}`);
  fleet(page, `/v1/overview/history?days=7&of=${encodeURIComponent(series)}`, "its servers in the last 7 days, and the next", "Demand and allocation");
  page.panel("How many servers are expected", (get) => get(`/v1/forecasts/${encodeURIComponent(series)}`), (f) => {
    const fan = f.fans.find((x) => x.resource === "servers");
    const at = (row, q) => number(row[fan.levels.indexOf(q)]);
    return fan ? h("p", {}, `${f.servers} now; tomorrow at this time ${at(fan.half_hours.at(-1), 0.5)} (${at(fan.half_hours.at(-1), 0.1)} to ${at(fan.half_hours.at(-1), 0.9)} in 4 of 5 cases).`) : h("p", {}, `${f.servers} now.`);
  }, { quiet: true });
}

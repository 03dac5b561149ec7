// The list of servers: filtered and cut into pages by the controller, so that 30,000 are as quick as thirty.

import { can } from "../api.js";
import { badge, h, link } from "../dom.js";
import { age, number, scale } from "../format.js";
import { searched } from "../page.js";
import { table } from "../table.js";

export function servers(page) {
  page.head("Servers");
  searched(page, { path: "/v1/servers", hint: "its name, or a part of it", key: "servers" }, (rows, more) => listed(rows, more));
}

/** A table of servers. `more`: asks for the next ones; `onHost`: all are on one host. */
export function listed(rows, more, onHost = false) {
  const columns = [
    { name: "Server", cell: (s) => link("servers", s.id, s.name || s.id), sort: (s) => s.name },
    ...(onHost ? [] : [{ name: "Host", cell: (s) => hostOf(s), sort: (s) => s.host }]),
    { name: "Project", cell: (s) => s.project_name || s.project, sort: (s) => s.project_name || s.project },
    { name: "Tier", cell: (s) => s.tier, sort: (s) => s.tier },
    { name: "Mode", cell: (s) => mode(s), sort: (s) => s.mode },
    ...amounts("cpu", "CPU", "cores"),
    ...amounts("memory", "Memory", "mib"),
    { name: "Sample", cell: (s) => `${age(s.last_sample_s_ago)} ago`, sort: (s) => s.last_sample_s_ago, number: true },
  ];
  const bare = onHost || rows.every((s) => !s.host) ? columns.filter((c) => c.name !== "Host") : columns;
  return table({ caption: "Servers: what they want, have and were sold", key: "servers", file: "servers", rows, columns: bare, more, filter: onHost ? (s) => s.name : null, empty: "No server is known here." });
}

function amounts(resource, name, suffix) {
  const [factor, unit] = scale(resource);
  const column = (title, word) => {
    const of = (s) => s[`${resource}_${word}_${suffix}`];
    return { name: `${name} ${title}, ${unit}`, cell: (s) => (of(s) === null ? "–" : number(of(s) * factor)), sort: of, csv: (s) => (of(s) === null ? "" : of(s) * factor), number: true };
  };
  return [column("demand", "demand"), column("allocated", "allocated"), column("sold", "entitled")];
}

/** A host; for a tenant the word by which Nova tells him which of his servers are together. */
export function hostOf(s) {
  if (can("operator:read")) return s.host && link("hosts", s.host, s.host, `${s.id} host`);
  return h("span", { title: s.host }, s.host.slice(0, 8));
}

/** Its mode; or that nothing may be done with it, and why. */
export function mode(s) {
  return s.held ? h("span", { title: s.held }, badge("left alone", "warn")) : s.state === "running" ? s.mode : [s.mode, " ", badge(s.state)];
}


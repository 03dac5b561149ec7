// Room held in Placement: for whom, until when, and what was written for it.

import { can, me, send } from "../api.js";
import { ask } from "../dialog.js";
import { badge, button, h, link } from "../dom.js";
import { age, stamp } from "../format.js";
import { openstack } from "../known.js";
import { facts, table } from "../table.js";

const COLOURS = { held: "good", planned: "note", "handed over": "good", lost: "bad", expired: "warn" };
const OVER = ["released", "expired", "lost", "handed over", "handed_over"];

export function reservations(page) {
  page.head("Reservations", "Room that is held in Placement under our own consumers, so that nobody else takes it.", can("operator:write") && openstack() ? [button("Compare with Placement now …", audit)] : []);
  if (!page.needsOpenstack()) return;
  page.panel("", (get) => get("/v1/reservations?all=true"), (rows) => table({
    caption: "Reservations: those that are not over, then the newest that are",
    key: "reservations",
    file: "reservations",
    rows,
    empty: "Nothing is reserved.",
    filter: (r) => `${r.id} ${r.host} ${r.owner} ${r.project} ${r.reason} ${r.state}`,
    columns: [
      { name: "Reservation", cell: (r) => link("reservations", r.id, r.id), sort: (r) => r.id },
      { name: "State", cell: (r) => badge(r.state, COLOURS[r.state]), sort: (r) => r.state },
      { name: "Host", cell: (r) => r.host && link("hosts", r.host, r.host, `${r.id} host`), sort: (r) => r.host },
      { name: "Holds", cell: (r) => `${r.held} of ${r.count} × ${size(r)}`, sort: (r) => r.held },
      { name: "For", cell: (r) => r.owner, sort: (r) => r.owner },
      { name: "Until", cell: (r) => stamp(r.until), sort: (r) => r.until },
      { name: "Why", cell: (r) => [r.reason, r.said && h("small", {}, ` ${r.said}`)], wide: true, csv: (r) => r.reason },
      ...(can("operator:write") ? [{ name: "", cell: words }] : []),
    ],
  }), { kinds: ["reservation", "migration"] });
}

const size = (r) => Object.entries(r.resources).map(([k, v]) => `${v} ${k}`).join(", ");

function words(r) {
  if (OVER.includes(r.state)) return "";
  return h("span", { class: "buttons" },
    r.state === "planned" && !r.approved && button("Approve …", () => approve(r), { "data-key": `approve ${r.id}`, "aria-label": `Approve reservation ${r.id}` }),
    button("Release …", () => release(r), { "data-key": `release ${r.id}`, "aria-label": `Release reservation ${r.id}` }));
}

function approve(r) {
  ask({ title: "Hold this room", text: `${r.count} × ${size(r)} on ${r.host || "any host"} until then: ${r.reason}`, verb: "Approve", act: async () => {
    await send("POST", `/v1/reservations/${encodeURIComponent(r.id)}/approve`, { by: me().name });
    return "The reservation is approved";
  } });
}

function release(r) {
  ask({ title: "Give this room back", text: `${r.count} × ${size(r)} on ${r.host || "any host"}: ${r.reason}`, fields: [{ name: "reason", label: "Why" }], verb: "Release", danger: true, act: async ({ reason }) => {
    await send("DELETE", `/v1/reservations/${encodeURIComponent(r.id)}?reason=${encodeURIComponent(reason)}`);
    return "The reservation is released";
  } });
}

function audit() {
  ask({ title: "Compare with Placement", text: "The journal is compared with what Placement has, and what differs is repaired: nothing of ours without an owner, nothing owned missing.", verb: "Compare", act: async () => {
    const found = await send("POST", "/v1/reservations/audit");
    return `Compared: ${JSON.stringify(found).slice(0, 200)}`;
  } });
}

export function reservation(page, id) {
  page.head(`Reservation ${id}`);
  page.panel("", (get) => get(`/v1/reservations/${encodeURIComponent(id)}`), (r) => [
    h("p", {}, badge(r.state, COLOURS[r.state]), " ", r.reason, r.said && ` (${r.said})`),
    can("operator:write") && h("p", {}, words(r)),
    facts([["Host", r.host && link("hosts", r.host, r.host)], ["Holds", `${r.held} of ${r.count} × ${size(r)}`], ["For", r.owner], ["Project", r.project], ["Server", r.server && link("servers", r.server, r.server)], ["Begins", stamp(r.starts)], ["Until", stamp(r.until)], ["Left", r.left_s ? age(r.left_s) : ""], ["Approved by", r.approved], ["Cause", h("code", {}, r.cause)]]),
    table({
      caption: "What was written to Placement, the newest first",
      key: "writes",
      rows: r.writes,
      empty: "Nothing was written.",
      columns: ["at", "what", "consumer", "result", "said"].filter((k) => r.writes.some((w) => k in w)).map((k) => ({ name: k, cell: (w) => (k === "at" ? stamp(w[k]) : String(w[k] ?? "")) })),
    }),
  ], { kinds: ["reservation"] });
}

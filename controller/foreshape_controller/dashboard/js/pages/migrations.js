// Migrations: proposals that wait for a word, and moves under way, as they happen.

import { can, me, send } from "../api.js";
import { ask } from "../dialog.js";
import { badge, button, h, link } from "../dom.js";
import { age, amount, number, relative, stamp } from "../format.js";
import { openstack } from "../known.js";
import { facts, table } from "../table.js";

const KINDS = ["migration", "stop", "mode"];
const COLOURS = { open: "note", approved: "note", running: "note", ordered: "note", reserved: "note", arrived: "good", settled: "good", failed: "bad", aborted: "warn", withdrawn: "" };

export function migrations(page) {
  page.head("Migrations", "Proposals wait for somebody's word where the mode is advise. What is approved is looked at again before it begins.", can("operator:write") && openstack() ? [button("Propose a move …", propose)] : []);
  if (!page.needsOpenstack()) return;
  page.panel("Waiting and under way", (get) => get("/v1/migrations"), (rows) => [
    can("operator:write") && rows.filter(isOpen).length > 1 && h("p", {}, button(`Approve all ${rows.filter(isOpen).length} proposals …`, () => approveAll(rows.filter(isOpen)))),
    listed("Proposals and migrations that are not over", "moves", rows, "Nothing is proposed and nothing moves."),
  ], { kinds: KINDS });
  page.panel("Over, within a week", async (get) => (await get("/v1/migrations?all=true")).filter((m) => m.ended !== null || m.state === "withdrawn"), (rows) => listed("Migrations and proposals that are over", "moved", rows, "None."), { kinds: KINDS, quiet: true });
  page.panel("Hosts being emptied", (get) => get("/v1/drains"), (rows) => table({
    caption: "Drains",
    key: "drains",
    rows,
    empty: "No host is being emptied.",
    columns: [
      { name: "Host", cell: (d) => link("hosts", d.host, d.host), sort: (d) => d.host },
      { name: "State", cell: (d) => badge(d.state, d.state === "empty" ? "good" : "warn"), sort: (d) => d.state },
      { name: "Left", cell: (d) => `${d.left} of ${d.total}`, sort: (d) => d.left, number: true },
      { name: "Moving", cell: (d) => number(d.moving), sort: (d) => d.moving, number: true },
      { name: "Why", cell: (d) => d.reason, wide: true },
    ],
  }), { kinds: KINDS, quiet: true });
}

const isOpen = (m) => m.kind === "proposal" && m.state === "open";
const isOver = (m) => m.ended !== null || m.state === "withdrawn" || m.state === "taken";

function listed(caption, key, rows, empty) {
  return table({
    caption,
    key,
    file: "migrations",
    rows,
    empty,
    filter: (m) => `${m.name} ${m.source} ${m.target} ${m.reason} ${m.state}`,
    columns: [
      { name: "Server", cell: (m) => link("migrations", m.id, m.name || m.server), sort: (m) => m.name },
      { name: "State", cell: (m) => badge(m.kind === "proposal" && m.state === "open" ? "waits for a word" : m.state, COLOURS[m.state]), sort: (m) => m.state },
      { name: "From", cell: (m) => link("hosts", m.source, m.source, `${m.id} from`), sort: (m) => m.source },
      { name: "To", cell: (m) => link("hosts", m.target, m.target, `${m.id} to`), sort: (m) => m.target },
      { name: "For", cell: (m) => m.goal, sort: (m) => m.goal },
      { name: "Why", cell: (m) => [m.reason, m.said && h("small", {}, ` ${m.said}`)], wide: true, csv: (m) => m.reason },
      { name: "Takes", cell: (m) => (m.took_s === null ? `about ${age(m.predicted_s)}` : age(m.took_s)), sort: (m) => m.took_s ?? m.predicted_s, number: true },
      { name: "Act before", cell: (m) => relative(m.deadline), sort: (m) => m.deadline },
      ...(can("operator:write") ? [{ name: "", cell: (m) => (isOver(m) ? "" : words(m)) }] : []),
    ],
  });
}

function words(m) {
  return h("span", { class: "buttons" },
    isOpen(m) && button("Approve …", () => approve(m), { "data-key": `approve ${m.id}`, "aria-label": `Approve the move of ${m.name}` }),
    button("Cancel …", () => cancel(m), { "data-key": `cancel ${m.id}`, "aria-label": `Cancel the move of ${m.name}` }));
}

const told = (m) => `${m.name}: ${m.source} to ${m.target}, about ${age(m.predicted_s)}, and ${number(m.downtime_s)} s in which it stands still. ${m.reason}`;

function approve(m) {
  ask({ title: "Approve this move", text: told(m), verb: "Approve", act: async () => {
    await send("POST", "/v1/migrations/approve", { ids: [m.id], by: me().name });
    return `The move of ${m.name} is approved`;
  } });
}

function approveAll(open) {
  ask({ title: `Approve ${open.length} moves`, text: [h("ul", {}, open.slice(0, 20).map((m) => h("li", {}, told(m)))), open.length > 20 ? `And ${open.length - 20} more.` : ""], verb: "Approve them all", act: async () => {
    await send("POST", "/v1/migrations/approve", { ids: open.map((m) => m.id), by: me().name });
    return `${open.length} moves are approved`;
  } });
}

function cancel(m) {
  ask({ title: "Cancel this move", text: [told(m), m.kind === "migration" ? "A move that Nova has begun ends only where Nova survives an abort." : ""], fields: [{ name: "reason", label: "Why" }], verb: "Cancel the move", danger: true, act: async ({ reason }) => {
    await send("POST", `/v1/migrations/${encodeURIComponent(m.id)}/cancel`, { reason });
    return `The move of ${m.name} is cancelled`;
  } });
}

function propose() {
  ask({
    title: "Propose a move",
    fields: [
      { name: "server", label: "Server, its name or id", needed: true },
      { name: "target", label: "To which host", hint: "Empty: the emptiest that is possible." },
      { name: "reason", label: "Why", needed: true },
      { name: "approve", label: "Approve it now", type: "checkbox" },
    ],
    verb: "Propose",
    act: async (asked) => {
      await send("POST", "/v1/migrations/propose", { ...asked, by: me().name });
      return "The move is proposed";
    },
  });
}

export function migration(page, id) {
  page.head("Migration");
  page.panel("", (get) => get(`/v1/migrations/${encodeURIComponent(id)}`), (m) => [
    h("p", {}, badge(m.state, COLOURS[m.state]), " ", m.reason, m.said && ` (${m.said})`),
    can("operator:write") && !isOver(m) && h("p", {}, words(m)),
    facts([
      ["Server", link("servers", m.server, m.name || m.server)], ["From", link("hosts", m.source, m.source)], ["To", link("hosts", m.target, m.target)],
      ["For", m.goal], ["By", m.by], ["Made", stamp(m.created)], ["Act before", m.deadline && relative(m.deadline)], ["Expected to take", age(m.predicted_s)], ["Took", m.took_s === null ? "" : age(m.took_s)],
      ["Stands still", stops(m)], ["Memory to copy", amount("memory", m.copied_mib)], ["Reservation", m.reservation && link("reservations", m.reservation, m.reservation)],
      ["Nova's id", m.nova_id], ["Cause", h("code", {}, m.cause)],
    ]),
    h("h2", {}, "What happened"),
    h("ol", { class: "history" }, m.history.map((x) => h("li", {}, stamp(x.at), " ", badge(x.state, COLOURS[x.state]), ` ${x.what}${x.text ? `: ${x.text}` : ""}`))),
    m.history.length === 0 && h("p", { class: "empty" }, "Nothing yet."),
  ], { kinds: KINDS });
}

/** Measured or expected: nobody's guess. */
function stops(m) {
  const expected = `${number(m.downtime_s)} s expected`;
  if (m.stopped_s !== null) return `${number(m.stopped_s, true)} s, ${expected}`;
  return ["arrived", "settled"].includes(m.state) ? `not measured, ${expected}` : expected;
}

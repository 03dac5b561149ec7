// Requests: ask for servers or growth, and see what becomes of it.

import { can, send } from "../api.js";
import { ask } from "../dialog.js";
import { badge, button, h, link } from "../dom.js";
import { age, amount, clock, number, stamp } from "../format.js";
import { facts, table } from "../table.js";

const COLOURS = { admitted: "good", started: "good", fulfilled: "good", scheduled: "note", proposed: "note", queued: "warn", cancelled: "", declined: "", expired: "bad" };
const OVER = ["fulfilled", "cancelled", "declined", "expired"];

export function requests(page) {
  page.head("Requests", "Ask for servers, and hear whether they can begin now, when they can, or what could be had instead. Nothing is refused in silence.", can("requests:create") ? [button("Ask for servers …", () => create(() => again()))] : []);
  const again = page.panel("", (get) => get("/v1/requests?all=true"), (rows) => table({
    caption: "Requests, and what became of them",
    key: "requests",
    file: "requests",
    rows,
    empty: "Nobody has asked for anything yet.",
    filter: (r) => `${r.id} ${r.name} ${r.project} ${r.state} ${r.said}`,
    columns: [
      { name: "Request", cell: (r) => link("requests", r.id, r.name || r.id), sort: (r) => r.name || r.id },
      { name: "State", cell: (r) => [badge(r.state, COLOURS[r.state]), r.position ? ` number ${r.position}` : ""], sort: (r) => r.state },
      { name: "Asks for", cell: (r) => asks(r), sort: (r) => r.count },
      { name: "Starts", cell: (r) => stamp(r.start ?? r.expected), sort: (r) => r.start ?? r.expected },
      { name: "Answer", cell: (r) => r.said, wide: true },
      { name: "Made", cell: (r) => stamp(r.created), sort: (r) => r.created },
    ],
  }), { kinds: ["request"] });
}

/** Placement's words for sizes, in those of everybody. */
function asks(r) {
  const { VCPU, MEMORY_MB, DISK_GB } = r.each;
  const size = [VCPU && amount("cpu", VCPU), MEMORY_MB && amount("memory", MEMORY_MB), DISK_GB && `${number(DISK_GB)} GB of disk`];
  return `${r.count} × ${r.ask.flavor ? `${r.ask.flavor}: ` : ""}${size.filter(Boolean).join(", ")}`;
}

export function request(page, id) {
  const path = `/v1/requests/${encodeURIComponent(id)}`;
  page.head("Request");
  const again = page.panel("", (get) => get(path), (r) => [
    page.name(r.name),
    h("p", {}, badge(r.state, COLOURS[r.state]), " ", r.said),
    r.bookkeeping && h("p", { class: "lead" }, "No OpenStack is configured: this is bookkeeping, and nothing is held in Placement."),
    h("p", { class: "buttons" },
      can("requests:change") && !OVER.includes(r.state) && button("Cancel it …", () => cancel(path, again)),
      can("requests:approve") && r.state === "proposed" && button("Approve it …", () => approve(path, again))),
    facts([["Asks for", asks(r)], ["Starts", r.start && stamp(r.start)], ["Take it by", r.take_by && stamp(r.take_by)], ["Price", r.price], ["Place in the queue", r.position || ""], ["Expected", r.expected && clock(r.expected)], ["Criticality", r.ask.criticality], ["Tier", r.ask.tier], ["Lasts", age(r.ask.for_s)], ["Note", r.ask.note], ["Hosts", (r.hosts ?? []).map((x) => `${x.count} on ${x.host}`).join(", ")]]),
    r.assumed?.length > 0 && h("details", { "data-key": "assumed" }, h("summary", {}, "What the answer rests on"), h("ul", {}, r.assumed.map((t) => h("li", {}, t)))),
    r.alternatives?.length > 0 && [h("h2", {}, "Instead"), h("ul", {}, r.alternatives.map((a, i) => h("li", {}, a.said, a.price ? ` (${a.price})` : "", " ", can("requests:change") && !OVER.includes(r.state) && button("Take this …", () => accept(path, i, a, again), { "data-key": `accept ${i}` }))))],
    r.history?.length > 0 && [h("h2", {}, "What happened"), h("ol", { class: "history" }, r.history.map((x) => h("li", {}, stamp(x.at), " ", badge(x.state, COLOURS[x.state]), ` ${x.said}`)))],
  ], { kinds: ["request"] });
}

function create(done) {
  ask({
    title: "Ask for servers",
    fields: [
      { name: "flavor", label: "Flavor", hint: "Or leave it out, and say cores and memory." },
      { name: "vcpus", label: "Cores of each", type: "number", min: 0 },
      { name: "gib", label: "Memory of each, GiB", type: "number", min: 0 },
      { name: "count", label: "How many", type: "number", min: 1, value: 1, needed: true },
      { name: "hours", label: "For so many hours", type: "number", min: 0, value: 4, needed: true },
      { name: "criticality", label: "How urgent", options: [["normal", "normal"], ["flexible", "flexible: it may wait"], ["critical", "critical: now"]] },
      { name: "name", label: "What it is called" },
      { name: "note", label: "Note" },
    ],
    verb: "Ask",
    act: async ({ flavor, vcpus, gib, count, hours, criticality, name, note }) => {
      const size = flavor ? { flavor } : { vcpus, ram: gib === null ? null : gib * 1024 };
      const got = await send("POST", "/v1/requests", { ...size, count, for_s: hours * 3600, criticality, name, note });
      done();
      return got.said;
    },
  });
}

function cancel(path, done) {
  ask({ title: "Cancel this request", fields: [{ name: "reason", label: "Why" }], verb: "Cancel the request", danger: true, act: async ({ reason }) => {
    const got = await send("DELETE", `${path}?reason=${encodeURIComponent(reason)}`);
    done();
    return got.said;
  } });
}

function approve(path, done) {
  ask({ title: "Approve this request", verb: "Approve", act: async () => {
    const got = await send("POST", `${path}/approve`, {});
    done();
    return got.said;
  } });
}

function accept(path, alternative, a, done) {
  ask({ title: "Take this instead", text: a.said, verb: "Take it", act: async () => {
    const got = await send("PUT", `${path}/accept`, { alternative });
    done();
    return got.said;
  } });
}

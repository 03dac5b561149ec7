// Pools of shadow VMs: how many wait, why so many, and taking one.

import { can, me, send } from "../api.js";
import { ask } from "../dialog.js";
import { badge, button, h, link } from "../dom.js";
import { age, clock, number, percent, stamp } from "../format.js";
import { openstack } from "../known.js";
import { tiles } from "../page.js";
import { facts, table } from "../table.js";

export function pools(page) {
  page.head("Pools", "Servers that are booted ahead, hold little, and wait for somebody to take them.", can("operator:write") && openstack() ? [button("Make a pool …", make)] : []);
  if (!page.needsOpenstack()) return;
  page.panel("", (get) => get("/v1/pools"), (rows) => table({
    caption: "Pools of shadow VMs",
    key: "pools",
    file: "pools",
    rows,
    empty: "There is no pool.",
    filter: (p) => `${p.pool.name} ${p.pool.project} ${p.pool.flavor} ${p.pool.image}`,
    columns: [
      { name: "Pool", cell: (p) => link("pools", p.pool.name, p.pool.name), sort: (p) => p.pool.name },
      { name: "State", cell: (p) => badge(p.state, p.state === "open" ? "good" : "warn"), sort: (p) => p.state },
      { name: "Kind", cell: (p) => `${p.pool.flavor}, ${p.pool.image}${p.pool.az ? `, ${p.pool.az}` : ""}`, sort: (p) => p.pool.flavor },
      { name: "Ready", cell: (p) => number(p.ready), sort: (p) => p.ready, number: true },
      { name: "Booting", cell: (p) => number(p.booting), sort: (p) => p.booting, number: true },
      { name: "Wanted", cell: (p) => number(p.wanted), sort: (p) => p.wanted, number: true },
      { name: "Why so many", cell: (p) => p.decided?.why ?? "", wide: true },
      ...(can("pools:claim") ? [{ name: "", cell: (p) => p.state === "open" && button("Take one …", () => claim(p.pool), { "data-key": `claim ${p.pool.id}`, "aria-label": `Take one of pool ${p.pool.name}` }) }] : []),
    ],
  }));
}

function claim(pool) {
  ask({
    title: `Take a server of ${pool.name}`,
    text: `A waiting ${pool.flavor} with ${pool.image} becomes yours, and grows to what its flavor sold.`,
    fields: [{ name: "name", label: "What it shall be called", needed: true }],
    verb: "Take it",
    act: async ({ name }) => {
      const got = await send("POST", `/v1/pools/${encodeURIComponent(pool.name)}/claims`, { name, owner: me().name });
      return got.hit ? `${got.name} is yours, on ${got.host || "its host"}, after ${age(got.took_s)}` : `None was waiting: ${got.note}`;
    },
  });
}

function make() {
  ask({
    title: "Make a pool",
    fields: [
      { name: "name", label: "Name", needed: true },
      { name: "image", label: "Image, id or name", needed: true },
      { name: "flavor", label: "Flavor, id or name", needed: true },
      { name: "network", label: "Network, its id (empty: none)" },
      { name: "least", label: "At least", type: "number", min: 0, value: 0 },
      { name: "most", label: "At most", type: "number", min: 1, value: 5 },
    ],
    verb: "Make it",
    act: async ({ network, ...asked }) => {
      await send("POST", "/v1/pools", { ...asked, networks: network ? [network] : [] });
      return "The pool is made; it is filled from the next look on, in mode act";
    },
  });
}

export function pool(page, name) {
  const path = `/v1/pools/${encodeURIComponent(name)}`;
  page.head(`Pool ${name}`);
  page.panel("", (get) => get(path), (p) => [
    tiles([["Ready", number(p.ready)], ["Booting", number(p.booting)], ["Wanted", number(p.wanted), `${p.pool.least} to ${p.pool.most} allowed`]]),
    p.decided && [h("p", {}, p.decided.why), p.decided.not_done && h("p", {}, `Not done: ${p.decided.not_done}`)],
    p.decided?.problems.map((t) => h("p", { class: "problem" }, t)),
    h("p", { class: "buttons" }, can("pools:claim") && button("Take one …", () => claim(p.pool)), can("operator:write") && p.state === "open" && button("Close it …", () => close(p.pool))),
    facts([["Image", p.pool.image], ["Flavor", p.pool.flavor], ["Zone", p.pool.az], ["Networks", p.pool.networks.join(", ")], ["Project", p.pool.project], ["A miss costs", number(p.pool.miss_cost)], ["An hour of waiting costs", number(p.pool.idle_cost_h)], ["Made", stamp(p.pool.created)]]),
    table({
      caption: "Shadow VMs that are not over",
      key: "shadows",
      rows: p.shadows,
      empty: "None.",
      columns: [
        { name: "Name", cell: (s) => s.claim_name || s.name, sort: (s) => s.name },
        { name: "State", cell: (s) => badge(s.state, s.state === "ready" ? "good" : "note"), sort: (s) => s.state },
        { name: "Host", cell: (s) => s.host && link("hosts", s.host, s.host, `${s.id} host`), sort: (s) => s.host },
        { name: "Since", cell: (s) => stamp(s.since), sort: (s) => s.since },
        { name: "Why", cell: (s) => s.why, wide: true },
      ],
    }),
  ]);
  page.panel("How it did in the last 7 days", (get) => get(`${path}/report`), (r) => tiles([
    ["Claims", number(r.claims), `${number(r.hits)} found one, ${number(r.misses)} did not`],
    ["Hit rate", percent(r.hit_rate)],
    ["Waiting ones are", r.age_s === null ? "–" : `${age(r.age_s)} old`],
    ["Cost", number(r.cost), r.cost_per_hit === null ? "" : `${number(r.cost_per_hit)} per hit`],
    ["Claim to hand-over", r.claim_s === null ? "–" : age(r.claim_s), r.boot_s === null ? "" : `a boot takes ${age(r.boot_s)}`],
  ]), { quiet: true });
  page.panel("The day ahead", (get) => get(`${path}/schedule`), (rows) => h("details", { "data-key": "schedule" }, h("summary", {}, `${number(Math.max(...rows.map((s) => s.servers)))} should wait at most, ${number(rows.reduce((sum, s) => sum + s.claims, 0))} claims are expected`), table({
    caption: "Shadow VMs that should wait, by half-hours",
    key: "schedule",
    file: `pool-${name}`,
    rows,
    columns: [
      { name: "From", cell: (s) => clock(s.start), sort: (s) => s.start },
      { name: "Claims expected", cell: (s) => number(s.claims), sort: (s) => s.claims, number: true },
      { name: "Should wait", cell: (s) => number(s.servers), sort: (s) => s.servers, number: true },
    ],
  })), { quiet: true });
}

function close(pool) {
  ask({ title: `Close ${pool.name}`, text: "What waits is deleted; what was claimed stays.", typed: pool.name, verb: "Close it", danger: true, act: async () => {
    await send("DELETE", `/v1/pools/${encodeURIComponent(pool.name)}`);
    return "The pool is being closed";
  } });
}

// What owners were told, and what is reclaimed from whom.

import { badge, link } from "../dom.js";
import { amount, relative } from "../format.js";
import { table } from "../table.js";
import { capsTable } from "./caps.js";
import { noticesTable } from "./server.js";

export function notices(page) {
  page.head("Notices", "What owners were told: caps, throttles, reclaims.");
  page.panel("", (get) => get("/v1/notices?limit=500"), (rows) => noticesTable(rows, true), { kinds: ["notice"] });
  page.panel("Hard caps", (get) => get("/v1/caps"), capsTable, { kinds: ["notice"], quiet: true });
  page.panel("Reclaims", (get) => get("/v1/reclaims"), (rows) => table({
    caption: "Promised, and not used for long: what was found, and what is under way",
    key: "reclaims",
    file: "reclaims",
    rows,
    empty: "Nothing is reclaimed.",
    filter: (r) => `${r.name} ${r.state} ${r.resource}`,
    columns: [
      { name: "Server", cell: (r) => link("servers", r.server, r.name, `reclaim ${r.server} ${r.resource}`), sort: (r) => r.name },
      { name: "State", cell: (r) => badge(r.state, "note"), sort: (r) => r.state },
      { name: "Floor from", cell: (r) => amount(r.resource, r.floor_from), sort: (r) => r.floor_from, number: true },
      { name: "To", cell: (r) => amount(r.resource, r.floor_to), sort: (r) => r.floor_to, number: true },
      { name: "Begins", cell: (r) => relative(r.begins_at), sort: (r) => r.begins_at },
      { name: "Why", cell: (r) => [r.sentence || r.why, r.objection && ` Its owner objects: ${r.objection}`], wide: true },
    ],
  }), { quiet: true });
}

// Hard caps: at most so much, for a time and a reason.

import { can, me, send } from "../api.js";
import { ask } from "../dialog.js";
import { badge, button } from "../dom.js";
import { amount, number, stamp } from "../format.js";
import { table } from "../table.js";

const NAMES = { cpu: "CPU, cores", memory: "Memory, MiB", disk_iops: "Disk, requests/s", disk_kib_s: "Disk, KiB/s", net_kib_s: "Network, KiB/s" };

export function capsTable(rows) {
  return table({
    caption: "Hard caps: those in force, then those that ended",
    key: "caps",
    file: "caps",
    rows,
    empty: "Nothing is capped.",
    filter: (c) => `${c.scope} ${c.reason}`,
    columns: [
      { name: "Scope", cell: (c) => c.scope, sort: (c) => c.scope },
      { name: "At most", cell: (c) => (c.resource === "memory" ? amount("memory", c.amount) : `${number(c.amount)} ${c.unit}`), sort: (c) => c.amount, number: true },
      { name: "State", cell: (c) => badge(c.state, c.state === "in force" ? "warn" : ""), sort: (c) => c.state },
      { name: "Until", cell: (c) => stamp(c.lifted_at ?? c.until), sort: (c) => c.until },
      { name: "Why", cell: (c) => [c.reason, c.by && ` (${c.by})`], wide: true, csv: (c) => c.reason },
      ...(can("operator:write") ? [{ name: "", cell: (c) => c.state === "in force" && button("Lift …", () => lift(c), { "data-key": `lift ${c.id}` }) }] : []),
    ],
  });
}

export function setCap(scope) {
  ask({
    title: "Set a hard cap",
    text: [`For ${scope}. It ends by itself; its owner is told.`],
    fields: [
      { name: "resource", label: "Of what", options: Object.entries(NAMES), needed: true },
      { name: "most", label: "At most", type: "number", min: 0, needed: true },
      { name: "hours", label: "For so many hours", type: "number", min: 0, value: 1, needed: true },
      { name: "reason", label: "Why", needed: true },
    ],
    verb: "Set it",
    danger: true,
    act: async ({ resource, most, hours, reason }) => {
      await send("POST", "/v1/caps", { scope, amounts: { [resource]: most }, for_s: hours * 3600, reason, by: me().name });
      return "The cap is set";
    },
  });
}

function lift(cap) {
  ask({
    title: "Lift this cap",
    fields: [{ name: "reason", label: "Why" }],
    verb: "Lift it",
    act: async ({ reason }) => {
      await send("DELETE", `/v1/caps/${encodeURIComponent(cap.id)}?reason=${encodeURIComponent(reason)}`);
      return "The cap is lifted";
    },
  });
}


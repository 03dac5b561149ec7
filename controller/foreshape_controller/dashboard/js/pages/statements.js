// Prices, and what each period came to. Money is a decimal text: it is shown as it is, and never computed with here.

import { me } from "../api.js";
import { badge, h, link } from "../dom.js";
import { stamp } from "../format.js";
import { tiles } from "../page.js";
import { facts, table } from "../table.js";

export function statements(page) {
  page.head("Prices and statements");
  page.panel("Statements", (get) => get("/v1/statements"), (rows) => table({
    caption: "What each period came to, by project",
    key: "statements",
    file: "statements",
    rows,
    empty: "Nothing was metered yet: the first statement comes with the first whole hour.",
    columns: [
      { name: "Period", cell: (s) => link("statements", `${s.period}`, s.period, `${s.period} ${s.project}`), sort: (s) => s.period },
      ...(me().everywhere ? [{ name: "Project", cell: (s) => h("a", { href: `#/statements/${encodeURIComponent(s.period)}/${encodeURIComponent(s.project)}`, "data-key": `project ${s.period} ${s.project}` }, s.project), sort: (s) => s.project }] : []),
      { name: "State", cell: (s) => [badge(s.state), s.shadow && [" ", badge("shadow: not billed", "note")]], sort: (s) => s.state },
      { name: "Total", cell: (s) => `${s.total} ${s.currency}`, sort: (s) => Number(s.total), number: true },
      { name: "Fixed size would cost", cell: (s) => s.static, sort: (s) => Number(s.static), number: true },
      { name: "Saved", cell: (s) => s.saved, sort: (s) => Number(s.saved), number: true },
      { name: "Could save", cell: (s) => s.could_save, sort: (s) => Number(s.could_save), number: true },
      { name: "Credits", cell: (s) => s.credits, sort: (s) => Number(s.credits), number: true },
      { name: "Counted until", cell: (s) => stamp(s.until), sort: (s) => s.until },
    ],
  }), { kinds: ["statement"] });
  page.panel("Prices in force", (get) => get("/v1/prices"), prices);
}

const RATES = ["entitlement", "guaranteed", "burst", "pool", "reservation"];

/** Rates of each tier, an hour: of a core, of a GiB. */
function prices(p) {
  const rows = Object.entries(p.card?.tiers ?? {}).flatMap(([tier, t]) => [["cpu", "core"], ["memory", "GiB"]].map(([resource, unit]) => ({ tier, unit, rates: t[resource] ?? {}, terms: t })));
  return [
    p.shadow && h("p", { class: "lead" }, p.note),
    p.problems.map((text) => h("p", { class: "problem" }, text)),
    table({
      caption: `Rates an hour, in ${p.currency}`,
      key: "prices",
      file: "prices",
      rows,
      empty: "No rate card is in force: nothing costs anything.",
      columns: [
        { name: "Tier", cell: (r) => [r.tier, r.tier === p.default_tier && h("small", {}, " (default)")], sort: (r) => r.tier },
        { name: "Of a", cell: (r) => r.unit, sort: (r) => r.unit },
        ...RATES.map((k) => ({ name: k[0].toUpperCase() + k.slice(1), cell: (r) => r.rates[k] ?? "–", sort: (r) => Number(r.rates[k]), number: true })),
        { name: "Discount for freed size", cell: (r) => r.terms.freed_discount ?? "–", number: true },
        { name: "Premium for opting in", cell: (r) => r.terms.opt_in ?? "–", number: true },
      ],
    }),
    facts([["Rate file", p.file], ["Version", p.version], ["In force since", stamp(p.since)], ["Until", p.card?.valid_until], ["Next card from", p.next?.valid_from]]),
  ];
}

export function statement(page, period, project = "") {
  page.head(`Statement ${period}`, project);
  const whose = project ? `&project=${encodeURIComponent(project)}` : "";
  const path = `/v1/statements/${encodeURIComponent(period)}`;
  page.panel("", (get) => get(`${path}?by=meter${whose}`), (s) => [
    s.shadow && h("p", { class: "lead" }, s.note),
    tiles([
      ["Total", `${s.total} ${s.currency}`, s.state],
      ["Fixed size would cost", s.static],
      ["Saved", s.saved, Number(s.could_save) > 0 ? `${s.could_save} more where resizing is allowed` : ""],
      ["Credits", s.credits, "for promises that were broken"],
    ]),
    lines(s.lines),
    facts([["From", stamp(s.since)], ["Counted until", stamp(s.until)], ["Server-hours measured", s.measured_h], ["Of earlier months", Number(s.adjustments) ? s.adjustments : ""], ["Rate card", s.card]]),
    h("p", {}, h("a", { href: `${path}/csv?by=line${whose}` }, "All lines as CSV")),
  ], { kinds: ["statement"] });
}

function lines(rows) {
  return table({
    caption: "Lines, by what was metered",
    key: "lines",
    file: "statement",
    rows,
    empty: "No line yet.",
    columns: [
      { name: "Item", cell: (l) => l.item, sort: (l) => l.item },
      { name: "Kind", cell: (l) => badge(l.kind, { credit: "good", discount: "good", premium: "note" }[l.kind]), sort: (l) => l.kind },
      { name: "Tier", cell: (l) => l.tier, sort: (l) => l.tier },
      { name: "Quantity", cell: (l) => (Number(l.quantity) ? `${l.quantity} ${l.unit}` : "–"), sort: (l) => Number(l.quantity), number: true },
      { name: "Amount", cell: (l) => l.amount, sort: (l) => Number(l.amount), number: true },
      { name: "Why", cell: (l) => l.why, wide: true },
    ],
  });
}

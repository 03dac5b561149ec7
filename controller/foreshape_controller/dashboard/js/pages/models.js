// Who forecasts, how well, and how tiers and levers did.

import { can, send } from "../api.js";
import { ask } from "../dialog.js";
import { badge, button, h } from "../dom.js";
import { age, amount, number, percent, relative, stamp } from "../format.js";
import { tiles } from "../page.js";
import { table } from "../table.js";

const COLOURS = { champion: "good", damaged: "bad", challenger: "note" };

export function models(page) {
  page.head("Models and accuracy", "", can("operator:write") ? [button("Train now …", train)] : []);
  page.panel("", (get) => get("/v1/learning"), (s) => [
    s.off && h("p", { class: "lead" }, `Nothing is taught: ${s.off}`),
    s.trouble && h("p", { class: "problem" }, s.trouble),
    tiles([
      ["Forecasts by", s.model],
      ["Training", s.training ? `${percent(s.training_share)}, ${s.training_phase}` : "none under way", s.training_model],
      ["Last training", s.last_training, [s.last_training_at ? stamp(s.last_training_at) : "", " ", s.last_training_reason]],
      ["Next", s.next_training_at ? relative(s.next_training_at) : "–"],
      ["Forecasts waiting for their future", number(s.waiting_forecasts)],
    ]),
    s.verdicts.length > 0 && table({ caption: "What the last days say of the model, by kind of series", key: "verdicts", rows: s.verdicts, columns: [
      { name: "Series", cell: (v) => `${v.resource} ${v.head}`, sort: (v) => v.resource },
      { name: "Stratum", cell: (v) => v.stratum, sort: (v) => v.stratum },
      { name: "Verdict", cell: (v) => badge(v.action, v.action === "fine" ? "good" : "warn"), sort: (v) => v.action },
      { name: "Why", cell: (v) => v.reasons.join("; "), wide: true },
    ] }),
    s.events.length > 0 && h("details", { "data-key": "promotions" }, h("summary", {}, "Log of promotions"), h("ul", {}, s.events.map((e) => h("li", {}, stamp(e.at), ` ${e.model} ${e.event}: ${e.reason}`)))),
  ]);
  page.panel("Accuracy of the last 7 days, against the baseline", async (get) => ((await get("/v1/learning")).off ? [] : get("/v1/learning/accuracy")), accuracy);
  page.panel("Models", (get) => get("/v1/models"), list);
  page.panel("Tiers against what they promise, last day", (get) => get("/v1/tiers/report"), tiers);
  page.panel("Levers: how long guests waited", (get) => get("/v1/levers"), levers);
}

function accuracy(rows) {
  return table({
    caption: "Error (weighted quantile loss) and how often the ranges held; a ratio below 1 beats the baseline",
    key: "accuracy",
    file: "accuracy",
    rows,
    empty: "No forecast's future has come yet.",
    filter: (a) => `${a.resource} ${a.stratum} ${a.head}`,
    columns: [
      { name: "Series", cell: (a) => `${a.resource}, ${a.head}`, sort: (a) => `${a.resource} ${a.head}` },
      { name: "Stratum", cell: (a) => a.stratum, sort: (a) => a.stratum },
      { name: "By", cell: (a) => a.predictor, sort: (a) => a.predictor },
      { name: "Windows", cell: (a) => number(a.windows), sort: (a) => a.windows, number: true },
      { name: "Error", cell: (a) => number(a.wql), sort: (a) => a.wql, number: true },
      { name: "Ratio", cell: (a) => number(a.ratio), sort: (a) => a.ratio, number: true },
      { name: "80 % range held", cell: (a) => percent(a.inside80), sort: (a) => a.inside80, number: true },
      { name: "98 % range held", cell: (a) => percent(a.inside98), sort: (a) => a.inside98, number: true },
      { name: "Below 99 %", cell: (a) => percent(a.below99), sort: (a) => a.below99, number: true },
    ],
  });
}

function list(rows) {
  return table({
    caption: "The baseline and every model here, the newest first",
    key: "models",
    rows,
    empty: "Learning is off: the baseline forecasts.",
    columns: [
      { name: "Model", cell: (m) => m.id, sort: (m) => m.id },
      { name: "State", cell: (m) => badge(m.state, COLOURS[m.state]), sort: (m) => m.state },
      { name: "Made", cell: (m) => stamp(m.made_at), sort: (m) => m.made_at },
      { name: "Error by the baseline's", cell: (m) => Object.entries(m.ratios).map(([k, v]) => h("div", {}, `${k} ${number(v)}`)) },
      { name: "Why", cell: (m) => m.reason, wide: true },
      ...(can("operator:write") ? [{ name: "", cell: (m) => ["challenger", "previous"].includes(m.state) && button("Put in office …", () => promote(m), { "data-key": `promote ${m.id}`, "aria-label": `Put in office: model ${m.id}` }) }] : []),
    ],
  });
}

function tiers(r) {
  return [r.alarm && h("p", { class: "problem" }, r.alarm), table({
    caption: "Violations (demand above the allocation) and slack, by tier",
    key: "tiers",
    file: "tiers",
    rows: r.rows,
    empty: "No half-hour is judged yet.",
    columns: [
      { name: "Tier", cell: (t) => `${t.tier}, ${t.resource}`, sort: (t) => t.tier },
      { name: "Violations", cell: (t) => [percent(t.violation_share), t.violation_share > t.violation_target && [" ", badge("too many", "bad")]], sort: (t) => t.violation_share, number: true },
      { name: "Promised", cell: (t) => percent(t.violation_target), sort: (t) => t.violation_target, number: true },
      { name: "Slack", cell: (t) => percent(t.slack), sort: (t) => t.slack, number: true },
      { name: "Allocated of sold", cell: (t) => percent(t.allocation_of_entitlement), sort: (t) => t.allocation_of_entitlement, number: true },
      { name: "Resizes a server and day", cell: (t) => number(t.resizes_per_vm_day), sort: (t) => t.resizes_per_vm_day, number: true },
      { name: "Changed by forecast", cell: (t) => percent(t.changed_share), sort: (t) => t.changed_share, number: true },
      { name: "Growths that came true", cell: (t) => percent(t.grew_came_share), sort: (t) => t.grew_came_share, number: true },
      { name: "Mean of a server", cell: (t) => amount(t.resource, t.allocation), sort: (t) => t.allocation, number: true },
    ],
  })];
}

function levers(rows) {
  return table({
    caption: "From the order to its proof in the guest",
    key: "leverwaits",
    file: "levers",
    rows,
    empty: "No lever was pulled yet.",
    columns: [
      { name: "Lever", cell: (l) => h("code", {}, l.lever), sort: (l) => l.lever },
      { name: "Direction", cell: (l) => l.direction, sort: (l) => l.direction },
      { name: "Pulled", cell: (l) => number(l.pulls), sort: (l) => l.pulls, number: true },
      { name: "Failed", cell: (l) => number(l.failed), sort: (l) => l.failed, number: true },
      { name: "Median", cell: (l) => age(l.median_s), sort: (l) => l.median_s, number: true },
      { name: "95 %", cell: (l) => age(l.p95_s), sort: (l) => l.p95_s, number: true },
    ],
  });
}

function train() {
  ask({ title: "Train a model now", text: "It is taught in a process of its own, and heard only for the kinds of series where it wins.", fields: [{ name: "reason", label: "Why" }], verb: "Train", act: async ({ reason }) => {
    await send("POST", "/v1/learning/train", { reason });
    return "A training has begun";
  } });
}

function promote(m) {
  ask({ title: `Put ${m.id} in office`, text: "It forecasts from the next plan on; one command sends it back.", fields: [{ name: "reason", label: "Why", needed: true }], verb: "Put in office", act: async ({ reason }) => {
    await send("POST", `/v1/models/${encodeURIComponent(m.id)}/promote`, { reason });
    return `${m.id} is in office`;
  } });
}

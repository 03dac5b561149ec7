// Tiers: what each promises, and for operators the text that says so, written with care for those who write, too.

import { Problem, can, send, tagged } from "../api.js";
import { badge, button, h, replace } from "../dom.js";
import { clock, number, percent } from "../format.js";
import { trouble } from "../page.js";
import { facts, table } from "../table.js";

export function tiers(page) {
  const operator = can("operator:read");
  page.head("Tiers", "What was promised for how much: how closely servers are sized to what they want, and who gives first when a host is short.");
  const again = page.panel("", (get) => get("/v1/tiers"), (p) => [standing(p, operator), promises(p), sizing(p), operator && rules(p)]);
  if (operator) editor(page, again);
}

function standing(p, operator) {
  if (!operator) return null;
  return [
    p.problems.length > 0 && h("div", { class: "problem" }, h("strong", {}, "The file has changed since, and is not in force:"), list(p.problems)),
    p.warnings.length > 0 && h("div", { class: "banner warn" }, h("strong", {}, "Odd, though in force:"), list(p.warnings)),
    facts([["In force since", clock(p.since)], ["File", p.file ? h("code", {}, p.file) : "none: the built-in tiers"], ["Of servers that no rule names", p.default], ["Text", h("code", {}, p.hash.slice(0, 12))]]),
  ];
}

const list = (texts) => h("ul", {}, texts.map((t) => h("li", {}, t)));
const yes = (value) => (value ? "yes" : "no");

function promises(p) {
  return table({
    caption: "Promises and prices",
    key: "tiers",
    file: "tiers",
    rows: p.tiers,
    columns: [
      { name: "Tier", cell: (t) => [t.name, t.name === p.default && [" ", badge("default", "note")]], sort: (t) => t.name },
      { name: "Servers", cell: (t) => number(t.servers), sort: (t) => t.servers, number: true },
      { name: "Weight × criticality", cell: (t) => `${number(t.weight)} × ${number(t.criticality)}`, sort: (t) => t.weight * t.criticality, number: true },
      { name: "Gives, in this order", cell: (t) => number(t.throttle_order), sort: (t) => t.throttle_order, number: true },
      { name: "Leaves, in this order", cell: (t) => number(t.migrate_order), sort: (t) => t.migrate_order, number: true },
      { name: "Violations, at most", cell: (t) => percent(t.violation_target), sort: (t) => t.violation_target, number: true },
      { name: "May shrink", cell: (t) => yes(t.may_shrink), sort: (t) => yes(t.may_shrink) },
      { name: "May be reclaimed", cell: (t) => yes(t.may_reclaim), sort: (t) => yes(t.may_reclaim) },
      ...[["cpu_core", "Core, an hour"], ["memory_gib", "GiB, an hour"], ["burst_cpu_core", "Core of burst"], ["burst_memory_gib", "GiB of burst"]].map(([field, name]) => ({
        name, cell: (t) => number(t.price[field], true), sort: (t) => t.price[field], number: true,
      })),
    ],
  });
}

function sizing(p) {
  const rows = p.tiers.flatMap((t) => ["cpu", "memory"].map((r) => ({ tier: t.name, resource: r, ...t[r] })));
  const hours = (s) => `${number(s / 3600)} h`;
  return table({
    caption: "How closely they are sized",
    key: "sizing",
    file: "tiers-sizing",
    rows,
    columns: [
      { name: "Tier", cell: (r) => r.tier, sort: (r) => r.tier },
      { name: "Resource", cell: (r) => (r.resource === "cpu" ? "CPU" : "Memory"), sort: (r) => r.resource },
      { name: "Quantile of the peak", cell: (r) => percent(r.quantile), sort: (r) => r.quantile, number: true },
      { name: "Always there", cell: (r) => percent(r.floor_share), sort: (r) => r.floor_share, number: true },
      { name: "Shrinks to the most of", cell: (r) => hours(r.hold_s), sort: (r) => r.hold_s, number: true },
      { name: "At most at once", cell: (r) => percent(r.shrink_step_share), sort: (r) => r.shrink_step_share, number: true },
      { name: "Not before", cell: (r) => hours(r.young_s), sort: (r) => r.young_s, number: true },
      { name: "Margin", cell: (r) => percent(r.margin_share), sort: (r) => r.margin_share, number: true },
      { name: "Headroom", cell: (r) => `× ${number(r.headroom)}`, sort: (r) => r.headroom, number: true },
    ],
  });
}

function rules(p) {
  const named = (r) => Object.entries(r).filter(([k]) => !["tier", "criticality"].includes(k)).map(([k, v]) => `${k} ${v}`).join(" and ");
  return table({
    caption: "Who belongs to which: the first rule that matches",
    key: "assign",
    rows: p.assign.map((r, i) => ({ ...r, number: i + 1 })),
    empty: `No rule: whoever has no tier of his own is in ${p.default}.`,
    filter: (r) => `${r.tier} ${named(r)}`,
    columns: [
      { name: "Rule", cell: (r) => number(r.number), sort: (r) => r.number },
      { name: "Who", cell: ({ number: _, ...r }) => named(r), sort: ({ number: _, ...r }) => named(r), wide: true },
      { name: "Tier", cell: (r) => r.tier, sort: (r) => r.tier },
      { name: "Criticality", cell: (r) => (r.criticality === undefined ? "the tier's" : number(r.criticality)), sort: (r) => r.criticality ?? null, number: true },
    ],
  });
}

// -- the text -----------------------------------------------------------------------------------------------------------

/** A text that nobody loses: what was typed stays when the controller refuses it, or when somebody else was faster. */
function editor(page, done) {
  const body = h("div", { class: "body" }, h("p", { class: "empty" }, "Loading …"));
  page.root.append(h("section", { class: "panel", "aria-labelledby": "tiers-text" }, h("h2", { id: "tiers-text" }, "The file's text"), body));
  const show = async () => {
    try {
      const { thing, tag } = await tagged("/v1/policy", page.signal);
      replace(body, thing.read_only || !can("operator:write") ? readOnly(thing) : form(page, thing, tag, done));
    } catch (e) {
      if (e.name !== "AbortError") replace(body, trouble(e, show));
    }
  };
  show();
}

function readOnly({ text, read_only: why }) {
  const area = text && h("label", {}, h("span", { class: "unseen" }, "tiers.yaml, to be read"), h("textarea", { class: "mono", readonly: true, spellcheck: "false" }, text));
  return [h("p", { class: "lead" }, why || "Only operators write it."), area];
}

function form(page, first, firstTag, done) {
  let tag = firstTag;
  const area = h("textarea", { class: "mono", name: "text", spellcheck: "false", autocapitalize: "none", "aria-describedby": "tiers-hint", rows: 24 });
  area.value = first.text;
  const reason = h("input", { type: "text", name: "reason", autocomplete: "off" });
  const told = h("div", { role: "alert" });
  const theirs = h("div", { class: "fields" });
  const go = h("button", { type: "submit", class: "primary" }, "Put it in force");

  const guarded = (work) => async () => {
    go.disabled = true;
    replace(told);
    try {
      await work();
    } catch (e) {
      if (!(e instanceof Problem)) throw e;
      if (e.status === 412) await faster();
      else replace(told, h("div", { class: "problem" }, h("strong", {}, "Not in force, and nothing is changed:"), list(e.message.split("\n"))));
    } finally {
      go.disabled = false;
    }
  };
  const check = guarded(async () => {
    const found = await send("POST", "/v1/policy/check", { text: area.value });
    replace(told,
      found.problems.length > 0 && h("div", { class: "problem" }, h("strong", {}, `${found.problems.length} to be mended:`), list(found.problems)),
      found.warnings.length > 0 && h("div", { class: "banner warn" }, h("strong", {}, "Odd, though it could be put in force:"), list(found.warnings)),
      !found.problems.length && h("p", { class: "said" }, `In order: ${found.tiers.length} tiers (${found.tiers.join(", ")}), ${found.rules} rules.`));
  });
  const put = guarded(async () => {
    await send("PUT", "/v1/policy", { text: area.value, reason: reason.value }, tag);
    ({ tag } = await tagged("/v1/policy", page.signal));
    replace(theirs);
    done();
    page.say("The tiers are in force as you wrote them: the next plan decides by them.");
  });
  /** Somebody else wrote the file meanwhile: both texts are shown, and who is here decides. */
  const faster = async () => {
    const now = await tagged("/v1/policy", page.signal);
    const take = (text) => () => {
      if (text !== null) area.value = text;
      ({ tag } = now);
      replace(theirs);
      replace(told, h("p", { class: "lead" }, text === null ? "Your text will be put over theirs, when you put it in force." : "You have their text now."));
      area.focus();
    };
    replace(told, h("div", { class: "problem" }, h("strong", {}, "Somebody else changed the file meanwhile. "), "Nothing was overwritten: your text is still here, and theirs is below."));
    replace(theirs,
      h("label", {}, "What the file says now", h("textarea", { class: "mono", readonly: true, spellcheck: "false", rows: 12 }, now.thing.text)),
      h("p", { class: "buttons" }, button("Take theirs", take(now.thing.text)), button("Keep mine, over theirs", take(null))));
  };

  const made = h("form", {},
    h("label", {}, h("span", {}, "Text of ", h("code", {}, first.file)), area),
    h("small", { id: "tiers-hint" }, "YAML; a key that is left out keeps its default. The Tab key leaves this field. Nothing counts until it is put in force, and a text with a mistake never does."),
    h("label", {}, "Why (kept in the log)", reason),
    told,
    h("div", { class: "buttons" }, button("Check it", check), go),
    theirs);
  made.addEventListener("submit", (e) => {
    e.preventDefault();
    put();
  });
  return made;
}

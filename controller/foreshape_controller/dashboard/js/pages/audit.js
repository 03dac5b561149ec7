// Who wrote what, and what Foreshape did: the append-only log.

import { page as listPage } from "../api.js";
import { badge, h, replace } from "../dom.js";
import { stamp } from "../format.js";
import { trouble } from "../page.js";
import { table } from "../table.js";

export function audit(page) {
  page.head("Audit", "Every write that somebody asked for, with its answer and its cause. Rows are chained: none can be changed unseen.");
  const body = h("div", { class: "body" }, h("p", { class: "empty" }, "Loading …"));
  page.root.append(body);
  const more = (path) => async () => {
    const got = await listPage(path, page.signal);
    return { rows: got.rows, next: got.next ? more(got.next) : null };
  };
  const show = async () => {
    try {
      const { rows, next } = await listPage("/v1/audit?limit=100", page.signal);
      replace(body, listed(rows, next ? more(next) : null));
    } catch (e) {
      if (e.name !== "AbortError") replace(body, trouble(e, show));
    }
  };
  show();
}

function listed(rows, more) {
  return table({
    caption: "Audit log, the newest first",
    key: "audit",
    file: "audit",
    rows,
    more,
    empty: "Nothing was written yet.",
    filter: (a) => `${a.name} ${a.user} ${a.method} ${a.route} ${a.scope} ${a.path} ${a.cause} ${a.project}`,
    columns: [
      { name: "When", cell: (a) => stamp(a.at), sort: (a) => a.at },
      { name: "Who", cell: (a) => [a.name || a.user, a.project && h("small", {}, ` ${a.project}`)], sort: (a) => a.name || a.user },
      { name: "What", cell: (a) => h("code", {}, `${a.method} ${a.route}`), sort: (a) => `${a.route} ${a.method}` },
      { name: "Of", cell: (a) => a.scope || (a.path === a.route ? "" : a.path), sort: (a) => a.scope || a.path, wide: true },
      { name: "Answer", cell: (a) => (a.status ? badge(String(a.status), a.status < 400 ? "good" : "warn") : badge("not known", "bad")), sort: (a) => a.status, number: true },
      { name: "Details", cell: (a) => a.detail, wide: true },
      { name: "Cause", cell: (a) => a.cause && h("code", {}, a.cause), sort: (a) => a.cause },
      { name: "From", cell: (a) => a.address, sort: (a) => a.address },
    ],
  });
}

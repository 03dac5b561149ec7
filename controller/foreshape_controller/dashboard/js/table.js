// Tables: a caption, headings with a scope, a filter, columns that sort, at most a hundred rows at once, and the same as CSV.

import { add, button, h, replace } from "./dom.js";

const SHOWN = 100;

/**
 * A table with its tools. `caption`: what it shows. `columns`: `{name, cell(row) → node or text, sort(row), csv(row), number, wide}`; a column
 * without `sort` does not sort; `csv` says what the file has where that is not `sort`'s value. `rows`: what is there; `more`: asks for
 * the next ones, `() → {rows, next}`, null at the end. `empty`: what is said where nothing is there. `filter(row) → text`: what is searched.
 */
export function table({ caption, columns, rows, key, more = null, empty = "Nothing is there.", filter = null, file = "" }) {
  if (!rows.length && !more) return h("p", { class: "empty" }, empty);
  const state = { rows: [...rows], more, word: "", by: -1, down: false, most: SHOWN };
  const body = h("tbody");
  const foot = h("p", { class: "foot", role: "status" });
  const heads = columns.map((c, i) => head(c, () => sortBy(i), `${key} sort ${c.name}`));
  const whole = h("div", { class: "tabled" });
  const save = file && [" ", button("Save as CSV", () => download(`${file}.csv`, csv(columns, found())), { "data-key": `${key} csv`, class: "small" })];

  function sortBy(i) {
    [state.by, state.down] = [i, state.by === i ? !state.down : false];
    draw();
  }

  function found() {
    const word = state.word.toLowerCase();
    const some = word && filter ? state.rows.filter((r) => filter(r).toLowerCase().includes(word)) : [...state.rows];
    if (state.by < 0) return some;
    const of = columns[state.by].sort;
    return some.sort((a, b) => compare(of(a), of(b)) * (state.down ? -1 : 1));
  }

  function draw() {
    const some = found();
    const shown = some.slice(0, state.most);
    replace(body, shown.map((row) => h("tr", {}, columns.map((c, i) => cell(c, row, i === 0)))));
    heads.forEach((th, i) => th.setAttribute("aria-sort", state.by !== i ? "none" : state.down ? "descending" : "ascending"));
    const rest = some.length > shown.length || state.more;
    const counted = rest || shown.length !== state.rows.length ? `${shown.length} of ${state.more ? "more than " : ""}${some.length}` : "";
    replace(foot, some.length ? counted : "Nothing of what is loaded has this word.", rest && next(some.length > shown.length), save);
  }

  function next(here) {
    const click = async () => {
      if (!here) {
        const got = await state.more();
        state.rows.push(...got.rows);
        state.more = got.next;
      }
      state.most += SHOWN;
      draw();
    };
    return [" ", button("Show more", click, { "data-key": `${key} more` })];
  }

  const search = (e) => {
    state.word = e.target.value;
    state.most = SHOWN;
    draw();
  };
  const long = state.rows.length > 12 || more;
  add(whole, filter && long && h("p", { class: "tools" }, h("label", {}, "Filter ", h("input", { type: "search", "data-key": `${key} filter`, on: { input: search } }))),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
      h("table", {}, h("caption", {}, caption), h("thead", {}, h("tr", {}, heads)), body)),
    foot);
  draw();
  return whole;
}

function head(column, click, key) {
  const attrs = { scope: "col", class: column.number ? "number" : null };
  if (!column.name) return h("th", attrs, h("span", { class: "unseen" }, "What can be done"));
  if (!column.sort) return h("th", attrs, column.name);
  return h("th", attrs, button(column.name, click, { class: "sorts", "data-key": key }));
}

function cell(column, row, first) {
  const classes = [column.number && "number", column.wide && "wide"].filter(Boolean).join(" ") || null;
  return h(first ? "th" : "td", { scope: first ? "row" : null, class: classes, "data-name": column.name }, column.cell(row));
}

function compare(a, b) {
  if (a === b) return 0;
  if (a === null || a === undefined) return 1;
  if (b === null || b === undefined) return -1;
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
}

/** Rows as CSV (RFC 4180). A cell that a spreadsheet would take for a formula begins with an apostrophe. */
export function csv(columns, rows) {
  const value = (c, row) => (c.csv ?? c.sort ?? c.cell)(row);
  const text = (v) => {
    const plain = v instanceof Node ? v.textContent : v === null || v === undefined ? "" : String(v);
    const safe = typeof v !== "number" && /^\s*[=+\-@]|^[\t\r\n]/.test(plain) ? `'${plain}` : plain;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [columns.map((c) => text(c.name)), ...rows.map((r) => columns.map((c) => text(value(c, r))))].map((line) => line.join(",")).join("\r\n");
}

/** Let the browser save a text. */
export function download(name, text, type = "text/csv;charset=utf-8") {
  const url = URL.createObjectURL(new Blob([text], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/** Name and value, one under the other: `[[name, value], …]`; a value that is null is left out. */
export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(([, v]) => v !== null && v !== undefined && v !== "").map(([k, v]) => h("div", {}, h("dt", {}, k), h("dd", {}, v))));
}

// What a page is made of: panels, each of which asks for its own data, shows problems in the controller's words, and is drawn again when
// something happened.

import { Problem, get, page as listPage } from "./api.js";
import { button, h, replace } from "./dom.js";
import { openstack } from "./known.js";
import * as live from "./live.js";

const EVERY_MS = 30_000;
const EVERY_LIVE_MS = 60_000;

/** The page that is shown: until `signal` is aborted. */
export class Page {
  constructor(root, params, title) {
    this.root = root;
    this.params = params;
    this.title = title;
    this.gone = new AbortController();
    this.signal = this.gone.signal;
  }

  /** Head of the page. `tools`: nodes beside it. */
  head(title, lead = "", tools = []) {
    this.title(title);
    this.root.append(h("div", { class: "head" }, h("h1", { id: "title", tabindex: "-1" }, title), h("div", { class: "headtools" }, tools)), lead ? h("p", { class: "lead" }, lead) : "");
  }

  /** What came of something, for everybody to see; read aloud, too. */
  say(text) {
    this.said ??= this.root.querySelector(".head").insertAdjacentElement("afterend", h("p", { class: "said", role: "status" }));
    replace(this.said, text);
  }

  /** A better title, once it is known. */
  name(title) {
    if (!title) return;
    this.title(title);
    this.root.querySelector("h1").textContent = title;
  }

  /**
   * A part of the page. `load(get) → data`; `build(data, again) → nodes`, called only where the data changed. `kinds`: happenings of the
   * stream after which it is asked again. Without a title it is drawn without a frame.
   */
  panel(title, load, build, { kinds = [], quiet = false } = {}) {
    const body = h("div", { class: "body" }, h("p", { class: "empty" }, "Loading …"));
    const id = `p${this.root.querySelectorAll("section").length}`;
    const section = title
      ? h("section", { class: "panel", "aria-labelledby": id }, h("h2", { id }, title), body)
      : h("section", { class: "bare" }, body);
    this.root.append(section);
    let before = null;
    const again = async () => {
      try {
        const data = await load((path) => get(path, this.signal));
        const text = JSON.stringify(data);
        if (text === before || this.signal.aborted) return;
        before = text;
        section.hidden = false;
        replace(body, build(data, again));
      } catch (e) {
        if (e.name === "AbortError" || this.signal.aborted) return;
        if (!(e instanceof Problem)) throw e;
        before = null;
        section.hidden = quiet;
        if (quiet) replace(body);
        else replace(body, trouble(e, again));
      }
    };
    again();
    this.every(again);
    if (kinds.length) live.on(kinds, again, this.signal);
    return again;
  }

  /** Whether a page of the cloud's things can be shown; says why not. */
  needsOpenstack() {
    if (openstack()) return true;
    this.root.append(h("p", { class: "lead" }, "No OpenStack is configured here, so there is nothing to show: see [cloud] enabled in controller.conf, and the operator guide."));
    return false;
  }

  /** Ask again now and then, while the page is looked at: less often where the stream says what happens. */
  every(again) {
    let last = Date.now();
    const timer = setInterval(() => {
      if (document.hidden || Date.now() - last < (live.isLive() ? EVERY_LIVE_MS : EVERY_MS)) return;
      last = Date.now();
      again();
    }, 5000);
    this.signal.addEventListener("abort", () => clearInterval(timer));
  }

  leave() {
    this.gone.abort();
  }
}

const LIMIT = 100;
const WAIT_MS = 300;

/** A list that the controller searches by name and cuts into pages: thirty thousand are as quick as thirty. `build(rows, more) → nodes`. */
export function searched(page, { path, hint, key }, build) {
  const body = h("div", { class: "body" }, h("p", { class: "empty" }, "Loading …"));
  const word = h("input", { type: "search", "data-key": `${key} search`, placeholder: hint });
  const more = (next) => next && (async () => {
    const got = await listPage(next, page.signal);
    return { rows: got.rows, next: more(got.next) };
  });
  let due = null;
  let newest = 0;
  const show = async () => {
    const mine = ++newest;
    try {
      const query = new URLSearchParams({ limit: LIMIT });
      if (word.value.trim()) query.set("name", `*${word.value.trim()}*`);
      const { rows, next } = await listPage(`${path}?${query}`, page.signal);
      if (mine === newest) replace(body, build(rows, more(next)));
    } catch (e) {
      if (e.name !== "AbortError" && mine === newest) replace(body, trouble(e, show));
    }
  };
  word.addEventListener("input", () => {
    clearTimeout(due);
    due = setTimeout(show, WAIT_MS);
  });
  page.root.append(h("div", { class: "tools" }, h("label", {}, "Find ", word)), body);
  show();
  page.every(show);
}

/** A problem in the controller's own words. */
export function trouble(e, again) {
  const title = e.status === 404 ? "Not found" : e.title || "Problem";
  return h("div", { class: "problem", role: e.status === 0 ? "alert" : null }, h("strong", {}, title), h("p", {}, e.message), again && button("Try again", again));
}

/** A row of figures: `[[name, value, note, part of 1 or null], …]`. */
export function tiles(list) {
  return h("ul", { class: "tiles" }, list.map(([name, value, note, kind]) => h("li", { class: `tile ${kind ?? ""}` }, h("span", { class: "name" }, name), h("span", { class: "value" }, value), note && h("span", { class: "note" }, note))));
}

/** Two panels or more side by side where there is room. */
export function beside(...nodes) {
  return h("div", { class: "beside" }, nodes);
}

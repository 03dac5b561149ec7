// Elements from values. Text only ever becomes text: nothing here, or anywhere in these files, makes markup of a string.

/**
 * An element. `attrs`: attributes; `on`: listeners by event; `class`, `hidden` … as in HTML; null, undefined and false are left out.
 * Children are nodes, lists of children, or whatever else becomes text.
 */
export function h(tag, attrs = {}, ...children) {
  const made = document.createElement(tag);
  const { on = {}, ...plain } = attrs;
  for (const [name, value] of Object.entries(plain)) {
    if (value === null || value === undefined || value === false) continue;
    made.setAttribute(name, value === true ? "" : String(value));
  }
  for (const [event, listener] of Object.entries(on)) made.addEventListener(event, listener);
  add(made, children);
  return made;
}

/** Append children as `h` takes them. */
export function add(to, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    to.append(child instanceof Node ? child : String(child));
  }
  return to;
}

/** Show these children instead of what is there. What had the focus, or was open, is so again where it has the same `data-key`. */
export function replace(root, ...children) {
  const focused = root.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const open = [...root.querySelectorAll("details[open][data-key]")].map((d) => d.dataset.key);
  root.replaceChildren();
  add(root, children);
  for (const details of root.querySelectorAll("details[data-key]")) if (open.includes(details.dataset.key)) details.open = true;
  if (focused) [...root.querySelectorAll("[data-key]")].find((e) => e.dataset.key === focused)?.focus({ preventScroll: true });
}

const SVG = "http://www.w3.org/2000/svg";

/** A bar that is filled to a share of 1. What it says stands beside it as a number. */
export function bar(share, kind) {
  const made = document.createElementNS(SVG, "svg");
  const attrs = { class: `bar ${kind}`, viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" };
  for (const [name, value] of Object.entries(attrs)) made.setAttribute(name, value);
  for (const width of [100, 100 * Math.min(1, Math.max(0, share))]) {
    const rect = document.createElementNS(SVG, "rect");
    rect.setAttribute("width", width.toFixed(2));
    rect.setAttribute("height", "8");
    made.append(rect);
  }
  return made;
}

/** A link to a page of this dashboard: `link("servers", id, name)`. */
export function link(page, id, text, key = "") {
  return h("a", { href: `#/${page}/${encodeURIComponent(id)}`, "data-key": key || `${page}/${id}` }, text || id);
}

/** A button. */
export function button(text, click, attrs = {}) {
  return h("button", { type: "button", "data-key": `button ${text}`, ...attrs, on: { click } }, text);
}

/** A word with a colour of its own; the word says it all, the colour only helps. */
export function badge(word, kind = "") {
  return h("span", { class: `badge ${kind}` }, word);
}

let saidAt = 0;
let waiting = null;

/** Tell those who listen to the page; at most every ten seconds, and then only the newest. */
export function announce(text) {
  const tell = () => {
    saidAt = Date.now();
    document.getElementById("announcer").textContent = text;
  };
  clearTimeout(waiting);
  waiting = setTimeout(tell, Math.max(0, saidAt + 10_000 - Date.now()));
}

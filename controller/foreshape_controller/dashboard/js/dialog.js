// Dialogs: the browser's own, so that Esc closes them, the focus stays inside and goes back to where it was.

import { Problem } from "./api.js";
import { add, announce, button, h, replace } from "./dom.js";

/**
 * Ask before something is written. `fields`: `[{name, label, value, type, options, needed, hint}]`; `typed`: a word that has to be typed first;
 * `act(values)` does it and answers a sentence (or nothing). What the controller refuses is shown in its own words, and the dialog stays.
 */
export function ask({ title, text = [], fields = [], typed = "", verb, danger = false, act }) {
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const inputs = fields.map((f) => [f, input(f)]);
  const word = typed ? h("input", { type: "text", name: "typed", autocomplete: "off", autocapitalize: "off", spellcheck: "false" }) : null;
  const go = h("button", { type: "submit", class: danger ? "danger" : "primary", disabled: Boolean(typed) }, verb);
  word?.addEventListener("input", () => (go.disabled = word.value.trim() !== typed));
  const form = h("form", { method: "dialog" },
    h("h2", { id: "dialog-title" }, title),
    [text].flat().map((t) => (t instanceof Node ? t : h("p", {}, t))),
    inputs.map(([f, el]) => field(f, el)),
    word && h("label", {}, h("span", {}, "Type ", h("strong", {}, typed), " to confirm"), word),
    problem,
    h("div", { class: "buttons" }, button("Cancel", () => box.close()), go));
  const box = h("dialog", { "aria-labelledby": "dialog-title" }, form);
  form.addEventListener("submit", async (e) => {
    e.preventDefault();
    go.disabled = true;
    problem.hidden = true;
    try {
      const said = await act(Object.fromEntries(inputs.map(([f, el]) => [f.name, read(f, el)])));
      box.close();
      if (said) announce(said);
    } catch (err) {
      problem.hidden = false;
      replace(problem, err instanceof Problem ? err.message : `This page failed: ${err.message}`);
      go.disabled = false;
      if (!(err instanceof Problem)) throw err;
    }
  });
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
}

/** Something that is shown once: `text` to read, and `value` to take away. */
export function showOnce({ title, text, label, value }) {
  const field = h("input", { type: "text", readonly: true, spellcheck: "false", class: "mono" });
  field.value = value; // the property only: an attribute would be in the page's markup
  const told = h("p", { role: "status" });
  const copy = button("Copy it", async () => {
    field.select();
    try {
      await navigator.clipboard.writeText(value);
      replace(told, "It is copied.");
    } catch {
      replace(told, "This browser copies only what you ask it to: press Ctrl+C (⌘C).");
    }
  });
  const box = h("dialog", { "aria-labelledby": "dialog-title" },
    h("form", { method: "dialog" }, h("h2", { id: "dialog-title" }, title), h("p", {}, text), h("label", {}, label, field), told,
      h("div", { class: "buttons" }, copy, h("button", { type: "submit", class: "primary" }, "I have it"))));
  box.addEventListener("close", () => {
    field.value = "";
    box.remove();
  });
  document.body.append(box);
  box.showModal();
  field.focus();
  field.select();
}

function field(f, el) {
  const hint = f.hint && h("small", { id: `hint-${f.name}` }, f.hint);
  if (f.hint) el.setAttribute("aria-describedby", `hint-${f.name}`);
  return f.type === "checkbox" ? h("label", { class: "check" }, el, f.label, hint) : h("label", {}, f.label, el, hint);
}

function input(f) {
  const common = { name: f.name, required: f.needed ?? false };
  if (f.options) return add(h("select", common), f.options.map(([value, label]) => h("option", { value, selected: value === f.value }, label)));
  if (f.type === "area") return add(h("textarea", { ...common, rows: 3 }), f.value ?? "");
  if (f.type === "checkbox") return h("input", { ...common, type: "checkbox", checked: f.value ?? false });
  if (f.type === "file") return h("input", { ...common, type: "file", accept: f.accept });
  return h("input", { ...common, type: f.type ?? "text", value: f.value ?? "", step: f.type === "number" ? "any" : null, min: f.min, autocomplete: "off" });
}

function read(f, el) {
  if (f.type === "checkbox") return el.checked;
  if (f.type === "file") return el.files[0] ?? null;
  if (f.type === "number") return el.value === "" ? null : Number(el.value);
  return el.value;
}

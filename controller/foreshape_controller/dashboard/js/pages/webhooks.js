// Webhooks: where a project is told what becomes of its requests, and what it was told there.

import { can, me, send } from "../api.js";
import { ask, showOnce } from "../dialog.js";
import { badge, button, h, link } from "../dom.js";
import { number, relative, stamp } from "../format.js";
import { facts, table } from "../table.js";

const COLOURS = { taken: "good", waiting: "note", given_up: "bad" };

export function webhooks(page) {
  page.head("Webhooks", "URLs that are told what becomes of requests, each message signed with the webhook's secret.", can("webhooks:change") ? [button("Add a webhook …", () => create(() => again()))] : []);
  const again = page.panel("", (get) => get("/v1/webhooks"), (rows) => table({
    caption: "Webhooks",
    key: "webhooks",
    rows,
    empty: "Nobody is told anything yet.",
    filter: (w) => `${w.url} ${w.project}`,
    columns: [
      { name: "URL", cell: (w) => link("webhooks", w.id, w.url), sort: (w) => w.url, wide: true },
      ...(me().everywhere ? [{ name: "Project", cell: (w) => w.project, sort: (w) => w.project }] : []),
      { name: "Since", cell: (w) => stamp(w.created), sort: (w) => w.created },
      ...(can("webhooks:change") ? [{ name: "", cell: (w) => button("Delete …", () => forget(w, again), { "data-key": `delete ${w.id}`, "aria-label": `Delete the webhook to ${w.url}` }) }] : []),
    ],
  }));
}

export function webhook(page, id) {
  const path = `/v1/webhooks/${encodeURIComponent(id)}`;
  page.head("Webhook", "", can("webhooks:change") ? [button("Delete …", async () => forget({ id, url: "this URL" }, () => (location.hash = "#/webhooks")))] : []);
  page.panel("", async (get) => (await get("/v1/webhooks")).find((w) => w.id === id) ?? null, (w) => w && [
    page.name(w.url),
    facts([["Id", h("code", {}, w.id)], ["Project", w.project], ["Since", stamp(w.created)], ["Secret", "shown once, when it was made"]]),
  ], { quiet: true });
  page.panel("What it was told", (get) => get(`${path}/deliveries`), (rows) => table({
    caption: "Deliveries, the newest first",
    key: "deliveries",
    rows,
    empty: "Nothing has happened that it could be told.",
    filter: (d) => `${d.event} ${d.request} ${d.state} ${d.said}`,
    columns: [
      { name: "When", cell: (d) => stamp(d.created), sort: (d) => d.created },
      { name: "What", cell: (d) => d.event.replaceAll("_", " "), sort: (d) => d.event },
      { name: "Request", cell: (d) => link("requests", d.request, d.request, `delivery ${d.id}`), sort: (d) => d.request },
      { name: "State", cell: (d) => badge(d.state.replace("_", " "), COLOURS[d.state]), sort: (d) => d.state },
      { name: "Tries", cell: (d) => number(d.tries), sort: (d) => d.tries, number: true },
      { name: "Answer", cell: (d) => (d.status ? badge(String(d.status), d.status < 300 ? "good" : "warn") : "none"), sort: (d) => d.status, number: true },
      { name: "Again", cell: (d) => (d.state === "waiting" ? relative(d.next_try) : "–"), sort: (d) => d.next_try },
      { name: "Details", cell: (d) => d.said, wide: true },
    ],
  }), { kinds: ["request"] });
}

function create(done) {
  const everywhere = me().everywhere;
  ask({
    title: "Add a webhook",
    text: "It is told in JSON of every step of the project's requests. What does not arrive is sent again, for a day.",
    fields: [
      { name: "url", label: "URL", type: "url", needed: true, hint: "https, at a public address, unless the operators allow others" },
      ...(everywhere ? [{ name: "project", label: "Of which project", value: me().project, hint: "Left out: of the operators' own requests." }] : []),
    ],
    verb: "Add it",
    act: async ({ url, project = "" }) => {
      const made = await send("POST", "/v1/webhooks", { url: url.trim(), project: project.trim() });
      done();
      setTimeout(() => showOnce({ title: "Its secret", text: "Every message is signed with it. It is shown this once, and nobody can show it again: whoever loses it deletes the webhook and adds it anew.", label: "Secret", value: made.secret }));
    },
  });
}

function forget(w, done) {
  ask({ title: "Delete this webhook", text: `${w.url} is told no more. What waits to be told is forgotten.`, verb: "Delete it", danger: true, act: async () => {
    await send("DELETE", `/v1/webhooks/${encodeURIComponent(w.id)}`);
    done();
    return "The webhook is deleted";
  } });
}

// The events calendar, a month at a time, and declaring one.

import { can, me, send, upload } from "../api.js";
import { ask } from "../dialog.js";
import { button, h } from "../dom.js";
import { number, now, stamp } from "../format.js";
import { table } from "../table.js";

const MONTH = new Intl.DateTimeFormat("en-GB", { month: "long", year: "numeric" });
const HOUR = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const SHOWN = 4;

export function events(page) {
  page.head("Events", "What people know of before it happens: forecasts are multiplied while it lasts.", can("events:create") ? [button("Add an event …", () => create(refresh)), button("Upload a calendar …", () => take(page, refresh))] : []);
  let shift = 0;
  const span = () => {
    const today = new Date(now() * 1000);
    const first = new Date(today.getFullYear(), today.getMonth() + shift, 1);
    const last = new Date(today.getFullYear(), today.getMonth() + shift + 1, 1);
    return [first, last];
  };
  const turn = (by) => () => {
    shift = by ? shift + by : 0;
    again();
  };
  const again = page.panel("Month", async (get) => {
    const [first, last] = span();
    return { first: first.getTime(), rows: await get(`/v1/overview/calendar?since=${first / 1000}&until=${last / 1000}`) };
  }, ({ first, rows }) => {
    const caption = MONTH.format(new Date(first));
    return [
      h("p", { class: "tools" }, button("Earlier", turn(-1)), button("This month", turn(0)), button("Later", turn(1))),
      month(new Date(first), rows, caption),
    ];
  });
  const list = page.panel("All events", (get) => get("/v1/events"), (rows) => table({
    caption: "Events, the next to happen first",
    key: "events",
    file: "events",
    rows,
    empty: "No event is declared.",
    filter: (e) => `${e.name} ${e.scope} ${e.source}`,
    columns: [
      { name: "Event", cell: (e) => e.name, sort: (e) => e.name },
      { name: "Of", cell: (e) => e.scope, sort: (e) => e.scope },
      { name: "Next", cell: (e) => stamp(e.next_start), sort: (e) => e.next_start },
      { name: "Until", cell: (e) => stamp(e.next_end), sort: (e) => e.next_end },
      { name: "Declared", cell: (e) => factors(e.declared) },
      { name: "Learned", cell: (e) => factors(e.learned) || "–" },
      { name: "Seen", cell: (e) => number(e.occurrences_seen), sort: (e) => e.occurrences_seen, number: true },
      { name: "Recurs", cell: (e) => e.recurrence || "once", sort: (e) => e.recurrence },
      { name: "From", cell: (e) => e.source, sort: (e) => e.source },
      ...(can("events:delete") ? [{ name: "", cell: (e) => button("Delete …", () => forget(e, refresh), { "data-key": `delete ${e.id}`, "aria-label": `Delete ${e.name}` }) }] : []),
    ],
  }));
  const refresh = () => {
    again();
    list();
  };
}

const factors = (f) => Object.entries(f).map(([r, v]) => `${r} × ${number(v)}`).join(", ");

/** A month as a table: weeks are rows, Mondays first. */
function month(first, rows, caption) {
  const lead = (first.getDay() + 6) % 7;
  const days = new Date(first.getFullYear(), first.getMonth() + 1, 0).getDate();
  const cells = [...new Array(lead).fill(null), ...Array.from({ length: days }, (_, i) => i + 1)];
  while (cells.length % 7) cells.push(null);
  const weeks = Array.from({ length: cells.length / 7 }, (_, i) => cells.slice(7 * i, 7 * i + 7));
  const today = new Date(now() * 1000).toDateString();
  const of = (day) => {
    const from = new Date(first.getFullYear(), first.getMonth(), day) / 1000;
    const to = new Date(first.getFullYear(), first.getMonth(), day + 1) / 1000;
    return rows.filter((r) => r.start < to && r.end > from).map((r) => ({ ...r, begins: r.start >= from }));
  };
  const cell = (day) => {
    if (day === null) return h("td", { class: "out" });
    const some = of(day);
    const date = new Date(first.getFullYear(), first.getMonth(), day);
    return h("td", { class: some.length ? "some" : null, "aria-current": date.toDateString() === today ? "date" : null },
      h("span", { class: "day" }, day),
      some.length > 0 && h("ul", {}, some.slice(0, SHOWN).map((r) => h("li", { title: r.scope }, r.begins && h("small", {}, `${HOUR.format(new Date(r.start * 1000))} `), r.name)), some.length > SHOWN && h("li", {}, `and ${some.length - SHOWN} more`)));
  };
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", { class: "month" }, h("caption", {}, caption), h("thead", {}, h("tr", {}, DAYS.map((d) => h("th", { scope: "col" }, h("abbr", { title: d }, d.slice(0, 3)))))), h("tbody", {}, weeks.map((w) => h("tr", {}, w.map(cell))))));
}

function create(done) {
  const everywhere = me().everywhere;
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  ask({
    title: "Add an event",
    fields: [
      { name: "name", label: "Name", needed: true },
      { name: "scope", label: "Of whom", value: everywhere ? "cloud" : `project:${me().project}`, needed: true, hint: everywhere ? "cloud, zone:NAME, segment:NAME, project:ID or server:ID" : "project:ID, or server:ID of one of yours" },
      { name: "start", label: `Starts (${zone})`, type: "datetime-local", needed: true },
      { name: "hours", label: "Lasts so many hours", type: "number", min: 0, value: 1, needed: true },
      { name: "repeat", label: "Repeats", options: [["", "not"], ["FREQ=DAILY", "every day"], ["FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", "on workdays"], ["FREQ=WEEKLY", "every week"], ["FREQ=MONTHLY", "every month"]] },
      { name: "cpu", label: "CPU demand is multiplied by", type: "number", min: 0 },
      { name: "memory", label: "Memory demand is multiplied by", type: "number", min: 0 },
      { name: "note", label: "Note" },
    ],
    verb: "Add it",
    act: async ({ name, scope, start, hours, repeat, cpu, memory, note }) => {
      const said = Object.fromEntries(Object.entries({ cpu, memory }).filter(([, v]) => v !== null));
      await send("POST", "/v1/events", { name, scope, start, duration_s: hours * 3600, time_zone: zone, recurrence: repeat, factors: said, note });
      done();
      return `${name} is in the calendar`;
    },
  });
}

function take(page, done) {
  const everywhere = me().everywhere;
  ask({
    title: "Upload a calendar",
    text: ["Events of an iCalendar file (.ics) are known again by their UID: the same calendar uploaded anew changes what changed, and what has vanished from it is deleted."],
    fields: [
      { name: "file", label: "File", type: "file", accept: ".ics,text/calendar", needed: true },
      { name: "source", label: "Name of the calendar", hint: "What it is known by when it comes again. Left out: the name it says itself." },
      { name: "scope", label: "Of whom, where an event does not say it", value: everywhere ? "cloud" : `project:${me().project}`, hint: everywhere ? "cloud, zone:NAME, segment:NAME, project:ID or server:ID" : "project:ID, or server:ID of one of yours" },
      { name: "cpu", label: "CPU demand is multiplied by", type: "number", min: 0, hint: "Where an event does not say it." },
      { name: "memory", label: "Memory demand is multiplied by", type: "number", min: 0 },
      { name: "keep", label: "Keep events that have vanished from the file", type: "checkbox" },
    ],
    verb: "Upload it",
    act: async ({ file, source, scope, cpu, memory, keep }) => {
      const said = Object.entries({ source: source.trim(), scope: scope.trim(), cpu, memory, time_zone: Intl.DateTimeFormat().resolvedOptions().timeZone, ...(keep ? { keep } : {}) });
      const query = new URLSearchParams(said.filter(([, v]) => v !== null && v !== ""));
      const got = await upload(`/v1/events/import?${query}`, file, "text/calendar");
      done();
      page.say(`${got.source}: ${got.added} added, ${got.updated} changed, ${got.unchanged} as before, ${got.removed} deleted.`);
    },
  });
}

function forget(event, done) {
  ask({ title: `Delete ${event.name}`, text: "What was learned of it is forgotten, too.", verb: "Delete it", danger: true, act: async () => {
    await send("DELETE", `/v1/events/${encodeURIComponent(event.id)}`);
    done();
    return `${event.name} is deleted`;
  } });
}


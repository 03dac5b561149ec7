// Charts: what was, and the range of what is expected. Each says in a sentence what it shows, and has its numbers as a table.

import { h, replace } from "./dom.js";
import { amount, clock, now, number, scale } from "./format.js";

const LINES = {
  demand: ["Demand", "--demand", 2],
  allocated: ["Allocated", "--allocated", 2],
  entitled: ["Sold", "--sold", 1.5],
  capacity: ["Capacity", "--capacity", 1.5],
  floor: ["Floor", "--floor", 1.5],
  ceiling: ["Ceiling", "--ceiling", 1.5],
};
const DASHED = ["entitled", "capacity", "floor", "ceiling"];
/** Pairs of quantile levels, the widest first: one band each. */
const BANDS = [[0.01, 0.99], [0.1, 0.9], [0.3, 0.7]];
const TABLE_MOST = 96;

/**
 * `{title, resource, at, step, lines: {demand: […], allocated: […] …}, fan: {origin, step, levels, rows}, key}`: amounts as the API has them.
 * `fan.rows[i]` are the quantiles of the i-th step after the origin; a chart without a fan shows the past alone.
 */
export function chart(asked) {
  const what = trimmed(asked);
  const plot = h("div", { class: "plot", "aria-hidden": "true" });
  const readout = h("p", { class: "readout", "aria-hidden": "true" }, "\u00a0");
  const numbers = h("details", { class: "numbers", "data-key": `${what.key} numbers` }, h("summary", {}, "Numbers as a table"));
  numbers.addEventListener("toggle", () => numbers.open && numbers.childElementCount === 1 && numbers.append(asTable(what)), { passive: true });
  const figure = h("figure", { class: "chart" },
    h("figcaption", {}, h("strong", {}, what.title), " ", h("span", { class: "summary" }, summary(what))), legend(what), plot, readout, numbers);
  const data = columns(what);
  if (data.at.length < 2) {
    replace(plot, h("p", { class: "empty" }, "No measurements yet."));
    return figure;
  }
  watch(plot, what, data, readout);
  return figure;
}

/** Without lines that nothing was said of, and without the time before the first measurement. */
function trimmed(what) {
  const lines = Object.entries(what.lines).filter(([, v]) => typeof v === "number" || v?.some((x) => x !== null));
  const measured = lines.filter(([name]) => ["demand", "allocated"].includes(name)).map(([, v]) => v.findIndex((x) => x !== null));
  const from = measured.length ? Math.min(...measured.filter((i) => i >= 0)) : what.at.length;
  const cut = (v) => (typeof v === "number" ? v : v.slice(from));
  return { ...what, at: what.at.slice(from), lines: Object.fromEntries(lines.map(([name, v]) => [name, cut(v)])) };
}

/** Everything on one time axis: history first, then the fan's levels. */
function columns({ resource, at, step, lines, fan }) {
  const [factor] = scale(resource);
  const ahead = fan ? fan.rows.map((_, i) => fan.origin + (i + 0.5) * fan.step) : [];
  const past = at.map((t) => t + step / 2);
  const all = [...new Set([...past, ...ahead])].sort((a, b) => a - b); // a forecast may have begun before the newest measurement
  const row = new Map(all.map((t, i) => [t, i]));
  const placed = (times, values) => {
    const column = new Array(all.length).fill(null);
    times.forEach((t, i) => (column[row.get(t)] = values[i]));
    return column;
  };
  const scaled = (v) => (v === null || v === undefined ? null : v * factor);
  const series = Object.entries(lines).map(([name, values]) => {
    const level = typeof values === "number";
    return [name, level ? all.map(() => values * factor) : placed(past, values.map(scaled))];
  });
  const level = (q) => placed(ahead, fan.rows.map((r) => r[fan.levels.indexOf(q)] * factor));
  const bands = fan?.rows.length ? BANDS.flat().map(level) : [];
  const median = fan?.rows.length ? level(0.5) : null;
  return { at: all, series, bands, median };
}

/** Draw, and draw again where the width or the colours change. A chart that left the page is forgotten. */
function watch(plot, what, data, readout) {
  let drawn = null;
  let width = 0;
  const draw = () => {
    drawn?.destroy();
    plot.replaceChildren();
    drawn = new globalThis.uPlot(options(what, data, width, readout), [data.at, ...data.series.map(([, v]) => v), ...data.bands, ...(data.median ? [data.median] : [])], plot);
  };
  const resized = new ResizeObserver(([entry]) => {
    const wide = Math.floor(entry.contentRect.width);
    if (!plot.isConnected) return resized.disconnect();
    if (wide < 50 || wide === width) return;
    width = wide;
    draw();
  });
  resized.observe(plot);
  const themed = () => (plot.isConnected ? width && draw() : document.removeEventListener("foreshape:theme", themed));
  document.addEventListener("foreshape:theme", themed);
}

function options(what, data, width, readout) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const [, unit] = scale(what.resource);
  const lines = data.series.map(([name]) => ({ stroke: colour(LINES[name][1]), width: LINES[name][2], dash: DASHED.includes(name) ? [6, 4] : undefined, spanGaps: false, points: { show: false } }));
  const edges = data.bands.map(() => ({ stroke: "transparent", width: 0, points: { show: false } }));
  const first = 1 + lines.length;
  const bands = data.bands.length ? BANDS.map((_, i) => ({ series: [first + 2 * i + 1, first + 2 * i], fill: colour(`--fan-${i + 1}`) })) : [];
  const middle = data.median ? [{ stroke: colour("--fan-line"), width: 2, points: { show: false } }] : [];
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, font: "12px system-ui, sans-serif" };
  const high = Math.max(0, ...data.series.flatMap(([, v]) => v), ...data.bands.flat());
  return {
    width,
    height: width < 500 ? 200 : 260,
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { show: false } },
    scales: { y: { range: [0, (high || 1) * 1.05] } },
    series: [{}, ...lines, ...edges, ...middle],
    bands,
    axes: [{ ...axis, space: 80, size: 34, values: (_, ticks) => ticks.map(tick) }, { ...axis, size: 56, label: unit, labelSize: 18, labelFont: "12px system-ui, sans-serif", values: (_, ticks) => ticks.map((t) => number(t, true)) }],
    hooks: { setCursor: [(u) => say(u, what, data, readout)], draw: [(u) => marked(u, colour("--muted"))] },
  };
}

const DAY = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short" });
const HOUR = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

/** The hour; the day where one begins. */
function tick(epoch) {
  const at = new Date(epoch * 1000);
  return at.getHours() === 0 && at.getMinutes() === 0 ? DAY.format(at) : HOUR.format(at);
}

/** A line where the past ends. */
function marked(u, stroke) {
  const x = Math.round(u.valToPos(now(), "x", true));
  const { left, top, width, height } = u.bbox;
  if (x < left || x > left + width) return;
  u.ctx.save();
  u.ctx.strokeStyle = stroke;
  u.ctx.setLineDash([3, 3]);
  u.ctx.beginPath();
  u.ctx.moveTo(x, top);
  u.ctx.lineTo(x, top + height);
  u.ctx.stroke();
  u.ctx.restore();
}

function say(u, what, data, readout) {
  const i = u.cursor.idx;
  if (i === null || i === undefined) return replace(readout, "\u00a0");
  const [, unit] = scale(what.resource);
  const told = data.series.filter(([, v]) => v[i] !== null).map(([name, v]) => `${LINES[name][0].toLowerCase()} ${number(v[i])}`);
  if (data.median?.[i] != null) told.push(`expected ${number(data.median[i])} (${number(data.bands[2][i])} to ${number(data.bands[3][i])} in 4 of 5 cases)`);
  replace(readout, `${clock(data.at[i])}: ${told.join(", ")} ${unit}`);
}

function legend({ lines, fan }) {
  const shown = Object.keys(lines).map((name) => h("li", {}, h("span", { class: `key ${name}` }), LINES[name][0]));
  const ahead = fan?.rows.length ? [h("li", {}, h("span", { class: "key fan-line" }), "Expected (median)"), h("li", {}, h("span", { class: "key fan-2" }), "80 % range, 98 % paler")] : [];
  return h("ul", { class: "legend", "aria-hidden": "true" }, shown, ahead);
}

/** What the picture says, for those who do not see it. */
function summary({ resource, lines, fan }) {
  const last = (values) => (typeof values === "number" ? values : (values ?? []).findLast((v) => v !== null && v !== undefined));
  const told = Object.entries(lines).map(([name, values]) => [LINES[name][0].toLowerCase(), last(values)]).filter(([, v]) => v !== null && v !== undefined);
  const past = told.map(([name, v]) => `${name} ${amount(resource, v)}`).join(", ");
  if (!fan?.rows.length) return past ? `Last: ${past}.` : "";
  const of = (q) => fan.rows.map((row) => row[fan.levels.indexOf(q)]);
  const medians = of(0.5);
  const top = medians.indexOf(Math.max(...medians));
  return `${past ? `Last: ${past}. ` : ""}Ahead: ${amount(resource, Math.min(...medians))} to ${amount(resource, medians[top])} expected, most at ${clock(fan.origin + (top + 0.5) * fan.step)}; 90 % quantile at most ${amount(resource, Math.max(...of(0.9)))}.`;
}

function asTable(what) {
  const data = columns(what);
  const fan = data.median ? [["10 %", data.bands[2]], ["Median", data.median], ["90 %", data.bands[3]]] : [];
  const named = [...data.series.map(([name, v]) => [LINES[name][0], v]), ...fan];
  const from = Math.max(0, data.at.length - TABLE_MOST);
  const rows = data.at.slice(from).map((t, j) => h("tr", {}, h("th", { scope: "row" }, clock(t)), named.map(([, v]) => h("td", { class: "number" }, number(v[from + j])))));
  const heads = h("tr", {}, h("th", { scope: "col" }, "Time"), named.map(([name]) => h("th", { scope: "col", class: "number" }, name)));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${what.title}, numbers` },
    h("table", {}, h("caption", {}, `${what.title}, ${scale(what.resource)[1]}${from ? "; the newest part" : ""}`), h("thead", {}, heads), h("tbody", {}, rows)));
}

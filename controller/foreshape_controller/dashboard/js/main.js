// The frame around the pages: logging in, the menu, which page an address means, and what everybody has to see wherever he is.

import * as api from "./api.js";
import { banners } from "./banners.js";
import { announce, button, h, replace } from "./dom.js";
import { setClock } from "./format.js";
import { learn } from "./known.js";
import * as live from "./live.js";
import { loginForm } from "./login.js";
import { Page } from "./page.js";
import { MENU, PAGES, START } from "./pages/all.js";

const app = document.getElementById("app");
const main = h("main", { id: "main", tabindex: "-1" });
const banner = h("section", { id: "banners", "aria-label": "What everybody has to know" });
const menu = h("ul", { id: "menu" });
const connection = h("span", { class: "badge", id: "live", title: "Whether changes are seen at once, or only now and then" });
let shown = null;
let first = true;

async function start() {
  document.querySelector("[data-skip]").addEventListener("click", skip);
  window.addEventListener("hashchange", go);
  live.whenLive(tellLive);
  api.whenOver(loggedOut);
  try {
    const token = linked();
    if (token) await api.login("local", token);
    if (!api.me()) await api.resume();
  } catch (e) {
    return loggedOut(e.message);
  }
  if (api.me()) loggedIn();
  else loggedOut("");
}

/** The token of a link with which somebody logs in (`#token=…`): it is in no server's log, and from here on not in the address either. */
function linked() {
  const found = /^#token=([^&]+)$/.exec(location.hash);
  if (!found) return "";
  history.replaceState(null, "", location.pathname);
  return decodeURIComponent(found[1]);
}

async function loggedIn() {
  const who = api.me();
  const name = who.project_name || who.project;
  replace(app,
    h("header", { class: "top" },
      h("a", { class: "brand", href: `#/${START}` }, h("img", { src: "icon.svg", alt: "", width: 22, height: 22 }), "Foreshape"),
      connection,
      h("span", { class: "who" }, who.local ? "operator" : who.name || who.user, name && ` · ${name}`, !api.can("operator:write") && who.everywhere && " · reader"),
      button("Theme", turn, { "aria-label": "Theme: light or dark" }),
      button("Log out", async () => {
        await api.logout();
        loggedOut("You are logged out.");
      })),
    banner,
    h("div", { class: "columns" }, h("nav", { "aria-label": "Pages" }, menuButton(), menu), main));
  replace(menu, MENU.filter(([, , rule]) => api.can(rule)).map(([page, text]) => h("li", {}, h("a", { href: `#/${page}`, "data-page": page }, text))));
  live.open();
  try {
    meet(await api.get("/v1/overview"));
  } catch (e) {
    replace(banner, h("div", { class: "banner bad", role: "alert" }, e.message));
  }
  go();
}

function meet(overview) {
  setClock(overview.at);
  learn(overview);
}

function menuButton() {
  const made = button("Menu", () => {
    const open = menu.classList.toggle("open");
    made.setAttribute("aria-expanded", String(open));
  }, { class: "menubutton", "aria-expanded": "false", "aria-controls": "menu" });
  return made;
}

function loggedOut(why) {
  leave();
  live.close();
  document.title = "Foreshape: log in";
  replace(banner);
  replace(app, loginForm(why, loggedIn));
}

/** Show the page that the address names. */
function go() {
  if (!api.me()) return;
  const [page = START, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decoded);
  const [name, params] = PAGES[page || START] ? [page || START, rest] : ["missing", [page]];
  leave();
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  replace(main);
  main.setAttribute("aria-labelledby", "title");
  menu.classList.remove("open");
  for (const a of menu.querySelectorAll("a")) a.dataset.page === name ? a.setAttribute("aria-current", "page") : a.removeAttribute("aria-current");
  shown = new Page(main, params, (title) => (document.title = `${title} · Foreshape`));
  watchEverywhere(shown);
  PAGES[name](shown, params);
  window.scrollTo(0, 0);
  if (first) first = false;
  else main.querySelector("h1")?.focus({ preventScroll: true });
}

/** Banners stand on every page: what is stopped, halted, stale or simulated. */
function watchEverywhere(page) {
  let before = "";
  const again = async () => {
    try {
      const overview = await api.get("/v1/overview", page.signal);
      meet(overview);
      const said = replaceBanners(overview);
      if (before && said !== before) announce(said || "Nothing is stopped or halted any more.");
      before = said || " ";
    } catch (e) {
      if (e.name === "AbortError") return;
      replace(banner, h("div", { class: "banner bad", role: "alert" }, e.message));
    }
  };
  again();
  page.every(again);
  live.on(["stop", "mode", "notice"], again, page.signal);
}

function replaceBanners(overview) {
  const made = banners(overview);
  replace(banner, made);
  return made.map((b) => b.textContent).join(" ");
}

function leave() {
  shown?.leave();
  shown = null;
}

function tellLive(state) {
  const words = { live: ["live", "good"], waiting: ["connecting …", "warn"], off: ["not live", ""] };
  const [word, kind] = words[state];
  connection.className = `badge ${kind}`;
  connection.textContent = word;
}

function turn() {
  const dark = getComputedStyle(document.documentElement).getPropertyValue("--scheme").trim() === "dark";
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("foreshape-theme", dark ? "light" : "dark");
  } catch {
    // Kept for this page only.
  }
  document.dispatchEvent(new Event("foreshape:theme"));
}

function skip(e) {
  e.preventDefault();
  (app.querySelector("main") ?? app).focus();
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("foreshape:theme")));
start();

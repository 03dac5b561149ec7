// Every page by its address, and the menu: what it is called, and which rule of the policy it needs.

import { h } from "../dom.js";
import { link } from "../dom.js";
import { audit } from "./audit.js";
import { events } from "./events.js";
import { groups, segment } from "./groups.js";
import { host, hosts } from "./hosts.js";
import { models } from "./models.js";
import { migration, migrations } from "./migrations.js";
import { modes } from "./modes.js";
import { notices } from "./notices.js";
import { overview } from "./overview.js";
import { pool, pools } from "./pools.js";
import { request, requests } from "./requests.js";
import { reservation, reservations } from "./reservations.js";
import { server } from "./server.js";
import { servers } from "./servers.js";
import { statement, statements } from "./statements.js";
import { tiers } from "./tiers.js";
import { webhook, webhooks } from "./webhooks.js";

export const START = "overview";

/** By the first word of the address; each is given the page and the words after. */
export const PAGES = {
  overview,
  hosts: (page, [name]) => (name ? host(page, name) : hosts(page)),
  servers: (page, [id]) => (id ? server(page, id) : servers(page)),
  migrations: (page, [id]) => (id ? migration(page, id) : migrations(page)),
  reservations: (page, [id]) => (id ? reservation(page, id) : reservations(page)),
  pools: (page, [name]) => (name ? pool(page, name) : pools(page)),
  groups: (page, [name]) => (name ? segment(page, name) : groups(page)),
  events,
  models,
  notices,
  requests: (page, [id]) => (id ? request(page, id) : requests(page)),
  statements: (page, [period, project]) => (period ? statement(page, period, project) : statements(page)),
  tiers,
  webhooks: (page, [id]) => (id ? webhook(page, id) : webhooks(page)),
  audit,
  modes,
  missing,
};

/** `[address, name, rule]`, in the menu's order. */
export const MENU = [
  ["overview", "Overview", "overview:read"],
  ["hosts", "Hosts", "operator:read"],
  ["servers", "Servers", "servers:list"],
  ["groups", "Segments and projects", "operator:read"],
  ["migrations", "Migrations", "operator:read"],
  ["reservations", "Reservations", "operator:read"],
  ["pools", "Pools", "pools:list"],
  ["requests", "Requests", "requests:list"],
  ["webhooks", "Webhooks", "webhooks:list"],
  ["events", "Events", "events:list"],
  ["tiers", "Tiers", "tiers:list"],
  ["models", "Models and accuracy", "operator:read"],
  ["notices", "Notices", "notices:list"],
  ["statements", "Prices and statements", "statements:list"],
  ["audit", "Audit", "audit:list"],
  ["modes", "Modes and stop", "modes:show"],
];

function missing(page, [word]) {
  page.head("There is no such page");
  page.root.append(h("p", {}, `Nothing is called ${word}. `, link("overview", "", "Go to the overview")));
}

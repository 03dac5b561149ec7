// The public API, and nothing else. Who is logged in stands in a cookie that no script can read; writes say the session's own word.

/** An answer that is no success: the controller's own words. */
export class Problem extends Error {
  constructor(status, body) {
    super(body?.detail || body?.title || `the controller answered ${status}`);
    this.status = status;
    this.code = body?.code ?? "";
    this.title = body?.title ?? "";
  }
}

let session = null;
let over = () => {};

/** Who is logged in, as GET /v1/session says it; null: nobody. */
export const me = () => session;

/** Whether a rule of the policy lets him. What is not offered may be asked for all the same: the controller decides. */
export const can = (rule) => session?.rules.includes(rule) ?? false;

/** Called with a sentence when the controller does not know the session any more. */
export function whenOver(listener) {
  over = listener;
}

/** Whether somebody was logged in here: the cookie itself cannot be seen, and asking in vain would look like a fault. */
const remembered = {
  get there() {
    try {
      return localStorage.getItem("foreshape-session") !== null;
    } catch {
      return true;
    }
  },
  set there(is) {
    try {
      if (is) localStorage.setItem("foreshape-session", "1");
      else localStorage.removeItem("foreshape-session");
    } catch {
      // A browser that keeps nothing is asked each time.
    }
  },
};

/** Ask who is logged in; null: nobody. */
export async function resume() {
  if (!remembered.there) return null;
  try {
    session = await ask("GET", "/v1/session");
  } catch (e) {
    if (!(e instanceof Problem) || e.status !== 401) throw e;
    forget();
  }
  return session;
}

function forget() {
  session = null;
  remembered.there = false;
}

/** Trade a token for a session. `kind`: "local", or "keystone". The token is sent once and kept nowhere. */
export async function login(kind, token) {
  const said = kind === "keystone" ? { "X-Auth-Token": token } : { Authorization: `Bearer ${token}` };
  return begun(await ask("POST", "/v1/session", undefined, { headers: said }));
}

/** The same with a password of Keystone's. `who`: as POST /v1/session takes it. */
export const loginAs = async (who) => begun(await ask("POST", "/v1/session", who));

function begun(answer) {
  session = answer;
  remembered.there = true;
  return session;
}

/** Whether somebody can log in through Keystone here. */
export const hasKeystone = async () => (await ask("GET", "/v1/session/ways")).keystone;

export async function logout() {
  await ask("DELETE", "/v1/session");
  forget();
}

/** GET. Raises Problem. */
export const get = (path, signal) => (path === OVERVIEW ? glance() : ask("GET", path, undefined, { signal, mine: true }));

/** What the frame, its banners and a page all want at once is asked for once. */
const OVERVIEW = "/v1/overview";
const SAME_MS = 1000;
let asked = { at: 0, answer: null };

/** Something happened: what was asked for before it is not shown after it. */
export const happened = () => (asked.at = 0);

function glance() {
  if (Date.now() - asked.at > SAME_MS) {
    const answer = ask("GET", OVERVIEW, undefined, { mine: true });
    asked = { at: Date.now(), answer };
    answer.catch(() => (asked.at = 0));
  }
  return asked.answer;
}

/** POST, PUT or DELETE. Each has a key of its own, so that one sent twice is done once. `match`: an ETag that the thing must still have. Raises Problem. */
export function send(method, path, body, match = "") {
  const key = [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
  const headers = { ...(method === "POST" ? { "Idempotency-Key": key } : {}), ...(match ? { "If-Match": match } : {}) };
  return ask(method, path, body, { mine: true, headers });
}

/** POST a file as it is. Raises Problem. */
export const upload = (path, file, type) => ask("POST", path, file, { mine: true, headers: { "Content-Type": type } });

/** GET of one thing, with its ETag: `{thing, tag}`. */
export async function tagged(path, signal) {
  let tag = "";
  const thing = await ask("GET", path, undefined, { signal, mine: true, seen: (response) => (tag = response.headers.get("ETag") ?? "") });
  return { thing, tag };
}

/** One page of a list, and where the next begins: `{rows, next}`; `next` is null at the end. */
export async function page(path, signal) {
  let next = null;
  const rows = await ask("GET", path, undefined, {
    signal,
    mine: true,
    seen: (response) => {
      const found = /<([^>]*)>\s*;\s*rel="?next"?/.exec(response.headers.get("Link") ?? "");
      next = found ? found[1] : null;
    },
  });
  return { rows, next };
}

async function ask(method, path, body, { signal, headers = {}, mine = false, seen } = {}) {
  const file = body instanceof Blob;
  const said = { Accept: "application/json", ...(body === undefined || file ? {} : { "Content-Type": "application/json" }), ...headers };
  if (method !== "GET" && session?.csrf) said["X-Foreshape-CSRF"] = session.csrf;
  const words = { method, signal, headers: said, body: body === undefined || file ? body : JSON.stringify(body), credentials: "same-origin" };
  if (method !== "GET") happened();
  let response;
  try {
    response = await fetch(path, words);
  } catch (e) {
    if (e.name === "AbortError") throw e;
    throw new Problem(0, { title: "No answer", detail: "The controller does not answer. What is shown may be old." });
  }
  const answer = await read(response);
  if (response.ok) {
    seen?.(response);
    return answer;
  }
  if (response.status === 401 && mine && session) {
    forget();
    over("Your session is over: log in again.");
  }
  throw new Problem(response.status, answer);
}

async function read(response) {
  if (response.status === 204) return null;
  const text = await response.text();
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return { detail: text.slice(0, 300) };
  }
}

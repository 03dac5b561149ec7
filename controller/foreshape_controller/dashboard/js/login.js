// Logging in: a token, or a password of Keystone's, is sent once and becomes a session.

import { Problem, hasKeystone, login, loginAs } from "./api.js";
import { h, replace } from "./dom.js";

const WAYS = [["password", "OpenStack user and password"], ["keystone", "A token of Keystone's"], ["local", "The controller's own token (operators)"]];
const KEPT = "foreshape-login";
/** What is filled in again next time: who it was is not. */
const AGAIN = ["way", "user_domain", "project", "project_domain", "system"];

/** The form. `why`: what to say first; `done`: called when a session is there. */
export function loginForm(why, done) {
  const problem = h("p", { class: "problem", role: "alert", hidden: !why }, why);
  const kept = recall();
  const ways = h("fieldset", {}, h("legend", {}, "Log in with"));
  const fields = h("div", { class: "fields" });
  const go = h("button", { type: "submit", class: "primary" }, "Log in");
  const form = h("form", { autocomplete: "on" }, ways, fields, go, problem);
  const help = h("div", { class: "help" });
  const choose = (way) => {
    replace(fields, way === "password" ? passwordFields(kept) : tokenField());
    replace(help, helpFor(way));
  };
  const offer = (offered) => {
    const way = offered.some(([w]) => w === kept.way) ? kept.way : offered[0][0];
    replace(ways, h("legend", {}, "Log in with"), offered.map(([value, text]) => h("label", { class: "check" }, h("input", { type: "radio", name: "way", value, checked: value === way, "data-key": `way ${value}`, on: { change: () => choose(value) } }), text)));
    choose(way);
    form.querySelector("[name=user], [name=token]").focus();
  };
  form.addEventListener("submit", async (e) => {
    e.preventDefault();
    problem.hidden = true;
    go.disabled = true;
    try {
      await enter(Object.fromEntries(new FormData(form)));
      done();
    } catch (err) {
      problem.hidden = false;
      replace(problem, err instanceof Problem ? err.message : `This page failed: ${err.message}`);
      go.disabled = false;
      form.querySelector("[type=password]")?.focus();
    }
  });
  hasKeystone().then((there) => offer(there ? WAYS : WAYS.slice(2)), (e) => {
    offer(WAYS);
    problem.hidden = false;
    replace(problem, e.message);
  });
  return h("main", { id: "main", class: "login", tabindex: "-1" },
    h("h1", {}, h("img", { src: "icon.svg", alt: "", width: 32, height: 32 }), "Foreshape"),
    unprotected(),
    form,
    help);
}

async function enter({ way, token, user, password, ...more }) {
  remember({ way, ...more });
  if (way !== "password") return login(way, token.trim());
  const { user_domain, project, project_domain, system } = more;
  const scope = system ? { system: true } : { project: project.trim(), project_domain: project_domain.trim() };
  return loginAs({ user: user.trim(), password, user_domain: user_domain.trim() || "Default", ...scope });
}

function tokenField() {
  return h("label", {}, "Token", h("input", { type: "password", id: "token", name: "token", required: true, autocomplete: "off", spellcheck: "false" }));
}

function passwordFields(kept) {
  const text = (name, label, value, attrs = {}) => h("label", {}, label, h("input", { type: "text", name, value: value ?? "", spellcheck: "false", autocapitalize: "none", autocomplete: "off", ...attrs }));
  const password = h("input", { type: "password", name: "password", required: true, autocomplete: "current-password" });
  const project = h("div", { class: "pair" },
    text("project", "Project", kept.project, { "aria-describedby": "hint-project" }),
    text("project_domain", "Domain of the project", kept.project_domain, { placeholder: "as the user's" }));
  const system = h("input", { type: "checkbox", name: "system", value: "yes", checked: Boolean(kept.system), on: { change: () => (project.hidden = system.checked) } });
  project.hidden = system.checked;
  return [
    h("div", { class: "pair" },
      text("user", "User", "", { required: true, autocomplete: "username" }),
      text("user_domain", "Domain of the user", kept.user_domain, { placeholder: "Default" })),
    h("label", {}, "Password", password),
    project,
    h("small", { id: "hint-project" }, "Without a project: your default one."),
    h("label", { class: "check" }, system, "The whole system, in place of a project (operators)"),
  ];
}

function helpFor(way) {
  const words = {
    password: ["Who keeps my password?", "Keystone alone. It passes through this controller once, which asks Keystone for a token and keeps the password nowhere, in no log and no file. What you see and may do follows from the project and your roles there.",
      "If you log in elsewhere (federation, single sign-on) or with a second factor, Keystone takes no bare password: choose its token."],
    keystone: ["Where do I get a token?", "On a machine where your OpenStack client works: ", h("code", {}, "openstack token issue -f value -c id"),
      "What you see and may do follows from its project and roles. It ends when Keystone says so, and your session here with it."],
    local: ["Where do I get a token?", "Operators find it in the file that ", h("code", {}, "[api] admin_token_file"), " of controller.conf names.",
      "It is the whole cloud's key: use it where no Keystone is configured."],
  };
  const [title, ...rest] = words[way];
  const last = rest.pop();
  return [h("h2", {}, title), h("p", {}, rest), h("p", {}, last), h("p", {}, "What you type is sent once; your browser then has a cookie that scripts cannot read.")];
}

/** What is typed here can be read on the way. */
function unprotected() {
  const near = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  return location.protocol === "http:" && !near && h("p", { class: "problem", role: "note" }, "This connection is not encrypted: whoever is on the way reads what you type. Ask your operator for https ([api] tls).");
}

function recall() {
  try {
    return JSON.parse(localStorage.getItem(KEPT)) ?? {};
  } catch {
    return {};
  }
}

function remember(said) {
  try {
    localStorage.setItem(KEPT, JSON.stringify(Object.fromEntries(AGAIN.filter((k) => said[k]).map((k) => [k, said[k]]))));
  } catch {
    // A browser that keeps nothing is typed into each time.
  }
}

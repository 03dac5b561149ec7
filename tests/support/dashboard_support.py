"""A controller worth looking at, and a real browser to look with.

The cloud is the emulated one: two hosts, servers of two projects, one of them with a name that would be a script if a page let it; a night
of measurements, plans and forecasts, a pool, a proposed move, an event.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import TimeoutError as Late

from cloud_emulator import Emulator, running
from foreshape_controller.cloud.session import Cloud
from foreshape_controller.main import build
from foreshape_controller.model.migration import Migration, State
from foreshape_controller.model.moving import Goal, Moving, Proposal
from foreshape_wire.order import Mode
from pool_support import World
from store_support import sample
from tenants_support import FakeTokens

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
EVIL = "<img src=x onerror=alert(1)>"
"""A server's name, as its owner may choose it."""
FORMULA = "=cmd|' /C calc'!A0"
P1, P2 = "p1", "p2"
TIERS = """\
# Ours. Ask before you change a weight.
tiers:
  gold: {weight: 8.0, violation_target: 0.002, throttle_order: 4}
assign:
  - {tier: gold, project: p2}
"""
STEP = 300.0
BINS = 60


class Filled(World):
    """Five hours of it; then time stands still, until a test lets it pass."""

    def _make(self, door: Cloud) -> None:
        self.tiers, self.tokens = Path(self.settings.store.url.removeprefix("sqlite:///")).parent / "tiers.yaml", FakeTokens()
        self.tiers.write_text(TIERS)
        plan = replace(self.settings.plan, forecast="baseline", tiers_file=str(self.tiers))
        self.program = build(replace(self.settings, plan=plan, simulated=True), lambda: self.at, door, self.tokens)
        self.store, self.cloud, self.intake = self.program.store, self.program.cloud, self.program.intake

    def fill(self) -> None:
        for number in range(3):
            self.boot("node01", f"web-{number}", P1)
            self.boot("node02", f"db-{number}", P2)
        self.evil = self.boot("node01", EVIL, P1)
        self.boot("node02", FORMULA, P1)
        self.later(plan=False)
        for number in range(BINS):
            self.at += STEP
            self.report()
            if number % 20 == 19:
                self.plan()
        self.pool(name="warm")
        self.later(60.0)
        self.later(60.0)
        self.propose("web-0")

    def boot(self, host: str, name: str, project: str) -> str:
        server = self.emulator.boot(host, vcpus=2, ram=2048, name=name)
        self.emulator.nova.servers[server].project = project
        return server

    def plan(self) -> None:
        """Forecasts and decides, and judges the half-hours that are over."""
        assert self.program is not None
        self.later()
        while self.program.feedback.run_once(self.at):
            pass

    def propose(self, name: str) -> str:
        """A move that waits for somebody's word. Returns its id."""
        (server,) = (s.id for s in self.emulator.nova.servers.values() if s.name == name)
        words = {"server": server, "name": name, "source": "node01", "target": "node02", "reason": "a test", "made": self.at}
        self.store.migrating.proposals.put([Proposal(id=f"mig-{name}", goal=Goal.OPERATOR, **words)])
        return f"mig-{name}"

    def moved(self, name: str, server: str, *, stopped_s: float | None) -> str:
        """A move that is over, whose guest stood still for so long. Returns its id."""
        migration = Migration(
            id=name, server=server, source="node01", target="node02", reason="a test", created=self.at, limit_s=60.0, state=State.SETTLED
        )
        row = Moving(migration=migration, goal=Goal.OPERATOR, by="ann", cause=f"cause-{name}", name=name, downtime_s=0.25, took_s=12.0)
        moves = self.store.migrating.moves
        moves.add(row, self.at)
        moves.save(msgspec.structs.replace(row, stopped_s=stopped_s, ended=self.at), self.at, "released", "its room is given back")
        return name

    def _sample(self, server: str) -> Any:
        made, busy = super()._sample(server), sample(server, cores=0.4, mib=700.0)
        cpu = msgspec.structs.replace(made.cpu, demand=busy.cpu.demand, used=busy.cpu.used)
        return msgspec.structs.replace(made, cpu=cpu, memory=msgspec.structs.replace(made.memory, demand=busy.memory.demand))


@dataclass
class Watched:
    """A browser, and all that went wrong in it, or left this machine."""

    browser: Browser
    url: str
    token: str
    faults: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    unplugged: int = 0
    """Requests that Chromium dropped because this machine's network interfaces changed: other tests make and take them."""
    expected: tuple[int, ...] = ()
    """Statuses that a test provokes."""

    def page(self, **options: Any) -> Page:
        """A new browser profile: no cookie of another test. ``options``: Playwright's, of a context."""
        context = self.browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "timezone_id": "UTC", **options})
        context.set_default_timeout(10_000)
        page = context.new_page()
        page.on("console", self._said)
        page.on("pageerror", lambda e: self.faults.append(f"page error: {e}"))
        page.on("request", lambda r: r.url.startswith((self.url, "blob:", "data:")) or self.foreign.append(r.url))
        page.on("dialog", lambda d: (self.faults.append(f"dialog: {d.message}"), d.dismiss()))
        return page

    def login(self, token: str = "", kind: str = "local", **options: Any) -> Page:
        """Somebody who has a session: as the form makes it, which has tests of its own."""
        page = self.page(**options)
        said = {"X-Auth-Token": token} if kind == "keystone" else {"Authorization": f"Bearer {token or self.token}"}
        assert page.request.post(f"{self.url}/v1/session", headers=said).status == 201
        page.add_init_script("localStorage.setItem('foreshape-session', '1')")
        page.goto(self.url)
        heading = page.get_by_role("heading", name="Overview")
        try:
            heading.wait_for()
        except Late:
            if not self.unplugged:
                raise
            page.goto(self.url)
            heading.wait_for()
        return page

    def bring(self, page: Page, token: str, kind: str = "local") -> None:
        """Type a token into the form that is shown."""
        page.get_by_role("radio", name="Keystone" if kind == "keystone" else "controller").check()
        page.get_by_label("Token", exact=True).fill(token)
        page.get_by_role("button", name="Log in").click()

    def tenant(self, project: str = P1, *roles: str, **options: Any) -> Page:
        """Somebody of a project, with Keystone's token."""
        return self.login(f"{project}:{','.join(roles or ('member', 'reader'))}", "keystone", **options)

    def go(self, page: Page, where: str) -> Page:
        """Follow an address of the dashboard, and wait until nothing is loading."""
        page.goto(f"{self.url}/dashboard/index.html#/{where}")
        page.locator("h1").first.wait_for()
        expect(page.locator("main")).not_to_contain_text("Loading …")
        return page

    def _said(self, message: Any) -> None:
        if "ERR_NETWORK_CHANGED" in message.text:
            self.unplugged += 1
            return
        provoked = any(f"status of {status}" in message.text for status in self.expected)
        if message.type in ("error", "warning") and not provoked:
            self.faults.append(f"{message.type}: {message.text} {message.location.get('url', '')}")


@contextmanager
def filled(folder: Path) -> Iterator[Filled]:
    with running(Emulator()) as emulator:
        world = Filled(folder, emulator, Mode.ADVISE, whole=True)
        world.fill()
        yield world
        world.store.close()


TOO_PALE = """() => {
  const rgb = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] === 1) return c; }
    return [255, 255, 255, 1];
  };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility() || e.closest(":disabled, .unseen, .skip")) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) found.push(`${e.tagName} ${e.className} '${e.textContent.trim().slice(0, 40)}': ${ratio.toFixed(2)}`);
  }
  return found;
}"""
"""Texts whose contrast with what is behind them is below WCAG's 4.5."""

UNNAMED = """() => {
  const named = (e) => e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || e.textContent.trim()
    || e.labels?.[0]?.textContent.trim() || e.title;
  const say = (e) => e.outerHTML.slice(0, 120);
  const all = (s) => [...document.querySelectorAll(s)];
  const levels = all("h1, h2, h3").map((e) => Number(e.tagName[1]));
  return [
    ...all("button, a, input, select, textarea, [role=region], nav").filter((e) => !named(e)).map((e) => `no name: ${say(e)}`),
    ...all("img").filter((e) => !e.hasAttribute("alt")).map((e) => `no alt: ${say(e)}`),
    ...all("table").filter((e) => !e.caption?.textContent.trim()).map((e) => `no caption: ${say(e)}`),
    ...all("th").filter((e) => !e.scope || !e.textContent.trim()).map((e) => `th without scope or words: ${say(e)}`),
    ...all("[id]").filter((e) => all(`[id="${e.id}"]`).length > 1).map((e) => `id twice: ${say(e)}`),
    ...(all("h1").length === 1 ? [] : [`${all("h1").length} first headings`]),
    ...(all("main").length === 1 ? [] : [`${all("main").length} main landmarks`]),
    ...levels.filter((l, i) => i && l > levels[i - 1] + 1).map((l) => `a heading of level ${l} comes too soon`),
    ...all("[style]").filter((e) => !e.closest(".uplot")).map((e) => `style in the markup: ${say(e)}`),
  ];
}"""
"""What a screen reader could not say."""

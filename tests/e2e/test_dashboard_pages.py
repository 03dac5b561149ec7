"""The dashboard in a real browser: what it shows is what the API answers, at once, to whom it may."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from dashboard_support import EVIL, FORMULA, P1, P2, Filled, Watched

pytestmark = pytest.mark.e2e

OPERATORS = ("overview", "hosts", "hosts/node01", "servers", "groups", "migrations", "reservations", "pools", "pools/warm", "events")
OPERATORS += (
    "tiers",
    "webhooks",
    "models",
    "notices",
    "audit",
    "modes",
    "requests",
    "statements",
    "migrations/mig-web-0",
    "groups/project%3Ap1",
)


@pytest.fixture
def operator(web: Watched) -> Page:
    return web.login()


def answer(page: Page, path: str) -> Any:
    """What the API says to the same session."""
    got = page.request.get(path)
    assert got.ok, got.text()
    return got.json()


def figure(page: Page, name: str) -> Any:
    return page.locator(".tile", has_text=name).first


# -- content ----------------------------------------------------------------------------------------------------------


def test_the_overview_s_figures_are_the_api_s(web: Watched, operator: Page) -> None:
    told = answer(operator, f"{web.url}/v1/overview")
    expect(figure(operator, "Servers")).to_contain_text(str(told["servers"]))
    expect(figure(operator, "Hosts")).to_contain_text(f"{told['hosts_fresh']} of {told['hosts']} report")
    cpu = operator.locator(".gauge", has_text="CPU")
    expect(cpu).to_contain_text(f"{told['cpu']['entitled']:g} cores")
    expect(cpu).to_contain_text(f"{told['cpu']['capacity']:g} cores")
    expect(operator.locator("#banners")).to_contain_text("SIMULATED")


def test_a_chart_says_in_words_and_numbers_what_it_draws(web: Watched, operator: Page) -> None:
    told = answer(operator, f"{web.url}/v1/overview/history?days=7")
    cpu = operator.locator("figure", has_text="CPU, last 7 days")
    expect(cpu.locator("canvas")).to_have_count(1)
    expect(cpu.locator("figcaption")).to_contain_text("expected, most at")
    cpu.locator("summary").click()
    assert len(told["at"]) >= 5
    assert len(told["resources"][0]["half_hours"]) == 48
    times = {*told["at"]} | {told["resources"][0]["origin"] + i * told["step_s"] for i in range(48)}
    expect(cpu.locator("tbody tr")).to_have_count(len(times))
    expect(cpu.get_by_role("columnheader", name="90 %", exact=True)).to_be_visible()


def test_every_page_shows_itself_without_a_fault(web: Watched, operator: Page) -> None:
    for where in (*OPERATORS, f"servers/{answer(operator, f'{web.url}/v1/servers')[0]['id']}"):
        web.go(operator, where)
        expect(operator.locator("main .problem"), where).to_have_count(0)
        assert len(operator.locator("main").inner_text()) > 60, where


def test_a_server_s_page_tells_why_it_has_its_size(web: Watched, operator: Page) -> None:
    server = next(s for s in answer(operator, f"{web.url}/v1/servers") if s["name"] == "web-0")
    why = answer(operator, f"{web.url}/v1/servers/{server['id']}/why?limit=20")
    web.go(operator, f"servers/{server['id']}")
    expect(operator.get_by_role("heading", name="web-0")).to_be_visible()
    expect(operator.get_by_text(why["sentences"][1]).first).to_be_visible()
    expect(operator.locator("figure canvas")).not_to_have_count(0)
    levers = operator.locator("table", has_text="Levers, as its agent tells them")
    expect(levers.locator("tbody tr")).to_have_count(len(server["levers"]))


def test_names_that_are_scripts_are_shown_as_text(web: Watched, operator: Page, world: Filled) -> None:
    web.go(operator, "servers")
    expect(operator.get_by_role("link", name=EVIL)).to_be_visible()
    assert operator.locator("main img").count() == 0
    web.go(operator, f"servers/{world.evil}")
    expect(operator.locator("h1")).to_have_text(EVIL)
    assert operator.title().startswith(EVIL)


def test_a_saved_table_cannot_be_a_formula(web: Watched, operator: Page) -> None:
    web.go(operator, "servers")
    with operator.expect_download() as saved:
        operator.get_by_role("button", name="Save as CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_text())))
    named = {row["Server"] for row in rows}
    assert f"'{FORMULA}" in named
    assert not any(cell.startswith(("=", "+", "@")) for row in rows for cell in row.values())
    assert {s["name"] for s in answer(operator, f"{web.url}/v1/servers")} - {FORMULA} <= named


def test_the_list_of_servers_is_searched_and_sorted(web: Watched, operator: Page) -> None:
    web.go(operator, "servers")
    operator.get_by_label("Find").fill("web-")
    rows = operator.locator("table tbody tr")
    expect(rows).to_have_count(3)
    operator.get_by_role("button", name="Server", exact=True).click()
    expect(operator.get_by_role("columnheader", name="Server", exact=True)).to_have_attribute("aria-sort", "ascending")
    expect(rows.first).to_contain_text("web-0")


@pytest.mark.parametrize(("stopped_s", "told"), [(0.1, "0.1 s, 0.25 s expected"), (None, "not measured, 0.25 s expected")])
def test_a_move_s_page_tells_how_long_its_guest_stood_still(
    web: Watched, operator: Page, world: Filled, stopped_s: float | None, told: str
) -> None:
    """Measured beside expected; where nobody measured it, that is said."""
    name = f"mig-moved-{stopped_s is None}"
    world.moved(name, f"00000000-0000-4000-8000-00000000e2e{int(stopped_s is None)}", stopped_s=stopped_s)
    web.go(operator, f"migrations/{name}")
    facts = operator.locator("dl")
    expect(facts).to_contain_text(told)
    expect(facts).to_contain_text("12 s")
    expect(operator.locator(".history li").last).to_contain_text("released: its room is given back")


# -- as it happens ----------------------------------------------------------------------------------------------------


def test_a_move_that_somebody_proposes_is_seen_without_asking_again(web: Watched, operator: Page, world: Filled) -> None:
    web.go(operator, "migrations")
    expect(operator.locator("#live")).to_have_text("live")
    expect(operator.get_by_role("link", name="web-0")).to_be_visible()
    operator.evaluate("window.stillHere = true")
    world.propose("web-1")
    expect(operator.get_by_role("link", name="web-1")).to_be_visible(timeout=5000)
    operator.get_by_role("button", name="Cancel the move of web-1").click()
    operator.get_by_label("Why").fill("not now")
    operator.get_by_role("dialog").get_by_role("button", name="Cancel the move").click()
    expect(operator.get_by_role("button", name="Cancel the move of web-1")).to_have_count(0)
    assert world.store.migrating.proposals.find("mig-web-1").state == "withdrawn"
    assert operator.evaluate("window.stillHere")


def test_a_stop_by_another_is_told_on_every_page(web: Watched, operator: Page, world: Filled) -> None:
    web.go(operator, "hosts")
    world.store.modes.stop("host:node01", "stopped: smoke", world.at)
    try:
        expect(operator.locator(".banner.bad")).to_contain_text("STOPPED: host:node01", timeout=5000)
        expect(operator.locator(".banner.bad")).to_contain_text("smoke")
    finally:
        world.store.modes.resume("host:node01", "it was steam", world.at)
    expect(operator.locator(".banner.bad")).to_have_count(0, timeout=5000)


def test_stop_has_to_be_typed_and_goes_on_again(web: Watched, operator: Page, world: Filled) -> None:
    web.go(operator, "modes")
    operator.get_by_role("button", name="STOP …").click()
    dialog = operator.get_by_role("dialog")
    go = dialog.get_by_role("button", name="Stop it")
    dialog.get_by_label("Why, for those").fill("a drill")
    expect(go).to_be_disabled()
    dialog.get_by_label("Type STOP").fill("STOP")
    go.click()
    expect(operator.locator(".banner.bad")).to_contain_text("EVERYTHING IS STOPPED")
    stopped = world.store.modes.get("cloud")
    assert stopped is not None
    assert stopped.stopped
    assert "a drill" in stopped.reason
    operator.get_by_role("button", name="Let cloud go on").click()
    operator.get_by_label("Why").fill("the drill is over")
    operator.get_by_role("dialog").get_by_role("button", name="Go on").click()
    expect(operator.locator(".banner.bad")).to_have_count(0, timeout=5000)


def test_an_event_that_is_added_stands_in_the_month(web: Watched, operator: Page, world: Filled) -> None:
    web.go(operator, "events")
    operator.get_by_role("button", name="Add an event").click()
    dialog = operator.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill("Sale <b>")
    dialog.get_by_label("Starts").fill(operator.evaluate(f"new Date({world.at} * 1000).toISOString().slice(0, 16)"))
    dialog.get_by_label("CPU demand").fill("1.5")
    dialog.get_by_role("button", name="Add it").click()
    expect(operator.locator(".month td.some")).to_contain_text("Sale <b>")
    expect(operator.locator("table", has_text="Events, the next")).to_contain_text("cpu × 1.5")


def test_what_the_controller_refuses_is_shown_in_its_own_words(web: Watched, operator: Page) -> None:
    web.expected = (400, 404)
    web.go(operator, "modes")
    operator.get_by_role("button", name="STOP …").click()
    dialog = operator.get_by_role("dialog")
    dialog.get_by_label("What to stop").fill("host:nowhere")
    dialog.get_by_label("Why, for those").fill("a test")
    dialog.get_by_label("Type STOP").fill("STOP")
    dialog.get_by_role("button", name="Stop it").click()
    expect(dialog.get_by_role("alert")).to_contain_text("there is no host 'nowhere'")
    web.go(operator, "servers/no-such-server")
    expect(operator.locator("main .problem").first).to_contain_text("there is no server")


# -- who may what -----------------------------------------------------------------------------------------------------


def test_a_reader_of_the_system_sees_all_and_is_offered_no_write(web: Watched) -> None:
    page = web.tenant("system", "reader")
    for where in ("modes", "migrations", "hosts/node01", "reservations", "models"):
        web.go(page, where)
        expect(page.locator("main")).not_to_contain_text("Loading")
        assert page.get_by_role("button", name="STOP").count() == 0
        assert page.locator("main button").filter(has_text="…").count() == 0, where


def test_a_tenant_sees_his_project_and_nothing_else(web: Watched) -> None:
    page = web.tenant(P1)
    expect(page.locator("nav")).not_to_contain_text("Hosts")
    expect(page.locator("nav")).to_contain_text("Servers")
    web.go(page, "servers")
    expect(page.get_by_role("link", name="web-0")).to_be_visible()
    expect(page.locator("main")).not_to_contain_text("db-0")
    expect(page.locator("main")).not_to_contain_text("node0")
    overview = answer(page, f"{web.url}/v1/overview")
    assert (overview["servers"], overview["hosts"], overview["scope"]) == (5, 0, f"project:{P1}")
    assert overview["cpu"]["capacity"] is None
    history = page.request.get(f"{web.url}/v1/overview/history?of=project:{P2}")
    assert history.status == 404


# -- logging in and out -----------------------------------------------------------------------------------------------


def test_a_wrong_token_is_refused_in_words_and_out_is_out(web: Watched) -> None:
    web.expected = (401,)
    page = web.page()
    page.goto(web.url)
    web.bring(page, "wrong")
    expect(page.get_by_role("alert")).to_contain_text("this is not the operators' token")
    web.bring(page, web.token)
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Where do I get a token?")).to_be_visible()
    assert page.request.get(f"{web.url}/v1/overview").status == 401


def test_a_member_logs_in_with_his_keystone_password_and_it_is_kept_nowhere(web: Watched) -> None:
    web.expected = (401, 403)
    page = web.page()
    page.goto(web.url)
    expect(page.get_by_label("User", exact=True)).to_be_focused()
    page.keyboard.type("member,reader")
    page.get_by_label("Password", exact=True).fill("wrong-MARKED")
    page.get_by_label("Project", exact=True).fill(P1)
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Keystone refuses this user")
    expect(page.get_by_label("Password", exact=True)).to_be_focused()
    page.get_by_label("Password", exact=True).fill("right")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=f"Overview of name of {P1}")).to_be_visible()
    expect(page.locator("nav")).not_to_contain_text("Hosts")
    kept = page.evaluate("document.cookie + JSON.stringify({ ...localStorage, ...sessionStorage }) + location.href")
    assert "MARKED" not in kept
    assert "right" not in kept
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Project", exact=True)).to_have_value(P1)
    expect(page.get_by_label("Password", exact=True)).to_have_value("")
    page.get_by_label("User", exact=True).fill("admin,reader")
    page.get_by_label("Password", exact=True).fill("right")
    page.get_by_label("The whole system").check()
    expect(page.get_by_label("Project", exact=True)).not_to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Overview", exact=True)).to_be_visible()
    expect(page.locator("nav")).to_contain_text("Hosts")


def test_who_has_a_second_factor_is_told_to_bring_a_token(web: Watched, world: Filled) -> None:
    web.expected = (403,)
    world.tokens.second_factor = True
    page = web.page()
    page.goto(web.url)
    page.get_by_label("User", exact=True).fill("member")
    page.get_by_label("Password", exact=True).fill("right")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("second factor")
    expect(page.locator("main")).to_contain_text("choose its token")
    world.tokens.second_factor = False
    web.bring(page, f"{P1}:member,reader", "keystone")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def test_a_session_that_is_over_asks_for_a_login_and_returns_to_the_page(web: Watched) -> None:
    web.expected = (401,)
    page = web.go(web.login(), "hosts")
    page.context.clear_cookies()
    page.get_by_role("link", name="Servers", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("session is over")
    web.bring(page, web.token)
    expect(page.get_by_role("heading", name="Servers")).to_be_visible()


def test_a_link_with_a_token_logs_in_and_leaves_no_token_in_the_address(web: Watched) -> None:
    page = web.page()
    page.goto(f"{web.url}/dashboard/index.html#token={web.token}")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    assert web.token not in page.url
    assert page.evaluate("document.cookie") == "", "no script can read the session"
    assert web.token not in page.evaluate("JSON.stringify({ ...localStorage, ...sessionStorage })")

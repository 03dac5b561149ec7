"""The dashboard for everybody: without a mouse, by ear, in the dark, on a phone, and light to carry."""

import pytest
from playwright.sync_api import Page, expect

from dashboard_support import TOO_PALE, UNNAMED, Filled, Watched

pytestmark = pytest.mark.e2e

PAGES = (
    "overview",
    "hosts",
    "hosts/node01",
    "servers",
    "groups",
    "migrations",
    "pools/warm",
    "events",
    "tiers",
    "webhooks",
    "models",
    "modes",
    "audit",
    "statements",
)
PHONE = {"viewport": {"width": 360, "height": 740}}
TRANSFER_MOST = 200_000
"""Bytes of all of the dashboard's files, as they are sent."""


def server_page(world: Filled) -> str:
    return f"servers/{world.evil}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_and_everything_has_a_name_a_caption_and_its_place(world: Filled, web: Watched, scheme: str) -> None:
    page = web.login(color_scheme=scheme)
    world.store.modes.stop("host:node01", "stopped: so that there is a banner", world.at)
    try:
        for where in (*PAGES, server_page(world)):
            web.go(page, where)
            assert page.evaluate(TOO_PALE) == [], where
            assert page.evaluate(UNNAMED) == [], where
    finally:
        world.store.modes.resume("host:node01", "seen", world.at)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Theme: light or dark").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark, "what somebody chooses comes before the system"


@pytest.mark.parametrize("options", [{"color_scheme": "light"}, {"color_scheme": "dark"}, PHONE])
def test_the_form_to_log_in_is_for_everybody(web: Watched, options) -> None:
    page = web.page(**options)
    page.goto(web.url)
    for way in ("controller", "Keystone", "OpenStack user"):
        page.get_by_role("radio", name=way).check()
        assert page.evaluate(UNNAMED) == []
        assert page.evaluate(TOO_PALE) == []
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


def test_nothing_is_wider_than_a_phone(world: Filled, web: Watched) -> None:
    page = web.login(**PHONE)
    for where in (*PAGES, server_page(world)):
        web.go(page, where)
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0, where
    page.get_by_role("button", name="Menu").click()
    page.get_by_role("link", name="Hosts", exact=True).click()
    expect(page.get_by_role("heading", name="Hosts")).to_be_visible()
    expect(page.get_by_role("link", name="Servers", exact=True)).not_to_be_visible()


def test_a_keyboard_is_enough(web: Watched) -> None:
    page = web.go(web.login(), "modes")
    page.reload()
    page.get_by_role("button", name="STOP").wait_for()
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert focused(page) == "STOP …"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none", "the focus is seen"
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    for _ in range(8):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')"), (
            "the focus stays in it"
        )
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert focused(page) == "STOP …", "and goes back to where it was"


def test_the_focus_survives_that_a_table_is_drawn_again(world: Filled, web: Watched) -> None:
    page = web.go(web.login(), "migrations")
    page.get_by_role("link", name="web-0").focus()
    world.propose("web-2")
    expect(page.get_by_role("link", name="web-2")).to_be_visible(timeout=5000)
    assert focused(page) == "web-0"


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.textContent.trim()"))


def test_all_of_it_is_light_and_a_second_visit_lighter(web: Watched) -> None:
    page, ended = web.page(), []
    page.on("requestfinished", lambda r: "/dashboard/" in r.url and ended.append(r))
    page.goto(web.url)
    page.get_by_role("button", name="Log in").wait_for()
    page.wait_for_load_state("networkidle")
    responses = [r.response() for r in ended]
    sizes = [r.request.sizes()["responseBodySize"] for r in responses if r.status == 200]
    assert len(sizes) > 20
    assert 30_000 < sum(sizes) < TRANSFER_MOST
    etag = page.request.get(f"{web.url}/dashboard/js/main.js").headers["etag"]
    again = page.request.get(f"{web.url}/dashboard/js/main.js", headers={"If-None-Match": etag})
    assert (again.status, again.body()) == (304, b"")

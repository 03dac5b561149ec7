"""What people write with the dashboard: calendars, webhooks, tiers. No work is lost, nothing overwritten unseen, no secret shown twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from dashboard_support import P1, TIERS, TOO_PALE, UNNAMED, Filled, Watched

pytestmark = pytest.mark.e2e

CALENDAR = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//test//test//EN
X-WR-CALNAME:Shop
BEGIN:VEVENT
UID:one@test
DTSTAMP:20260101T000000Z
DTSTART:20990105T090000Z
DTEND:20990105T170000Z
SUMMARY:January sale <b>
END:VEVENT
END:VCALENDAR
"""


@pytest.fixture
def tiers(world: Filled) -> Iterator[Path]:
    yield world.tiers
    world.tiers.write_text(TIERS)
    world.program.policy.reload()


def editor(page: Page) -> tuple[Page, object]:
    return page.get_by_role("region", name="The file's text"), page.get_by_label("Text of")


def sound(page: Page) -> None:
    """As the other pages: every control has a name, every text stands out."""
    assert page.evaluate(UNNAMED) == []
    assert page.evaluate(TOO_PALE) == []


# -- calendars ----------------------------------------------------------------------------------------------------------


def test_a_tenant_uploads_a_calendar_by_keyboard_and_again_changes_what_changed(web: Watched, tmp_path: Path) -> None:
    file, page = tmp_path / "shop.ics", web.go(web.tenant(P1), "events")
    file.write_text(CALENDAR)

    def take() -> None:
        page.get_by_role("button", name="Upload a calendar …").focus()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("File", exact=True).set_input_files(file)
        dialog.get_by_label("CPU demand").fill("2")
        dialog.get_by_label("CPU demand").press("Enter")

    take()
    expect(page.locator(".said")).to_have_text("Shop: 1 added, 0 changed, 0 as before, 0 deleted.")
    expect(page.locator("table", has_text="Events, the next")).to_contain_text("January sale <b>")
    file.write_text(CALENDAR.replace("sale", "market"))
    take()
    expect(page.locator(".said")).to_have_text("Shop: 0 added, 1 changed, 0 as before, 0 deleted.")
    expect(page.locator("table", has_text="Events, the next")).to_contain_text("January market")


def test_a_file_that_is_no_calendar_is_refused_in_the_controller_s_words(web: Watched, tmp_path: Path) -> None:
    web.expected = (400,)
    file, page = tmp_path / "photo.ics", web.go(web.login(), "events")
    file.write_bytes(b"\x89PNG\r\n\x1a\n" * 10)
    page.get_by_role("button", name="Upload a calendar …").click()
    dialog = page.get_by_role("dialog")
    sound(page)
    dialog.get_by_label("File", exact=True).set_input_files(file)
    dialog.get_by_role("button", name="Upload it").click()
    expect(dialog.get_by_role("alert")).to_contain_text("calendar")
    expect(dialog).to_be_visible()


# -- webhooks -----------------------------------------------------------------------------------------------------------


def test_a_webhook_s_secret_is_shown_once_and_its_deliveries_always(web: Watched, world: Filled) -> None:
    page = web.go(web.tenant("hooked"), "webhooks")
    page.get_by_role("button", name="Add a webhook …").click()
    page.get_by_role("dialog").get_by_label("URL").fill("https://hooks.example.com/a")
    page.keyboard.press("Enter")
    shown = page.get_by_role("dialog").get_by_label("Secret")
    expect(shown).to_be_focused()
    (made,) = world.store.requests.hooks("hooked")
    assert shown.input_value() == made.secret
    assert made.secret not in page.content()
    sound(page)
    page.keyboard.press("Escape")
    # Closed, it has no role any more; it is taken out a moment later.
    expect(page.locator("dialog")).to_have_count(0)
    assert made.secret not in page.content()
    asked = page.request.get(f"{web.url}/v1/session").json()["csrf"]
    said = {"vcpus": 1, "ram": 256, "for_s": 3600, "name": "burst"}
    assert page.request.post(f"{web.url}/v1/requests", data=said, headers={"X-Foreshape-CSRF": asked}).status == 201
    page.get_by_role("link", name="https://hooks.example.com/a").click()
    expect(page.get_by_role("heading", name="https://hooks.example.com/a")).to_be_visible()
    rows = page.locator("table", has_text="Deliveries").locator("tbody tr")
    expect(rows.first).to_contain_text("waiting")
    assert made.secret not in page.content()
    sound(page)
    page.get_by_role("button", name="Delete …").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete it").click()
    expect(page.get_by_text("Nobody is told anything yet.")).to_be_visible()
    assert not world.store.requests.hooks("hooked")


def test_a_reader_sees_webhooks_and_is_offered_no_write(web: Watched) -> None:
    page = web.go(web.tenant("unhooked", "reader"), "webhooks")
    expect(page.locator("main")).to_contain_text("Nobody is told anything yet.")
    assert page.get_by_role("button", name="Add a webhook").count() == 0


# -- tiers --------------------------------------------------------------------------------------------------------------


def test_tiers_are_edited_checked_and_in_force(web: Watched, tiers: Path) -> None:
    web.expected = (400,)
    page = web.go(web.login(), "tiers")
    expect(page.locator("table", has_text="Promises and prices").get_by_role("row", name="gold")).to_contain_text("0.2 %")
    region, text = editor(page)
    expect(text).to_have_value(TIERS)
    text.fill(TIERS.replace("8.0", "-8") + "default: nothing\n")
    region.get_by_role("button", name="Check it").click()
    expect(region.get_by_role("alert").get_by_role("listitem")).to_have_count(2)
    region.get_by_role("button", name="Put it in force").click()
    expect(region.get_by_role("alert")).to_contain_text("nothing is changed")
    sound(page)
    assert tiers.read_text() == TIERS
    text.fill(TIERS.replace("8.0", "16.0"))
    region.get_by_role("button", name="Check it").click()
    expect(region.get_by_role("alert")).to_contain_text("In order: 4 tiers")
    region.get_by_label("Why").fill("gold is worth more")
    page.keyboard.press("Enter")
    expect(page.locator(".said").first).to_contain_text("in force as you wrote them")
    expect(page.locator("table", has_text="Promises and prices").get_by_role("row", name="gold")).to_contain_text("16 × 1")
    assert tiers.read_text() == TIERS.replace("8.0", "16.0")


def test_who_was_slower_loses_nothing_and_overwrites_nothing_unseen(web: Watched, tiers: Path) -> None:
    web.expected = (412,)
    page = web.go(web.login(), "tiers")
    region, text = editor(page)
    text.fill(mine := TIERS.replace("8.0", "3.0"))
    tiers.write_text(theirs := TIERS.replace("8.0", "5.0"))
    region.get_by_role("button", name="Put it in force").click()
    expect(region.get_by_role("alert")).to_contain_text("Somebody else changed the file meanwhile")
    expect(text).to_have_value(mine)
    expect(region.get_by_label("What the file says now")).to_have_value(theirs)
    assert tiers.read_text() == theirs
    sound(page)
    region.get_by_role("button", name="Keep mine, over theirs").click()
    expect(text).to_be_focused()
    region.get_by_role("button", name="Put it in force").click()
    expect(page.locator(".said").first).to_contain_text("in force as you wrote them")
    assert tiers.read_text() == mine


def test_a_server_is_put_into_a_tier_of_its_own(web: Watched, world: Filled) -> None:
    page = web.go(web.login(), f"servers/{world.evil}")
    page.get_by_role("button", name="Tier …").click()
    page.get_by_role("dialog").locator("select").select_option("economy")
    page.get_by_role("dialog").get_by_role("button", name="Set it").click()
    expect(page.locator(".tile", has_text="Tier")).to_contain_text("economy")
    world.store.inventory.set_tier(world.evil, "")


def test_a_tenant_reads_tiers_and_none_of_the_operators_words(web: Watched) -> None:
    page = web.go(web.tenant(P1), "tiers")
    expect(page.locator("main")).to_contain_text("gold")
    expect(page.locator("main")).not_to_contain_text("Ask before you change")
    assert page.locator("textarea").count() == 0

"""One filled controller for all of the tier, one browser process at a time, and nothing that goes wrong in it unseen."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from dashboard_support import CHROMIUM, FLAGS, Filled, Watched, filled
from foreshape_demo.serve import Serving


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    with filled(tmp_path_factory.mktemp("controller")) as made:
        yield made


@pytest.fixture(scope="session")
def url(world: Filled) -> Iterator[str]:
    assert world.program is not None
    with Serving(world.program, 0) as served:
        yield served.url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as p:
        made = p.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield made
        made.close()


@pytest.fixture
def web(world: Filled, url: str, browser: Browser) -> Iterator[Watched]:
    """Nothing may go wrong in the browser, and nothing may leave for another host, whatever a test is about."""
    assert world.program is not None
    watched = Watched(browser, url, world.program.admin_token)
    yield watched
    for context in browser.contexts:
        context.close()
    assert watched.faults == []
    assert watched.foreign == []

"""Groups on a real database: who has left is remembered with when, and counts in the past of its groups."""

import pytest

from foreshape_controller.decide.segments import load_segments
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.loops.foresight import Foresight, ForesightSettings
from foreshape_controller.loops.scene import Hooks
from foreshape_controller.store.inventory import GONE_AFTER_S, HOST_GONE_AFTER_S
from store_support import DAY, T0, card, open_store, report, sample

pytestmark = [pytest.mark.functional, pytest.mark.engines]

STEP = 300
LEFT = T0 + 10 * STEP + 10
"""The last report that has vm-2."""


@pytest.fixture
def store():
    """vm-1 uses half a core, and half as much again in swings; vm-2 uses 1.5 cores, and is gone after ten bins. The host uses 4."""
    made = open_store()
    cards = [card("vm-1", project="p"), card("vm-2", project="p")]
    for n in range(80):
        at = T0 + n * STEP + 10
        samples = [sample("vm-1", cores=0.5), *([sample("vm-2", cores=1.5)] if at <= LEFT else [])]
        told = {"cards": tuple(cards[: len(samples)])} if n in (0, 11) else {}
        made.history.append(report(n + 1, at, samples, **told), at)
    return made


def test_who_left_is_told_with_when_and_with_what_its_groups_need(store):
    now = T0 + 80 * STEP
    (gone,) = store.groups.departed(now, now - DAY)
    assert (gone.id, gone.host, gone.project, gone.name) == ("vm-2", "hv1", "p", "name-of-vm-2")
    assert (gone.first_seen, gone.until) == (T0 + 10, LEFT)


def test_who_is_still_in_the_view_has_not_left_and_who_left_long_ago_does_not_matter(store):
    soon = LEFT + STEP + GONE_AFTER_S
    assert {s.id for s in store.inventory.view(soon).servers} == {"vm-1", "vm-2"}
    assert store.groups.departed(soon, T0) == ()
    assert store.groups.departed(T0 + 80 * STEP, LEFT + 1) == ()


def test_servers_of_a_host_that_was_given_up_left_when_it_fell_silent(store):
    silent = T0 + 79 * STEP + 10
    much_later = silent + HOST_GONE_AFTER_S
    assert store.inventory.view(much_later).servers == ()
    assert {m.id: m.until for m in store.groups.departed(much_later, T0)} == {"vm-1": silent, "vm-2": LEFT}


def test_groups_are_added_up_forecast_and_kept(store):
    now = T0 + 80 * STEP
    seen = {}
    hooks = Hooks(observers=(lambda f, scene: seen.update({(f.resource, s): (scene.history, i) for i, s in enumerate(f.series)}),))
    segments = load_segments("segments: {all: [{name: '*'}]}")
    settings = ForesightSettings(history_bins=100)
    Foresight(store, Baseline, settings, segments=segments, hooks=hooks).run_once(now, store.inventory.view(now))

    def past(resource, series):
        history, row = seen[resource, series]
        return history.mean[row, -80:]

    for name in ("project:p", "segment:all", "zone:nova"):
        assert past("cpu", name)[[0, 9, 20, 79]] == pytest.approx([2.0, 2.0, 0.5, 0.5]), name
        assert past("servers", name)[[0, 9, 20, 79]].tolist() == [2, 2, 1, 1], name
        assert store.forecasts.latest("cpu", name).source == ("baseline",)
        assert store.forecasts.latest("servers", name).steps[0, 0, 6] == pytest.approx(1, abs=0.05)
    assert past("cpu", "host:hv1")[[0, 79]] == pytest.approx([4.0, 4.0]), "the host itself says what it used, whoever it was"
    assert store.forecasts.latest("disk", "host:hv1").steps[0, 0, 6] == pytest.approx(1, abs=0.1), "1 KiB/s of its server"


def test_the_forecast_of_who_left_is_forgotten_when_its_day_is_over(store):
    then, now = T0 + 8 * STEP, T0 + 8 * STEP + DAY
    view = store.inventory.view(then)
    Foresight(store, Baseline, ForesightSettings(history_bins=50)).run_once(then, view)
    assert store.forecasts.tidy(now - DAY) == 0
    assert store.forecasts.tidy(now - DAY + 1) == 2 * 4 + 3 * 4 + 3, "two servers; host, project and zone, their counts too"
    assert store.forecasts.latest("cpu", "vm-2") is None

"""What a cloud changes in what the plan loop is told."""

from types import SimpleNamespace

import pytest

from foreshape_controller.loops.clouded import Clouded
from foreshape_controller.model.brakes import Brakes

pytestmark = pytest.mark.unit

NOBODY = SimpleNamespace(servers=())


def test_without_a_cloud_brakes_and_needs_are_those_of_others() -> None:
    def brakes(_view: object, _now: float) -> Brakes:
        return Brakes(notes=("mine",))

    clouded = Clouded(SimpleNamespace(open=lambda: ()), None)
    assert clouded.brakes(brakes) is brakes
    assert clouded.needs(0.0) == ()


def test_halts_of_others_stay_where_nobody_migrates() -> None:
    clouded = Clouded(SimpleNamespace(open=lambda: ()), None)
    assert clouded.halts(lambda _view, _now: {"s": ("halted", "why")})(NOBODY, 0.0) == {"s": ("halted", "why")}


def test_with_a_cloud_that_is_not_known_nothing_is_taken_and_its_needs_are_passed_on() -> None:
    watch = SimpleNamespace(why_not=lambda _now, _needed: "the cloud was not read yet")
    cloud = SimpleNamespace(watch=watch, selling=SimpleNamespace(needs=lambda now: (now,)))
    clouded = Clouded(SimpleNamespace(open=lambda: ()), cloud)  # type: ignore[arg-type]  what is needed of it
    found = clouded.brakes(lambda _view, _now: Brakes())(SimpleNamespace(servers=(SimpleNamespace(id="s"),)), 0.0)  # type: ignore[arg-type]
    assert found.stopped == {"s": "the cloud was not read yet"}
    assert clouded.needs(7.0) == (7.0,)

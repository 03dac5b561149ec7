"""Clocks of services: whose is wrong, as far as the others tell."""

import pytest

from foreshape_controller.loops.census import skews
from foreshape_controller.model.cloud import CloudService

pytestmark = pytest.mark.unit


def told(**ahead: float | None) -> tuple[str, ...]:
    return tuple(skews(tuple(CloudService(name=n, ahead_s=a) for n, a in ahead.items())))


def test_clocks_that_agree_are_no_matter() -> None:
    assert told(Nova=0.4, Placement=-9.0, Keystone=None) == ()


def test_one_that_differs_is_named() -> None:
    assert told(Nova=-30.0, Placement=0.1) == ("the clock of Nova is 30 s behind the controller's: check NTP on both",)


def test_where_all_differ_alike_it_is_ours() -> None:
    assert told(Nova=-30.0, Placement=-31.0, Keystone=None) == (
        "the controller's clock is 31 s ahead of all services': check NTP on this machine first",
    )


def test_where_they_differ_differently_each_is_named() -> None:
    assert len(told(Nova=-30.0, Placement=30.0)) == 2
    assert len(told(Nova=-30.0)) == 1, "one alone proves nothing about ours"

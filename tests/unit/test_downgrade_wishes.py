"""Wishes as they were kept, held against a history: who is doubted, and what agents gave stays."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from decide_support import NOW, history, server
from foreshape_controller.loops.downgrade import AHEAD, PLANNED, Downgrade
from foreshape_controller.model.server import ClusterView

pytestmark = pytest.mark.unit

BINS = 37
HOLD = {"cpu": {"vm1": 3 * 3600.0, "vm2": 3 * 3600.0}}
MADE = NOW - 2.5 * 3600
"""Two and a half hours ago: its time is long over, the hold time of three hours is not."""


@dataclass
class Slot:
    servers: tuple[str, ...]
    cpu: list

    def of(self, resource):
        assert resource == "cpu"
        return np.array(self.cpu, float)


@dataclass
class Wishes:
    slots: list
    counted: dict = field(default_factory=dict)

    def wished(self, since):
        return [s for s in self.slots if s[0] > since - 300]

    def count(self, amounts):
        self.counted = {k: self.counted.get(k, 0) + v for k, v in amounts.items()}


def asked(*slots, seen=None):
    """Both used 0.2 cores all the time."""
    told = seen if seen is not None else history(np.full((2, BINS), 0.2))
    view = ClusterView(at=NOW, hosts=(), servers=(server("vm1"), server("vm2")))
    return Downgrade(Wishes(list(slots)))(view, HOLD, {"cpu": told}, NOW)["cpu"]


def wished(kind, *cores, servers=("vm1", "vm2"), at=MADE):
    return at, kind, Slot(servers, list(cores))


def test_a_wish_that_was_made_ahead_and_did_not_come_true_counts_what_came():
    found = asked(wished(PLANNED, 4.0, 4.0), wished(AHEAD, 4.0, servers=("vm1",)))
    assert set(found) == {"vm1"}, "vm2's was not made ahead"
    assert found["vm1"] == (pytest.approx(0.2), 4.0, pytest.approx(0.2))


def test_what_an_agent_gave_under_pressure_was_needed():
    found = asked(wished(PLANNED, 4.0, 0.3), wished(AHEAD, 4.0, servers=("vm1",)), wished("reflex", 1.5, servers=("vm1",)))
    assert found["vm1"].counts == 1.5


def test_newer_wishes_count_whole():
    found = asked(wished(PLANNED, 4.0, 0.3), wished(AHEAD, 4.0, servers=("vm1",)), wished(PLANNED, 2.0, 0.3, at=NOW - 600))
    assert found["vm1"].counts == 2.0


def test_a_capped_bin_says_nothing_of_what_would_have_come():
    seen = history(np.full((2, BINS), 0.2))
    censored = np.zeros_like(seen.mean)
    censored[0, 10] = 1.0
    slots = (wished(PLANNED, 4.0, 0.3), wished(AHEAD, 4.0, servers=("vm1",)))
    assert asked(*slots, seen=replace(seen, censored=censored)) == {}


def test_servers_that_left_and_wishes_of_another_time_are_passed_over():
    gone = (MADE, AHEAD, Slot(("gone",), [9.0]))
    old = wished(AHEAD, 9.0, servers=("vm1",), at=NOW - 10 * 3600)
    assert asked(gone, old) == {}
    assert Downgrade(Wishes([]))(ClusterView(at=NOW, hosts=(), servers=()), {}, {}, NOW) == {}

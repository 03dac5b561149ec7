"""Caps of shadow VMs that wait: said by the store's newest word, and gone with the claim."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from foreshape_controller.loops.warm import READ_EVERY_S, SAID_S, Warm
from foreshape_controller.model.pool import Pool, Shadow, State

pytestmark = pytest.mark.unit

POOL = Pool(id="pool-1", name="web", image="i", flavor="f", project="p", created=0.0, wait_cores=0.1, wait_mib=160.0)
SHADOW = Shadow(id="shadow-1", pool="pool-1", project="p", name="s", image="i", flavor="f", created=0.0, since=0.0, why="", cause="c")


@dataclass
class Shelf:
    """Pools and shadow VMs; counts how often it is read."""

    shadows: list[Shadow] = field(default_factory=list)
    written: int = 0
    reads: int = 0

    def all(self, *, closing: bool = False) -> Sequence[Pool]:
        return [POOL]

    def in_state(self, *states: State, since: float = 0.0) -> Sequence[Shadow]:
        self.reads += 1
        return [s for s in self.shadows if s.state in states]

    def put(self, *shadows: Shadow) -> None:
        self.shadows, self.written = list(shadows), self.written + 1


@pytest.fixture
def shelf() -> Shelf:
    return Shelf([replace(SHADOW, state=State.READY, server="vm-1")])


def test_who_waits_is_capped_at_what_its_pool_says(shelf: Shelf) -> None:
    caps = Warm(shelf).caps(100.0)
    assert {(c.scope, c.resource, c.amount) for c in caps} == {("server:vm-1", "cpu", 0.1), ("server:vm-1", "memory", 160.0)}
    assert all(100.0 + SAID_S <= c.until <= 100.0 + 2 * SAID_S for c in caps)


@pytest.mark.parametrize("state", [State.BOOTING, State.CLAIMED, State.RETIRING])
def test_nobody_else_is(shelf: Shelf, state: State) -> None:
    shelf.put(replace(SHADOW, state=state, server="vm-1"))
    assert not Warm(shelf).caps(100.0)


def test_nor_is_one_that_is_booted_for_a_claim(shelf: Shelf) -> None:
    shelf.put(replace(SHADOW, state=State.READY, server="vm-1", cold=True))
    assert not Warm(shelf).caps(100.0)


def test_a_claim_ends_the_cap_with_the_next_word(shelf: Shelf) -> None:
    warm = Warm(shelf)
    assert warm.caps(100.0)
    shelf.put(replace(SHADOW, state=State.CLAIMED, server="vm-1"))
    assert not warm.caps(100.1)


def test_thousands_of_agents_do_not_each_read_the_store(shelf: Shelf) -> None:
    warm = Warm(shelf)
    for n in range(1000):
        warm.caps(100.0 + n / 1000)
    assert shelf.reads == 1


def test_what_others_wrote_is_seen_before_long(shelf: Shelf) -> None:
    warm = Warm(shelf)
    assert warm.caps(100.0)
    shelf.shadows = []
    assert warm.caps(101.0)
    assert not warm.caps(100.0 + READ_EVERY_S)


def test_what_is_said_is_the_same_all_the_hour(shelf: Shelf) -> None:
    """Guards that change with every reply would be written down by the agent each time."""
    assert Warm(shelf).caps(3600.0) == Warm(shelf).caps(7199.0)

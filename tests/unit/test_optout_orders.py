"""What is ordered for servers whose owners opted out: growth back to what was sold, as far as their hosts have memory, and nothing else."""

from itertools import count
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decide_support import NOW, host, server, size_of
from foreshape_controller.loops.optout import AGAIN_S, CLOSE_CORES, CLOSE_MIB, FOREIGN, MOST, NO_ROOM, OptOut, lack
from foreshape_controller.model.cap import Cap
from foreshape_controller.model.server import ClusterView
from foreshape_controller.store.modes import Levels
from foreshape_wire.order import HOST_KEEPS_MIB, Mode
from foreshape_wire.quantity import Memory

pytestmark = pytest.mark.unit

OUT = Levels({}, Mode.ADVISE, {"project:p1": Mode.OBSERVE})


class World:
    """Servers of 4 cores and 4096 MiB on hosts with so many MiB to spare."""

    def __init__(self, *servers, spare=1e6, held=(), caps=None, levels=OUT):
        self.servers, self.spare, self.held, self.orders = servers, spare, held, []
        self.caps = {r: {s: cap(r, amount) for s, amount in of.items()} for r, of in (caps or {}).items()}
        store = SimpleNamespace(
            modes=SimpleNamespace(now=lambda: levels),
            inventory=SimpleNamespace(view=self.view),
            journal=SimpleNamespace(again=lambda order, host, has, now: self.orders.append(order)),
        )
        numbers = count()
        held_by = dict.fromkeys(held, ("foreign", "somebody"))
        self.loop = OptOut(store, lambda view, now: self.caps, lambda view, now: held_by, ids=lambda kind: f"{kind}-{next(numbers)}")

    def view(self, now):
        there = host("hv1", memory_available=Memory(HOST_KEEPS_MIB + self.spare))
        return ClusterView(at=now, hosts=(there,), servers=self.servers)

    def run(self, now=NOW):
        self.orders.clear()
        assert self.loop.run_once(now) == len(self.orders)
        return {str(o.server): (o.cpu and o.cpu.cores, o.memory and o.memory.mib) for o in self.orders}


def cap(resource, amount):
    return Cap(id="c", scope="server:x", resource=resource, amount=amount, since=0.0, until=NOW + 1e6, reason="a test")


def has(name, cores, mib, **more):
    return server(name, allocation=size_of(cores, mib), **more)


def test_what_is_missing_is_ordered_and_what_is_there_is_left():
    assert World(has("a", 1, 4096), has("b", 4, 1000), has("c", 4, 4096)).run() == {"a": (4, None), "b": (None, 4096)}


def test_what_is_above_what_was_sold_is_never_taken():
    assert World(has("a", 6, 8192)).run() == {}
    assert World(has("a", 6, 1000)).run() == {"a": (None, 4096)}


def test_a_cap_below_what_it_has_takes_nothing_and_one_above_bounds_it():
    capped = {"cpu": {"a": 2.0, "b": 2.0}, "memory": {"a": 500.0}}
    assert World(has("a", 3, 1000), has("b", 1, 4096), caps=capped).run() == {"b": (2, None)}


@given(
    cores=st.floats(0.1, 10),
    mib=st.floats(100, 10_000),
    cap_cores=st.none() | st.floats(0.1, 10),
    cap_mib=st.none() | st.floats(100, 10_000),
)
def test_what_is_lacking_is_never_negative_and_never_beyond_what_was_sold_or_a_cap(cores, mib, cap_cores, cap_mib):
    caps = {r: {"a": cap(r, c)} for r, c in (("cpu", cap_cores), ("memory", cap_mib)) if c is not None}
    more = lack(has("a", cores, mib), caps)
    for short, at, sold, most, close in zip(more, (cores, mib), (4, 4096), (cap_cores, cap_mib), (CLOSE_CORES, CLOSE_MIB), strict=True):
        bound = sold if most is None else min(sold, most)
        assert short == 0 or short > close
        assert at + short <= max(at, bound) * (1 + 1e-12)
        assert (at + short >= bound - close - 1e-9) or at >= bound


def test_servers_that_a_cap_holds_starve_nobody():
    capped = [has(f"a{k:03}", 1, 4096) for k in range(MOST)]
    world = World(*capped, has("z", 1, 4096), caps={"cpu": {s.id: 1.0 for s in capped}})
    assert world.run() == {"z": (4, None)}
    assert world.loop.short(world.servers, NOW) == {"z"}


def test_a_host_gives_memory_only_as_far_as_it_has_some_and_the_rest_later():
    """4000 MiB to spare: the first lacks 3096, 904 remain for the second; after a minute 3000 are there again."""
    world = World(has("a", 4, 1000), has("b", 4, 1000), has("c", 1, 1000), spare=4000)
    assert world.run() == {"a": (None, 4096), "b": (None, 1904), "c": (4, None)}
    assert world.loop.waits == {"b": NO_ROOM, "c": NO_ROOM}
    (second,) = [o for o in world.orders if o.server == "b"]
    assert NO_ROOM in second.reason
    world.servers, world.spare = (has("a", 4, 4096), has("b", 4, 1904), has("c", 4, 1000)), 3000
    assert world.run(NOW + 10) == {}  # it may not show yet what was asked for
    assert world.loop.waits == {"b": NO_ROOM, "c": NO_ROOM}
    assert world.run(NOW + AGAIN_S + 1) == {"b": (None, 4096), "c": (None, 1808)}


def test_a_host_without_memory_to_spare_gives_cores_only():
    assert World(has("a", 1, 1000), spare=-300).run() == {"a": (4, None)}


def test_nothing_is_ordered_where_somebody_else_changes_sizes():
    world = World(has("a", 1, 1000), has("b", 1, 4096), held=("a",))
    assert world.run() == {"b": (4, None)}
    assert world.loop.waits == {"a": FOREIGN}


def test_nothing_is_ordered_while_an_operators_stop_holds_or_for_who_did_not_opt_out():
    assert World(has("a", 1, 1000), levels=Levels({"cloud": Mode.OBSERVE}, Mode.ADVISE, {"project:p1": Mode.OBSERVE})).run() == {}
    assert World(has("a", 1, 1000, project="p2")).run() == {}


def test_what_was_asked_is_asked_again_after_a_while_and_at_once_for_who_opts_out_now():
    world = World(has("a", 1, 4096))
    assert world.run() == {"a": (4, None)}
    assert world.run(NOW + 10) == {}
    assert world.loop.run_once(NOW + 10, "p1") == 1
    assert world.loop.run_once(NOW + 10, "p2") == 0
    assert world.run(NOW + 10 + AGAIN_S + 1) == {"a": (4, None)}

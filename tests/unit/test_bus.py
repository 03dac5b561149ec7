"""The bus: readers see everything in order, whoever falls behind is told so, and nobody who tells ever waits or fails."""

import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshape_controller.bus import EVERYBODY, Behind, Bus

pytestmark = pytest.mark.unit


def numbers(news):
    return [json.loads(n.data)["n"] for n in news]


def test_a_reader_sees_what_is_told_after_he_came_in_order():
    bus = Bus(8)
    bus.publish("plan", "", {"n": 0})
    watch = bus.watch(lambda: None)
    for n in (1, 2, 3):
        bus.publish("plan", "", {"n": n})
    assert numbers(watch.read()) == [1, 2, 3]
    assert watch.read() == []


def test_a_reader_goes_on_after_what_he_saw_last():
    bus = Bus(8)
    for n in range(5):
        bus.publish("plan", "", {"n": n})
    assert numbers(bus.watch(lambda: None, 2).read()) == [3, 4]


def test_whoever_falls_behind_is_told_so_and_then_stands_at_the_newest():
    bus = Bus(4)
    watch = bus.watch(lambda: None)
    for n in range(5):
        bus.publish("plan", "", {"n": n})
    with pytest.raises(Behind):
        watch.read()
    bus.publish("plan", "", {"n": 5})
    assert numbers(watch.read()) == [5]


def test_where_something_was_missed_every_reader_is_told_so_once_and_goes_on():
    bus, woken = Bus(4), []
    watch, late = bus.watch(lambda: woken.append(1)), bus.watch(lambda: None, -1)
    bus.missed()
    assert woken == [1]
    for reader in (watch, late):
        with pytest.raises(Behind):
            reader.read()
    bus.publish("plan", "", {"n": 1})
    assert numbers(watch.read()) == numbers(late.read()) == numbers(bus.watch(lambda: None, 0).read()) == [1]


@given(size=st.integers(1, 9), steps=st.lists(st.tuples(st.integers(0, 12), st.integers(1, 5)), max_size=30))
def test_no_reader_misses_anything_unknowingly(size, steps):
    """Whatever is told between two looks: either all of it is read, in order, or he is told that he is behind."""
    bus, told = Bus(size), 0
    watch = bus.watch(lambda: None)
    expected = 0
    for count, most in steps:
        for _ in range(count):
            bus.publish("plan", "", {"n": told})
            told += 1
        if told - expected > size:
            with pytest.raises(Behind):
                watch.read(most)
            expected = told
        else:
            seen = numbers(watch.read(most))
            assert seen == list(range(expected, min(told, expected + most)))
            expected += len(seen)


def test_a_reader_is_woken_once_until_he_reads():
    bus, woken = Bus(8), []
    watch = bus.watch(lambda: woken.append(1))
    for n in range(3):
        bus.publish("plan", "", {"n": n})
    assert len(woken) == 1
    watch.read()
    bus.publish("plan", "", {"n": 3})
    assert len(woken) == 2


def test_operators_are_told_more_than_the_project():
    bus = Bus(8)
    watch = bus.watch(lambda: None)
    bus.publish("migration", "p1", {"server": "vm-1"}, {"target": "node02"})
    (news,) = watch.read()
    assert json.loads(news.data) == {"project": "p1", "server": "vm-1"}
    assert json.loads(news.full) == {"project": "p1", "server": "vm-1", "target": "node02"}


def test_what_cannot_be_told_stops_nobody():
    bus = Bus(8)
    watch = bus.watch(lambda: None)
    bus.publish("plan", "", {"n": object()})
    bus.publish("plan", EVERYBODY, {"n": float("nan")})
    (news,) = watch.read()
    assert json.loads(news.data) == {"project": "", "n": None}


def test_a_reader_whose_loop_has_ended_is_forgotten():
    bus = Bus(8)

    def gone():
        raise RuntimeError("Event loop is closed")

    bus.watch(gone)
    bus.publish("plan", "", {"n": 0})
    bus.publish("plan", "", {"n": 1})
    watch = bus.watch(lambda: None)
    watch.close()
    assert not bus._watches


def test_many_threads_lose_nothing():
    bus = Bus(10_000)
    watch = bus.watch(lambda: None)

    def tell(first):
        for n in range(first, first + 500):
            bus.publish("plan", "", {"n": n})

    threads = [threading.Thread(target=tell, args=(500 * k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    seen = []
    while news := watch.read():
        seen += numbers(news)
    assert sorted(seen) == list(range(4000))

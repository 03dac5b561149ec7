"""What Nova's scheduler knows of headroom: never late, never raising, never stale, never unfair to the unknown."""

import json
import math
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshape_weigher.headroom import Headroom, Source, read, weights

pytestmark = pytest.mark.functional

URL = Source("http://controller/v1/headroom", limit_s=5.0)
NOW = 1_700_000_000.0


def told(at: float = NOW, **hosts: object) -> bytes:
    return json.dumps({"at": at, "hosts": hosts}).encode()


class Clock:
    at = 0.0

    def __call__(self) -> float:
        return self.at


def known(get, said=None, wall=lambda: NOW, clock=None) -> Headroom:
    return Headroom(get, (said if said is not None else []).append, wall, clock or Clock())


def test_a_host_has_its_share_and_an_unknown_one_the_mean_of_the_others():
    assert weights(["a", "b", "c"], {"a": 0.2, "b": 0.8}) == [0.2, 0.8, 0.5]
    assert weights(["a", "b"], {}) == [0.0, 0.0]
    assert weights(["a", "b"], {"z": 0.9}) == [0.0, 0.0], "nothing is known of those that are weighed"
    assert weights([], {"a": 1.0}) == []


@given(st.lists(st.sampled_from("abcdef")), st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1)))
def test_weights_are_shares_one_for_each_host(hosts, free):
    found = weights(hosts, free)
    assert len(found) == len(hosts)
    assert all(-1e-12 <= w <= 1 + 1e-12 for w in found)


def test_what_is_no_share_is_left_out_and_another_shape_refused():
    body = b'{"at": 5, "hosts": {"a": 0.5, "b": NaN, "c": 1.5, "d": "x", "e": null, "f": true, "g": -1, "h": 1}}'
    assert read(body) == (5.0, {"a": 0.5, "h": 1.0})
    for wrong in (b"[]", b"{}", b'{"at": "now", "hosts": {}}', b'{"at": 1, "hosts": []}'):
        with pytest.raises(ValueError, match="no answer"):
            read(wrong)


def test_it_is_read_once_and_again_after_a_while():
    clock, asked = Clock(), []

    def get(source):
        asked.append(source)
        return told(a=0.1 * len(asked))

    headroom = known(get, clock=clock)
    assert headroom.now(URL) == {"a": 0.1}
    clock.at = 29.9
    assert headroom.now(URL) == {"a": 0.1}
    clock.at = 30.0
    headroom.now(URL)
    waited(lambda: headroom.now(URL) == {"a": 0.2})
    assert len(asked) == 2


def test_no_source_is_never_asked():
    assert known(lambda source: pytest.fail("asked")).now(Source("")) == {}


@pytest.mark.parametrize("error", [OSError("no route"), ValueError("no JSON"), KeyError("x"), RuntimeError("anything")])
def test_a_source_that_fails_weighs_nothing_is_told_once_and_left_alone_for_a_while(error):
    clock, said, asked = Clock(), [], []

    def get(source):
        asked.append(1)
        raise error

    headroom = known(get, said, clock=clock)
    for clock.at in (0.0, 1.0, 29.0, 31.0):
        assert headroom.now(URL) == {}
    waited(lambda: len(asked) == 2)
    assert len(said) == 1
    assert "cannot be read from http://controller" in said[0]


def test_what_was_known_is_kept_over_a_failure_until_it_is_stale():
    clock, wall = Clock(), Clock()
    answers = [told(at=0.0, a=0.5)]
    headroom = known(lambda source: answers.pop(), wall=wall, clock=clock)
    assert headroom.now(URL) == {"a": 0.5}
    for clock.at in (100.0, 899.0):
        wall.at = clock.at
        assert headroom.now(URL) == {"a": 0.5}
    wall.at = clock.at = 901.0
    assert headroom.now(URL) == {}


def test_a_clock_that_is_far_ahead_is_not_believed_either():
    said = []
    headroom = known(lambda source: told(at=NOW + 5000, a=0.5), said)
    assert headroom.now(URL) == {}
    assert "are clocks right?" in said[-1]


def test_a_source_that_hangs_holds_a_boot_up_once_for_the_time_limit_and_no_second_thread_joins_it():
    release, asked = threading.Event(), []

    def hang(source):
        asked.append(1)
        release.wait(30)
        return told(a=0.5)

    clock = Clock()
    headroom = known(hang, clock=clock)
    hasty = Source(URL.url, limit_s=0.05)
    began = time.monotonic()
    assert headroom.now(hasty) == {}
    for clock.at in (100.0, 200.0, 300.0):
        assert headroom.now(hasty) == {}
    assert time.monotonic() - began < 5, "four boots, of which one waited"
    assert asked == [1]
    release.set()
    waited(lambda: headroom.now(hasty) == {"a": 0.5})


def test_many_boots_at_once_ask_once():
    asked = []

    def get(source):
        asked.append(1)
        time.sleep(0.05)
        return told(a=0.5)

    headroom = known(get)
    boots = [threading.Thread(target=headroom.now, args=(URL,)) for _ in range(20)]
    for boot in boots:
        boot.start()
    for boot in boots:
        boot.join()
    assert len(asked) == 1
    assert not math.isnan(headroom.now(URL)["a"])


def waited(true, seconds: float = 5.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.005)

"""A host's forecast and the sum of its servers' agree afterwards, and nothing else is spoilt."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshape_controller.forecast.reconcile import expected, reconcile, variance
from foreshape_controller.model.forecast import LEVELS, Forecast

pytestmark = pytest.mark.unit

Q = len(LEVELS)


def fans(low, high):
    """[n] bounds as [n, levels]: evenly spread between them."""
    low, high = np.asarray(low, np.float32), np.asarray(high, np.float32)
    return low[:, None] + (high - low)[:, None] * np.linspace(0, 1, Q, dtype=np.float32)


def forecast(fan, peak=None, names="s"):
    """The same fan in every step and half-hour; peaks twice as high unless given."""
    fan = np.asarray(fan, np.float32)
    n = len(fan)
    top = 2 * fan if peak is None else np.asarray(peak, np.float32)
    return Forecast(
        resource="cpu",
        series=tuple(f"{names}{i}" for i in range(n)),
        origin=0,
        steps=np.repeat(fan[:, None], 6, axis=1),
        half_hours=np.repeat(fan[:, None], 48, axis=1),
        peak30m=top,
        peak24h=top * 1.5,
        source=("baseline",) * n,
        reason=("",) * n,
        age_s=np.zeros(n),
    )


amounts = st.floats(0, 1000, width=32)


@st.composite
def clouds(draw):
    """Hosts and servers whose fans are any non-decreasing, non-negative numbers; some hosts may have nobody."""
    hosts, servers = draw(st.integers(1, 4)), draw(st.integers(1, 8))
    rows = [sorted(draw(st.lists(amounts, min_size=Q, max_size=Q))) for _ in range(hosts + servers)]
    host_of = draw(st.lists(st.integers(0, hosts - 1), min_size=servers, max_size=servers))
    return forecast(rows[:hosts], names="host:"), forecast(rows[hosts:]), np.array(host_of)


def sums(parts, host_of, hosts):
    return np.array([expected(parts)[host_of == h].sum(axis=0) for h in range(hosts)])


@given(clouds())
@settings(max_examples=60, deadline=None)
def test_afterwards_servers_add_up_to_their_host(cloud):
    hosts, parts, host_of = cloud
    agreed = reconcile(hosts, parts, host_of)
    has_parts = np.isin(np.arange(len(hosts.series)), host_of)
    for head in ("steps", "half_hours"):
        whole, total = expected(getattr(agreed.hosts, head)), sums(getattr(agreed.parts, head), host_of, len(hosts.series))
        np.testing.assert_allclose(whole[has_parts], total[has_parts], rtol=1e-4, atol=1e-3)
        np.testing.assert_array_equal(getattr(agreed.hosts, head)[~has_parts], getattr(hosts, head)[~has_parts])


@given(clouds())
@settings(max_examples=60, deadline=None)
def test_no_quantile_crosses_falls_below_nothing_or_tops_its_windows_peak(cloud):
    hosts, parts, host_of = cloud
    agreed = reconcile(hosts, parts, host_of)
    for f in (agreed.hosts, agreed.parts):
        for head in (f.steps, f.half_hours, f.peak30m, f.peak24h):
            assert np.isfinite(head).all()
            assert head.min() >= 0
            assert (np.diff(head, axis=-1) >= -1e-4 * np.maximum(1, head[..., :-1])).all()
        assert (f.peak30m >= f.steps.max(axis=1) * (1 - 1e-6)).all()
        assert (f.peak24h >= f.peak30m).all()


@given(clouds(), st.floats(0.01, 1000))
@settings(max_examples=40, deadline=None)
def test_other_units_give_the_same_forecast_in_other_units(cloud, factor):
    hosts, parts, host_of = cloud

    def scaled(f):
        return Forecast(**{**vars(f), **{h: getattr(f, h) * np.float32(factor) for h in ("steps", "half_hours", "peak30m", "peak24h")}})

    one, other = reconcile(hosts, parts, host_of), reconcile(scaled(hosts), scaled(parts), host_of)
    for head in ("steps", "half_hours", "peak30m", "peak24h"):
        for a, b in ((one.hosts, other.hosts), (one.parts, other.parts)):
            np.testing.assert_allclose(getattr(a, head) * factor, getattr(b, head), rtol=1e-3, atol=1e-3 * factor)


@given(st.lists(st.tuples(amounts, amounts), min_size=1, max_size=8))
@settings(max_examples=40, deadline=None)
def test_what_agrees_already_stays(bounds):
    """Even fans: the host's mean is the sum of the middles."""
    low, high = np.sort(np.array(bounds, np.float32), axis=1).T
    parts = forecast(fans(low, high))
    hosts = forecast(fans([low.sum()], [high.sum()]), names="host:")
    agreed = reconcile(hosts, parts, np.zeros(len(low), int))
    scale = max(1.0, float(high.sum()))
    np.testing.assert_allclose(agreed.hosts.steps, hosts.steps, atol=1e-4 * scale)
    np.testing.assert_allclose(agreed.parts.half_hours, parts.half_hours, atol=1e-4 * scale)
    assert agreed.moved < 1e-4


def test_the_surer_one_moves_less():
    """Servers expect 10 and 10, their host 26. Spreads 2 and 4 against 4: variances as 1, 4 and 4, so the 6 missing are shared as
    6·1/9, 6·4/9 upwards and 6·4/9 downwards."""
    parts = forecast(fans([9.0, 8.0], [11.0, 12.0]))
    hosts = forecast(fans([24.0], [28.0]), names="host:")
    agreed = reconcile(hosts, parts, np.zeros(2, int))
    means = expected(agreed.parts.steps)[:, 0]
    np.testing.assert_allclose([*means, expected(agreed.hosts.steps)[0, 0]], [10 + 6 / 9, 10 + 24 / 9, 26 - 24 / 9], rtol=2e-3)
    np.testing.assert_allclose(np.ptp(agreed.parts.steps, axis=-1)[:, 0], [2, 4], rtol=1e-5), "a shift keeps the spread"


def test_a_server_can_lose_all_it_was_expected_to_want_and_no_more():
    """An unsure server of 1 and a sure one of 20, a sure host of 15: the unsure gives what it has, the sure and the host the rest."""
    parts = forecast(np.array([[0] * 11 + [0, 100], [20] * 13], np.float32))
    hosts = forecast(np.full((1, Q), 15, np.float32), names="host:")
    agreed = reconcile(hosts, parts, np.zeros(2, int))
    means = expected(agreed.parts.steps)[:, 0]
    assert means[0] == 0
    assert 15 < means[1] < 20
    np.testing.assert_allclose(means[1], expected(agreed.hosts.steps)[0, 0], rtol=1e-5)


def test_a_hosts_peak_stays_direct_between_its_bounds():
    """Two servers peak at 2 to 4 each. A host's peak of 5 stays; one of 20 is cut to 4 + 4; one of 1 is lifted to its largest server's."""
    low = fans([1.0, 1.0], [1.0, 1.0])
    parts = forecast(np.repeat(low, 3, axis=0), peak=np.repeat(fans([2.0, 2.0], [4.0, 4.0]), 3, axis=0))
    hosts = forecast(np.full((3, Q), 2.0), peak=np.stack([np.full(Q, v, np.float32) for v in (5.0, 20.0, 1.0)]), names="host:")
    agreed = reconcile(hosts, parts, np.array([0, 1, 2, 0, 1, 2]))
    np.testing.assert_allclose(agreed.hosts.peak30m[0], 5.0)
    np.testing.assert_allclose(agreed.hosts.peak30m[1], 8.0)
    np.testing.assert_allclose(agreed.hosts.peak30m[2], fans([2.0], [4.0])[0])
    np.testing.assert_array_equal(agreed.parts.peak30m, parts.peak30m)


def test_a_fan_s_mean_and_variance_are_those_of_its_distribution():
    """Levels stand for .03, .045, .075, .1 …: an even fan from 0 to 12 has its middle as its mean."""
    even = np.arange(Q, dtype=np.float32)
    assert expected(even) == pytest.approx(6.0)
    constant = np.full(Q, 3.0, np.float32)
    assert (expected(constant), variance(constant)) == (pytest.approx(3.0), pytest.approx(0.0))
    coin = np.array([0.0] * 6 + [0.5] + [1.0] * 6, np.float32)  # 45 % below, 10 % half-way, 45 % above
    assert variance(coin) == pytest.approx(0.9 * 0.25)

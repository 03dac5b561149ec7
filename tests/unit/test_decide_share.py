"""Many hosts' capacity among their servers at once: floors, fairness, and who gives first. Each property on drawn clouds."""

from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshape_controller.decide.share import LEAST_WEIGHT, Claims, Shares, share_hosts
from long_support import HOSTS, HOSTS_LONG

pytestmark = pytest.mark.unit

NEAR = 1e-6
long = settings(max_examples=HOSTS_LONG, deadline=None)


def claims(*rows, **columns):
    """One row per server: floor, used, target; the rest by name, or what most servers have."""
    floor, used, target = (np.array([row[k] for row in rows], float) for k in range(3))
    n = len(rows)
    usual = {
        "host": np.zeros(n, np.intp),
        "allocation": target,
        "weight": np.ones(n),
        "shadow": np.zeros(n, bool),
        "order": np.full(n, 2),
        "spare": np.zeros(n),
    }
    return Claims(floor=floor, used=used, target=target, **{k: np.asarray(columns.get(k, v)) for k, v in usual.items()})


def granted(capacity, *rows, **columns):
    return share_hosts(np.array([float(capacity)]), claims(*rows, **columns)).granted.round(9).tolist()


# -- examples with their arithmetic -----------------------------------------------------------------------------------


def test_where_all_targets_fit_everybody_has_its_target():
    assert granted(10, (1, 2, 4), (1, 2, 6)) == [4, 6]


def test_use_is_met_before_headroom():
    assert granted(8, (1, 4, 6), (1, 2, 6)) == [5, 3], "4 + 2 are used; 2 are left for headrooms of 2 and 4, one each"


def test_weights_share_the_headroom():
    assert granted(9, (0, 0, 9), (0, 0, 9), weight=[2.0, 1.0]) == [6, 3]


def test_what_a_satisfied_server_leaves_goes_to_the_others():
    assert granted(9, (0, 0, 1), (0, 0, 10), (0, 0, 10)) == [1, 4, 4]


def test_a_heavy_server_is_full_before_a_small_light_one():
    assert granted(5.5, (0, 0, 4), (0, 0, 2), weight=[4.0, 1.0]) == [4, 1.5]


def test_the_higher_tier_keeps_its_use_and_the_lower_one_falls_to_its_floor_and_no_further():
    assert granted(2, (0.5, 1.8, 2), (0.2, 2, 2), order=[3, 1]) == [1.8, 0.2]


def test_what_a_higher_tier_does_not_use_is_not_kept_from_a_lower_one_that_does():
    assert granted(3, (0.5, 0.5, 2), (0.5, 2, 2), order=[3, 1]) == [1, 2], "0.5 + 2 used; half a core is left, the first one's headroom"


def test_shadow_servers_are_squeezed_first():
    assert granted(5, (1, 3, 4), (0.5, 3, 3), shadow=[False, True], order=[1, 3]) == [4, 1]


def test_then_a_segment_gives_what_it_is_not_expected_to_need():
    assert granted(7, (0, 2, 4), (0, 2, 4), spare=[2.0, 0.0]) == [3, 4], (
        "the second has its headroom of 2; 1 of the first's 2 spare is left"
    )


def test_floors_are_given_even_where_they_do_not_fit_and_the_host_is_told_of():
    found = share_hosts(np.array([3.0]), claims((2, 2, 4), (2, 2, 4)))
    assert found.granted.tolist() == [2, 2]
    assert found.floors_exceed.tolist() == [True]
    assert found.unmet.tolist() == [2, 2]


def test_each_host_is_shared_for_itself():
    found = share_hosts(np.array([1.0, 4.0, 9.0]), claims((0, 0, 3), (0, 0, 3), (0, 0, 3), host=[0, 1, 1]))
    assert found.granted.tolist() == [1, 2, 2]
    assert found.unmet.tolist() == [2, 1, 1]


def test_a_host_without_servers_and_a_cloud_without_any_are_no_trouble():
    assert share_hosts(np.zeros(3), claims()).floors_exceed.tolist() == [False] * 3


def test_a_weight_that_makes_no_sense_comes_last_and_stops_nobody():
    found = granted(4, (0, 0, 4), (0, 0, 4), (0, 0, 4), weight=[1.0, -2.0, float("nan")])
    assert found[0] == pytest.approx(4 / (1 + 2 * LEAST_WEIGHT))
    assert sum(found) == pytest.approx(4)


def test_amounts_that_are_no_numbers_ask_for_nothing():
    assert granted(4, (float("nan"), 1, 9), (1, float("nan"), float("nan"))) == [3, 1]


def test_an_endless_target_takes_what_is_left_and_costs_the_others_no_digit():
    found = share_hosts(np.array([4.0, 0.3]), claims((0, 1, float("inf")), (0, 1, 2), (0.1, 0.1, 0.2), (0.1, 0.1, 0.2), host=[0, 0, 1, 1]))
    assert found.granted.tolist() == pytest.approx([2, 2, 0.15, 0.15], abs=1e-12)


# -- properties -------------------------------------------------------------------------------------------------------


@dataclass
class Cloud:
    capacity: np.ndarray
    claims: Claims

    @property
    def shares(self) -> Shares:
        return share_hosts(self.capacity, self.claims)

    def with_(self, **columns) -> "Cloud":
        return Cloud(self.capacity, replace(self.claims, **columns))

    def sum(self, values) -> np.ndarray:
        return np.bincount(self.claims.host, values, self.capacity.size)


def drawn(seed, servers):
    """Many hosts with a few servers or none; floor ≤ used ≤ target, spare within the headroom; capacities from too small to plenty.

    Half of the clouds have amounts of whole cores, so that many are equal or zero. Drawn from a seed: ten times as quick as
    drawing each number, and the number of servers still shrinks.
    """
    rng = np.random.default_rng(seed)
    step = 1.0 if seed % 2 else 0.001
    floor, use, head, spare, allocation = np.round(rng.uniform(0, 4, (5, servers)) / step) * step
    used, shadow = floor + use, rng.random(servers) < 0.25
    weight, order, host = rng.integers(1, 80, servers) / 10, rng.integers(1, 4, servers), rng.integers(0, HOSTS, servers)
    part = Claims(host.astype(np.intp), floor, allocation, used + head, weight, shadow, order, used, np.minimum(spare, head))
    return Cloud(np.round(rng.uniform(0, 1, HOSTS) * 10 * max(1, servers / HOSTS) ** rng.uniform(0, 1), 3), part)


def clouds():
    return st.builds(drawn, st.integers(0, 2**32), st.integers(1, 5 * HOSTS))


def firsts(cloud):
    """One server of each host that has any: hosts are shared each for itself, so that all these can be changed at once."""
    return np.unique(cloud.claims.host, return_index=True)[1]


@given(clouds())
@long
def test_nobody_is_below_its_floor_or_above_its_target(cloud):
    got, c = cloud.shares.granted, cloud.claims
    assert (got >= c.floor - 1e-12).all()
    assert (got <= c.target + NEAR).all()


@given(clouds())
@long
def test_the_sum_fits_where_the_floors_do_and_is_the_floors_where_they_do_not(cloud):
    found, c = cloud.shares, cloud.claims
    total, floors = cloud.sum(found.granted), cloud.sum(c.floor)
    assert (total <= np.maximum(cloud.capacity, floors) + NEAR).all()
    assert (found.floors_exceed == (floors > cloud.capacity + 1e-9)).all()


@given(clouds())
@long
def test_nothing_is_left_while_somebody_is_short(cloud):
    found = cloud.shares
    short = cloud.sum(found.unmet) > NEAR
    assert (cloud.sum(found.granted)[short] >= cloud.capacity[short] - NEAR).all()


@given(clouds(), st.floats(1, 20))
@long
def test_more_weight_never_gets_less(cloud, factor):
    some, weight = firsts(cloud), cloud.claims.weight.copy()
    weight[some] *= factor
    assert (cloud.with_(weight=weight).shares.granted[some] >= cloud.shares.granted[some] - NEAR).all()


@given(clouds(), st.randoms(use_true_random=False))
@long
def test_the_order_of_servers_does_not_matter(cloud, random):
    at = list(range(cloud.claims.host.size))
    random.shuffle(at)
    shuffled = Cloud(cloud.capacity, Claims(**{f.name: getattr(cloud.claims, f.name)[at] for f in fields(Claims)}))
    assert shuffled.shares.granted == pytest.approx(cloud.shares.granted[at], abs=NEAR)


@given(clouds())
@long
def test_what_was_granted_is_granted_again(cloud):
    got = cloud.shares.granted
    again = cloud.with_(target=got, allocation=got, used=np.minimum(cloud.claims.used, got), spare=np.zeros(got.size))
    assert again.shares.granted == pytest.approx(got, abs=NEAR)


@given(clouds(), st.sampled_from(["floor", "used", "target"]), st.floats(0, 3))
@long
def test_a_change_of_one_claim_moves_all_others_on_its_host_together_by_no_more(cloud, column, more):
    c, some = cloud.claims, firsts(cloud)
    limit = {"floor": c.used, "used": c.target - c.spare, "target": np.full(c.host.size, np.inf)}[column]
    changed = getattr(c, column).copy()
    changed[some] = np.minimum(changed[some] + more, limit[some])
    moved = np.abs(cloud.with_(**{column: changed}).shares.granted - cloud.shares.granted)
    others, change = cloud.sum(moved) - np.bincount(c.host[some], moved[some], HOSTS), changed - getattr(c, column)
    assert (others <= cloud.sum(change) + NEAR).all()


@given(clouds())
@long
def test_nobody_loses_what_it_uses_before_all_of_lower_orders_are_at_their_floors(cloud):
    got, c = cloud.shares.granted, cloud.claims
    for k in np.flatnonzero((got < c.used - NEAR) & ~c.shadow):
        lower = (c.host == c.host[k]) & ((c.order < c.order[k]) | c.shadow)
        assert got[lower] == pytest.approx(c.floor[lower], abs=NEAR)


@given(clouds())
@long
def test_before_headroom_is_cut_segments_give_what_they_can_spare_and_shadows_everything(cloud):
    got, c = cloud.shares.granted, cloud.claims
    visible = ~c.shadow
    for k in np.flatnonzero((got < c.target - NEAR) & visible):
        here = c.host == c.host[k]
        assert got[here & c.shadow] == pytest.approx(c.floor[here & c.shadow], abs=NEAR)
        if got[k] < c.target[k] - c.spare[k] - NEAR:
            assert (got[here & visible] <= (c.target - c.spare)[here & visible] + NEAR).all()


@given(clouds())
@long
def test_the_others_hosts_do_not_matter(cloud):
    c, h = cloud.claims, cloud.claims.host[0]
    mine = c.host == h
    alone = Claims(**({f.name: getattr(c, f.name)[mine] for f in fields(Claims)} | {"host": np.zeros(mine.sum(), np.intp)}))
    assert share_hosts(cloud.capacity[h : h + 1], alone).granted == pytest.approx(cloud.shares.granted[mine], abs=NEAR)


@given(clouds())
@long
def test_a_slow_reading_of_the_rule_gives_the_same(cloud):
    assert cloud.shares.granted == pytest.approx(slowly(cloud), abs=1e-5)


def slowly(cloud):
    """The rule word for word: layer by layer, the level found by bisection."""
    c, got = cloud.claims, cloud.claims.floor.copy()
    for host, capacity in enumerate(cloud.capacity):
        mine = [i for i in range(c.host.size) if c.host[i] == host]
        left = capacity - sum(got[i] for i in mine)
        for layer in layers(c, mine):
            left -= pour(max(0.0, left), layer, c.weight, got)
    return got


def layers(c, mine):
    """Needs by server of each layer, the first served first."""
    seen = [i for i in mine if not c.shadow[i]]
    for order in sorted({c.order[i] for i in mine}, reverse=True):
        yield {i: c.used[i] - c.floor[i] for i in seen if c.order[i] == order}
    yield {i: c.target[i] - c.used[i] - c.spare[i] for i in seen}
    yield {i: c.spare[i] for i in seen}
    yield {i: c.target[i] - c.floor[i] for i in mine if c.shadow[i]}


def pour(has, needs, weight, got):
    low, high = 0.0, 1e6
    if sum(needs.values()) > has:
        for _ in range(80):
            level = (low + high) / 2
            low, high = (low, level) if sum(min(n, level * weight[i]) for i, n in needs.items()) > has else (level, high)
    given = {i: min(n, high * weight[i]) for i, n in needs.items()}
    for i, amount in given.items():
        got[i] += amount
    return sum(given.values())

"""A trace decided again: by the product's own plan, from the past alone, on hosts that may be short."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trace_support as made
from foreshape_controller.decide.tiers import BUILT_IN, load_tiers
from foreshape_controller.errors import ConfigError, TraceError
from foreshape_controller.forecast.reactive import Reactive
from foreshape_controller.model.forecast import Forecast
from foreshape_controller.model.history import BINS_PER_DAY, History
from foreshape_controller.replay import findings as findings_module
from foreshape_controller.replay.engine import Replayed, Setup, per_bin, replay
from foreshape_controller.replay.findings import find, held_back
from foreshape_controller.replay.stage import Hosts
from trace_support import START, STEP

pytestmark = pytest.mark.unit

BEGIN = START + BINS_PER_DAY * STEP


def after_a_day(*rows: Sequence[float], low: float = 0.5, resource: str = "cpu", sold: float = 4.0) -> History:
    """Each row after a day at ``low``."""
    return made.history([[low] * BINS_PER_DAY + list(row) for row in rows], resource, sold)


def run(history: History, **setup: object) -> Replayed:
    """From the end of the first day on, without warm-up; the last half-hour stands for the next."""
    words = {"begin": BEGIN, "end": history.until, "warm_up_s": 0} | setup
    return replay({history.resource: history}, Reactive(), Setup(**words))  # type: ignore[arg-type]


def test_what_a_steady_server_does_not_use_is_given_back():
    """Half a core, of four sold: five plans of a bin take a half each, so that one bin is enough. Then it is at its cap: 20 % more."""
    given_ = run(after_a_day([0.5] * 12)).tracks["cpu"].given[0]
    assert given_.tolist() == pytest.approx([0.5] + [0.6] * 11)


def test_a_jump_is_missed_by_one_bin_and_met_with_a_margin_in_the_next():
    """Nobody foresees it: bin 3 wants 2.0 of 0.6. Then it has 2.0 and 20 %, for as long as the hold time."""
    track = run(after_a_day([0.5] * 3 + [2.0] * 3 + [0.5] * 10)).tracks["cpu"]
    assert track.given[0, :4].tolist() == pytest.approx([0.5] + [0.6] * 3)
    assert track.given[0, 4:].tolist() == pytest.approx([2.4] * 12)


def test_memory_goes_down_by_the_steps_of_a_bin_s_plans():
    """5 % a plan, five plans a bin: 0.95 to the 5th is 0.774; in MiB, down to the balloon's granule of 16."""
    given_ = run(after_a_day([500.0] * 6, low=500.0, resource="memory", sold=4096.0)).tracks["memory"].given[0]
    ratio = given_[1:] / given_[:-1]
    assert given_[0] == pytest.approx(4096 * 0.95**5, abs=16)
    assert (ratio[:4] > 0.77).all(), "never more than a bin's steps"


def test_shares_of_steps_are_compounded_only_as_far_as_steps_fit():
    text = "tiers: {standard: {memory: {shrink_step_share: 0.05, step_s: 150}, cpu: {shrink_step_share: 0.5, step_s: 300}}}"
    tier = per_bin(load_tiers(text)).tiers["standard"]
    assert tier.memory.shrink_step_share == pytest.approx(1 - 0.95**2), "two steps of 150 s"
    assert tier.cpu.shrink_step_share == pytest.approx(0.5), "one of 300 s"


class Alarmist(Reactive):
    """Its first forecast expects 3 cores; the others repeat what was."""

    def __init__(self) -> None:
        self._asked = 0

    def predict(self, history: History, origin: int) -> Forecast:
        said = super().predict(history, origin)
        self._asked += 1
        wrong = np.full_like(said.peak30m, 3.0)
        return said if self._asked > 1 else replace(said, peak30m=wrong, steps=np.full_like(said.steps, 3.0))


def test_growth_ahead_that_nobody_needed_is_taken_back_before_the_hold_time_is_over():
    """Wished in bins 0 to 5, for 12 bins each; a quarter less each 3 bins from then on: 3.0, and all gone 24 bins after bin 5, not 36."""
    history = after_a_day([0.5] * 60)
    setup = Setup(BEGIN, history.until, warm_up_s=0)
    had = replay({"cpu": history}, Alarmist(), setup).tracks["cpu"].given[0]
    assert (had[:16] >= 3.0).all()
    assert had[31] < 1.0
    assert np.flatnonzero(np.diff(had) < 0).size > 1, "in steps"


def test_a_gap_changes_nothing():
    track = run(after_a_day([0.5] * 4 + [np.nan] * 4 + [3.0])).tracks["cpu"]
    assert track.given[0, 4:].tolist() == pytest.approx([0.6] * 5), "it was not heard of, and 3.0 is met only after it"


def test_a_server_has_what_it_was_sold_until_it_is_there():
    early, late = [0.5] * 30, [np.nan] * 20 + [0.5] * 10
    history = made.history([[0.5] * BINS_PER_DAY + early, [np.nan] * BINS_PER_DAY + late])
    assert run(history).tracks["cpu"].given[1, :20].tolist() == [4.0] * 20


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), at=st.integers(1, 29))
def test_what_comes_later_changes_nothing_before(seed, at):
    """Other data from bin ``at`` on: every allocation up to and including that bin is the same."""
    rng = np.random.default_rng(seed)
    rows = rng.gamma(2, 0.4, (2, BINS_PER_DAY + 30)).astype(np.float32)
    other = rows.copy()
    other[:, BINS_PER_DAY + at :] = rng.gamma(2, 1.5, (2, 30 - at))
    first, second = (run(made.history(r.tolist())).tracks["cpu"].given for r in (rows, other))
    assert np.array_equal(first[:, : at + 1], second[:, : at + 1])


# -- hosts ------------------------------------------------------------------------------------------------------------


def test_on_a_short_host_growth_is_shared_and_what_is_missing_is_told():
    """Two servers want 2.4 each, their host has 3.6 cores less nothing: together they never have more."""
    jump = [0.5] * 3 + [2.0] * 9
    history = after_a_day(jump, jump)
    free, short = run(history), run(history, hosts=Hosts(1, 3, 1e6))
    assert free.tracks["cpu"].given.sum(axis=0).max() == pytest.approx(4.8)
    assert not free.tracks["cpu"].unmet.any()
    track = short.tracks["cpu"]
    assert track.given.sum(axis=0)[1:].max() <= 3.0 + 1e-5
    assert track.unmet.sum() > 0
    found = held_back(short)
    assert {h.name for h in found} <= {"vm0", "vm1"}
    assert all(h.host == "host1" and h.bins > 0 and h.missing > 0 and h.wanted_more > 0 for h in found)


def test_on_a_short_host_the_lower_tier_gives_and_the_higher_one_is_served():
    """Both want 2.0 and more of 3 cores: the guaranteed one gets it, the economy one what is left."""
    jump = [0.5] * 3 + [2.0] * 12
    tiers = load_tiers("assign: [{tier: guaranteed, server: vm0}, {tier: economy, server: vm1}]\n")
    found = run(after_a_day(jump, jump), hosts=Hosts(1, 3, 1e6), tiers=tiers)
    high, low = found.tracks["cpu"].given[:, -6:]
    assert (high >= 2.0).all()
    assert (high + low <= 3.0 + 1e-5).all()
    assert {h.name: h.tier for h in held_back(found)}["vm1"] == "economy"
    missing = found.tracks["cpu"].unmet.sum(axis=1)
    assert missing[1] > missing[0]


def test_a_host_that_cannot_hold_the_floors_is_refused_with_what_to_do():
    """Standard promises a tenth: 0.4 of 4 cores, for eight servers 3.2 of 3 cores."""
    with pytest.raises(ConfigError, match=r"host1 .* floors of 3\.2 cores and has 3: give --host-cpus or --hosts more"):
        run(after_a_day(*[[0.1] * 3] * 8, low=0.1), hosts=Hosts(1, 3, 1e6))


def test_servers_are_spread_over_hosts_by_what_was_sold():
    found = run(after_a_day(*[[0.5] * 2] * 4), hosts=Hosts(2, 8, 1e6))
    assert np.bincount(found.host).tolist() == [2, 2]


# -- what cannot be replayed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "said"),
    [
        ((BEGIN, BEGIN), "is not before --to"),
        ((BEGIN, BEGIN + 10**6), "is not inside: choose a part"),
        ((START + 3600, BEGIN), "only 1.0 h of the trace lie before"),
    ],
    ids=["empty", "outside", "no past"],
)
def test_a_window_that_makes_no_sense_is_refused(window, said):
    with pytest.raises(TraceError, match=said):
        run(after_a_day([0.5] * 6), begin=window[0], end=window[1])


# -- findings ---------------------------------------------------------------------------------------------------------


def test_money_is_what_was_not_allocated_at_the_tiers_price():
    """Four cores sold at 2 a core and hour, one bin with 0.5 of them and eleven with 0.6: 2 · (3.5 + 11 · 3.4) / 12."""
    history = after_a_day([0.5] * 12)
    priced = load_tiers("tiers: {standard: {price: {cpu_core: 2}}}")
    found = find({"cpu": history}, run(history, tiers=priced))
    mine, flavor = found.lines[:2]
    assert mine.saved == pytest.approx(2 * (3.5 + 11 * 3.4) / 12)
    assert flavor.saved == 0.0
    assert find({"cpu": history}, run(history, tiers=BUILT_IN)).lines[0].saved is None


def test_a_server_that_is_not_there_saves_nothing():
    """Of 12 bins the last six are a gap: it kept 0.6 of 4 cores, and nobody could have used the rest of it."""
    history = after_a_day([0.5] * 6 + [np.nan] * 6, [0.5] * 12)
    found = find({"cpu": history}, run(history, tiers=load_tiers("tiers: {standard: {price: {cpu_core: 2}}}")))
    assert found.lines[0].saved == pytest.approx(2 * ((3.5 + 5 * 3.4) + (3.5 + 11 * 3.4)) / 12)


def test_where_no_server_is_active_it_says_so():
    """0.1 of 4 cores is 2.5 %."""
    idle, busy = (after_a_day([low] * 12, low=low) for low in (0.1, 0.5))
    assert find({"cpu": idle}, run(idle)).none_active
    assert not find({"cpu": busy}, run(busy)).none_active


def test_rivals_multiply_what_could_be_wanted_and_no_more():
    """The trace once says 9 cores of 4 sold: half of the moving max is 2 then, not 4."""
    history = after_a_day([9.0] + [1.0] * 20)
    found = find({"cpu": history}, run(history))
    assert all(line.row.allocation.max() <= 4.0 for line in found.lines)
    assert findings_module._until(history, found.replayed).max() == 4.0


def test_a_trace_without_memory_is_decided_by_cpu_alone():
    found = run(replace(after_a_day([0.5] * 6), resource="cpu"))
    assert tuple(found.tracks) == ("cpu",)

"""What stands around a decision in ``why``: what was in force, what it is worth, what really came."""

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_support import lived
from foreshape_controller.decide.afterwards import afterwards, window
from foreshape_controller.decide.circumstances import circumstances, learned, learned_of
from foreshape_controller.decide.price import by_rates, change_per_hour, freed_per_hour, per_hour, worth
from foreshape_controller.decide.rates_file import check_rates
from foreshape_controller.decide.tiers import BUILT_IN, load_tiers
from foreshape_controller.decide.why import Around, sentences
from foreshape_controller.model.brakes import Halt
from foreshape_controller.model.cap import Cap
from foreshape_controller.model.mark import Factors
from foreshape_controller.model.moment import read_moment
from foreshape_controller.model.plan import PeakRange
from foreshape_controller.model.reclaim import Reclaim, State
from foreshape_controller.model.tier import Price
from store_support import T0, decision, sizing

pytestmark = pytest.mark.unit

PEAK = PeakRange(median=0.8, wanted=1.2, quantile=0.95, source="baseline", reason="own history", age_s=86400)


def after(need, had, *, choice=(1.0, 1.25), now=1e9, **more):
    came = lived(need, had, **more).pick([0])
    cut = {n: getattr(came, n)[:, 6:] for n in ("mean", "max", "coverage", "censored", "used", "allocated")}
    came = type(came)(**{**{f: getattr(came, f) for f in came.__dataclass_fields__}, **cut, "start": int(T0)})
    return afterwards(sizing("cpu", *choice, peak=more.get("peak_of", PEAK)), came, now)


# -- afterwards -------------------------------------------------------------------------------------------------------


def test_a_growth_that_came_true():
    found = after(1.1, 1.25, now=T0 + 1800)
    assert (found.verdict, found.predicted, found.median, found.over) == ("needed", 1.2, 0.8, True)
    assert found.came == pytest.approx(1.1)
    assert found.sentence == (
        "Afterwards, CPU until 2026-01-05 00:30:00 UTC: 1.20 cores were predicted to be safe, 1.10 cores came; "
        "it had 1.25 cores, and 1.00 cores would not have been enough."
    )


def test_a_growth_that_did_not():
    assert "1.00 cores would have been enough" in after(0.7, 1.25, now=T0 + 1800).sentence


def test_a_hold_that_was_short_says_how_often():
    need = np.array([[0.5] * 6 + [0.5, 1.4, 1.4, 0.5, 0.5, 0.5]])
    found = after(need, 1.0, choice=(1.0, 1.0), now=T0 + 1800)
    assert (found.verdict, found.short_bins, found.bins) == ("short", 2, 6)
    assert "was short in 2 of 6 bins" in found.sentence


def test_a_hold_that_was_enough():
    assert after(0.5, 1.0, choice=(1.0, 1.0), now=T0 + 1800).sentence.endswith("it had 1.00 cores: enough.")


def test_before_the_half_hour_is_over_nothing_is_judged_that_can_still_come():
    found = after(0.7, 1.25, now=T0 + 900)
    assert (found.verdict, found.over) == ("", False)
    assert found.sentence.startswith("So far, CPU until")
    assert after(1.1, 1.25, now=T0 + 900).verdict == "needed"


def test_nothing_measured_is_said():
    assert after(np.nan, np.nan, now=T0 + 1800).sentence.endswith("nothing was measured.")
    assert after(np.nan, np.nan, now=T0).sentence.endswith("nothing is measured yet.")


def test_what_was_measured_in_part_is_said_in_part():
    """Two of six bins are known: that they were enough says little of the others."""
    need = [0.5] * 8 + [np.nan] * 4
    said = after(need, [1.0] * 12, choice=(1.0, 1.0), now=T0 + 1800).sentence
    assert said.endswith("enough (2 of 6 bins were measured).")
    assert "bins were measured" not in after(0.5, 1.0, choice=(1.0, 1.0), now=T0 + 1800).sentence


def test_without_a_forecast_nothing_was_predicted():
    found = after(0.5, 1.0, choice=(1.0, 1.0), now=T0 + 1800, peak_of=None)
    assert found.predicted is None
    assert ": 0.50 cores came; it had 1.00 cores: enough." in found.sentence


@given(st.floats(0, 1e9), st.sampled_from([10, 60, 300]))
def test_a_decision_is_judged_by_whole_bins_after_it(at, step):
    begin, end = window(at, step)
    assert begin % step == 0
    assert 0 <= begin - at < step + 1
    assert end - begin == 6 * step


# -- price ------------------------------------------------------------------------------------------------------------

PRICE = Price(cpu_core=0.02, memory_gib=0.01, burst_cpu_core=0.03)


def test_what_was_sold_is_paid_for_whatever_is_allocated_and_burst_as_long_as_it_is_there():
    assert per_hour(PRICE, "cpu", 4, 1) == pytest.approx(0.08)
    assert per_hour(PRICE, "cpu", 4, 6) == pytest.approx(0.08 + 2 * 0.03)
    assert per_hour(PRICE, "memory", 4096, 1024) == pytest.approx(0.04)


def test_what_is_freed_is_worth_its_price():
    assert freed_per_hour(PRICE, "cpu", 4, 1) == pytest.approx(0.06)
    assert freed_per_hour(PRICE, "cpu", 4, 6) == 0


def cards(currency, text):
    """Two cards: the second holds from 2026 on."""
    found = check_rates(f"currency: {currency}\ncards: [{{valid_from: 2020-01-01, tiers: {{economy: {{}}}}}}, {text}]").cards
    assert found is not None
    return found


CARD = "{valid_from: 2026-01-01, tiers: {standard: {cpu: {entitlement: 0.02, burst: 0.03}, memory: {entitlement: 0.01}}}}"


def test_a_tier_costs_what_the_card_of_the_day_asks():
    tiers = by_rates(load_tiers("tiers: {economy: {price: {cpu_core: 9}}}"), cards("EUR", CARD), date(2026, 2, 1)).tiers
    assert tiers["standard"].price == PRICE
    assert tiers["economy"].price == Price(), "a tier without rates costs nothing, whatever tiers.yaml says"
    before = by_rates(BUILT_IN, cards("EUR", CARD), date(2025, 2, 1)).tiers
    assert before["standard"].price == Price()


def test_a_card_without_a_currency_is_an_example():
    own = load_tiers("tiers: {economy: {price: {cpu_core: 9}}}")
    assert by_rates(own, cards("XXX", CARD), date(2026, 2, 1)) is own


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((4.0, 1.0), "the change frees capacity, worth 0.0600 an hour"),
        ((1.0, 2.0), "the change takes up capacity, worth 0.0200 an hour"),
        ((4.0, 5.0), "the change is burst paid for, worth 0.0300 an hour"),
        ((2.0, 2.0), "and stays so"),
    ],
)
def test_a_change_is_told_with_its_worth(sizes, words):
    assert words in worth(PRICE, "cpu", 4.0, sizes)


def test_where_no_price_is_set_nothing_is_said():
    assert worth(Price(), "cpu", 4.0, (4.0, 1.0)) == ""
    assert worth(Price(cpu_core=1.0), "memory", 4096, (4096, 1024)) == ""


amounts = st.floats(0, 1e6)


@given(amounts, amounts, amounts, amounts)
def test_changes_add_up_and_there_and_back_is_nothing(sold, a, b, c):
    def change(x, y):
        return change_per_hour(PRICE, "cpu", sold, (x, y))

    assert change(a, b) + change(b, c) == pytest.approx(change(a, c), abs=1e-6)
    assert change(a, b) == pytest.approx(-change(b, a), abs=1e-9)


# -- circumstances ----------------------------------------------------------------------------------------------------

SCOPES = {"server:vm-1", "host:hv1", "project:p1"}


def cap(**changes) -> Cap:
    words = {"id": "cap-1", "scope": "project:p1", "resource": "cpu", "amount": 1.5, "since": T0, "until": T0 + 3600, "reason": "noisy"}
    return Cap(**(words | changes))


def test_a_cap_is_told_while_it_is_in_force_and_only_to_its_scope():
    (said,) = circumstances(SCOPES, [cap(by="ops")], [], [], T0 + 60)
    assert said == "A hard cap on CPU was in force for project:p1: 1.5 cores until 2026-01-05 01:00 UTC by ops: noisy."
    assert circumstances(SCOPES, [cap()], [], [], T0 + 3600) == ()
    assert circumstances(SCOPES, [cap(scope="project:p2")], [], [], T0 + 60) == ()


def test_halts_and_reclamation_are_told():
    halt = Halt(scope="host:hv1", kind="failures", state="open", since=T0, until=T0 + 600, reason="5 of 6 orders failed")
    reclaim = Reclaim(
        server="vm-1", resource="memory", state=State.SHRINKING, at=T0, why="idle for 14 days", tier_floor=1024.0, floor=512.0
    )
    said = circumstances(SCOPES, [], [halt], [reclaim], T0 + 60)
    assert said[0] == "Orders for host:hv1 were held back since 2026-01-05 00:00 UTC: 5 of 6 orders failed."
    assert said[1] == "It was being reclaimed: its floor of memory was 512 MiB instead of 1024: idle for 14 days."
    assert circumstances(SCOPES, [], [halt], [reclaim], T0 - 60) == ()


def test_what_feedback_made_of_the_tier_is_told_with_its_reason():
    factors = {
        ("standard", "cpu"): Factors(headroom=1.07, hold=1.0, at=T0, reason="too many"),
        ("economy", "cpu"): Factors(headroom=2.0, at=T0),
    }
    (said,) = learned("standard", factors, T0 + 60)
    assert said == "Tier standard, CPU: headroom × 1.07, hold time × 1.00 by feedback of 2026-01-05 00:00 UTC: too many."
    assert tuple(learned("standard", factors, T0 - 60)) == ()
    assert "nothing was learned yet" in learned_of(Factors())


def test_the_story_is_told_in_its_order():
    d = decision(T0, cpu=sizing("cpu", 1.0, 2.0, peak=PEAK))
    told = sentences("web-1", d, [], (), Around(("capped",), ("worth",), ("afterwards",)))
    at = [told.index(word) for word in ("capped", "worth", "afterwards")]
    assert at == sorted(at)
    assert told.index("worth") < next(i for i, s in enumerate(told) if s.startswith("No order of it")) < told.index("afterwards")


def test_a_headroom_that_is_not_one_is_told_with_the_forecast():
    wide = PeakRange(median=0.8, wanted=1.3, quantile=0.95, source="baseline", reason="own history", age_s=86400, headroom=1.25)
    told = " ".join(sentences("web-1", decision(T0, cpu=sizing("cpu", 1.0, 2.0, peak=wide)), []))
    assert "1.30 cores to be safe at 95% (room above the median × 1.25)" in told


# -- instants ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1767571200", T0),
        ("2026-01-05T00:00", T0),
        ("2026-01-05T01:00+01:00", T0),
        ("2h ago", T0 + 7200 - 7200),
        ("90min ago", T0 + 7200 - 5400),
        (" 1.5d ago ", T0 + 7200 - 129600),
    ],
)
def test_times_are_read_as_people_write_them(text, at):
    assert read_moment(text, T0 + 7200) == at


@pytest.mark.parametrize("text", ["", "tomorrow", "2 fortnights ago", "nan", "inf", "-5", "2026-13-01", "9" * 400, "1e300", "9999999d ago"])
def test_what_is_no_time_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="is no time: write"):
        read_moment(text, T0)

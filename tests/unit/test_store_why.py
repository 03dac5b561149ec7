"""A decision in sentences that need no other page."""

import pytest

from foreshape_controller.decide.why import sentences
from foreshape_controller.model.answers import OrderAnswer
from foreshape_controller.model.forecast import NO_FORECAST
from foreshape_controller.model.plan import Gate, PeakRange
from foreshape_wire.order import Mode, Origin, Verdict
from foreshape_wire.reading import LeverName
from store_support import T0, decision, order, outcome, sizing

pytestmark = pytest.mark.unit


def told(*args, **more):
    return "\n".join(sentences("web-1", *args, **more))


def test_growth_tells_forecast_order_and_proof():
    peak = PeakRange(median=1.2, wanted=1.9, quantile=0.95, source="baseline", reason="it has the least past error", age_s=3 * 86400)
    d = decision(T0, cpu=sizing("cpu", 1.0, 2.0, peak=peak, reactive_target=1.0))
    o = outcome(lever=LeverName.CPU_GUEST, proof="the guest has 2 vCPUs online", took_s=1.25)
    text = told(d, [OrderAnswer(order=order(at=T0), status="applied", outcomes=(o,))])
    assert "2026-01-05 00:00:00 UTC: web-1 on hv1, tier standard, mode act" in text
    assert "CPU grows from 1.00 cores to 2.00 cores: the peak is above [peak_above]." in text
    assert "1.90 cores to be safe at 95%; by baseline from 3 days of history: it has the least past error." in text
    assert "Without a forecast the same rules would have chosen 1.00 cores." in text
    assert "was carried out" in text
    assert "cpu applied by cpu.guest, 1.00 cores → 2.00 cores in 1.2 s" in text
    assert "Proof: the guest has 2 vCPUs online." in text


def test_without_a_forecast_it_says_that_nobody_looked_ahead():
    seen = PeakRange(median=1.9, wanted=1.9, quantile=0.95, source=NO_FORECAST, reason="largest of the last half-hour", age_s=3600)
    text = told(decision(T0, cpu=sizing("cpu", 1.0, 2.0, peak=seen, reactive_target=2.0)), [])
    assert "Nobody looked ahead, [plan] forecast is off: 1.90 cores, largest of the last half-hour." in text
    assert "Without a forecast" not in text


def test_a_forecast_read_further_than_half_an_hour_says_how_far():
    peak = PeakRange(median=1.2, wanted=1.9, quantile=0.95, source="net", reason="it won", age_s=3 * 86400, half_hours=1)
    text = told(decision(T0, cpu=sizing("cpu", 1.0, 2.0, peak=peak)), [])
    assert "Forecast: peak of the next 2 half-hours (a change takes that long) of 1.20 cores (median)" in text


def test_a_hold_names_the_gates_that_stood_against_it():
    gates = (Gate(name="history", passed=False, detail="2 h of history, 24 h needed"), Gate(name="lever", passed=True, detail="balloon"))
    d = decision(T0, cpu=sizing("cpu", 1.0, 1.0), memory=sizing("memory", 1024.0, 1024.0, code="young", reason="too young", gates=gates))
    text = told(d, [])
    assert "Memory stays at 1024 MiB: too young [young]." in text
    assert "What stood against a change: history (2 h of history, 24 h needed)." in text
    assert "Nothing had to be ordered." in text


def test_in_mode_advise_it_says_how_to_let_it_act():
    text = told(decision(T0, mode=Mode.ADVISE), [])
    assert "Nothing was ordered, because the mode is advise" in text
    assert "foreshape mode set act --scope server:vm-1" in text


def test_a_change_without_an_order_is_explained():
    assert "the plan's budget was used up" in told(decision(T0), [])


def test_orders_of_earlier_decisions_are_said_to_be_earlier():
    answer = OrderAnswer(
        order=order(at=T0 - 600), status="refused", outcomes=(outcome(verdict=Verdict.REFUSED, code="busy", reason="busy"),)
    )
    assert "Before that: Order ord-1" in told(decision(T0), [answer])


def test_what_the_agent_did_alone_is_told():
    reflex = outcome("", "memory", origin=Origin.REFLEX, before=512.0, after=1024.0, reason="swap-in 900 KiB/s")
    assert "The agent itself gave back at once under pressure." in told(decision(T0), [], [reflex])
    assert "512 MiB → 1024 MiB" in told(decision(T0), [], [reflex])


def test_without_a_decision_it_says_what_is_missing():
    assert told(None, []) == "Nothing was decided about web-1 yet: it needs a report with its card, and the next plan."

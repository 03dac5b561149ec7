"""What came after a decision: its prediction held against what was measured in the half-hour that it was made for. Pure."""

from math import isfinite

import numpy as np

from foreshape_controller.decide.feedback import CAPPED, GRAIN, HALF_HOUR
from foreshape_controller.decide.why import NAMES, clock
from foreshape_controller.model.answers import AfterwardAnswer
from foreshape_controller.model.forecast import NO_FORECAST
from foreshape_controller.model.history import History
from foreshape_controller.model.plan import Choice, Sizing
from foreshape_controller.model.told import amount


def window(at: float, step_s: int) -> tuple[int, int]:
    """Begin and end of the half-hour that a decision of this instant is judged by: whole bins, after it."""
    begin = int(-(-at // step_s) * step_s)
    return begin, begin + HALF_HOUR * step_s


def afterwards(sizing: Sizing, came: History, now: float) -> AfterwardAnswer:
    """One resource of one server. ``came``: its one row over the decision's half-hour, with what it had."""
    assert came.allocated is not None
    need, peak, had = came.mean[0], came.max[0], came.allocated[0]
    known = np.isfinite(need) & np.isfinite(had)
    short = known & ((need > had * (1 + GRAIN)) | (came.censored[0] >= CAPPED))
    looked = sizing.peak is not None and sizing.peak.source != NO_FORECAST
    answer = AfterwardAnswer(
        resource=sizing.resource,
        since=float(came.start),
        until=float(came.until),
        over=now >= came.until,
        predicted=sizing.peak.wanted if looked and sizing.peak else None,
        median=sizing.peak.median if looked and sizing.peak else None,
        came=_most(np.where(known, peak, np.nan)),
        had=_mean(np.where(known, had, np.nan)),
        bins=int(known.sum()),
        short_bins=int(short.sum()),
    )
    answer.verdict = _verdict(sizing, answer)
    answer.sentence = _sentence(sizing, answer)
    return answer


def _verdict(sizing: Sizing, a: AfterwardAnswer) -> str:
    """``short``, ``needed`` (a growth that came true), ``not_needed`` (one that did not), ``enough``; empty while it is not known."""
    if not a.bins or a.came is None:
        return ""
    if a.short_bins:
        return "short"
    if sizing.choice is Choice.GROW:
        return "needed" if a.came > sizing.allocation else "not_needed" if a.over else ""
    return "enough" if a.over else ""


def _sentence(sizing: Sizing, a: AfterwardAnswer) -> str:
    def say(value: float) -> str:
        return amount(a.resource, value)

    head = f"{'Afterwards' if a.over else 'So far'}, {NAMES[a.resource]} until {clock(a.until)}: "
    if a.came is None or a.had is None:
        return head + ("nothing was measured." if a.over else "nothing is measured yet.")
    promised = f"{say(a.predicted)} were predicted to be safe, {say(a.came)} came" if a.predicted is not None else f"{say(a.came)} came"
    ends = {
        "short": f"; it had {say(a.had)} and was short in {a.short_bins} of {a.bins} bins",
        "needed": f"; it had {say(a.had)}, and {say(sizing.allocation)} would not have been enough",
        "not_needed": f"; it had {say(a.had)}, and {say(sizing.allocation)} would have been enough",
        "enough": f"; it had {say(a.had)}: enough",
        "": f"; it has {say(a.had)}",
    }
    gaps = f" ({a.bins} of {HALF_HOUR} bins were measured)" if a.over and a.bins < HALF_HOUR else ""
    return f"{head}{promised}{ends[a.verdict]}{gaps}."


def _most(values: np.ndarray[tuple[int], np.dtype[np.float32]]) -> float | None:
    most = float(np.fmax.reduce(values, initial=np.nan))
    return most if isfinite(most) else None


def _mean(values: np.ndarray[tuple[int], np.dtype[np.float32]]) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None

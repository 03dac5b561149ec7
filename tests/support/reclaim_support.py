"""Rows, facts and figures for tests of reclamation."""

import numpy as np

from foreshape_controller.decide.idle import Standing, Use
from foreshape_controller.decide.reclaim import Facts
from foreshape_controller.model.reclaim import Finding, Reclaim, State

NOW = 1_767_571_200.0
DAY = 86400.0


def finding(goal: float = 0.1, **changes: object) -> Finding:
    """Idle, sold 8 cores; 0.07 cores and 30 % are 0.091."""
    words: dict[str, object] = {
        "kind": "idle",
        "entitlement": 8.0,
        "p99": 0.05,
        "top": 0.03,
        "day_peak": 0.07,
        "needed": 0.091,
        "goal": goal,
        "days": 7.0,
        "covered": 1.0,
    }
    return Finding(**(words | changes))  # type: ignore[arg-type]


def row(state: State = State.FOUND, **changes: object) -> Reclaim:
    """The CPU of vm-1, whose tier guarantees 0.4 cores."""
    words: dict[str, object] = {
        "server": "vm-1",
        "resource": "cpu",
        "state": state,
        "at": NOW,
        "why": "a test",
        "cause": "cause-1",
        "name": "web-1",
        "project": "p1",
        "tier": "economy",
        "tier_floor": 0.4,
        "floor": 0.4,
        "goal": 0.1,
        "finding": finding(),
    }
    return Reclaim(**(words | changes))  # type: ignore[arg-type]


def facts(**changes: object) -> Facts:
    """Found by a fresh look, nothing in the way, a give-back takes 80 s."""
    words: dict[str, object] = {
        "tier_floor": 0.4,
        "looked": True,
        "finding": finding(),
        "stated_s": 80.0,
        "stated_how": "60 s until the next plan, 20 s as measured",
    }
    return Facts(**(words | changes))  # type: ignore[arg-type]


def use(**changes: object) -> Use:
    """One server that used 0.05 of its cores in a whole week."""
    words = {"p99": 0.05, "top": 0.03, "covered": 1.0, "capped": 0.0, "doubtful": 0.0, "age_s": 30 * DAY} | changes
    return Use(**{k: np.atleast_1d(np.asarray(v, np.float64)) for k, v in words.items()})


def standing(**changes: object) -> Standing:
    """It was sold 8 cores, its day's peak is forecast at 0.07, and nothing speaks against it."""
    numbers = {"entitlement": 8.0, "day_peak": 0.07, "overhead": 0.0, "in_use": 0.0, "margin_share": 0.0}
    flags = {"odd": False, "event": False, "declared": False}
    columns = {k: np.atleast_1d(np.asarray(changes.get(k, v), np.float64)) for k, v in numbers.items()}
    bits = {k: np.atleast_1d(np.asarray(changes.get(k, v), bool)) for k, v in flags.items()}
    return Standing(**columns, **bits)

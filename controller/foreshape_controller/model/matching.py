"""How well a declared profile matched what came: every look at a server's own history (each six hours) that could tell its class
counts with its confidence, and older looks count less (half after nine days). Pure.

accuracy = confidence of looks that saw the declared class / confidence of all looks, once there were ``LEAST`` of them.
"""

from foreshape_controller.model.workload import Tally, WorkClass, Workload

LEAST = 4
"""Looks before anything is told: a day."""
FADES = 0.98
"""Per look."""


def looked(before: Tally, declared: WorkClass, seen: Workload) -> Tally:
    """After one more look; one that could not tell is none."""
    if seen.work is WorkClass.UNKNOWN or not seen.confidence > 0:
        return before
    agreed = seen.confidence if seen.work is declared else 0.0
    return Tally(agreed=FADES * before.agreed + agreed, total=FADES * before.total + seen.confidence, looks=before.looks + 1)


def accuracy(tally: Tally | None) -> float | None:
    """0..1; None: nothing is declared, or too little was seen."""
    if tally is None or tally.looks < LEAST or not tally.total > 0:
        return None
    return min(1.0, max(0.0, tally.agreed / tally.total))

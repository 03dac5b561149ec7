"""What came of decisions, by hand: histories with what each had, and decisions as columns."""

from typing import Any

import numpy as np

from foreshape_controller.decide.feedback import HALF_HOUR, InForce
from foreshape_controller.model.columns import HOLD
from foreshape_controller.model.history import STEP_S, History

BEFORE = 6
"""Bins before the half-hour that is judged."""


def lived(need: Any, had: Any, **changes: Any) -> History:
    """n servers over BEFORE + HALF_HOUR bins; a number is the same in every bin. Sold are 4 of everything."""
    need, had = (np.asarray(v, np.float32) for v in (need, had))
    n = max(np.atleast_2d(need).shape[0], np.atleast_2d(had).shape[0])
    full = (n, BEFORE + HALF_HOUR)
    need, had = (np.broadcast_to(np.atleast_2d(v), full).copy() for v in (need, had))
    capped = np.broadcast_to(np.asarray(changes.get("capped", 0.0), np.float32), full)
    return History(
        resource=changes.get("resource", "cpu"),
        series=tuple(f"vm{i + 1}" for i in range(n)),
        start=0,
        mean=need,
        max=np.asarray(changes.get("peak", need), np.float32),
        coverage=np.isfinite(need).astype(np.float32),
        censored=capped,
        entitlement=np.full(n, 4.0, np.float32),
        first_seen=np.zeros(n),
        step_s=STEP_S,
        used=np.minimum(need, had),
        allocated=had,
    )


def in_force(n: int = 1, **changes: Any) -> InForce:
    """Servers of one tier, acted on, holding at 1 of 4, hold time six bins."""
    words: dict[str, Any] = {
        "tier": 0,
        "choice": HOLD,
        "acting": True,
        "frozen": False,
        "allocation": 1.0,
        "wanted": 1.0,
        "target": 1.0,
        "ceiling": 4.0,
        "hold_bins": 6,
    } | changes
    words.setdefault("predicted", words["wanted"])
    kinds = {"tier": np.intp, "choice": np.intp, "hold_bins": np.intp, "acting": np.bool_, "frozen": np.bool_}
    return InForce(**{k: np.broadcast_to(np.asarray(v, kinds.get(k, np.float32)), (n,)).copy() for k, v in words.items()})

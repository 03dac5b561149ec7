"""What came of decisions, by hand: histories with what each had, and decisions as columns."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from foreshape_controller.decide.feedback import HALF_HOUR, InForce
from foreshape_controller.model.columns import CODES, GROW, HOLD, SHRINK, PlanTable, Sizes
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


def plan_table(at: float, servers: Sequence[str], **changes: Any) -> PlanTable:
    """A plan of these servers, in mode act; every number is the same for all. Holds 2 cores (or 1024 MiB), of 1.5 wanted."""
    n = len(servers)
    words: dict[str, Any] = {"allocation": 2.0, "wanted": 1.5, "ceiling": 4.0, "floor": 0.1, "code": "at_target"} | changes
    words.setdefault("target", words["allocation"])
    words.setdefault("reactive", words["target"])
    tiers = tuple(changes.get("tiers", ("standard",) * n))
    return PlanTable(
        plan=f"plan-{at:.0f}",
        at=at,
        servers=tuple(servers),
        hosts=("hv1",) * n,
        tiers=tiers,
        modes=(changes.get("mode", "act"),) * n,
        causes=tuple(f"cause-{at:.0f}-{i}" for i in range(n)),
        cpu=_sizes("cpu", n, words),
        memory=_sizes(
            "memory", n, words | {"allocation": 1024.0, "target": 1024.0, "reactive": 1024.0, "wanted": 600.0, "ceiling": 4096.0}
        ),
    )


def _sizes(resource: str, n: int, words: dict[str, Any]) -> Sizes:
    columns = {name: np.full(n, float(words[name])) for name in ("allocation", "target", "wanted", "floor", "ceiling", "reactive")}
    codes = CODES if words["code"] in CODES else (*CODES, words["code"])
    choice = HOLD if words["target"] == words["allocation"] else GROW if words["target"] > words["allocation"] else SHRINK
    return Sizes(
        resource=resource,
        choice=np.full(n, choice, np.int32),
        code=np.full(n, codes.index(words["code"]), np.int32),
        asked=np.zeros(n, np.uint32),
        passed=np.zeros(n, np.uint32),
        inputs={"peak_wanted": columns["wanted"]},
        words={"code": codes},
        **columns,
    )


class FakeDecided:
    """Plans in memory, as the store gives them."""

    def __init__(self, *tables: PlanTable) -> None:
        self._tables = sorted(tables, key=lambda t: t.at)

    def between(self, since: float, until: float) -> Iterator[PlanTable]:
        yield from (t for t in self._tables if since < t.at <= until)

    def newest(self, until: float, since: float) -> PlanTable | None:
        found = list(self.between(since, until))
        return found[-1] if found else None

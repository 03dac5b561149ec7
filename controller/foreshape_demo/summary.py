"""What came of a demo: Foreshape against static flavors and moving maxima, from the truth of the simulation."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from foreshape_controller.decide.why import sentences
from foreshape_controller.main import Program
from foreshape_controller.model.plan import Choice, Decision
from foreshape_controller.replay.compare import Row, compare
from foreshape_controller.sim.truth import STEP_S, Record
from foreshape_demo.bed import Bed
from foreshape_demo.watch import Watch

DAY_BINS = 86400 // STEP_S
SETTLED_BINS = {"cpu": 9 * 12, "memory": 30 * 12}
"""Bins before the comparison: 6 h of history and 3 h of hold for CPU, 24 h and 6 h for memory (the tiers' defaults)."""


@dataclass(frozen=True)
class Outcome:
    """Everything the summary says, for tests too."""

    rows: dict[str, tuple[Row, ...]]
    """By resource; empty where the run was too short to compare."""
    counts: dict[str, int]
    breaches: int
    text: str


def summarize(bed: Bed, watch: Watch, took_s: float) -> Outcome:
    """Compare, count, explain one decision that the forecast changed."""
    assert bed.controller is not None
    counts = bed.controller.store.journal.counts()
    records = {r: bed.world.truth.record(r) for r in SETTLED_BINS}
    rows = {r: rows for r, record in records.items() if (rows := _compared(record))}
    days = (bed.now - bed.world.truth.start) / 86400
    lines = [
        "",
        f"SIMULATED: {days:.1f} days of {len(bed.world.vms())} servers on {len(bed.world.hosts)} hosts, in {took_s:.0f} s",
        *(line for r in SETTLED_BINS for line in _table(r, rows.get(r, ()), records[r], watch)),
        "",
        *_counted(bed, counts, watch),
        *_example(bed.controller),
        "",
        "SIMULATED servers show that the product works; they prove no saving on yours. Mode was act here: the product's default is advise.",
    ]
    return Outcome(rows, counts, watch.breaches, "\n".join(lines))


def _compared(record: Record) -> tuple[Row, ...]:
    settled = SETTLED_BINS[record.resource]
    if record.need.shape[1] < settled + 36:  # less than three hours to compare
        return ()
    f32 = np.float32
    return compare(
        record.need.astype(f32), record.had[:, settled:].astype(f32), record.sold.astype(f32), resource=record.resource, name="Foreshape"
    )


def _table(resource: str, rows: tuple[Row, ...], record: Record, watch: Watch) -> Iterator[str]:
    hours = SETTLED_BINS[resource] * STEP_S // 3600
    yield ""
    if not rows:
        yield f"{resource}: nothing shrinks in the first {hours} h, so there is nothing to compare yet; give it more --minutes"
        return
    yield f"{resource.upper():<22}{'violations':>12}{'active':>9}{'allocated':>11}{'idle':>8}{'resizes':>9}   (after the first {hours} h)"
    for row in rows:
        m = row.measures
        name = row.policy if row.multiplier is None else f"{row.policy} x{row.multiplier:.2f}"
        reached = "" if row.reached else "   cannot reach as few violations"
        yield (
            f"{name:<22}{m.violations:>12.2%}{m.violations_active:>9.2%}{m.allocation_share:>11.1%}{m.slack:>8.1%}"
            f"{m.resizes_per_day:>9.2f}{reached}"
        )
    yield from _beyond(record)
    yield from _floors(resource, watch, record)


def _beyond(record: Record) -> Iterator[str]:
    """Servers that want more than they were sold: static flavors fail them always, hot-add does not."""
    settled = SETTLED_BINS[record.resource]
    sold = record.sold[:, None]
    need, had = record.need[:, settled:], record.had[:, settled:]
    more = need > sold * (1 + 1e-6)
    if more.any():
        met = float((had[more] >= need[more]).mean())
        yield f"{'':<4}in {more.sum()} server-bins the need was above the flavor: a static flavor meets none, Foreshape met {met:.0%}"


def _floors(resource: str, watch: Watch, record: Record) -> Iterator[str]:
    """Foreshape keeps what its tiers promise; the moving maxima promise next to nothing."""
    promised = watch.floors(resource) / record.sold.sum()
    yield f"{'':<4}floors promised by the tier: {promised:.0%} of what was sold; Foreshape never goes below, the moving maxima promise none"


def _counted(bed: Bed, counts: dict[str, int], watch: Watch) -> Iterator[str]:
    ends = ", ".join(f"{counts.get(f'orders_{k}', 0)} {k}" for k in ("applied", "refused", "failed", "expired", "superseded", "open"))
    yield "Violation: mean need of a 5-minute bin above the mean allocation. active: servers that use 5 % of their flavor and more."
    yield "Moving maxima and the VPA have the multiplier with which they violate as often as Foreshape; the oracle knows the future."
    yield "resizes: per server and day."
    yield ""
    yield f"Plans {bed.plans}, decisions {counts.get('decisions', 0)}, of which the forecast changed {counts.get('changed_by_forecast', 0)}"
    yield f"Orders {counts.get('orders', 0)}: {ends}"
    yield f"Reflexes (pressure answered by the agents themselves): {counts.get('reflexes', 0)}"
    yield f"Broken promises (below a floor, above a ceiling, a host overcommitted): {watch.breaches}"
    yield from (f"  {sentence}" for sentence in watch.said)


def _example(program: Program) -> Iterator[str]:
    """The growth ahead of need that the forecast added most to, in the words of ``foreshape why``."""
    found = [d for s in program.store.inventory.view(program.clock()).servers for d in program.store.journal.decisions(s.id, limit=300)]
    changed = [d for d in found if _worth(d) > 0]
    if not changed:
        return
    best = max(changed, key=_worth)
    names = {s.id: s.name for s in program.store.inventory.view(program.clock()).servers}
    orders = program.store.journal.orders(best.server, 5, at=best.at)
    yield ""
    yield f"For example (foreshape why {names[best.server]} --at {best.at:.0f}):"
    yield from (f"  {s}" for s in sentences(names[best.server], best, orders))


def _worth(decision: Decision) -> float:
    """How much more a server got, ahead of its need, than it would have without a forecast: cores, or GiB."""
    grown = [
        (s.target - s.reactive_target) / (1 if s.resource == "cpu" else 1024)
        for s in (decision.cpu, decision.memory)
        if s.choice is Choice.GROW and s.changed_by_forecast and s.reactive_target is not None
    ]
    return max(grown, default=0.0)

"""Live progress of the demo: a block that is drawn over itself on a terminal, one line now and then elsewhere."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO

from foreshape_demo.bed import Bed
from foreshape_demo.watch import Watch

WIDTH = 46
PLAIN_EVERY_S = 4 * 3600
REDRAW_S = 0.25


@dataclass(frozen=True)
class Totals:
    """The whole simulated fleet at one instant; cores and GiB."""

    wants: float
    has: float
    sold: float


def totals(bed: Bed) -> dict[str, Totals]:
    """Truth, not measurement: straight from the simulated servers."""
    living = [vm for host in bed.world.hosts.values() for vm in host.living(bed.now)]
    return {
        "CPU, cores": Totals(sum(v.needs.cpu for v in living), sum(v.cpu for v in living), sum(v.spec.cores for v in living)),
        "memory, GiB": Totals(
            sum(v.needs.memory for v in living) / 1024, sum(v.memory for v in living) / 1024, sum(v.spec.mib for v in living) / 1024
        ),
    }


class Screen:
    """Draws; holds the block's height so that the next one covers it."""

    def __init__(self, out: TextIO, title: str, hint: str) -> None:
        self._out = out
        self._title = title
        self._hint = hint
        self._live = out.isatty()
        self._height = 0
        self._drawn_at = 0.0
        self._plain_due = 0.0

    def begin(self) -> None:
        self._out.write(f"{self._title}\n{self._hint}\n\n")
        self._out.flush()

    def update(self, bed: Bed, watch: Watch, took_s: float, budget_s: float | None) -> None:
        """Draw, if it is time to."""
        if self._live and took_s - self._drawn_at >= REDRAW_S:
            self._drawn_at = took_s
            self._draw(_block(bed, watch, took_s, budget_s))
        elif not self._live and bed.now >= self._plain_due:
            self._plain_due = bed.now + PLAIN_EVERY_S
            self._out.write(_line(bed, watch) + "\n")
            self._out.flush()

    def _draw(self, lines: list[str]) -> None:
        up = f"\x1b[{self._height}A" if self._height else ""
        self._out.write(up + "".join(f"\x1b[2K{line}\n" for line in lines))
        self._out.flush()
        self._height = len(lines)


def when(bed: Bed) -> str:
    """``day 2, Tue 13:40``."""
    day = int((bed.now - bed.world.truth.start) // 86400) + 1
    return f"day {day}, {datetime.fromtimestamp(bed.now, UTC).strftime('%a %H:%M')}"


def _block(bed: Bed, watch: Watch, took_s: float, budget_s: float | None) -> list[str]:
    limit = f" of {budget_s:.0f} s" if budget_s else " s"
    lines = [f"SIMULATED {when(bed)} · real time {took_s:.0f}{limit}"]
    for name, t in totals(bed).items():
        lines += ["", *(f"{name if i == 0 else '':<12}{word:<6}{_bar(v, t.sold)} {v:8.1f}" for i, (word, v) in enumerate(_rows(t)))]
    return [*lines, "", *_counts(bed, watch)]


def _rows(t: Totals) -> tuple[tuple[str, float], ...]:
    return (("wants", t.wants), ("has", t.has), ("sold", t.sold))


def _bar(value: float, most: float) -> str:
    eighths = round(min(1.0, value / most if most else 0.0) * WIDTH * 8)
    full, rest = divmod(eighths, 8)
    return f"{'█' * full + (' ▏▎▍▌▋▊▉'[rest] if rest else ''):<{WIDTH}}"


def _counts(bed: Bed, watch: Watch) -> list[str]:
    counts = bed.controller.store.journal.counts() if bed.controller else {}
    orders = ", ".join(f"{counts.get(f'orders_{k}', 0)} {k}" for k in ("applied", "refused", "failed", "open"))
    short = {r: _percent(*bed.world.truth.tally[r]) for r in ("cpu", "memory")}
    return [
        f"plans {bed.plans} · decisions {counts.get('decisions', 0)}, {counts.get('changed_by_forecast', 0)} changed by the forecast",
        f"orders {counts.get('orders', 0)}: {orders} · reflexes {counts.get('reflexes', 0)}",
        f"time in which a server had less than it needed: CPU {short['cpu']}, memory {short['memory']} · broken promises: {watch.breaches}",
    ]


def _percent(part: float, whole: float) -> str:
    return f"{part / whole:.2%}" if whole else "-"


def _line(bed: Bed, watch: Watch) -> str:
    parts = [f"{name} {t.wants:.1f} wanted, {t.has:.1f} given, {t.sold:.0f} sold" for name, t in totals(bed).items()]
    counts = bed.controller.store.journal.counts() if bed.controller else {}
    return (
        f"SIMULATED {when(bed)}: {'; '.join(parts)}; orders {counts.get('orders', 0)}, reflexes {counts.get('reflexes', 0)}, "
        f"broken promises {watch.breaches}"
    )

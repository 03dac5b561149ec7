"""How much is allocated at how many violations, on public traces: the product's own plan against tuned simple policies.

python bench/allocation.py [FOLDER] [--keep DIR] [--quick] [--only NAME] [--score SCORE.py] [--report DIR]

FOLDER as for forecast_accuracy.py, and the same split: every fifth VM and the last two weeks (Azure: the last week) are held out, and
nothing of either is seen in training. Two operating points are replayed, each a tiers file of its own, and the built-in tiers; every
rival of a point gets the multiplier with which it violates as often as that point. The points promise the floors that the rivals
have (0.1 core, 256 MiB), not those of a tier that somebody pays for. How the points were found: docs/decisions.
--score also judges the allocations with another program that prints JSON as score.py does, and says how far the two agree.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from forecast_accuracy import Book, Scene, command, over_traces, predictor, scene

from foreshape_controller.decide.headroom import HeadroomRule
from foreshape_controller.decide.tiers import load_tiers
from foreshape_controller.errors import ControllerError
from foreshape_controller.model.forecast import Forecast, Predictor
from foreshape_controller.model.history import History
from foreshape_controller.replay.allocations import write_allocations
from foreshape_controller.replay.backtest import IN_FILE
from foreshape_controller.replay.compare import VPA, WINDOWS
from foreshape_controller.replay.engine import Replayed, Setup, replay
from foreshape_controller.replay.findings import Findings, Line, find
from foreshape_controller.replay.measure import Measures
from foreshape_controller.replay.report import HEADERS, Source, cells, page

DAY = 86400

STRICT = """
tiers:
  standard:
    cpu: {quantile: 0.8, floor_share: 0, floor_least: 0.1, hold_s: 3600, shrink_band: 0.4, margin_share: 0.3}
    memory: {quantile: 0.92, floor_share: 0, floor_least: 256, hold_s: 10800, shrink_band: 0.45, margin_share: 0.2}
"""
"""At most 0.5 % of the active VMs' bins."""

EASY = """
tiers:
  standard:
    cpu: {quantile: 0.75, floor_share: 0, floor_least: 0.1, hold_s: 3600, shrink_band: 0.4, margin_share: 0.1}
    memory: {quantile: 0.85, floor_share: 0, floor_least: 256, hold_s: 10800, shrink_band: 0.45, margin_share: 0.15}
"""
"""At most 1 %."""

SPIKY = """
tiers:
  standard:
    cpu: {quantile: 0.95, floor_share: 0, floor_least: 0.1, hold_s: 300, shrink_band: 0.2, margin_share: 0.1}
"""
"""At most 1 % where load comes in plateaus of minutes (Azure): follows closely, forecasts every 5 minutes, and resizes often."""

CLOSE = {"forecast_bins": 1, "headroom": HeadroomRule(rate=0.0)}
"""How the last one is replayed: plateaus are forecast well at once, and headroom learnt from them comes too late."""

POINTS = {
    ("bitbrains", "0.5 %"): (STRICT, 0.005, 0.92, 0.72),
    ("bitbrains", "1 %"): (EASY, 0.01, 0.95, 0.70),
    ("azure", "1 %"): (SPIKY, 0.01, 0.85, None),
}
"""Tiers, violations of active VMs at most, allocation at most this share of the best moving maximum and of the VPA."""

WORST, RESIZES = 0.02, 3.5


class Remembered:
    """Forecasts do not depend on tiers: each is made once for all operating points."""

    def __init__(self, inner: Predictor) -> None:
        self.name, self._inner, self._known = inner.name, inner, {}

    def predict(self, history: History, origin: int) -> Forecast:
        key = (history.resource, origin)
        if key not in self._known:
            said = self._inner.predict(history, origin)
            blank = said.steps[:, :1]  # only the window's peak, and what follows it, sizes anything
            self._known[key] = replace(said, steps=blank, half_hours=said.half_hours[:, :4], peak24h=said.peak24h)
        return self._known[key]


def ratios(found: Findings, what: str) -> tuple[Line, Line, Line]:
    """Foreshape, the best moving maximum that violates no more often, the VPA."""
    lines = found.of(what)
    moving = [line for line in lines if line.row.policy in WINDOWS and line.row.reached]
    return lines[0], min(moving, key=lambda x: x.row.measures.allocation_share), next(x for x in lines if x.row.policy == VPA)


def judge(book: Book, name: str, found: Findings, point: str) -> None:
    """Each figure of a point beside its goal."""
    _, most, best, vpa = POINTS[name, point]
    for what in found.replayed.tracks:
        mine, rival, other = ratios(found, what)
        m, where = mine.row.measures, f"{name} {what} at {point}"
        book.goal(f"{where}: violations of active VMs", f"{m.violations_active:.2%}", f"<= {most:.1%}", m.violations_active <= most)
        said = f"{m.allocation_share:.2%} / {rival.row.measures.allocation_share:.2%} ({rival.row.policy} ×{rival.row.multiplier:.2f})"
        book.goal(f"{where}: of the best moving max", f"{said} = {rival.share:.3f}", f"<= {best:g}", rival.share <= best)
        if vpa is not None:
            said = f"{m.allocation_share:.2%} / {other.row.measures.allocation_share:.2%} (×{other.row.multiplier:.2f})"
            book.goal(f"{where}: of VPA p95", f"{said} = {other.share:.3f}", f"<= {vpa:g}", other.share <= vpa)
            book.goal(f"{where}: resizes per VM-day", f"{m.resizes_per_day:.2f}", f"<= {RESIZES}", m.resizes_per_day <= RESIZES)
            told = f"{m.worst_active:.2%}, {m.above_most} VMs above 2 %"
            book.goal(f"{where}: worst active VM", told, "<= 2 %", m.worst_active <= WORST)


def table(found: Findings) -> None:
    print("  " + f"{'':9}{HEADERS[0]:40}" + "".join(f"{h:>12}" for h in HEADERS[1:]))
    for line in found.lines:
        row = cells(line)
        print("  " + f"{line.resource:9}{row[0]:40}" + "".join(f"{c:>12}" for c in row[1:]), flush=True)


def run(it: Scene, book: Book, options: argparse.Namespace, folder: Path, path: Path) -> None:
    """One cloud: both points, and the built-in tiers."""
    voice = Remembered(predictor(it, book, options, folder))
    end = it.cut + (2 * DAY if options.quick else next(iter(it.held.values())).until - it.cut)
    warm = DAY if options.quick else 7 * DAY
    texts = {point: text for (name, point), (text, *_) in POINTS.items() if name == it.name} | {"built-in tiers": ""}
    for point, text in texts.items():
        began = time.process_time()
        setup = Setup(it.cut, end // 300 * 300, warm, load_tiers(text), **(CLOSE if text is SPIKY else {}))
        done = replay(it.held, voice, setup)
        found = find(it.held, done, frontier=options.report is not None)
        vms, days = len(done.names), (setup.end - setup.begin) / DAY
        print(
            f"\n== {it.name}, {point}: {vms} VMs held out, {int(found.busy.sum())} active, {days:.0f} days counted after {warm // DAY} more"
        )
        table(found)
        if (it.name, point) in POINTS:
            judge(book, it.name, found, point)
        rate = vms * (days + warm / DAY) / done.cpu_s
        spent = time.process_time() - began
        print(
            f"  {rate:,.0f} VM-days decided per CPU-second; {spent:.0f} CPU-seconds in all, forecasts {done.forecast_cpu_s:.0f}; ", end=""
        )
        print(f"the forecast changed {found.forecast_changed:.0%} of {done.decisions:,} decisions")
        if options.report:
            options.report.mkdir(parents=True, exist_ok=True)
            source = Source(path.name, f"model trained on {len(next(iter(it.school.values())).series)} other VMs", point, "held out")
            (options.report / f"{it.name}-{point.split()[0]}.html").write_text(page(found, source), encoding="utf-8")
        if options.score:
            agree(found, done, path, options.score)


def agree(found: Findings, done: Replayed, path: Path, program: Path) -> None:
    """The same figures from somebody else's program: the largest difference of each."""
    with tempfile.TemporaryDirectory() as place:
        held, file = Path(place) / "held.parquet", Path(place) / "allocations.parquet"
        _cut(path, held, done.names)
        write_allocations(done, file)
        words = ["--trace", held, "--allocations", file, "--from", done.setup.begin, "--to", done.setup.end]
        said = subprocess.run([sys.executable, program, "allocations", *map(str, words)], capture_output=True, text=True, check=False)
    if said.returncode:
        sys.exit(f"{program} failed: {said.stderr[-500:]}")
    theirs = json.loads(said.stdout)
    for what in done.tracks:
        judged = theirs[IN_FILE[what]]
        rivals: Mapping[str, Mapping[str, float]] = judged["at_equal_violations"]
        mine, best, vpa = ratios(found, what)
        apart = {name: abs(a - b) for name, a, b in _pairs(mine.row.measures, judged["scored"])}
        their_best = min(v["allocated_of_provisioned"] for k, v in rivals.items() if k.startswith("moving") and v["multiplier"] < 20)
        ratio = judged["scored"]["allocated_of_provisioned"] / their_best
        other = rivals["VPA p95, 24 h half-life"]["scored/this"]
        print(f"  {program.name} on {what}: largest difference {max(apart.values()):.1e} ({max(apart, key=lambda k: apart[k])}); ", end="")
        print(f"of the best moving max {ratio:.3f} (here {best.share:.3f}), of VPA {other:.3f} (here {vpa.share:.3f})")


def _pairs(m: Measures, theirs: Mapping[str, float]) -> list[tuple[str, float, float]]:
    return [
        ("violations", m.violations, theirs["violations_all"]),
        ("of active", m.violations_active, theirs["violations_active"]),
        ("worst", m.worst_active, theirs["worst_active_vm"]),
        ("allocated", m.allocation_share, theirs["allocated_of_provisioned"]),
        ("slack", m.slack, theirs["slack"]),
        ("volume", m.volume, theirs["volume"]),
        ("resizes", m.resizes_per_day, theirs["resizes_per_vm_day"]),
    ]


def _cut(path: Path, out: Path, names: tuple[str, ...]) -> None:
    """The trace of these VMs alone."""
    whole = pq.read_table(path)
    pq.write_table(whole.filter(pc.is_in(pc.cast(whole["vm"], pa.string()), value_set=pa.array(names))), out)


def main() -> None:
    quick = "two days and half a CPU-minute of training: shows that it works, not how well"
    parser = command(__doc__, quick=quick, baseline="train nothing: the baseline forecasts", every=argparse.SUPPRESS)
    parser.add_argument("--score", type=Path, help="another judge: a program that is called as score.py is")
    parser.add_argument("--report", type=Path, help="folder for a report of each point")
    options = parser.parse_args()
    parts = {"bitbrains": (("cpu", "memory"), 14), "azure": (("cpu",), 7)}

    def bench(name: str, path: Path, book: Book, kept: Path) -> None:
        resources, days = parts[name]
        run(scene(name, path, resources, 5, days, options), book, options, kept, path)

    over_traces(options, bench)


if __name__ == "__main__":
    try:
        main()
    except ControllerError as e:
        sys.exit(f"allocation: {e}")

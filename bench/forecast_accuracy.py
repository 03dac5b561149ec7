"""Forecasts on public traces, every figure beside a simple rival of the same run.

python bench/forecast_accuracy.py [FOLDER] [--quick] [--baseline] [--keep DIR] [--cpu-minutes N] [--encoder E]

FOLDER holds bitbrains.parquet and azure.parquet; without it they are made by ../shared/tools/make_traces.py (FORESHAPE_SHARED names
another place). Held out: every fifth Bitbrains VM and the last two weeks; every fifth Azure VM and the last week. Nothing of
either is seen in training, which is what `foreshape train` does. --baseline trains nothing and shows where the baseline stands.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from foreshape_controller.errors import ControllerError
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.model.forecast import Predictor
from foreshape_controller.model.history import STEP_S, History
from foreshape_controller.replay.backtest import Result, before, evaluate, origins, some, strata, summary, thinned
from foreshape_controller.replay.entrants import champion
from foreshape_controller.replay.judge import Figures, ratio_range
from foreshape_controller.replay.methods import SIMPLE, simple_or_baseline
from foreshape_controller.replay.trace_file import load_trace

DAY = 86400
GROUPS, GROUP_SIZE = 25, 20
LEVEL_SHARES = {"cov80": 0.80, "cov90": 0.90, "cov98": 0.98}
FEWEST = 300
"""Points below which the coverage of a stratum is noise."""


@dataclass
class Book:
    """What was shown."""

    lines: list[tuple[str, str, str, str]] = field(default_factory=list)

    def goal(self, what: str, said: str, goal: str, met: bool) -> None:
        self.lines.append((what, said, goal, "met" if met else "MISSED"))
        print(f"  {what}: {said}; goal {goal}: {'met' if met else 'MISSED'}", flush=True)

    def close(self) -> None:
        print("\n| what | measured | goal | verdict |\n|---|---|---|---|")
        for line in self.lines:
            print(f"| {' | '.join(line)} |")
        met = sum(line[-1] == "met" for line in self.lines)
        print(f"\n{met} of {len(self.lines)} goals met")


@dataclass(frozen=True)
class Scene:
    """One cloud: what may be learned from, what is forecast, and when."""

    name: str
    school: Mapping[str, History]
    held: Mapping[str, History]
    cut: int
    when: Sequence[int]


def scene(name: str, path: Path, resources: Sequence[str], nth: int, days: int, options: argparse.Namespace) -> Scene:
    """Hold out every nth VM and the last days."""
    loaded = load_trace(path, resources=resources)
    names = next(iter(loaded.values())).series
    held = names[::nth]
    until = next(iter(loaded.values())).until
    cut = until - days * DAY
    when = origins(cut, until - DAY + 1, options.every)
    rest = [n for n in names if n not in set(held)]
    school = {r: some(h, rest) for r, h in loaded.items()}
    return Scene(name, school, {r: some(h, held) for r, h in loaded.items()}, cut, thinned(when, 8) if options.quick else when)


def predictor(it: Scene, book: Book, options: argparse.Namespace, folder: Path) -> Predictor:
    """The model, trained now; the baseline with --baseline."""
    if options.baseline:
        return Baseline()
    out = folder / it.name
    if not out.exists():
        from foreshape_controller.replay.training import Course, learn  # noqa: PLC0415 - --baseline goes without torch

        course = Course(until=it.cut, cpu_minutes=0.5 if options.quick else options.cpu_minutes, seed=options.seed, encoder=options.encoder)
        started, wall = time.process_time(), time.monotonic()
        learn(it.school, out, course, lambda p: print(f"\r  {p}", end="", flush=True) if sys.stdout.isatty() else None)
        spent = (time.process_time() - started) / 60
        vms = len(next(iter(it.school.values())).series)
        book.goal(
            f"{it.name}: training on {vms} VMs",
            f"{spent:.1f} CPU-minutes ({(time.monotonic() - wall) / 60:.1f} on the clock)",
            "<= 5",
            spent <= 5,
        )
    return champion(out)


def compete(it: Scene, mine: Predictor, resources: Sequence[str], methods: Sequence[str] = tuple(SIMPLE)) -> list[Result]:
    """Everybody on the same windows; the first is ours."""
    held = {r: it.held[r] for r in resources}
    everybody = [mine, *([Baseline()] if mine.name != "baseline" else []), *(simple_or_baseline(m) for m in methods)]
    return [r for p in everybody for r in evaluate(held, p, it.when)]


def table(results: Sequence[Result], horizons: Sequence[str]) -> None:
    heads = "".join(f"{h:>7}" for h in ("MASE", "cov80", "cov90", "cov98", "<=q95", "<=q99"))
    print(f"  {'':17}{'method':16}{'n':>9}{'wQL':>9}{heads}{'/CPU-s':>8}{'to best':>9}")
    for line in summary(results, tuple(SIMPLE)):
        if line.horizon in horizons:
            f = line.figures
            cells = "".join(f"{x:7.3f}" for x in (f.mase, f.cov80, f.cov90, f.cov98, f.below_q95, f.below_q99))
            print(f"  {line.resource:8}{line.horizon:9}{line.method:16}{f.n:9}{f.wql:9.4f}{cells}{line.speed:8.0f}{line.ratio:9.3f}")


def of(results: Sequence[Result], resource_: str, method: str) -> Result:
    return next(r for r in results if (r.resource, r.method) == (resource_, method))


def ratio(book: Book, results: Sequence[Result], what: str, cell: tuple[str, str], rivals: Sequence[str], goal: float) -> None:
    """Our wQL over the best of the rivals', with its interval over VMs."""
    resource_, horizon = cell
    mine = results[0].method
    ours, other = of(results, resource_, mine), min((of(results, resource_, r) for r in rivals), key=lambda r: r.figures(horizon).wql)
    a, b = ours.judge.sums[horizon], other.judge.sums[horizon]
    found = a.figures().wql / b.figures().wql
    low, high = ratio_range(a, b)
    said = f"{a.figures().wql:.4f} / {b.figures().wql:.4f} ({other.method}) = {found:.3f} [{low:.3f}, {high:.3f}]"
    book.goal(f"{what} wQL", said, f"<= {goal:g}", found <= goal)


def coverage(book: Book, it: Scene, results: Sequence[Result], name: str) -> None:
    """Each resource and stratum within three points, at both horizons."""
    for r, history in it.held.items():
        found = [x for x in results if x.resource == r and x.method == name]
        if not found:
            continue
        for stratum, rows in strata(history, it.cut).items():
            for horizon in ("30min", "24h"):
                f = found[0].figures(horizon, rows)
                if f and f.n >= FEWEST:
                    _covered(book, f"{it.name}: {r} {horizon} coverage 80/90/98, {stratum} ({int(rows.sum())} VMs)", f)
        top = found[0].figures("peak24h")
        if top:
            book.goal(f"{it.name}: {r} day peak below q99", f"{top.below_q99:.1%} of {top.n}", ">= 98 %", top.below_q99 >= 0.98)


def _covered(book: Book, what: str, f: Figures) -> None:
    said = {k: getattr(f, k) for k in LEVEL_SHARES}
    good = all(abs(said[k] - level) <= 0.03 for k, level in LEVEL_SHARES.items())
    book.goal(what, "/".join(f"{v:.1%}" for v in said.values()), "± 3 points", good)


def grouped(it: Scene, seed: int) -> Scene:
    """Sums of 20 VMs as hosts: 25 draws from the held-out VMs. A gap of a VM holds its last value for half an hour."""
    rng = np.random.default_rng(seed)
    n = len(next(iter(it.held.values())).series)
    draws = [rng.permutation(n)[: min(GROUP_SIZE, n)] for _ in range(GROUPS)]
    held = {r: _summed(h, draws) for r, h in it.held.items() if r in ("cpu", "memory")}
    return replace(it, name="hosts", held=held)


def _summed(h: History, draws: Sequence[np.ndarray]) -> History:
    filled = _bridged(h.mean, 6)
    mean = np.stack([filled[d].sum(axis=0) for d in draws])
    known = np.isfinite(mean).astype(np.float32)
    names = tuple(f"host:g{i:02d}" for i in range(len(draws)))
    size = np.array([h.entitlement[d].sum() for d in draws], np.float32)
    first = np.array([h.first_seen[d].max() for d in draws])
    return replace(h, series=names, mean=mean, max=mean, coverage=known, censored=np.zeros_like(mean), entitlement=size, first_seen=first)


def _bridged(x: np.ndarray, most: int) -> np.ndarray:
    at = np.arange(x.shape[1])
    last = np.maximum.accumulate(np.where(np.isfinite(x), at, -most - 1), axis=1)
    return np.where(at - last <= most, np.take_along_axis(x, np.maximum(last, 0), 1), np.nan)


def young(book: Book, it: Scene, mine: Predictor, minutes: int = 15) -> None:
    """Held-out VMs that began a quarter of an hour ago, beside the others with all their past."""
    for r in ("cpu", "memory"):
        old, new = it.school[r], it.held[r]
        judged = evaluate({r: new}, _Newborn(mine, old, minutes), it.when[::4])[0]
        for horizon in ("30min", "24h"):
            f = judged.figures(horizon)
            what = f"{r} {horizon}, VMs {minutes} minutes old: 98 % interval"
            book.goal(what, f"covers {f.cov98:.1%} of {f.n}, wQL {f.wql:.3f}", ">= 96 %", f.cov98 >= 0.96)


class _Newborn:
    """The given series, but only their last minutes, among the others' whole past."""

    def __init__(self, inner: Predictor, others: History, minutes: int) -> None:
        self.name, self._inner, self._others, self._bins = inner.name, inner, others, minutes * 60 // STEP_S

    def predict(self, history: History, origin: int):
        others = before(self._others, origin)
        mean = np.full_like(history.mean, np.nan)
        mean[:, -self._bins :] = history.mean[:, -self._bins :]
        all_ = replace(
            history,
            series=history.series + others.series,
            mean=np.concatenate([mean, others.mean]),
            max=np.concatenate([mean, others.max]),
            coverage=np.concatenate([np.isfinite(mean).astype(np.float32), others.coverage]),
            censored=np.concatenate([np.zeros_like(mean), others.censored]),
            entitlement=np.concatenate([history.entitlement, others.entitlement]),
            first_seen=np.concatenate([np.full(len(mean), origin - self._bins * STEP_S, float), others.first_seen]),
        )
        said, n = self._inner.predict(all_, origin), len(mean)
        cut = {name: getattr(said, name)[:n] for name in ("steps", "half_hours", "peak30m", "peak24h", "age_s", "source", "reason")}
        return replace(said, series=history.series, **cut)


def speed(book: Book, it: Scene, mine: Predictor) -> None:
    """2,000 series at once, features included: the net alone, and the chain, where the baseline speaks as far as the gate wants."""
    h = before(it.school["cpu"], it.cut)
    times = -(-2000 // len(h.series))
    cut = {name: np.tile(getattr(h, name), (times, 1)) for name in ("mean", "max", "coverage", "censored")}
    names = tuple(f"vm{i}" for i in range(times * len(h.series)))
    many = replace(h, series=names, entitlement=np.tile(h.entitlement, times), first_seen=np.tile(h.first_seen, times), **cut)
    bare = _cpu(lambda: np.sort(many.mean[:, -576:], axis=1))
    net = getattr(getattr(mine, "champion", None), "net", None)
    for who, what in ((net, "the net"), (mine, "the whole chain")):
        if who is not None:
            who.predict(many, it.cut)
            spent = _cpu(lambda who=who: who.predict(many, it.cut))
            rate = len(names) / spent
            said = f"{rate:,.0f} windows per CPU-second ({spent / bare:.1f} bare sorts of 48 h)"
            book.goal(f"speed of {what}, features included", said, ">= 8,000", rate >= 8000)


def _cpu(what) -> float:
    started = time.process_time()
    what()
    return time.process_time() - started


MEMORY = """
import sys, numpy as np
from pathlib import Path
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.model.history import History
from foreshape_controller.replay.entrants import champion
predictor = champion(Path(sys.argv[1])) if sys.argv[1] != "-" else Baseline()
rng, said = np.random.default_rng(1), []
for batch in range(4 * int(sys.argv[2])):
    mean = rng.gamma(2, 0.5, (250, 2016)).astype(np.float32)
    names = tuple(f"vm{batch}-{i}" for i in range(250))
    history = History("cpu", names, 0, mean, mean, np.ones_like(mean), np.zeros_like(mean), np.full(250, 4, np.float32), np.zeros(250))
    said.append(predictor.predict(history, history.until))
# not ru_maxrss: a child inherits the peak of the process that started it
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 2**20)
"""


def memory(book: Book, model: Path | None, batches: int) -> None:
    """So many thousand series in a process of its own, as a controller reads them: a week, batches of 250."""
    words = [sys.executable, "-c", MEMORY, str(model or "-"), str(batches)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the memory run failed: {done.stderr[-500:]}")
    gib = float(done.stdout)
    what = f"memory of {batches},000 series of a week, in batches of 250, all forecasts kept"
    book.goal(what, f"{gib:.2f} GiB at most", "<= 1.5 GiB at 30,000", gib <= 1.5)


def bitbrains(path: Path, book: Book, options: argparse.Namespace, folder: Path) -> None:
    resources = ("cpu", "memory", "disk", "net")
    it = scene("bitbrains", path, resources, 5, 14, options)
    print(f"\n== Bitbrains: {len(it.held['cpu'].series)} VMs held out, {len(it.when)} origins in the last 14 days", flush=True)
    mine = predictor(it, book, options, folder)
    results = compete(it, mine, ("cpu", "memory"))
    table(results, ("30min", "24h", "peak30m", "peak24h"))
    ratio(book, results, "CPU 24 h", ("cpu", "24h"), ["window-48h"], 0.92)
    ratio(book, results, "memory 24 h", ("memory", "24h"), ["window-48h"], 0.90)
    ratio(book, results, "CPU 30 min", ("cpu", "30min"), ["naive-residual"], 1.00)
    mase = results[0].figures("30min").mase
    book.goal("CPU 30 min MASE", f"{mase:.3f}", "<= 0.95", mase <= 0.95)
    ratio(book, results, "memory 30 min", ("memory", "30min"), ["ewma-0.1", "ewma-0.3"], 0.86)
    coverage(book, it, results, mine.name)
    young(book, it, mine)
    print("\n== Disk and network of the same VMs (no goal is set for them)", flush=True)
    table(compete(it, mine, ("disk", "net"), ("naive-residual", "window-48h", "time-of-day", "ewma-0.3")), ("30min", "24h"))
    hosts = grouped(it, options.seed)
    print(f"\n== {GROUPS} sums of {GROUP_SIZE} held-out VMs, forecast directly", flush=True)
    results = compete(hosts, mine, ("cpu", "memory"))
    table(results, ("30min", "24h", "peak24h"))
    windows = [name for name in SIMPLE if name.startswith("window-")]
    for r in ("cpu", "memory"):
        ratio(book, results, f"hosts of 20, {r} 24 h", (r, "24h"), windows, 0.87)
    speed(book, it, mine)
    memory(book, None if options.baseline else folder / it.name, 3 if options.quick else 30)


def azure(path: Path, book: Book, options: argparse.Namespace, folder: Path) -> None:
    it = scene("azure", path, ("cpu",), 5, 7, options)
    print(f"\n== Azure: {len(it.held['cpu'].series)} VMs held out, {len(it.when)} origins in the last 7 days", flush=True)
    mine = predictor(it, book, options, folder)
    results = compete(it, mine, ("cpu",))
    table(results, ("30min", "24h", "peak30m", "peak24h"))
    ratio(book, results, "Azure CPU 30 min", ("cpu", "30min"), ["window-2h"], 0.55)
    coverage(book, it, results, mine.name)


def traces(given: Path | None, stack: ExitStack) -> Path:
    """The folder of canonical traces; ends the run, with a word, where there is none."""
    if given is not None:
        if not any((given / name).exists() for name in ("bitbrains.parquet", "azure.parquet")):
            sys.exit(f"forecast_accuracy: {given} holds neither bitbrains.parquet nor azure.parquet")
        return given
    shared = Path(os.environ.get("FORESHAPE_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    tool = shared / "tools" / "make_traces.py"
    if not tool.exists():
        print(f"not run: no traces. {tool} is not there; name a folder with bitbrains.parquet and azure.parquet, or set FORESHAPE_SHARED")
        sys.exit(0)
    made = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="foreshape-traces-")))
    subprocess.run([sys.executable, str(tool), str(made)], check=True, stdout=subprocess.DEVNULL)
    return made


def command(doc: str, **said: str) -> argparse.ArgumentParser:
    """The options of a bench over both traces; ``said``: what an option means to this one."""
    parser = argparse.ArgumentParser(description=doc.split("\n", maxsplit=1)[0])
    add = parser.add_argument
    add("folder", nargs="?", type=Path, help="folder with bitbrains.parquet and azure.parquet")
    add("--quick", action="store_true", help=said["quick"])
    add("--baseline", action="store_true", help=said["baseline"])
    add("--keep", type=Path, help="where the models are kept; one that is there is used, not trained")
    add("--cpu-minutes", type=float, default=4.0, help="for the nets; their examination takes about one more")
    add("--encoder", default=None, help="of the net: mlp, tcn or lstm")
    add("--every", type=int, default=6 * 3600, help=said["every"])
    add("--only", choices=("bitbrains", "azure"))
    add("--seed", type=int, default=1)
    return parser


def over_traces(options: argparse.Namespace, bench: Callable[[str, Path, Book, Path], None]) -> None:
    """``bench(name, trace, book, models)`` for each trace that is asked for and there; then the book, and what it cost."""
    book = Book()
    with ExitStack() as stack:
        folder = traces(options.folder, stack)
        kept = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="foreshape-models-")))
        for name in ("bitbrains", "azure"):
            path = folder / f"{name}.parquet"
            if options.only in (None, name) and path.exists():
                bench(name, path, book, kept)
            elif options.only in (None, name):
                print(f"not run: {path} is not there")
    book.close()
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_utime / 60:.1f} CPU-minutes in all")


def main() -> None:
    quick = "8 origins and half a CPU-minute of training: shows that it works, not how well"
    options = command(__doc__, quick=quick, baseline="train nothing", every="seconds between origins").parse_args()
    parts = {"bitbrains": bitbrains, "azure": azure}
    over_traces(options, lambda name, path, book, kept: parts[name](path, book, options, kept))


if __name__ == "__main__":
    try:
        main()
    except ControllerError as e:
        sys.exit(f"forecast_accuracy: {e}")

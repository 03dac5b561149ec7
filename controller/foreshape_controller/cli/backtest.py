"""``foreshape backtest``: what methods would have forecast over a trace, how good that was, and the forecasts as files."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cliff.lister import Lister

from foreshape_controller.cli.errors import UsageError
from foreshape_controller.cli.local import Ticker, duration, instant, sentences
from foreshape_controller.cli.numbers import whole

if TYPE_CHECKING:
    from foreshape_controller.model.history import History
    from foreshape_controller.replay.backtest import Line, Result

DAY = 86400
SLOW_ORIGINS = 4
"""Origins when a per-series model takes part, unless --origins says otherwise."""

HEADERS = (
    "Resource",
    "Horizon",
    "Method",
    "N",
    "wQL",
    "MASE",
    "cov80",
    "cov90",
    "cov98",
    "<= q95",
    "<= q99",
    "windows/CPU-s",
    "to best simple",
)


class Backtest(Lister):
    """Forecast past demand, origin by origin, and say how good that was.

    Only data before an origin is used. wQL: weighted quantile loss, the smaller the better; MASE: error of the median beside
    "as a day ago"; cov80/90/98: share inside the central intervals; "to best simple": wQL divided by that of the best simple
    method in the same run. --out holds every quantile (columns vm, resource, kind, origin, t, q01 … q99).
    """

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        add_trace(parser)
        add = parser.add_argument
        add("--model", type=Path, metavar="DIR", help="a trained model; adds the method 'model', the chain of production")
        add(
            "--method",
            nargs="+",
            action="extend",
            metavar="NAME",
            help="baseline, naive-residual, ewma-0.1, ewma-0.3, window-2h, window-24h, window-48h, window-7d, seasonal-naive, time-of-day, "
            "holt-winters, or 'simple' for all but the first; for comparison and slow: arima, ets, theta, lightgbm "
            "(default: baseline simple, and model with --model)",
        )
        add(
            "--from", dest="start", type=instant, metavar="SEC", help="first origin, epoch seconds or ISO (default: 14 days before the end)"
        )
        add("--to", dest="end", type=instant, metavar="SEC", help="origins are before this (default: a day before the end)")
        add("--every", type=duration, default=6 * 3600, metavar="6h", help="between origins: 30m, 6h, 1d (default 6h)")
        add("--phase", type=duration, default=0, metavar="0h", help="origins are multiples of --every plus this (default 0)")
        add(
            "--origins",
            type=whole(1),
            metavar="N",
            help=f"at most N of them, spread evenly (default: all; {SLOW_ORIGINS} with arima, ets, theta)",
        )
        add("--out", type=Path, metavar="F.parquet", help="write the forecasts; with several methods one file each, F-METHOD.parquet")
        return parser

    def take_action(self, parsed: Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        with sentences():
            return HEADERS, [_row(line) for line in _lines(parsed, self.app.stderr.write)]


def add_trace(parser: ArgumentParser) -> None:
    """The options of every command that reads a trace."""
    add = parser.add_argument
    add("--trace", type=Path, required=True, metavar="T.parquet", help="canonical trace (foreshape trace import makes one)")
    add("--vms", nargs="+", metavar="NAME", help="names or patterns, or one number: so many, spread over all (default: all)")
    add(
        "--resource",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="cpu, memory, disk, net (default: cpu and memory, as far as they are there)",
    )
    add(
        "--peaks",
        choices=("means", "inside"),
        default="means",
        help="window peaks are of 5-minute means, or of the largest use inside the bins where the trace knows it (default means)",
    )


def _lines(parsed: Namespace, write: Any) -> "list[Line]":
    from foreshape_controller.replay.backtest import summary  # noqa: PLC0415 - numpy: start-up time
    from foreshape_controller.replay.methods import SIMPLE, expand  # noqa: PLC0415

    asked = parsed.method or (["baseline", "simple"] + (["model"] if parsed.model else []))
    names = expand([*asked, *(["model"] if parsed.model and "model" not in asked else [])])
    every, chosen = _histories(parsed, write, whole="lightgbm" in names)
    when = _when(parsed, next(iter(chosen.values())), names, write)
    results: list[Result] = []
    for name in names:
        results += _run(parsed, name, every, chosen, when, alone=len(names) == 1)
    return summary(results, tuple(SIMPLE))


def _histories(parsed: Namespace, write: Any, *, whole: bool) -> "tuple[Mapping[str, History], Mapping[str, History]]":
    """What may be learned from, and what is forecast: the same, unless a method is to learn from the VMs that --vms leaves out."""
    from foreshape_controller.replay.backtest import some  # noqa: PLC0415 - start-up time
    from foreshape_controller.replay.trace_file import load_trace, pick  # noqa: PLC0415

    def tell(said: str) -> None:
        write(f"{parsed.trace}: {said}\n")

    loaded = load_trace(
        parsed.trace, peaks=parsed.peaks, resources=parsed.resource, vms=None if whole else parsed.vms, tell=tell, usual=("cpu", "memory")
    )
    if not whole or not parsed.vms:
        return loaded, loaded
    names = next(iter(loaded.values())).series
    chosen = pick(names, parsed.vms)
    rest = [n for n in names if n not in set(chosen)] or chosen
    return {r: some(h, rest) for r, h in loaded.items()}, {r: some(h, chosen) for r, h in loaded.items()}


def _when(parsed: Namespace, history: "History", names: Sequence[str], write: Any) -> list[int]:
    from foreshape_controller.replay.backtest import origins, thinned  # noqa: PLC0415 - start-up time
    from foreshape_controller.replay.methods import CLASSICAL  # noqa: PLC0415

    end = parsed.end if parsed.end is not None else history.until - DAY
    start = parsed.start if parsed.start is not None else history.until - 14 * DAY
    _inside(history, start, end)
    found = origins(start, end, parsed.every, parsed.phase)
    most = parsed.origins or (SLOW_ORIGINS if set(names) & set(CLASSICAL) else len(found))
    when = thinned(found, most)
    if len(when) < len(found):
        write(f"{len(when)} of {len(found)} origins, for all methods alike\n")
    return when


def _inside(history: "History", start: int, end: int) -> None:
    if start >= end:
        raise UsageError(f"--from {start} is not before --to {end}: no origin lies between")
    if end <= history.start or start >= history.until:
        raise UsageError(
            f"the trace lasts from {history.start} to {history.until}: no origin between --from {start} and --to {end} is inside"
        )
    if start <= history.start:
        raise UsageError(f"nothing is known before {history.start}, where the trace begins: choose a later --from")


def _run(
    parsed: Namespace, name: str, every: "Mapping[str, History]", chosen: "Mapping[str, History]", when: Sequence[int], *, alone: bool
) -> "list[Result]":
    from foreshape_controller.replay.backtest import ForecastFile, evaluate  # noqa: PLC0415 - start-up time
    from foreshape_controller.replay.entrants import enter  # noqa: PLC0415

    ticker = Ticker()
    try:
        predictor = enter(name, parsed.model, every, when[0], ticker)
        if parsed.out is None:
            return evaluate(chosen, predictor, when, progress=ticker)
        with ForecastFile(_path(parsed.out, name, alone=alone)) as out:
            return evaluate(chosen, predictor, when, out=out, progress=ticker)
    finally:
        ticker.done()


def _path(out: Path, method: str, *, alone: bool) -> Path:
    return out if alone else out.with_name(f"{out.stem}-{method}{out.suffix}")


def _row(line: "Line") -> tuple[Any, ...]:
    f = line.figures
    shares = (f.cov80, f.cov90, f.cov98, f.below_q95, f.below_q99)
    judged = [_rounded(x, 4) for x in (f.wql, f.mase, *shares)]
    return (line.resource, line.horizon, line.method, f.n, *judged, round(line.speed), _rounded(line.ratio, 3))


def _rounded(value: float, digits: int) -> float | None:
    return None if isnan(value) else round(value, digits)

"""``foreshape replay``: what Foreshape would have allocated over a trace, beside simple policies, as a table, a file and a page."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cliff.lister import Lister

from foreshape_controller.cli.backtest import DAY
from foreshape_controller.cli.errors import UsageError
from foreshape_controller.cli.local import Ticker, duration, instant, sentences
from foreshape_controller.cli.numbers import number, whole
from foreshape_controller.errors import ConfigError, ModelError, TraceError

if TYPE_CHECKING:
    from foreshape_controller.decide.tiers import Tiers
    from foreshape_controller.model.forecast import Predictor
    from foreshape_controller.model.history import History
    from foreshape_controller.replay.engine import Replayed, Setup
    from foreshape_controller.replay.findings import Findings
    from foreshape_controller.replay.stage import Hosts

WEEKS = 14
"""Days that are replayed unless --from says otherwise."""

Tell = Callable[[str], None]


class Replay(Lister):
    """Decide a trace again with the product's own rules, and compare with simple policies at equal violations.

    What would it have saved: foreshape trace import makes a trace of an operator's own history. Nothing is changed anywhere;
    demand is what the trace measured. Without --model, or without torch, the baseline forecasts.
    """

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        add = parser.add_argument
        add("--trace", type=Path, required=True, metavar="T.parquet", help="canonical trace (foreshape trace import makes one)")
        add("--model", type=Path, metavar="DIR", help="a trained model (foreshape train makes one); default: the baseline")
        add("--from", dest="start", type=instant, metavar="SEC", help=f"epoch seconds or ISO (default: {WEEKS} days before the end)")
        add("--to", dest="end", type=instant, metavar="SEC", help="default: the end of the trace")
        add("--warm-up", type=duration, default=7 * DAY, metavar="7d", help="decided before --from, and not counted (default 7d)")
        add("--forecast-every", type=duration, default=1800, metavar="30m", help="between forecasts: 5m to 30m (default 30m)")
        add("--tiers", type=Path, metavar="F", help="tiers.yaml (default: the built-in tiers, all servers standard)")
        add("--resource", nargs="+", action="extend", choices=("cpu", "memory"), help="default: what the trace holds")
        add("--vms", nargs="+", metavar="NAME", help="names or patterns, or one number: so many, spread over all (default: all)")
        add("--show", nargs="+", default=[], metavar="VM", help="servers to draw in the report (default: four that are worth a look)")
        add("--rates", type=Path, metavar="F", help="rates.yaml: what freed capacity is worth, by its newest card (default: nothing)")
        group = parser.add_argument_group("hosts that may be short (default: none is)")
        group.add_argument("--hosts", type=whole(1, 1_000_000), metavar="N", help="pack the VMs on so many hosts")
        group.add_argument("--host-cpus", type=whole(1), metavar="C", help="cores that the VMs of a host may have together")
        group.add_argument("--host-memory", type=number(above=True), metavar="MIB", help="memory that the VMs of a host may have together")
        add("--out", type=Path, metavar="A.parquet", help="write the allocations: vm, resource, t, allocation, a row at each change")
        add("--report", type=Path, metavar="R.html", help="write a page with tables and charts that needs nothing but itself")
        return parser

    def take_action(self, parsed: Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        def tell(said: str) -> None:
            self.app.stderr.write(f"{said}\n")

        with sentences(), _input():
            from foreshape_controller.replay.report import HEADERS, cells  # noqa: PLC0415 - numpy: start-up time

            findings = _replayed(parsed, tell)
            return ("Resource", *HEADERS), [(line.resource, *cells(line)) for line in findings.lines]


@contextmanager
def _input() -> Iterator[None]:
    """What is wrong with a trace, a window, tiers, hosts or a model is wrong with the command's words."""
    try:
        yield
    except (TraceError, ConfigError, ModelError) as e:
        raise UsageError(str(e)) from e


def _replayed(parsed: Namespace, tell: Tell) -> "Findings":
    """Read, decide, compare, write."""
    from foreshape_controller.replay.allocations import write_allocations  # noqa: PLC0415 - start-up time
    from foreshape_controller.replay.engine import replay  # noqa: PLC0415
    from foreshape_controller.replay.findings import find  # noqa: PLC0415
    from foreshape_controller.replay.report import page  # noqa: PLC0415

    _refuse_folders(parsed)
    notes: list[str] = []
    tiers, histories = _at_prices(_tiers(parsed.tiers), parsed.rates), _histories(parsed, tell, notes)
    setup = _setup(parsed, tiers, next(iter(histories.values())))
    predictor, voice = _voice(parsed.model)
    tell(voice)
    ticker = Ticker()
    try:
        replayed = replay(histories, predictor, setup, ticker)
    finally:
        ticker.done()
    findings = find(histories, replayed, frontier=parsed.report is not None)
    if parsed.out:
        tell(f"{parsed.out}: {write_allocations(replayed, parsed.out)} rows")
    if parsed.report:
        parsed.report.write_text(page(findings, _source(parsed, voice, notes)), encoding="utf-8")
        tell(f"{parsed.report}: {parsed.report.stat().st_size / 1024:.0f} KiB")
    tell(_speed(replayed))
    return findings


def _refuse_folders(parsed: Namespace) -> None:
    """Before the work, not after it."""
    for option, path in (("--out", parsed.out), ("--report", parsed.report)):
        if path is not None and not path.absolute().parent.is_dir():
            raise UsageError(f"{option} {path}: there is no folder {path.absolute().parent}; make it first")
        if path is not None and path.is_dir():
            raise UsageError(f"{option} {path} is a folder: name a file in it")
        if path is not None and path.resolve() == parsed.trace.resolve():
            raise UsageError(f"{option} {path} is the trace itself and would be lost: name another file")


def _tiers(path: Path | None) -> "Tiers":
    from foreshape_controller.decide.tiers import load_tiers  # noqa: PLC0415 - start-up time

    if path is None:
        return load_tiers("")
    try:
        return load_tiers(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"--tiers {path}: {e.strerror if isinstance(e, OSError) else 'is no text'}; give a file like tiers.yaml") from e


def _at_prices(tiers: "Tiers", path: Path | None) -> "Tiers":
    from foreshape_controller.decide.price import NO_CURRENCY, by_rates  # noqa: PLC0415 - start-up time
    from foreshape_controller.decide.rates_file import check_rates  # noqa: PLC0415

    if path is None:
        return tiers
    try:
        found = check_rates(path.read_text(encoding="utf-8"), tiers.tiers)
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"--rates {path}: {e.strerror if isinstance(e, OSError) else 'is no text'}; give a file like rates.yaml") from e
    if found.cards is None:
        raise UsageError(f"--rates {path}: {'; '.join(found.problems)}")
    if found.cards.currency == NO_CURRENCY:
        raise UsageError(f"--rates {path}: its currency is {NO_CURRENCY}: its rates are examples; put your own there")
    return by_rates(tiers, found.cards, found.cards.cards[-1].valid_from)


def _histories(parsed: Namespace, tell: Tell, notes: list[str]) -> "dict[str, History]":
    from foreshape_controller.replay.trace_file import load_trace  # noqa: PLC0415 - start-up time

    def said(word: str) -> None:
        notes.append(word)
        tell(f"{parsed.trace}: {word}")

    found = dict(load_trace(parsed.trace, resources=parsed.resource, vms=parsed.vms, tell=said, usual=("cpu", "memory")))
    names = next(iter(found.values())).series
    for vm in parsed.show:
        if vm not in names:
            raise UsageError(f"--show {vm}: not among the {len(names)} VMs that are replayed, for example {', '.join(names[:3])}")
    return found


def _setup(parsed: Namespace, tiers: "Tiers", some: "History") -> "Setup":
    from foreshape_controller.replay.engine import Setup  # noqa: PLC0415 - start-up time

    step = some.step_s
    end = parsed.end if parsed.end is not None else some.until
    start = parsed.start if parsed.start is not None else max(some.start + DAY, some.until - WEEKS * DAY)
    if not step <= parsed.forecast_every <= 1800 or parsed.forecast_every % step:
        raise UsageError(f"--forecast-every {parsed.forecast_every}: 5m to 30m, in whole bins of {step} s")
    window = (start // step * step, end // step * step)
    return Setup(*window, parsed.warm_up, tiers, _hosts(parsed), forecast_bins=parsed.forecast_every // step)


def _hosts(parsed: Namespace) -> "Hosts | None":
    from foreshape_controller.replay.stage import Hosts  # noqa: PLC0415 - start-up time

    given = (parsed.hosts, parsed.host_cpus, parsed.host_memory)
    if all(x is None for x in given):
        return None
    if any(x is None or not 0 < x < 1e9 for x in given):
        raise UsageError("--hosts, --host-cpus and --host-memory belong together, each above 0")
    return Hosts(*given)


def _voice(model: Path | None) -> "tuple[Predictor, str]":
    """Who forecasts, and how that is said."""
    from foreshape_controller.forecast.baseline import Baseline  # noqa: PLC0415 - start-up time

    if model is None:
        return Baseline(), "forecasts: the baseline (no --model was given)"
    from foreshape_controller.forecast.chain import Chain, load_champion  # noqa: PLC0415 - torch is behind it

    found = load_champion(model)
    if found.net is None:
        return Chain(Baseline(), found), f"forecasts: the baseline ({found.silence}; model {model} stays silent)"
    return Chain(Baseline(), found), f"forecasts: model {model} where it is better than the baseline"


def _source(parsed: Namespace, voice: str, notes: Sequence[str]) -> Any:
    from foreshape_controller.replay.report import Source  # noqa: PLC0415 - start-up time

    return Source(
        trace=parsed.trace.name,
        voice=voice.removeprefix("forecasts: "),
        tiers=f"tiers of {parsed.tiers}" if parsed.tiers else "the built-in tiers",
        sample=f"chosen by --vms {' '.join(parsed.vms)}" if parsed.vms else "all that the trace holds",
        servers=tuple(parsed.show),
        notes=tuple(notes),
    )


def _speed(replayed: "Replayed") -> str:
    """What it cost."""
    setup = replayed.setup
    days = len(replayed.names) * (setup.end - setup.begin + setup.warm_up_s) / DAY
    return (
        f"{days:,.0f} server-days decided in {replayed.cpu_s:.1f} CPU-seconds, forecasts {replayed.forecast_cpu_s:.1f} more; "
        f"the forecast changed {replayed.changed_by_forecast / max(1, replayed.decisions):.0%} of the decisions"
    )

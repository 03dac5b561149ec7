"""``foreshape trace import``: history that an operator already has, as a canonical trace file."""

import argparse
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cliff.command import Command

from foreshape_controller.cli.errors import UsageError
from foreshape_controller.cli.local import Ticker, instant, sentences
from foreshape_controller.cli.numbers import number

if TYPE_CHECKING:
    from foreshape_controller.replay.importers.blocks import Block

FORMATS = ("bitbrains", "azure-v1", "azure-v2", "google2019", "csv", "prometheus")
DAYS = 60
"""Of a Prometheus server's past, unless --from says otherwise."""


class TraceImport(Command):
    """Make a canonical trace (Parquet, 5-minute bins) of history in another format.

    bitbrains: folders of GWA-T-12. azure-v1, azure-v2: folder or files with vmtable.csv and vm_cpu_readings*.csv. google2019: exports of
    instance_usage, JSON lines or CSV. csv: plain files. prometheus: the address of a server that scrapes a libvirt exporter.
    The trace is for: foreshape backtest, foreshape train.
    """

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        add = parser.add_argument
        add("source", nargs="+", metavar="SOURCE", help="folder, files, or http://HOST:9090 for prometheus")
        add("--format", required=True, choices=FORMATS, dest="kind")
        add("--out", type=Path, required=True, metavar="T.parquet", help="the trace to write; replaced if it is there")
        add("--vms", nargs="+", metavar="NAME", help="names or patterns, or one number: so many (default: all)")
        add("--start", type=instant, metavar="SEC", help="what the source's time 0 is (azure, google2019: their clocks are hidden)")
        _add_sizes(parser.add_argument_group("google2019 and csv"))
        _add_csv(parser.add_argument_group("csv"))
        _add_prometheus(parser.add_argument_group("prometheus"))
        return parser

    def take_action(self, parsed: Namespace) -> None:
        def tell(said: str) -> None:
            self.app.stdout.write(f"{said}\n")

        with sentences():
            from foreshape_controller.replay.importers.blocks import write_trace  # noqa: PLC0415 - numpy: start-up time

            ticker = Ticker()
            try:
                write_trace(READERS[parsed.kind](parsed, tell, ticker), parsed.out, tell)
            finally:
                ticker.done()
            tell(f"{parsed.out}: {parsed.out.stat().st_size / 2**20:.1f} MiB")


def _add_sizes(group: Any) -> None:
    group.add_argument(
        "--machine-cores", type=number(above=True), metavar="N", help="google2019: cores of the largest machine, whose use is 1"
    )
    group.add_argument("--machine-mib", type=number(above=True), metavar="MIB", help="google2019: memory of the largest machine")
    group.add_argument("--cores", type=number(above=True), metavar="N", help="csv: provisioned cores of every VM, where no column says it")
    group.add_argument("--mib", type=number(above=True), metavar="MIB", help="csv: provisioned memory of every VM, where no column says it")


def _add_csv(group: Any) -> None:
    add = group.add_argument
    add(
        "--column",
        nargs="+",
        action="extend",
        default=[],
        type=_pair,
        metavar="OURS=THEIRS",
        help="vm, t, cpu_cores, mem_mib … and how the file calls it",
    )
    add(
        "--scale",
        nargs="+",
        action="extend",
        default=[],
        type=_factor,
        metavar="OURS=FACTOR",
        help="multiply a column, e.g. mem_mib=0.000976562 for KiB",
    )
    add("--wide", metavar="OURS", help="one column per VM, all of this kind, e.g. cpu_cores; the first column is the time")
    add("--delimiter", default=",", metavar="C", help="between columns (default ,)")


def _add_prometheus(group: Any) -> None:
    add = group.add_argument
    add("--from", dest="begin", type=instant, metavar="SEC", help=f"epoch seconds or ISO (default: {DAYS} days ago)")
    add("--to", dest="end", type=instant, metavar="SEC", help="default: now")
    add("--label", default="domain", metavar="NAME", help="label that names a VM, e.g. uuid or instance_id (default domain)")
    add("--matching", default="", metavar="MATCHERS", help="""further matchers of every series, e.g. 'job="libvirt"'""")
    add(
        "--metric",
        nargs="+",
        action="extend",
        default=[],
        type=_pair,
        metavar="OURS=THEIRS",
        help="another exporter's names, e.g. cpu_time=NAME",
    )
    add("--inside", action="store_true", help="also the largest CPU use inside each bin (costs the server more)")
    add("--bearer-token-file", type=Path, metavar="FILE")
    add("--prometheus-ca-file", type=Path, metavar="FILE", help="CA of the server's certificate (default: the system's)")
    add("--query-timeout", type=number(above=True), default=60.0, metavar="S", help="for each query (default 60)")


def _pair(text: str) -> tuple[str, str]:
    ours, _, theirs = text.partition("=")
    if not (ours and theirs):
        raise argparse.ArgumentTypeError(f"{text[:80]!r}: OURS=THEIRS is wanted")
    return ours, theirs


def _factor(text: str) -> tuple[str, float]:
    ours, theirs = _pair(text)
    return ours, number(above=True)(theirs)


Tell = Callable[[str], None]
Reader = Callable[[Namespace, Tell, Ticker], "Iterable[Block]"]


def _paths(parsed: Namespace) -> list[Path]:
    return [Path(s) for s in parsed.source]


def _bitbrains(parsed: Namespace, _tell: Tell, _ticker: Ticker) -> "Iterable[Block]":
    from foreshape_controller.replay.importers import bitbrains  # noqa: PLC0415 - start-up time

    return bitbrains.read(_paths(parsed), parsed.vms)


def _azure(parsed: Namespace, tell: Tell, _ticker: Ticker) -> "Iterable[Block]":
    from foreshape_controller.replay.importers import azure  # noqa: PLC0415 - start-up time

    return azure.read(_paths(parsed), parsed.vms, _start(parsed, azure.START, tell))


def _google(parsed: Namespace, tell: Tell, _ticker: Ticker) -> "Iterable[Block]":
    from foreshape_controller.replay.importers import google2019  # noqa: PLC0415 - start-up time

    if not (parsed.machine_cores and parsed.machine_mib):
        raise UsageError("google2019 counts in shares of the largest machine: say its size with --machine-cores and --machine-mib")
    machine = google2019.Machine(parsed.machine_cores, parsed.machine_mib)
    return google2019.read(_paths(parsed), parsed.vms, machine, _start(parsed, google2019.START, tell))


def _csv(parsed: Namespace, _tell: Tell, _ticker: Ticker) -> "Iterable[Block]":
    from foreshape_controller.replay.columns import CANONICAL, NUMBERS  # noqa: PLC0415 - start-up time
    from foreshape_controller.replay.importers import plain  # noqa: PLC0415

    columns, scale = dict(parsed.column), dict(parsed.scale)
    _known(columns, CANONICAL, "--column")
    _known(scale, NUMBERS, "--scale")
    _known([parsed.wide] if parsed.wide else [], NUMBERS, "--wide")
    if len(parsed.delimiter) != 1:
        raise UsageError(f"--delimiter {parsed.delimiter!r}: one character is wanted")
    return plain.read(_paths(parsed), parsed.vms, plain.Layout(parsed.delimiter, columns, scale, parsed.wide, parsed.cores, parsed.mib))


def _prometheus(parsed: Namespace, tell: Tell, ticker: Ticker) -> "Iterable[Block]":
    from foreshape_controller.replay import prometheus  # noqa: PLC0415 - httpx: start-up time

    if len(parsed.source) != 1:
        raise UsageError("one address of a Prometheus server is wanted")
    metrics = dict(parsed.metric)
    _known(metrics, tuple(prometheus.METRICS), "--metric")
    end = (parsed.end if parsed.end is not None else int(time.time())) // 300 * 300
    begin = (parsed.begin if parsed.begin is not None else end - DAYS * 86400) // 300 * 300
    if begin >= end:
        raise UsageError(f"--from {begin} is not before --to {end}")
    server = prometheus.Server(
        url=parsed.source[0],
        token_file=parsed.bearer_token_file,
        ca_file=parsed.prometheus_ca_file,
        timeout_s=parsed.query_timeout,
        label=parsed.label,
        matching=parsed.matching,
        inside=parsed.inside,
        metrics=metrics,
    )
    return prometheus.read(server, begin, end, parsed.vms, tell, ticker)


def _known(names: Iterable[str], known: Iterable[str], option: str) -> None:
    for name in names:
        if name not in known:
            raise UsageError(f"{option} {name}: not one of {', '.join(known)}")


def _start(parsed: Namespace, usual: int, tell: Tell) -> int:
    if parsed.start is not None:
        return int(parsed.start)
    tell(f"the source hides its clock: its time 0 is taken as {usual} (--start SEC for another)")
    return usual


READERS: Mapping[str, Reader] = {
    "bitbrains": _bitbrains,
    "azure-v1": _azure,
    "azure-v2": _azure,
    "google2019": _google,
    "csv": _csv,
    "prometheus": _prometheus,
}

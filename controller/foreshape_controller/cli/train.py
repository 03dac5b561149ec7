"""``foreshape train``: a model from traces, on this machine; the controller's own nightly training needs no command."""

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cliff.command import Command

from foreshape_controller.cli.errors import CliError, UsageError
from foreshape_controller.cli.local import Ticker, instant, sentences
from foreshape_controller.cli.numbers import number, whole

if TYPE_CHECKING:
    from foreshape_controller.model.history import History
    from foreshape_controller.model.learned import Manifest

INTERRUPTED = 130


class Train(Command):
    """Train a model on traces and write it into a folder.

    The last days before --until are held back from the net and decide where it is heard: it speaks only where it won over the
    baseline. Interrupted, the same command goes on. The model is for: foreshape backtest --model, foreshape model promote.
    """

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        add = parser.add_argument
        add("--trace", type=Path, action="append", required=True, metavar="T.parquet", help="canonical trace; several to train on together")
        add(
            "--until",
            type=instant,
            action="append",
            metavar="SEC",
            help="nothing from there on is looked at, epoch seconds or ISO; one for all traces or one for each (default: their ends)",
        )
        add("--out", type=Path, required=True, metavar="DIR", help="folder of the model; must not exist yet")
        add("--cpu-minutes", type=number(0, 1e6, above=True), default=5.0, metavar="N", help="CPU time for the nets (default 5)")
        add("--encoder", choices=("mlp", "tcn", "lstm"), help="of the history, in the net (default: the one that measured best)")
        add(
            "--seed",
            type=whole(0, 2**32 - 1),
            default=0,
            metavar="N",
            help="the same seed, data and number of steps give the same model (default 0)",
        )
        add("--device", default="auto", metavar="NAME", help="auto takes CUDA where it is, else the CPU (default auto)")
        add("--resource", nargs="+", action="extend", metavar="NAME", help="cpu, memory, disk, net (default: all that are there)")
        add("--vms", nargs="+", metavar="NAME", help="names or patterns, or one number: so many (default: all)")
        add("--except-vms", nargs="+", metavar="NAME", help="leave these out, to test on them")
        return parser

    def take_action(self, parsed: Namespace) -> int:
        with sentences():
            _check_out(parsed.out)
            from foreshape_controller.replay.training import Course, joined, learn  # noqa: PLC0415 - start-up time

            histories = joined([self._load(parsed, path) for path in parsed.trace], _ends(parsed))
            course = Course(None, parsed.cpu_minutes, parsed.seed, parsed.encoder, parsed.device)
            ticker, started = Ticker(), time.process_time()
            try:
                manifest = learn(histories, parsed.out, course, ticker.say)
            except KeyboardInterrupt:
                ticker.done()
                self.app.stderr.write("foreshape: interrupted; the same command goes on from the last checkpoint\n")
                return INTERRUPTED
            finally:
                ticker.done()
            self.app.stdout.write(_said(parsed.out, manifest, histories, time.process_time() - started))
        return 0

    def _load(self, parsed: Namespace, path: Path) -> "Mapping[str, History]":
        from foreshape_controller.replay.backtest import some  # noqa: PLC0415 - start-up time
        from foreshape_controller.replay.trace_file import load_trace, pick  # noqa: PLC0415

        def tell(said: str) -> None:
            self.app.stderr.write(f"{path}: {said}\n")

        loaded = load_trace(path, resources=parsed.resource, vms=parsed.vms, tell=tell)
        if not parsed.except_vms:
            return loaded
        names = next(iter(loaded.values())).series
        without = set(pick(names, parsed.except_vms))
        rest = [n for n in names if n not in without]
        if not rest:
            raise CliError(f"{path}: --except-vms leaves no VM to train on")
        return {r: some(h, rest) for r, h in loaded.items()}


def _check_out(out: Path) -> None:
    """Before minutes of training, not after them."""
    from foreshape_controller.forecast.folder import refuse_taken  # noqa: PLC0415 - start-up time

    refuse_taken(out)
    if not out.parent.is_dir():
        raise CliError(f"{out.parent}: no such folder")


def _ends(parsed: Namespace) -> list[int | None]:
    ends = parsed.until or [None]
    if len(ends) not in (1, len(parsed.trace)):
        raise UsageError(f"{len(ends)} times --until for {len(parsed.trace)} traces: one for all, or one for each in their order")
    return list(ends) * (len(parsed.trace) if len(ends) == 1 else 1)


def _said(out: Path, manifest: "Manifest", histories: "Mapping[str, History]", cpu_s: float) -> str:
    counts = ", ".join(f"{len(h.series)} of {r}" for r, h in histories.items())
    return f"{out}: model {manifest.id} from {counts}; {cpu_s / 60:.1f} CPU-minutes\n"

"""``foreshape demo``: the whole product on simulated hypervisors, in one process."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from cliff.command import Command

from foreshape_controller.cli.numbers import number, whole


class Demo(Command):
    """Run controller and agents on SIMULATED hypervisors for simulated days, in about a minute. Needs no root."""

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        add = parser.add_argument
        add(
            "--minutes",
            type=number(0, 1e5, above=True),
            default=1.0,
            metavar="N",
            help="real time to take; simulated days follow (default 1)",
        )
        add(
            "--days",
            type=number(0, 1e5, above=True),
            default=None,
            metavar="D",
            help="simulate exactly this long, however long it takes: repeatable",
        )
        add("--servers", type=whole(1, 100_000), default=40, metavar="N", help="simulated servers (default 40)")
        add("--hosts", type=whole(1, 100_000), default=3, metavar="N", help="simulated hypervisors, one agent each (default 3)")
        add("--seed", type=whole(0, 2**32 - 1), default=1, metavar="S", help="seed of the workload generator (default 1)")
        add("--trace", type=Path, default=None, metavar="FILE", help="canonical trace file (Parquet) instead of the generator")
        add("--keep", action="store_true", help="keep the database and say where it is")
        add("--port", type=whole(0, 65535), default=0, metavar="PORT", help="port of the API on 127.0.0.1 (default: any free one)")
        add("--serve", action="store_true", help="afterwards, go on and keep the dashboard until Ctrl-C")
        return parser

    def take_action(self, parsed: Namespace) -> int:
        from foreshape_demo.run import DemoOptions, run_demo  # noqa: PLC0415 - both programs are behind it: start-up time

        chosen = {k: v for k, v in vars(parsed).items() if k in DemoOptions.__dataclass_fields__}
        return run_demo(DemoOptions(**chosen), self.app.stdout)

"""The demo from start to end: make a world, let both programs run in it, show it, and say what came of it."""

import logging
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import structlog

from foreshape_controller.cli.errors import CliError
from foreshape_controller.errors import TraceError
from foreshape_controller.sim.world import World
from foreshape_demo.bed import BRISK, WARM_UP, Bed, Pace
from foreshape_demo.screen import Screen
from foreshape_demo.serve import PortTaken, Serving
from foreshape_demo.summary import Outcome, summarize
from foreshape_demo.watch import Watch

WARM_UP_S = 6 * 3600.0
SUMMARY_S = 3.0
"""Real seconds kept for the summary."""
LEAST_S = 2 * 3600.0
"""Simulated time that even the slowest machine gets through."""

BRISK_COSTS = 2.3
"""A brisk day costs so much more than a day of the warm-up: measured, 17 to 7.4 CPU seconds for 40 servers."""
DAYS_WORTH_IT = 1.6

EXIT_BROKEN = 1
EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class DemoOptions:
    """What the command line says."""

    minutes: float = 1.0
    days: float | None = None
    servers: int = 40
    hosts: int = 3
    seed: int = 1
    trace: Path | None = None
    keep: bool = False
    port: int = 0
    serve: bool = False

    @property
    def budget_s(self) -> float | None:
        """Real seconds to run; None when the days are given."""
        return None if self.days is not None else max(1.0, self.minutes * 60 - SUMMARY_S)


def run_demo(options: DemoOptions, out: TextIO) -> int:
    """Run; the exit code is 0 when every promise was kept. Raises CliError where it cannot start."""
    started = time.monotonic()
    _quiet()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the folder is removed, the summary is shown
    try:
        world = _world(options)
    except TraceError as e:
        raise CliError(str(e)) from e
    with _folder(options, out) as folder:
        bed = Bed(world, folder, pace=WARM_UP)
        assert bed.controller is not None
        try:
            with Serving(bed.controller, options.port) as api:
                code = _show(options, bed, Screen(out, _title(options), _hint(bed, api.url, folder)), started, out)
                return _serve(bed, api.url, out) if options.serve and not code else code
        except PortTaken as e:
            raise CliError(str(e)) from e
        finally:
            bed.close()


def _show(options: DemoOptions, bed: Bed, screen: Screen, started: float, out: TextIO) -> int:
    watch = Watch()
    screen.begin()
    code = 0
    try:
        play(options, bed, watch, screen, started)
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    took = time.monotonic() - started
    try:
        outcome = summarize(bed, watch, took)
    except ValueError:  # interrupted before the first full bin
        out.write("\nSIMULATED: stopped before anything could be compared\n")
        return EXIT_INTERRUPTED
    out.write(outcome.text + "\n")
    return _verdict(outcome) or code


def _serve(bed: Bed, url: str, out: TextIO) -> int:
    """Go on, slowly, until somebody has seen enough."""
    out.write(f"\nIt goes on until Ctrl-C, {bed.pace.cycle_s:.0f} simulated seconds each second. The dashboard, logged in:\n")
    out.write(f"  {_link(bed, url)}\n")
    out.flush()
    try:
        while True:
            time.sleep(1)
            bed.step()
    except KeyboardInterrupt:
        return 0


def _link(bed: Bed, url: str) -> str:
    """The token stands behind the #: browsers send that to no server, and the page takes it out of the address."""
    assert bed.controller is not None
    return f"{url}/dashboard/index.html#token={bed.controller.admin_token}"


def play(options: DemoOptions, bed: Bed, watch: Watch, screen: Screen, started: float) -> None:
    """Let simulated time pass: so many days, or as long as the real time allows."""
    for _ in _steps(options, bed, started):
        watch.look(bed)
        screen.update(bed, watch, time.monotonic() - started, options.budget_s)


def _steps(options: DemoOptions, bed: Bed, started: float) -> Iterator[float]:
    begin, first = bed.now, time.monotonic()
    until = begin + (options.days * 86400 if options.days is not None else float("inf"))
    warm = False
    while bed.now < until:
        if not warm and bed.now - begin >= WARM_UP_S:
            warm = True
            bed.set_pace(_pace(options, time.monotonic() - first, time.monotonic() - started))
        bed.step()
        yield bed.now
        late = options.budget_s is not None and time.monotonic() - started >= options.budget_s
        if late and bed.now - begin >= LEAST_S:
            return


def _pace(options: DemoOptions, warm_up_s: float, spent_s: float) -> Pace:
    """Brisk, unless this machine is too busy for two days of it in the time that is left: memory needs more than one."""
    if options.budget_s is None:
        return BRISK
    day_s = warm_up_s * 86400 / WARM_UP_S
    enough = (options.budget_s - spent_s) / (day_s * BRISK_COSTS) >= DAYS_WORTH_IT
    return BRISK if enough else WARM_UP


def _verdict(outcome: Outcome) -> int:
    return EXIT_BROKEN if outcome.breaches else 0


def _world(options: DemoOptions) -> World:
    size = {"seed": options.seed, "hosts": min(options.hosts, options.servers), "servers": options.servers}
    return World.generated(**size) if options.trace is None else World.traced(options.trace, **size)


def _title(options: DemoOptions) -> str:
    load = f"the trace {options.trace.name}" if options.trace else f"generated load, seed {options.seed}"
    return (
        f"SIMULATED: real controller and {options.hosts} real agents on simulated hypervisors with {options.servers} servers; {load}.\n"
        "Mode is act here; the product's own default is advise: it then tells what it would do, and changes nothing."
    )


def _hint(bed: Bed, url: str, folder: Path) -> str:
    where = f"export FORESHAPE_URL={url} FORESHAPE_TOKEN_FILE={folder / 'admin-token'}"
    return f"While it runs, in another terminal:\n  {where}\n  {_program()} server list\nand in a browser:\n  {_link(bed, url)}"


def _program() -> str:
    """As it was called: where an environment's folder is on no path, its program is found by that."""
    return sys.argv[0] if Path(sys.argv[0]).name == "foreshape" else "foreshape"


@contextmanager
def _folder(options: DemoOptions, out: TextIO) -> Iterator[Path]:
    """A folder for the database and the spools; gone afterwards unless it is to be kept."""
    folder = Path(tempfile.mkdtemp(prefix="foreshape-demo-"))
    try:
        yield folder
    finally:
        if options.keep:
            out.write(f"Kept: {folder} (controller.db, one spool a host)\n")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _quiet() -> None:
    """Both programs' logs would cover the screen: only what is broken comes through."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    logging.getLogger().setLevel(logging.ERROR)

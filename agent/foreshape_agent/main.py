"""``foreshape-agent``: composition, signals, the service manager, and the loop around the cycle."""

import argparse
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import FrameType

import structlog

from foreshape_agent import __version__, config, log
from foreshape_agent.config import Settings
from foreshape_agent.cycle import Cycle, Doors
from foreshape_agent.errors import AgentError, ConfigError
from foreshape_agent.host import SystemClock, read_host
from foreshape_agent.hypervisor import LibvirtHypervisor
from foreshape_agent.levers.base import Clock, Hypervisor
from foreshape_agent.link import HttpLink, TokenStore, Trust
from foreshape_agent.spool import Spool
from foreshape_agent.textfile import Textfile

logger = structlog.get_logger()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent; the exit status: 0 ok, 2 configuration, 1 anything else."""
    asked = _arguments().parse_args(argv)
    try:
        settings = config.load(asked.config_file)
        log.configure(settings.log_level)
        if asked.enrol:
            return _enrol(settings, asked.enrol)
        with alone(settings):
            return _once(settings) if asked.once else _serve(settings, asked.config_file)
    except ConfigError as e:
        print(f"foreshape-agent: {e}", file=sys.stderr)
        return 2
    except AgentError as e:
        print(f"foreshape-agent: {e}", file=sys.stderr)
        return 1


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="foreshape-agent", description="Measures the VMs of this hypervisor and resizes them as its controller wants."
    )
    parser.add_argument("--config-file", required=True, type=Path, metavar="FILE", help="the agent's configuration (agent.conf)")
    parser.add_argument("--once", action="store_true", help="run one cycle, say what it did, and end")
    parser.add_argument(
        "--enrol",
        metavar="TOKEN",
        help="trade the one-time join token of 'foreshape agent enroll HOST' for this host's own; - reads it from stdin",
    )
    parser.add_argument("--version", action="version", version=__version__)
    return parser


def build(settings: Settings, hypervisor: Hypervisor, clock: Clock) -> Cycle:
    """Put the parts together over the given hypervisor."""
    spool = Spool(settings.spool_path, max_reports=settings.spool_reports, buffer_reports=settings.buffer_reports)
    doors = Doors(hypervisor=hypervisor, read_host=lambda: read_host(clock), spool=spool, link=_link(settings), clock=clock)
    if settings.metrics_file:
        doors = replace(doors, figures=Textfile(settings.metrics_file).write)
    return Cycle(doors, settings)


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """The only agent on its spool: two would give the same numbers, and pull the same levers. The kernel frees it with the process."""
    path = Path(settings.state_dir) / "lock"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = path.open("a")
    except OSError as e:
        raise ConfigError(f"[agent] state_dir {settings.state_dir} cannot be written: {e}") from e
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise AgentError(
                f"another foreshape-agent works in {settings.state_dir}: stop it first, or give this one another state_dir"
            ) from e
        yield


def _link(settings: Settings) -> HttpLink:
    return HttpLink(
        settings.controller_url,
        TokenStore(settings.token_path),
        host=settings.host_name,
        trust=Trust(settings.ca_file, settings.insecure),
        timeout_s=settings.timeout_s,
        join_token_file=settings.join_token_file,
    )


def _libvirt(settings: Settings) -> Cycle:
    clock = SystemClock()
    return build(settings, LibvirtHypervisor(settings.libvirt_uri, clock), clock)


def _enrol(settings: Settings, given: str) -> int:
    _link(settings).enrol(sys.stdin.readline().strip() if given == "-" else given)
    print(f"enrolled: {settings.host_name} may report to {settings.controller_url}")
    return 0


def _once(settings: Settings) -> int:
    cycle = _libvirt(settings)
    print(cycle.run_once())
    if cycle.trouble:
        print(f"foreshape-agent: {cycle.trouble}", file=sys.stderr)
    return 1 if cycle.trouble else 0


def _serve(settings: Settings, path: Path) -> int:
    """Cycle after cycle until SIGTERM or SIGINT."""
    stop = Event()
    _on_signals(stop, path)
    cycle = _libvirt(settings)
    logger.info("started", host=settings.host_name, controller=settings.controller_url, version=__version__)
    notify("READY=1")
    run(cycle, settings, SystemClock(), stop)
    notify("STOPPING=1")
    if settings.on_stop == "restore":
        cycle.restore("the agent is stopped")
    logger.info("stopped", on_stop=settings.on_stop)
    return 0


def run(cycle: Cycle, settings: Settings, clock: Clock, stop: Event) -> None:
    """The loop: a cycle at its interval, a look for pressure in between; only a whole cycle feeds the watchdog."""
    due = clock.monotonic()
    while not stop.is_set():
        if clock.monotonic() >= due:
            due = max(due + settings.interval_s, clock.monotonic())
            if _guarded(cycle.run_once):
                notify("WATCHDOG=1")
        else:
            _guarded(cycle.peek)
        peek_at = clock.monotonic() + (settings.pressure_interval_s or settings.interval_s)
        stop.wait(max(0.0, min(due, peek_at) - clock.monotonic()))


def _guarded(step: Callable[[], object]) -> bool:
    """A step that fails unexpectedly is logged; the next one is tried all the same."""
    try:
        step()
    except Exception:
        logger.exception("cycle failed")
        return False
    return True


def _on_signals(stop: Event, path: Path) -> None:
    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    def reload(_number: int, _frame: FrameType | None) -> None:
        try:
            log.configure(config.load(path).log_level)
        except ConfigError as e:
            logger.warning("configuration not re-read", error=str(e))

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGHUP, reload)


def notify(state: str) -> None:
    """Tell the service manager (sd_notify); nothing where there is none."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)

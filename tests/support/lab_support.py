"""Real beds for tests: each module its own, under a name nobody else has, taken down whatever happens.

@pytest.fixture(scope="module")
def bed():
    with a_bed(hosts=2) as bed:
        yield bed
"""

import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import pytest
from foreshape_lab import Agent, Bed, Controller, Guest, GuestSpec, Host, Missing, Record, Variant, Watch, packages

USUAL = Variant()
FLOOR_SHARE_CPU, FLOOR_CORES, FLOOR_SHARE_MEMORY, FLOOR_MIB = 0.2, 0.2, 0.5, 112.0
"""The lab's tier: foreshape_lab.programs.TIERS."""


@contextmanager
def a_bed(hosts: int = 1) -> Iterator[Bed]:
    """Hosts that are up. Skips, saying why, where a bed cannot be made; under CI conftest.py turns that into a failure."""
    try:
        packages.ensure()
    except Missing as e:
        pytest.skip(str(e))
    with Bed(f"t{os.getpid():x}{secrets.token_hex(2)}", hosts) as bed:
        yield bed


class Resets:
    """Whose doing it is that guests begin anew, on hosts that are looked at: QEMU itself says so.

    Nothing is heard while a host's libvirtd is dead.
    """

    def __init__(self, hosts: Iterable[Host]) -> None:
        self._files = {h: h.folder / "log/resets" for h in hosts}
        self._listeners: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        for host, file in self._files.items():
            listen = f"virsh -q -c '{host.uri}' qemu-monitor-event --loop --timestamp --event RESET"
            with file.open("wb") as out:
                words = ["sh", "-c", f"while :; do {listen}; sleep 0.2; done"]
                self._listeners.append(
                    subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.DEVNULL, start_new_session=True)
                )
        return self

    def __exit__(self, *_: object) -> None:
        for listener in self._listeners:
            os.killpg(listener.pid, signal.SIGTERM)
            listener.wait(10)

    def of(self, name: str) -> list[tuple[bool, str]]:
        """Of the guest of this name, as libvirt calls it: whether it was its own doing, and the line."""
        lines = [line for file in self._files.values() for line in file.read_text().splitlines() if f"'{name}'" in line]
        return [(json.loads(line[line.index("{") :])["guest"], line) for line in lines if line.endswith("}")]


@dataclass
class Scene:
    """One host with guests, its agent and a controller: the whole product, running."""

    bed: Bed
    host: Host
    controller: Controller
    agent: Agent
    guests: dict[str, Guest]
    watch: Watch

    def record(self, name: str) -> Record:
        return self.watch[name]

    def now(self, name: str) -> Any:
        """The newest allocation of a guest, as virsh tells it."""
        return self.record(name).allocations[-1]

    def sequences(self) -> list[tuple[str, int, int]]:
        """(epoch, first, last) of every unbroken run of report numbers that the controller has of this host."""
        rows = self.controller.rows("select epoch, first, last from seen where host = ? order by at", self.host.name)
        return [(r["epoch"], r["first"], r["last"]) for r in rows]

    def reports(self) -> int:
        return sum(last - first + 1 for _, first, last in self.sequences())


@contextmanager
def a_scene(*specs: GuestSpec, static_after_s: float = 600, variant: Variant = USUAL) -> Iterator[Scene]:
    """A bed of one host with the whole product on it, watched from the first moment to the last."""
    with a_bed() as bed:
        host = bed.hosts[0]
        guests = bed.start_all([(host, s) for s in specs])
        for guest in guests:
            if guest.spec.agent:
                guest.wait_for_agent(90)
        controller = Controller(bed, variant=variant).start()
        agent = Agent(host, controller, static_after_s=static_after_s)
        try:
            agent.enrol().start().wait_for_report()
            with Watch(guests, every_s=1.0) as watch:
                scene = Scene(bed, host, controller, agent, {g.name: g for g in guests}, watch)
                eventually(lambda: all(r.allocations for r in watch.records.values()), "a first look at every guest", 30)
                yield scene
        finally:
            agent.kill()
            controller.kill()


def eventually(true: Callable[[], object], what: str | Callable[[], str], timeout_s: float, every_s: float = 0.25) -> Any:
    """Poll with a deadline; what it was at last. ``what``: was waited for, or tells how things are when it did not come."""
    deadline = time.monotonic() + timeout_s
    while not (answer := true()):
        assert time.monotonic() < deadline, f"{what if isinstance(what, str) else what()}: not within {timeout_s:g} s"
        time.sleep(every_s)
    return answer


def floor_of(spec: GuestSpec) -> tuple[float, float]:
    """What the lab's tier guarantees a guest, in cores and MiB."""
    cores, mib = spec.entitlement
    return max(FLOOR_SHARE_CPU * cores, min(FLOOR_CORES, cores)), max(FLOOR_SHARE_MEMORY * mib, min(FLOOR_MIB, mib))

"""A tiny real guest: started, loaded, watched, ended."""

import base64
import fcntl
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from foreshape_lab.console import Console
from foreshape_lab.domain_xml import GuestSpec, domain_xml
from foreshape_lab.errors import LabError
from foreshape_lab.image import image
from foreshape_lab.processes import wait_until
from foreshape_lab.state import state_root

if TYPE_CHECKING:
    from foreshape_lab.host import Host

BOOTS_AT_ONCE = 4
"""More at once and a guest kernel may panic for want of timer ticks."""
BOOT_S = 120.0


class Guest:
    """A guest of one host."""

    def __init__(self, host: "Host", spec: GuestSpec) -> None:
        self.host = host
        self.spec = spec
        self.console = Console(host.folder / f"log/{spec.name}.console")

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def uuid(self) -> str:
        return self.spec.uuid

    def define(self) -> Self:
        file = self.host.folder / f"{self.name}.xml"
        file.write_text(domain_xml(self.spec, image()))
        if self.spec.disk:
            with (self.host.folder / f"lib/{self.name}.disk").open("wb") as disk:
                disk.truncate(self.spec.disk * 1024 * 1024)
        self.host.virsh("define", str(file))
        return self

    def start(self) -> Self:
        """Boot it, and wait until its kernel and its load daemon have spoken."""
        with one_of_few_boots():
            self.console.poll()
            before = time.time()
            self.host.virsh("start", self.name)
            self.console.wait_for(lambda _: True, "its first word", BOOT_S, since=before)
        return self

    def wait_for_agent(self, timeout_s: float = 60) -> Self:
        """Until the guest agent answers libvirt."""
        wait_until(self._agent_answers, f"guest agent of {self.name}", timeout_s, every_s=0.5)
        return self

    def _agent_answers(self) -> bool:
        with suppress(LabError):
            return bool(self.host.virsh("qemu-agent-command", self.name, '{"execute":"guest-ping"}', "--timeout", "2"))
        return False

    def load(self, *, cpu: str | float | None = None, mem: str | float | None = None, push: bool | None = None) -> float:
        """Change the load pattern live; when (seconds since the epoch). ``push``: take memory although little is left."""
        words = [f"load.cpu={cpu}" if cpu is not None else "", f"load.mem={mem}" if mem is not None else ""]
        words += [f"load.push={int(push)}"] if push is not None else []
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(str(self.host.folder / f"lib/{self.name}.load"))
            s.sendall(" ".join(w for w in words if w).encode() + b"\n")
            if s.recv(16) != b"ok\n":
                raise LabError(f"{self.name} did not take the load pattern")
        return time.time()

    def run_in(self, command: str, timeout_s: float = 60) -> str:
        """What a shell command in the guest says (its agent starts it); stderr too, for that is where dd speaks."""
        started = self._agent("guest-exec", path="/bin/sh", arg=["-c", f"( {command} ) 2>&1"], **{"capture-output": True})
        answer: dict[str, Any] = {}

        def over() -> bool:
            answer.update(self._agent("guest-exec-status", pid=started["pid"]))
            return bool(answer["exited"])

        wait_until(over, f"{command!r} in {self.name}", timeout_s, every_s=0.2)
        return base64.b64decode(answer.get("out-data", "")).decode(errors="replace")

    def _agent(self, command: str, **arguments: object) -> dict[str, Any]:
        said = self.host.virsh("qemu-agent-command", self.name, json.dumps({"execute": command, "arguments": arguments}), "--timeout", "5")
        answer: dict[str, Any] = json.loads(said)["return"]
        return answer

    @property
    def running(self) -> bool:
        with suppress(LabError):
            return self.host.virsh("domstate", self.name).strip() in {"running", "paused"}
        return False

    def kill(self) -> None:
        """kill -9 of its QEMU."""
        pid = (self.host.folder / f"run/qemu/{self.name}.pid").read_text().strip()
        self.host.run_in(["kill", "-9", pid])

    def remove(self) -> None:
        """Off and forgotten."""
        for word in ("destroy", "undefine"):
            with suppress(LabError):
                self.host.virsh(word, self.name)


@contextmanager
def one_of_few_boots() -> Iterator[None]:
    """Wait for one of the machine's places to boot a guest, whichever bed it belongs to."""
    places = [(state_root() / f"boot-{n}.lock").open("w") for n in range(BOOTS_AT_ONCE)]
    try:
        while not any(_free(p.fileno()) for p in places):
            time.sleep(0.1)
        yield
    finally:
        for place in places:
            place.close()


def _free(place: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def console_files(folder: Path) -> list[Path]:
    """Consoles of every guest a host ever had."""
    return sorted(folder.glob("log/*.console"))

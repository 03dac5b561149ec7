"""A real control plane on this machine, with hosts that have no hypervisor. Everything of it ends with its bed."""

import os
import re
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from foreshape_lab.bed import Bed, beds_folder, claim_subnet
from foreshape_lab.errors import LabError
from foreshape_lab.processes import wait_until
from foreshape_lab.shell import run, try_run

from foreshape_cloudbed import configs, content, environment, template
from foreshape_cloudbed.control import folders, services
from foreshape_cloudbed.environment import BIN, INSIDE, PYTHON
from foreshape_cloudbed.places import Places
from foreshape_cloudbed.service import Service, end_of
from foreshape_cloudbed.users import Users, empty_image

MOST_COMPUTES = 99
COMPUTES_S = 180.0
NO_OPTIONS: Mapping[str, Mapping[str, object]] = {}


class Cloud:
    """Use it as a context: the cloud is up inside, and nothing is left afterwards, whatever happened.

    Parts by name: epmd, mariadb, rabbit, keystone, placement, neutron, nova-api, conductor, scheduler, glance, computes, and those of
    ``apart``, hosts whose nova-compute is a process of its own.
    """

    def __init__(self, name: str, computes: int = 20, *, apart: int = 0, nova: Mapping[str, Mapping[str, object]] = NO_OPTIONS) -> None:
        if not re.fullmatch(r"[a-z0-9]{1,20}", name):
            raise LabError(f"a cloud's name is 1 to 20 small letters and digits, not {name!r}")
        if not 0 <= apart <= computes <= MOST_COMPUTES:
            raise LabError(f"a cloud has at most {MOST_COMPUTES} computes, and no more than these apart; not {computes}, {apart} apart")
        self.name, self.nova = name, nova
        self.folder = beds_folder() / name
        self.hosts = tuple(f"node{n:02d}" for n in range(1, computes + 1))
        self.places = self._places(claim_subnet(self.folder))
        self.parts = services(self.places) | self._computes(apart)

    def _places(self, number: int) -> Places:
        return Places(self.folder, f"127.{18 + number // 256}.{number % 256}.1", number)

    def _computes(self, apart: int) -> dict[str, Service]:
        alone, together = self.hosts[:apart], self.hosts[apart:]
        parts = {host: self._compute(host, (host,)) for host in alone}
        return parts | ({"computes": self._compute("computes", together)} if together else {})

    def _compute(self, name: str, hosts: tuple[str, ...]) -> Service:
        own = {"CLOUDBED_STATE": str(self.places.compute_state), "CLOUDBED_MIGRATION_SECONDS": str(self.places.migration_seconds)}
        words: list[str | Path] = [PYTHON, INSIDE / "fake_computes.py", self.places.etc / "nova.conf", *hosts]
        return Service(self.folder / name, words, own, answers=lambda: f"{len(hosts)} computes run" in self.parts[name].said())

    # -- up and down

    def up(self) -> Self:
        """Everything answers, every compute can take servers."""
        self._prepare()
        began = time.time()
        order = ("epmd", "mariadb"), ("rabbit", "keystone", "placement", "neutron"), ("nova-api", "conductor", "scheduler", "glance")
        for stage in order:
            self._start(*stage)
            if "mariadb" in stage:
                content.adopt(self.places)
        if fakes := [name for name in self.parts if name.startswith("node") or name == "computes"]:
            self._start(*fakes)
            self.wait_for_computes(began)
        return self

    def _prepare(self) -> None:
        self.places.compute_state.mkdir(parents=True, exist_ok=True)
        (self.folder / "glance/images").mkdir(parents=True, exist_ok=True)
        configs.write(self.places, self.nova)
        if not self.places.data.exists():
            template.fill(self.places)

    def _start(self, *names: str) -> None:
        for name in names:
            self.parts[name].start()
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda name: self.parts[name].wait(), names))

    def wait_for_computes(self, since: float) -> None:
        """Until all have reported after ``since`` and have a room that can be sold."""
        many = len(self.hosts)
        wait_until(lambda: self._computes_up(since) >= many, f"{many} computes", COMPUTES_S, every_s=0.2)
        content.map_hosts(self.places)

    def _computes_up(self, since: float) -> int:
        ended = [p for name, p in self.parts.items() if (name in self.hosts or name == "computes") and not p.running]
        if ended:
            raise LabError(f"{ended[0].name} ended: {ended[0].said()[-900:]}")
        return content.computes_ready(self.places, since)

    def down(self) -> None:
        """Everything of this bed is gone afterwards, also what an earlier run of the same name left."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(end_of, folders(self.folder)))
        Bed(self.name, 1).down()

    def ensure(self) -> None:
        """This machine has what the bed needs, or Missing says what it lacks."""
        environment.ensure()

    def __enter__(self) -> Self:
        self.ensure()
        self.down()
        claim_subnet(self.folder, self.places.number)
        try:
            return self.up()
        except BaseException:
            self.keep()
            self.down()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.keep()
        self.down()

    def keep(self) -> None:
        """Copy the logs where FORESHAPE_LAB_KEEP says, to look at what went wrong."""
        if into := os.environ.get("FORESHAPE_LAB_KEEP"):
            for folder in folders(self.folder):
                target = Path(into) / self.name / f"{folder.name}.log"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(folder / "log", target)

    # -- its parts

    def part(self, name: str) -> Service:
        if name not in self.parts:
            raise LabError(f"no part {name}: parts are {', '.join(self.parts)}")
        return self.parts[name]

    def kill(self, name: str) -> None:
        """kill -9 of a part, with all that it forked."""
        self.part(name).kill()

    def stop(self, name: str) -> None:
        self.part(name).stop()

    def start(self, name: str) -> None:
        """Again, until it answers; computes also until Nova believes that they are up."""
        began = time.time()
        self.part(name)
        self._start(name)
        if name in self.hosts or name == "computes":
            self.wait_for_computes(began)

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """Inside, the part is gone."""
        self.kill(name)
        try:
            yield
        finally:
            self.start(name)

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Inside, the part takes connections and answers nothing."""
        self._signal(name, signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(name, signal.SIGCONT)

    def _signal(self, name: str, number: signal.Signals) -> None:
        for pid in self.part(name).group.members():
            os.kill(pid, number)

    # -- its users and operators

    def access(self, user: str = "admin") -> dict[str, Any]:
        """For openstacksdk: admin, demo, or foreshape (as its controller)."""
        return configs.access(self.places, user)

    def image(self, users: Users) -> str:
        """Id of an image that servers of this cloud boot from."""
        return empty_image(users)

    def migration_takes(self, seconds: float) -> None:
        """Every live migration that begins from now on, on hosts without a hypervisor."""
        self.places.migration_seconds.write_text(str(seconds))

    def manage(self, *words: str) -> str:
        """nova-manage; its last words whatever its status, which says what it found rather than whether it failed."""
        command: list[str | Path] = [BIN / "nova-manage", "--config-file", self.places.etc / "nova.conf", *words]
        return run(["sh", "-c", '"$@" 2>&1; true', "sh", *command], timeout_s=180)

    def memory_mib(self) -> dict[str, float]:
        """Each part's share of the machine's memory (PSS)."""
        return {name: sum(_pss_kib(pid) for pid in part.group.members()) / 1024 for name, part in self.parts.items()}


def _pss_kib(pid: int) -> int:
    said = try_run(["grep", "^Pss:", f"/proc/{pid}/smaps_rollup"]) or ""
    return int(said.split()[1]) if said else 0


def is_cloud(folder: Path) -> bool:
    """Whether a bed of the lab's folder is a cloud."""
    return (folder / "etc/clouds.yaml").exists()

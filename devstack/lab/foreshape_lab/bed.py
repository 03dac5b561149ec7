"""A bed: some lab hosts on one network, under one name. Several beds stand side by side, each taken down by its name."""

import os
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from foreshape_lab import packages
from foreshape_lab.domain_xml import GuestSpec
from foreshape_lab.errors import LabError
from foreshape_lab.guest import BOOTS_AT_ONCE, Guest
from foreshape_lab.host import Host
from foreshape_lab.image import image
from foreshape_lab.network import Network, pick_subnet, routed_subnets
from foreshape_lab.processes import PROCESS_FILE, Process
from foreshape_lab.state import locked, state_root

MOST_HOSTS = 9


class Bed:
    """Use it as a context: hosts are up inside, and nothing is left afterwards, whatever happened."""

    def __init__(self, name: str, hosts: int = 2) -> None:
        if not re.fullmatch(r"[a-z0-9]{1,20}", name):
            raise LabError(f"a bed's name is 1 to 20 small letters and digits, not {name!r}")
        if not 1 <= hosts <= MOST_HOSTS:
            raise LabError(f"a bed has 1 to {MOST_HOSTS} hosts, not {hosts}")
        self.name = name
        self.folder = beds_folder() / name
        self.network = Network(name, claim_subnet(self.folder))
        self.hosts = tuple(self.host(n) for n in range(1, hosts + 1))

    def host(self, number: int) -> Host:
        return Host(self.folder / f"hv{number}", self.network, number)

    def up(self) -> Self:
        """Everything ready: packages, guest image, hosts."""
        packages.ensure()
        image()
        self.network.make_switch()
        for host in self.hosts:
            host.up()
        return self

    def start_all(self, wanted: Sequence[tuple[Host, GuestSpec]]) -> list[Guest]:
        """Boot many guests, a few at a time; in the order asked for."""
        with ThreadPoolExecutor(BOOTS_AT_ONCE) as pool:
            return list(pool.map(lambda pair: pair[0].start(pair[1]), wanted))

    def down(self) -> None:
        """Everything of this bed is gone afterwards, also what an earlier run of the same name left."""
        for file in self.folder.glob(f"*/{PROCESS_FILE}"):
            if left := Process.load(file):
                left.kill()
        numbers = {h.number for h in self.hosts} | {int(p.name[2:]) for p in self.folder.glob("hv[1-9]")}
        for number in sorted(numbers):
            self.host(number).down()
        self.network.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        packages.ensure()
        self.down()
        claim_subnet(self.folder, self.network.subnet)
        try:
            return self.up()
        except BaseException:
            self.down()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if keep := os.environ.get("FORESHAPE_LAB_KEEP"):
            self.keep(Path(keep) / self.name)
        self.down()

    def keep(self, into: Path) -> None:
        """Copy logs, consoles and the controller's database, to look at what went wrong."""
        for kind in ("*/controller.db*", "*/log", "hv*/log/*.console", "hv*/log/libvirtd.log"):
            for file in (f for f in self.folder.glob(kind) if f.is_file()):
                target = into / file.relative_to(self.folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)


def beds_folder() -> Path:
    return state_root() / "beds"


def bed_names() -> list[str]:
    """Beds of this machine that are up, or were left."""
    return sorted(p.name for p in beds_folder().glob("*") if p.is_dir())


def claim_subnet(folder: Path, number: int | None = None) -> int:
    """The bed's network number, the same as long as the bed's folder stands."""
    file = folder / "subnet"
    with locked("subnets"):
        if file.exists():
            return int(file.read_text())
        if number is None:
            taken = {int(f.read_text()) for f in beds_folder().glob("*/subnet")}
            number = pick_subnet(folder.name, taken | routed_subnets())
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(str(number))
        return number

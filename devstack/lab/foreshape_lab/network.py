"""The bed's network: a switch in its own namespace, one port per host, one for this machine. Nothing else is touched.

Addresses come from 198.18.0.0/15, set aside for test beds (RFC 2544): no real network uses them.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path

from foreshape_lab.errors import LabError
from foreshape_lab.shell import run, try_run

BRIDGE = "br0"
FIRST_HOST = 10


def pick_subnet(bed: str, taken: set[int]) -> int:
    """A /24 of the 512 for this bed: the same one for the same name if it is free."""
    start = zlib.crc32(bed.encode()) % 512
    for n in range(512):
        if (choice := (start + n) % 512) not in taken:
            return choice
    raise LabError("every one of the 512 lab networks is taken: take beds down")


def routed_subnets(table: Path = Path("/proc/net/route")) -> set[int]:
    """Those that this machine has a route to, as of a bed that was killed: its folder may be gone while its switch stands."""
    found = set()
    for line in table.read_text().splitlines()[1:]:
        a, b, c, _ = int(line.split()[1], 16).to_bytes(4, "little")
        if a == 198 and b in (18, 19):
            found.add((b - 18) * 256 + c)
    return found


@dataclass(frozen=True)
class Network:
    """One bed's network."""

    bed: str
    subnet: int

    @property
    def prefix(self) -> str:
        return f"198.{18 + self.subnet // 256}.{self.subnet % 256}"

    @property
    def machine_address(self) -> str:
        """This machine's address, as the hosts see it: the controller listens here."""
        return f"{self.prefix}.1"

    @property
    def switch(self) -> str:
        return f"fs-{self.bed}-sw"

    @property
    def uplink(self) -> str:
        """Interface of this machine; Linux takes 15 characters, so a digest of the name."""
        return f"fs{zlib.crc32(self.bed.encode()):08x}"

    def host_namespace(self, number: int) -> str:
        return f"fs-{self.bed}-hv{number}"

    def host_address(self, number: int) -> str:
        return f"{self.prefix}.{FIRST_HOST + number}"

    def make_switch(self) -> None:
        if namespace_exists(self.switch):
            return
        sw = self.switch
        run(["ip", "netns", "add", sw])
        run(["ip", "-n", sw, "link", "set", "lo", "up"])
        run(["ip", "-n", sw, "link", "add", BRIDGE, "address", "02:66:73:00:00:01", "type", "bridge"])
        run(["ip", "-n", sw, "link", "set", BRIDGE, "up"])
        try_run(["ip", "link", "del", self.uplink])
        run(["ip", "link", "add", self.uplink, "type", "veth", "peer", "name", "uplink", "netns", sw])
        run(["ip", "-n", sw, "link", "set", "uplink", "master", BRIDGE, "up"])
        run(["ip", "addr", "add", f"{self.machine_address}/24", "dev", self.uplink])
        run(["ip", "link", "set", self.uplink, "up"])

    def plug_host(self, number: int) -> None:
        """A namespace with its own bridge for guests. Its address is fixed: a bridge without one takes its first
        guest's, which is the same on two hosts while that guest migrates."""
        space = self.host_namespace(number)
        if namespace_exists(space):
            return
        run(["ip", "netns", "add", space])
        run(["ip", "-n", space, "link", "set", "lo", "up"])
        run(["ip", "link", "add", f"hv{number}", "netns", self.switch, "type", "veth", "peer", "name", "eth0", "netns", space])
        run(["ip", "-n", self.switch, "link", "set", f"hv{number}", "master", BRIDGE, "up"])
        run(["ip", "-n", space, "link", "add", BRIDGE, "address", f"02:66:73:00:01:{number:02x}", "type", "bridge"])
        run(["ip", "-n", space, "link", "set", "eth0", "master", BRIDGE, "up"])
        run(["ip", "-n", space, "addr", "add", f"{self.host_address(number)}/24", "dev", BRIDGE])
        run(["ip", "-n", space, "link", "set", BRIDGE, "up"])

    def cut(self, number: int, *, off: bool) -> None:
        """Pull the host's cable, or put it back."""
        run(["ip", "-n", self.switch, "link", "set", f"hv{number}", "down" if off else "up"])

    def unplug_host(self, number: int) -> None:
        try_run(["ip", "netns", "del", self.host_namespace(number)])

    def remove(self) -> None:
        try_run(["ip", "link", "del", self.uplink])
        try_run(["ip", "netns", "del", self.switch])


def namespace_exists(name: str) -> bool:
    return Path("/run/netns", name).exists()

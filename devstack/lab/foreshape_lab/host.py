"""A lab host: network, UTS, mount, process and cgroup namespaces around its own libvirtd. To libvirt it is a machine."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from foreshape_lab.cgroups import HostGroup, hierarchies
from foreshape_lab.domain_xml import GuestSpec
from foreshape_lab.errors import LabError
from foreshape_lab.guest import Guest
from foreshape_lab.network import Network
from foreshape_lab.processes import Process, wait_until
from foreshape_lab.shell import run, try_run
from foreshape_lab.state import locked, state_root

HERE = Path(__file__).parent
PRIVATE = ("run", "etc", "lib", "log", "cache")

LIBVIRTD_CONF = """\
listen_tls = 0
listen_tcp = 1
listen_addr = "{address}"
auth_tcp = "none"
auth_unix_rw = "none"
auth_unix_ro = "none"
unix_sock_rw_perms = "0777"
host_uuid = "00000000-0000-4000-8000-{subnet:04x}000000{number:02x}"
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
"""
# Own uuid: libvirt refuses to migrate a guest "to the same host".

QEMU_CONF = """\
stdio_handler = "file"
security_driver = "none"
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
namespaces = [ ]
migration_address = "0.0.0.0"
migration_host = "{address}"
"""
# stdio_handler: without it every start needs a virtlogd.


@dataclass(frozen=True)
class Host:
    """One lab host. All that lasts is on disk and in the kernel, so another process can take it over by its name."""

    folder: Path
    network: Network
    number: int

    @property
    def name(self) -> str:
        """Its host name, as libvirt and the agent see it."""
        return f"hv{self.number}"

    @property
    def address(self) -> str:
        return self.network.host_address(self.number)

    @property
    def group(self) -> HostGroup:
        return HostGroup(self.network.host_namespace(self.number))

    @property
    def socket(self) -> Path:
        return self.folder / "run/libvirt-sock"

    @property
    def uri(self) -> str:
        """For clients outside the host; inside it is plainly qemu:///system."""
        return f"qemu+unix:///system?socket={self.socket}"

    @property
    def init(self) -> Process | None:
        """The host's first process, if the host is up."""
        process = Process.load(self.folder / "init")
        return process if process and process.alive else None

    # --- power ---------------------------------------------------------------------------------------------------

    def up(self) -> None:
        """Start it, or start it again after a crash: guests it had are defined, not running."""
        if self.init:
            return
        for part in PRIVATE:
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        self._clear_runtime()
        self._write_configuration()
        self.network.plug_host(self.number)
        self.group.make()
        self._start_init()
        self.wait_for_libvirtd()
        self._keep_capabilities()

    def crash(self) -> None:
        """Power fails: daemon, guests and agent are gone at once."""
        if not self.init:
            raise LabError(f"{self.name} is not up")
        self.init.kill()
        wait_until(lambda: not self.group.members(), f"{self.name} losing its processes", 10)

    def down(self) -> None:
        """Take it away: processes, network, cgroups, state."""
        if self.init:
            self.init.kill()
        self.group.kill_members()
        wait_until(self.group.remove, f"removal of the cgroups of {self.name}", 15)
        self.network.unplug_host(self.number)
        shutil.rmtree(self.folder, ignore_errors=True)

    def partition(self, *, off: bool = True) -> None:
        """Pull the network cable, or put it back (``off=False``)."""
        self.network.cut(self.number, off=off)

    # --- libvirt -------------------------------------------------------------------------------------------------

    def kill_libvirtd(self) -> None:
        """kill -9; guests go on running."""
        pid = (self.folder / "run/libvirtd.pid").read_text().strip()
        self.run_in(["kill", "-9", pid])

    def start_libvirtd(self) -> None:
        (self.folder / "run/libvirtd.pid").unlink(missing_ok=True)
        self.run_in(["/usr/sbin/libvirtd", "-d", "-l", "-p", "/run/libvirt/libvirtd.pid"])
        self.wait_for_libvirtd()

    def wait_for_libvirtd(self) -> None:
        wait_until(lambda: self.socket.exists() and try_run(["virsh", "-q", "-c", self.uri, "uri"]), f"libvirtd of {self.name}", 30)

    def virsh(self, *words: str) -> str:
        """virsh from outside: what it printed. Raises LabError when it says no."""
        return run(["virsh", "-q", "-c", self.uri, *words])

    def define(self, spec: GuestSpec) -> Guest:
        """A guest that is known here, not running."""
        return Guest(self, spec).define()

    def start(self, spec: GuestSpec) -> Guest:
        """A guest, booted: its kernel has spoken on the console."""
        return self.define(spec).start()

    # --- programs in it ------------------------------------------------------------------------------------------

    def command(self, words: Sequence[str | Path]) -> list[str]:
        """The command line that runs ``words`` as a process of this host."""
        if not (init := self.init):
            raise LabError(f"{self.name} is not up")
        entrances = ":".join(str(e) for e in self.group.entrances())
        enter = ["nsenter", "-t", str(init.pid), "-m", "-u", "-n", "-p", "-C", "--wd=/"]
        return ["sh", str(HERE / "host_enter.sh"), entrances, *enter, *(str(w) for w in words)]

    def run_in(self, words: Sequence[str | Path], *, timeout_s: float = 120) -> str:
        """Run to its end inside the host: what it printed."""
        return run(self.command(words), timeout_s=timeout_s)

    def start_in(self, words: Sequence[str | Path], log: Path, environment: dict[str, str] | None = None) -> "subprocess.Popen[bytes]":
        """Start a program inside the host, its words into a log file."""
        with log.open("ab") as out:
            return subprocess.Popen(
                self.command(words), stdout=out, stderr=out, stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})}
            )

    # --- its making ----------------------------------------------------------------------------------------------

    def _clear_runtime(self) -> None:
        """What a reboot clears: pid files and sockets."""
        shutil.rmtree(self.folder / "run")
        (self.folder / "run").mkdir()

    def _write_configuration(self) -> None:
        values = {"address": self.address, "number": self.number, "subnet": self.network.subnet}
        (self.folder / "etc/libvirtd.conf").write_text(LIBVIRTD_CONF.format(**values))
        (self.folder / "etc/qemu.conf").write_text(QEMU_CONF.format(**values))
        names = "".join(f"{self.network.host_address(n)} hv{n}\n" for n in range(1, 10))
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost\n{self.network.machine_address} controller\n{names}")
        if capabilities().exists() and not (self.folder / "cache/qemu").exists():
            shutil.copytree(capabilities(), self.folder / "cache/qemu")

    def _start_init(self) -> None:
        groups = [h.controllers for h in hierarchies()]
        environment = {
            **os.environ,
            "LAB_HOST": self.name,
            "LAB_DIR": str(self.folder),
            "LAB_CGROUPS": " ".join(groups) if groups[0] else "unified",
        }
        entrances = ":".join(str(f / "cgroup.procs") for f in self.group.folders())
        enter = ["sh", str(HERE / "host_enter.sh"), entrances, "nsenter", f"--net=/run/netns/{self.network.host_namespace(self.number)}"]
        separate = ["unshare", "--uts", "--mount", "--cgroup", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"]
        with (self.folder / "init.log").open("ab") as log:
            outer = subprocess.Popen(
                [*enter, *separate, "bash", str(HERE / "host_init.sh")],
                env=environment,
                cwd=self.folder,  # tells whose it is
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        parent = Process.of(outer.pid)
        wait_until(parent.children, f"first process of {self.name} (see {self.folder}/init.log)", 10, every_s=0.02)
        Process.of(parent.children()[0]).save(self.folder / "init")

    def _keep_capabilities(self) -> None:
        """Probing QEMU takes a second: the next host gets the answer."""
        with locked("capabilities"):
            if not capabilities().exists() and (self.folder / "cache/qemu/capabilities").exists():
                self.virsh("domcapabilities", "--virttype", "qemu")
                shutil.copytree(self.folder / "cache/qemu", capabilities())


def capabilities() -> Path:
    """What libvirt found out about QEMU, kept for all beds; another QEMU gives another folder."""
    stamp = Path("/usr/bin/qemu-system-x86_64").stat().st_mtime_ns
    return state_root() / f"capabilities-{stamp:x}"

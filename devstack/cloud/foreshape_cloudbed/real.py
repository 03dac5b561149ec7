"""A real control plane over real libvirt and QEMU: hosts of the lab, each with Nova's nova-compute, between which Nova live-migrates.

On demand with the product itself: its controller, which asks this cloud, and its agent on every host.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from foreshape_lab.bed import Bed
from foreshape_lab.errors import LabError
from foreshape_lab.host import Host
from foreshape_lab.image import image
from foreshape_lab.processes import PROCESS_FILE, Process, wait_until
from foreshape_lab.programs import Agent, Controller, Variant, with_options

from foreshape_cloudbed import environment
from foreshape_cloudbed.cloud import NO_OPTIONS, Cloud
from foreshape_cloudbed.environment import BIN
from foreshape_cloudbed.places import Places
from foreshape_cloudbed.service import Service
from foreshape_cloudbed.users import Users

COMPUTE = """\
[DEFAULT]
compute_driver = libvirt.LibvirtDriver
host = {name}
my_ip = {address}
state_path = /var/lib/libvirt/nova
instances_path = /var/lib/libvirt/instances
force_raw_images = true
reserved_host_memory_mb = 512
[libvirt]
virt_type = qemu
cpu_mode = none
images_type = qcow2
inject_partition = -2
mem_stats_period_seconds = 1
live_migration_scheme = tcp
live_migration_inbound_addr = {address}
live_migration_with_native_tls = false
live_migration_permit_auto_converge = true
live_migration_completion_timeout = 120
[oslo_concurrency]
lock_path = /var/lib/libvirt/nova/lock
[workarounds]
disable_deep_image_inspection = true
[nova_sys_admin]
helper_command = {bin}/privsep-helper --config-file {config}
[vif_plug_ovs_privileged]
helper_command = {bin}/privsep-helper --config-file {config}
"""
# /var/lib/libvirt is each lab host's own: one path, separate disks. The workaround: kernels and initial RAM disks are no disk images, and a
# migration's target that fetches them refuses what it cannot inspect.

KERNEL_WORDS = "console=ttyS0 quiet no_timer_check swiotlb=noforce panic=-1"

PRODUCT: Mapping[str, Mapping[str, object]] = {
    "cloud": {"enabled": "true", "name": "foreshape", "interval_s": 2, "full_every_s": 30, "stale_after_s": 30},
    "reservations": {"interval_s": 2},
    "migrations": {"interval_s": 1},
}
"""The controller's options on this bed."""


@dataclass(frozen=True)
class HostCompute(Service):
    """nova-compute inside a lab host: it has that host's libvirt, network and disk."""

    host: Host | None = None

    @property
    def running(self) -> bool:
        return self._process() is not None

    def _process(self) -> Process | None:
        process = Process.load(self.folder / PROCESS_FILE)
        return process if process and process.alive else None

    def start(self) -> None:
        assert self.host is not None
        if self.running:
            raise LabError(f"{self.name} runs already")
        self.folder.mkdir(parents=True, exist_ok=True)
        started = self.host.start_in(self.words, self.log, dict(self.environment))
        _KEPT.append(started)
        Process.of(started.pid).save(self.folder / PROCESS_FILE)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        """What was started is nsenter, which waits for its child: nova-compute."""
        if not (process := self._process()):
            return
        for pid in tree(process.pid)[1:]:
            with suppress(ProcessLookupError):
                os.kill(pid, how)
        wait_until(lambda: _poll() and not process.alive, f"the end of nova-compute on {self.name}", 20)


_KEPT: "list[subprocess.Popen[bytes]]" = []
"""Started by this process: to be gathered."""


def _poll() -> bool:
    _KEPT[:] = [p for p in _KEPT if p.poll() is None]
    return True


def tree(pid: int) -> list[int]:
    """A process and everything below it."""
    return [pid, *(deeper for child in Process.of(pid).children() for deeper in tree(child))]


def alone(host: Host) -> None:
    """Its CPU counters stand still from now on: they are the whole machine's, whose other work would look like the host's load."""
    still = host.folder / "stat"
    still.write_text(Path("/proc/stat").read_text())
    host.run_in(["mount", "--bind", still, "/proc/stat"])


class RealCloud(Cloud):
    """Parts: those of a Cloud; hv1, hv2: the nova-computes; with the product, controller, agent-hv1 and agent-hv2."""

    def __init__(self, name: str, hosts: int = 2, *, nova: Mapping[str, Mapping[str, object]] = NO_OPTIONS) -> None:
        self.lab = Bed(name, hosts)
        super().__init__(name, 0, nova=nova)
        self.hosts = tuple(h.name for h in self.lab.hosts)
        self.parts |= {h.name: self._host_compute(h) for h in self.lab.hosts}
        self.controller: Controller | None = None
        self.agents: dict[str, Agent] = {}

    def _places(self, number: int) -> Places:
        return Places(self.folder, self.lab.network.machine_address, number)

    def host(self, name: str) -> Host:
        return next(h for h in self.lab.hosts if h.name == name)

    def _host_compute(self, host: Host) -> HostCompute:
        config = self.places.etc / f"{host.name}.conf"
        program: list[str | Path] = ["env", f"PATH={BIN}:/usr/sbin:/usr/bin:/sbin:/bin", BIN / "nova-compute"]
        files = [w for file in (self.places.etc / "nova.conf", config) for w in ("--config-file", file)]
        return HostCompute(self.folder / f"compute-{host.name}", [*program, *files], {"LC_ALL": "C.UTF-8"}, host=host)

    # -- up

    def ensure(self) -> None:
        environment.ensure_real()

    def up(self) -> Self:
        self.lab.network.make_switch()
        with ThreadPoolExecutor() as pool:
            hosts = pool.submit(self.lab.up)
            control = pool.submit(super().up)
            hosts.result()
            control.result()
        for host in self.lab.hosts:
            for part in ("lib/nova", "lib/instances"):
                (host.folder / part).mkdir()
            alone(host)
        began = time.time()
        self._start(*self.hosts)
        self.wait_for_computes(began)
        return self

    def _prepare(self) -> None:
        super()._prepare()
        for host in self.lab.hosts:
            config = self.places.etc / f"{host.name}.conf"
            text = COMPUTE.format(name=host.name, address=host.address, bin=BIN, config=config)
            config.write_text(with_options(text, {k: v for k, v in self.nova.items() if k == "libvirt"}))

    def image(self, users: Users, load: str = "load.cpu=0.2 load.mem=32") -> str:
        """Id of the lab's guest, which does the work that ``load`` says (devstack/lab/foreshape_lab/guest/loadd.c)."""
        boot = image()
        kernel = users.upload("bed-kernel", boot.kernel, container_format="aki", disk_format="aki")
        initrd = users.upload("bed-initrd", boot.initrd, container_format="ari", disk_format="ari")
        words = {"kernel_id": kernel, "ramdisk_id": initrd, "os_command_line": f"{KERNEL_WORDS} {load}"}
        return users.upload(f"bed-guest {load}", b"\0" * (1 << 20), hw_machine_type="q35", hw_rng_model="virtio", **words)

    # -- the product on it

    def start_product(self, mode: str = "act", options: Mapping[str, Mapping[str, object]] = NO_OPTIONS) -> Controller:
        """The controller and an agent on every host; returns when all have reported."""
        merged = {section: {**PRODUCT.get(section, {}), **options.get(section, {})} for section in PRODUCT.keys() | options.keys()}
        clouds = {"OS_CLIENT_CONFIG_FILE": str(self.places.clouds_yaml)}
        self.controller = Controller(self.lab, mode, clouds, Variant(options=merged)).start()
        self.agents = {h.name: Agent(h, self.controller, static_after_s=600).enrol().start() for h in self.lab.hosts}
        for agent in self.agents.values():
            agent.wait_for_report()
        return self.controller

    def end_product(self) -> None:
        """And nothing is left of what it knew."""
        self.keep()
        for program in (*self.agents.values(), self.controller):
            if program is not None:
                program.kill()
                shutil.rmtree(program.folder, ignore_errors=True)
        self.agents, self.controller = {}, None

    def down(self) -> None:
        self.end_product()
        super().down()
        _poll()

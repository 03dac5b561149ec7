"""Hypervisor hosts on one machine, and tiny guests on them: real libvirt, real QEMU, no other hardware.

with Bed("mine", hosts=2) as bed:
    guest = bed.hosts[0].start(hot_add("web"))
    guest.load(cpu="0.2@20,1.5@30,0.2")
    guest.console.wait_for(lambda line: line.cpus == 2, timeout_s=60)
    bed.hosts[1].crash()
"""

from foreshape_lab import packages
from foreshape_lab.bed import Bed, bed_names
from foreshape_lab.console import Console, Seen, Turn
from foreshape_lab.domain_xml import GuestSpec, hot_add, nova_like
from foreshape_lab.errors import LabError, Missing
from foreshape_lab.guest import Guest
from foreshape_lab.host import Host
from foreshape_lab.programs import Agent, Controller, Variant
from foreshape_lab.watch import Allocation, Record, Watch

__all__ = [
    "Agent",
    "Allocation",
    "Bed",
    "Console",
    "Controller",
    "Guest",
    "GuestSpec",
    "Host",
    "LabError",
    "Missing",
    "Record",
    "Seen",
    "Turn",
    "Variant",
    "Watch",
    "bed_names",
    "hot_add",
    "nova_like",
    "packages",
]

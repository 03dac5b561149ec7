"""Ways to resize a VM, one file each, behind one small interface (base.py)."""

from foreshape_agent.levers.balloon import BalloonLever
from foreshape_agent.levers.base import Lever
from foreshape_agent.levers.guest_vcpu import GuestVcpuLever
from foreshape_agent.levers.quota import QuotaLever
from foreshape_agent.levers.vcpu import VcpuLever
from foreshape_agent.levers.virtio_mem import VirtioMemLever

ALL: tuple[Lever, ...] = (QuotaLever(), GuestVcpuLever(), VcpuLever(), BalloonLever(), VirtioMemLever())

"""Ways to resize a VM, and to hold its devices back, one file each, behind one small interface (base.py)."""

from foreshape_agent.levers.balloon import BalloonLever
from foreshape_agent.levers.base import Lever, Throttle
from foreshape_agent.levers.disk import DiskThrottle
from foreshape_agent.levers.guest_vcpu import GuestVcpuLever
from foreshape_agent.levers.net import NetThrottle
from foreshape_agent.levers.quota import QuotaLever
from foreshape_agent.levers.vcpu import VcpuLever
from foreshape_agent.levers.virtio_mem import VirtioMemLever
from foreshape_wire.reading import LeverName

ALL: tuple[Lever, ...] = (QuotaLever(), GuestVcpuLever(), VcpuLever(), BalloonLever(), VirtioMemLever())

THROTTLES: tuple[Throttle, ...] = (DiskThrottle(LeverName.DISK_IOPS), DiskThrottle(LeverName.DISK_BANDWIDTH), NetThrottle())

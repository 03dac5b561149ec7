"""The host door: psutil and the kernel's pressure files, and the real clock."""

import time
from pathlib import Path

import psutil

from foreshape_agent.levers.base import Clock
from foreshape_wire.quantity import Memory
from foreshape_wire.reading import HostReading

PRESSURE = Path("/proc/pressure")


class SystemClock:
    """levers.base.Clock on the machine's own time."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def read_host(clock: Clock, pressure: Path = PRESSURE) -> HostReading:
    """The host now. Memory is the kernel's own count: libvirt's node information lags behind memory that comes and goes."""
    times, memory = psutil.cpu_times(), psutil.virtual_memory()
    idle = times.idle + getattr(times, "iowait", 0.0)
    guest = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # counted in user and nice already
    return HostReading(
        read_at=clock.now(),
        monotonic_s=clock.monotonic(),
        cpus=psutil.cpu_count() or 1,
        memory_total=Memory.from_bytes(memory.total),
        memory_available=Memory.from_bytes(memory.available),
        cpu_busy_s=max(0.0, sum(times) - guest - idle),
        cpu_steal_s=getattr(times, "steal", 0.0),
        load_1m=psutil.getloadavg()[0],
        psi_cpu_some=stalled(pressure / "cpu", "some"),
        psi_memory_some=stalled(pressure / "memory", "some"),
        psi_memory_full=stalled(pressure / "memory", "full"),
        psi_io_some=stalled(pressure / "io", "some"),
    )


def stalled(file: Path, kind: str) -> float | None:
    """Share of the last 10 s in which some (or all) tasks were stalled; None where the kernel does not count it.

    The line reads ``some avg10=1.53 avg60=0.87 avg300=0.20 total=81925``, in percent.
    """
    try:
        lines = [line.split() for line in file.read_text().splitlines()]
        words = next(words for words in lines if words and words[0] == kind)
        return min(1.0, max(0.0, float(dict(w.split("=") for w in words[1:])["avg10"]) / 100))
    except (OSError, ValueError, KeyError, StopIteration):
        return None

"""From samples to rows of bins. Pure.

A sample speaks for the seconds of its window, and for the bin that holds the window's middle.
Means are weighted by those seconds; a sample without a window (first sight of a domain) has nothing to say yet.
"""

from foreshape_controller.store.engine import Row
from foreshape_controller.store.schema import MAXIMA, SUMS
from foreshape_wire.reading import DomainState
from foreshape_wire.sample import CpuSample, HostSample, IoSample, MemorySample, VmSample

DOUBTFUL_BELOW = 0.5
"""Memory demand with less confidence than this is a guess from outside (resident set)."""

LIVE = frozenset({DomainState.RUNNING, DomainState.BUSY, DomainState.MIGRATING})
"""States in which a sample tells what the VM wants; a paused VM wants nothing, and that is no demand."""

_NO_CPU = (0.0,) * 5
_NO_MEMORY = (0.0,) * 5
_NO_IO = (0.0,) * 5
WIDTH = len(SUMS) + len(MAXIMA)


def bin_start(taken_at: float, window_s: float, step_s: int) -> int:
    """Start of the bin that a sample belongs to."""
    return int((taken_at - window_s / 2) // step_s) * step_s


def vm_row(sample: VmSample, bin_at: int, series: int, step_s: int) -> Row:
    """One sample as a row of ``bins``: sums are amounts × seconds. A window longer than a bin counts as one full bin."""
    s = min(sample.window_s, float(step_s))
    cpu, memory, io = sample.cpu, sample.memory, sample.io
    return (
        bin_at,
        series,
        1,
        *(_cpu(cpu, s) if cpu else _NO_CPU),
        *(_memory(memory, s) if memory else _NO_MEMORY),
        *(_io(io, s) if io else _NO_IO),
        cpu.demand.cores if cpu else 0.0,
        cpu.used.cores if cpu else 0.0,
        memory.demand.mib if memory else 0.0,
        io.read_kib_s + io.write_kib_s if io else 0.0,
        io.rx_kib_s + io.tx_kib_s if io else 0.0,
    )


def host_row(host: HostSample, bin_at: int, series: int, window_s: float) -> Row:
    """The host's own series: cores busy, MiB in use; its allocation is what it has."""
    used, in_use = host.cpu_used.cores, (host.memory_total - host.memory_available).mib
    cpu = (window_s, used * window_s, used * window_s, host.cpus * window_s, 0.0)
    memory = (window_s, in_use * window_s, host.memory_total.mib * window_s, 0.0, 0.0)
    return (bin_at, series, 1, *cpu, *memory, *_NO_IO, used, used, in_use, 0.0, 0.0)


def _cpu(c: CpuSample, s: float) -> Row:
    return (s, c.demand.cores * s, c.used.cores * s, c.allocation.cores * s, s if c.censored else 0.0)


def _memory(m: MemorySample, s: float) -> Row:
    doubt = s if m.confidence < DOUBTFUL_BELOW else 0.0
    return (s, m.demand.mib * s, m.allocation.mib * s, s if m.censored else 0.0, doubt)


def _io(io: IoSample, s: float) -> Row:
    disk, net = io.read_kib_s + io.write_kib_s, io.rx_kib_s + io.tx_kib_s
    return (s, disk * s, (io.read_iops + io.write_iops) * s, net * s, io.read_kib_s * s)

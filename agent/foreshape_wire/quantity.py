"""Amounts that carry their unit: the unit is said once, at the border.

On the wire an amount is an object named by its unit, ``{"mib": 512.0}`` or ``{"cores": 1.5}``,
so that no reader has to guess. Negative, NaN, infinite and absurd amounts do not exist:
decoding refuses them with the field's path, construction raises ValueError.
"""

from math import floor
from typing import Annotated, Self

import msgspec

MAX_CORES = 8192.0
"""More than any machine has: above this an amount is a unit mistake (ns or percent taken for cores)."""

MAX_MIB = float(256 * 1024 * 1024)
"""256 TiB: above this an amount is a unit mistake (KiB or bytes taken for MiB)."""


def _check(unit: str, amount: float, most: float) -> None:
    if not 0 <= amount <= most:  # NaN fails every comparison
        raise ValueError(f"{amount!r} {unit} is not an amount: it must lie between 0 and {most:g}")


class Cores(msgspec.Struct, frozen=True, order=True, gc=False):
    """CPU capacity or use, in cores: CPU seconds per wall second."""

    cores: Annotated[float, msgspec.Meta(ge=0, le=MAX_CORES)]

    def __post_init__(self) -> None:
        _check("cores", self.cores, MAX_CORES)

    def __add__(self, other: "Cores") -> "Cores":
        return Cores(self.cores + other.cores)

    def __sub__(self, other: "Cores") -> "Cores":
        """The difference, never below nothing."""
        return Cores(max(0.0, self.cores - other.cores))

    def __mul__(self, factor: float) -> "Cores":
        return Cores(self.cores * factor)


class Memory(msgspec.Struct, frozen=True, order=True, gc=False):
    """Memory, in MiB. Constructors and readers carry the unit of the border they serve."""

    mib: Annotated[float, msgspec.Meta(ge=0, le=MAX_MIB)]

    def __post_init__(self) -> None:
        _check("mib", self.mib, MAX_MIB)

    @classmethod
    def from_kib(cls, kib: float) -> Self:
        """From libvirt's unit."""
        return cls(kib / 1024)

    @classmethod
    def from_bytes(cls, count: float) -> Self:
        """From psutil's and QEMU's unit."""
        return cls(count / 1048576)

    @property
    def kib(self) -> int:
        """Whole KiB, rounded down: libvirt's unit."""
        return floor(self.mib * 1024)

    @property
    def bytes(self) -> int:
        """Whole bytes, rounded down."""
        return floor(self.mib * 1048576)

    def __add__(self, other: "Memory") -> "Memory":
        return Memory(self.mib + other.mib)

    def __sub__(self, other: "Memory") -> "Memory":
        """The difference, never below nothing."""
        return Memory(max(0.0, self.mib - other.mib))

    def __mul__(self, factor: float) -> "Memory":
        return Memory(self.mib * factor)


class Size(msgspec.Struct, frozen=True, gc=False):
    """A VM's size: CPU and memory together."""

    cpu: Cores
    memory: Memory

    def within(self, other: "Size") -> bool:
        """Whether this size fits into the other in both resources."""
        return self.cpu <= other.cpu and self.memory <= other.memory


NO_CORES = Cores(0.0)
NO_MEMORY = Memory(0.0)

Rate = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
"""A non-negative rate; its unit is in the field's name."""

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
"""A part of a whole, 0 to 1."""

Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
"""A duration in seconds."""

Window = Annotated[float, msgspec.Meta(ge=0, le=86400)]
"""Length of a cycle in seconds. A rate taken over more than a day is no rate."""

Instant = Annotated[float, msgspec.Meta(ge=0, le=1e11)]
"""Seconds since the epoch, UTC."""

Amount = Annotated[float, msgspec.Meta(ge=0, le=MAX_MIB)]
"""Cores or MiB, 1/s or KiB/s, by the resource named beside it."""

Factor = Annotated[float, msgspec.Meta(ge=0, le=100)]
"""What something is multiplied by."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""How many; fits a database's integer."""

Cpus = Annotated[int, msgspec.Meta(ge=1, le=int(MAX_CORES))]
"""CPUs of a machine."""

GuestVcpus = Annotated[int, msgspec.Meta(ge=0, le=int(MAX_CORES))]
"""vCPUs that a guest has online."""

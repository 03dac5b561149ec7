"""What was really used: whole amounts per server and day, from reports only. Cores are millicores, memory MiB, time seconds."""

from collections.abc import Mapping

import msgspec

PER_RESOURCE = (
    "entitlement",  # of what was sold, what the guest really had
    "freed",  # sold, and given back
    "guaranteed",  # of the floor, while it was there
    "burst",  # above what was sold, within the ceiling
    "missing",  # below the floor
    "could_free",  # of servers that are not resized: had, and wanted by no plan
    "pool",  # of a shadow VM's flavor while it waited
    "reservation",  # held in Placement
    "known",  # bins with a measurement
    "short",  # of these: demand above the allocation, or at its cap, with less than was sold
    "broken",  # of these: below the floor
)
"""What is counted of each resource: amounts × seconds, but for bins."""

METERS: tuple[str, ...] = (*(f"{r}_{m}" for r in ("cpu", "memory") for m in PER_RESOURCE), "seconds", "missed_claims")
"""Stored amounts stand in this order: new ones go to the end."""

AT = {name: i for i, name in enumerate(METERS)}
Amounts = tuple[int, ...]
NOTHING: Amounts = (0,) * len(METERS)


class Kind:
    """Of a thing that is metered."""

    SERVER = "server"
    POOL = "pool"
    """A shadow VM that waits."""
    RESERVATION = "reservation"
    GONE = "gone"
    """It is not there any more, or nobody can say what held: not charged."""


class Terms(msgspec.Struct, frozen=True, array_like=True):
    """By which terms one thing is metered, from an instant on. A change is a new row, so that the past can be counted again."""

    kind: str
    project: str = ""
    name: str = ""
    tier: str = ""
    act: bool = False
    """Foreshape may resize it."""
    accuracy: int = -1
    """Of its declared profile in whole tenths, 0..10; -1: none was declared."""
    mcores: int = 0
    """What was sold."""
    mib: int = 0
    floor_mcores: int = 0
    floor_mib: int = 0
    most_mcores: int = 0
    """What can be reached: more is a mistake of measurement."""
    most_mib: int = 0

    def size(self, resource: str) -> tuple[int, int, int]:
        """Sold, floor and ceiling."""
        if resource == "cpu":
            return self.mcores, self.floor_mcores, self.most_mcores
        return self.mib, self.floor_mib, self.most_mib


class Since(msgspec.Struct, frozen=True):
    """A row of terms."""

    server: str
    """Its id; ``reservation:ID``."""
    at: float
    terms: Terms


class Used(msgspec.Struct, array_like=True):
    """One thing under one set of terms on one day."""

    server: str
    """Its id; ``pool:NAME`` (missed claims), ``reservation:ID``."""
    name: str
    tier: str
    accuracy: int
    act: bool
    bins: bytes
    """A bit a bin of the day that was counted, the lowest first (``bits``). None is counted twice."""
    amounts: Amounts

    @property
    def key(self) -> tuple[str, str, int, bool]:
        return self.server, self.tier, self.accuracy, self.act


def bits(mask: int) -> bytes:
    """A mask of bins as it is kept."""
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


def mask(kept: bytes) -> int:
    """Bit k: bin k of the day."""
    return int.from_bytes(kept, "little")


class Proof(msgspec.Struct, array_like=True):
    """That a promise was broken, in one hour."""

    server: str
    tier: str
    item: str
    """``cpu short``, ``cpu broken``, ``memory …``, ``claim``."""
    bins: int
    first: int
    """Start of the first of these bins, epoch seconds."""
    causes: tuple[str, ...] = ()
    """Ids of the decisions that had last changed the server's size before; ids of claims."""
    said: str = ""


class UsageDay(msgspec.Struct, array_like=True):
    """One project on one day, as far as it was booked into one period."""

    day: int
    """Its start, epoch seconds, UTC."""
    booked: str
    """Period whose statement it belongs to: its own month, or a later one where it came after that was closed."""
    used: list[Used] = msgspec.field(default_factory=list)
    proofs: list[Proof] = msgspec.field(default_factory=list)


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What was metered last of one project in one tier, for collectors: mean cores and GiB over an hour."""

    project: str
    tier: str
    amounts: Mapping[str, float]
    """By name of a gauge without its prefix."""


PREFIX = "foreshape_meter_"
GAUGED = {
    "entitlement": "of what was sold, what guests really had",
    "freed": "sold and given back",
    "guaranteed": "floors that were kept",
    "burst": "above what was sold, as far as guests really had it",
    "pool": "shadow VMs that waited",
    "reservation": "held in Placement",
}
UNIT_NAMES = {"cpu": "cores", "memory": "gib"}
GAUGES: Mapping[str, str] = {
    **{
        f"{meter}_{unit}": f"{'Cores' if unit == 'cores' else 'GiB'} {text}: mean over the hour that was metered last."
        for meter, text in GAUGED.items()
        for unit in UNIT_NAMES.values()
    },
    "missed_claims": "Claims that their pool did not serve in the hour that was metered last.",
}
"""Gauges by name without the prefix, and their help. Labels: project_id, tier."""

"""The class of work a server does."""

from enum import StrEnum

import msgspec


class WorkClass(StrEnum):
    """What the CPU of a server is like over a week or two."""

    IDLE = "idle"
    """19 of 20 values are below 5 % of what was sold."""
    STEADY = "steady"
    """Always about the same."""
    DIURNAL = "diurnal"
    """Rises and falls with the hour of the day."""
    BURSTY = "bursty"
    """Moves a lot, for minutes, at no time in particular."""
    BATCH = "batch"
    """Little most of the time, and much for half an hour or longer, again and again."""
    UNKNOWN = "unknown"
    """Too young to tell."""


class ReadWrite(StrEnum):
    """What its disk mostly does; empty where nobody knows."""

    READ = "read-heavy"
    WRITE = "write-heavy"
    MIXED = "mixed"
    UNKNOWN = ""


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """One server's class, inferred or declared."""

    work: WorkClass
    read_write: ReadWrite = ReadWrite.UNKNOWN
    confidence: float = 1.0
    """Inferred: share of half-samples of its days that give the same class, times the share of a week it is known for."""
    declared: bool = False
    note: str = ""


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Looks at a server's history since a profile was declared, and how many of them saw it (``model/matching.py``)."""

    agreed: float = 0.0
    total: float = 0.0
    looks: int = 0


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"work": "class"}):
    """What people say of a server: ``PUT /v1/servers/{id or name}/profile``. An empty read_write is left to inference."""

    work: str
    read_write: str = ""
    note: str = ""


class WorkloadAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/workloads`` and ``/v1/servers/{id or name}/profile``."""

    server: str
    name: str
    workload: str
    """In force: the declared class, else the inferred one."""
    read_write: str
    confidence: float
    declared: bool
    inferred: str
    """What the server's own history says."""
    inferred_confidence: float
    note: str
    at: float
    """When it was declared or inferred."""
    accuracy: float | None = None
    """0..1: share of the looks at its history since it was declared that saw the declared class, weighed by their confidence, later
    ones more; None: nothing is declared, or it was looked at fewer than four times."""

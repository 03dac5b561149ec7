"""Pools of shadow VMs: servers that are booted ahead, hold little, and wait for somebody to claim them (domain.md §9).

Amounts: cores, MiB, seconds; instants are epoch seconds. Costs have one unit, whichever the operator counts in: only their ratios decide.
"""

import enum

import msgspec

SHADOW_KEY, POOL_KEY, CLAIMED_KEY = "foreshape_shadow", "foreshape_pool", "foreshape_claimed"
"""Metadata of our servers in Nova: id of the shadow VM, id of its pool, and (from the claim on) who claimed it."""


class State(enum.StrEnum):
    """How far a shadow VM is. The picture is in ``decide/shadow.py``."""

    PLANNED = "planned"
    """Written down; nothing was asked of the cloud."""
    BOOTING = "booting"
    """Nova was asked, or is about to be: whatever may exist counts as existing."""
    READY = "ready"
    CLAIMED = "claimed"
    HANDED_OVER = "handed_over"
    RETIRING = "retiring"
    GONE = "gone"
    FAILED = "failed"
    LOST = "lost"

    @property
    def over(self) -> bool:
        """Nothing is done for it any more."""
        return self in (State.HANDED_OVER, State.GONE, State.LOST)

    @property
    def stock(self) -> bool:
        """It can be claimed, or soon will be."""
        return self in (State.PLANNED, State.BOOTING, State.READY)

    @property
    def customers(self) -> bool:
        """It is somebody's: nothing of ours ever deletes it."""
        return self in (State.CLAIMED, State.HANDED_OVER)


class Happened(enum.StrEnum):
    """What can happen to a shadow VM."""

    BOOT = "boot"
    """About to be asked of Nova."""
    UP = "up"
    """Nova says ACTIVE and its host's agent reports it."""
    BROKEN = "broken"
    """Refused, in ERROR, or not up in time."""
    VANISHED = "vanished"
    """Nova says that there is no such server."""
    CLAIM = "claim"
    HANDED = "handed"
    """Renamed, tagged and grown to what was sold."""
    RETIRE = "retire"
    CLEAN = "clean"
    """What a failure left behind goes."""
    GONE = "gone"
    """Nothing of it is left in the cloud."""
    FOUND = "found"
    """It was lost, and is there after all."""


class Fallback(enum.StrEnum):
    """What happens where a shadow VM would cost more than the threshold."""

    SMALLER = "smaller"
    """As many are made as stay under it; a claim that finds none boots cold."""
    COLD = "cold"
    """None is made; claims boot cold."""
    NONE = "none"
    """None is made; a claim that finds none is refused."""


class PoolRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /v1/pools``: one kind of shadow VM, and by which rules there are how many."""

    name: str
    project: str = ""
    """Empty: that of the credentials."""
    cloud: str = ""
    """Entry of clouds.yaml with these credentials; empty: the controller's own."""
    az: str = ""
    """Empty: Nova chooses."""
    image: str
    """Id or name; of several with one name the newest active one counts."""
    flavor: str
    """Id or name."""
    networks: tuple[str, ...] = ()
    """Ids, one port on each; empty: the servers have no network."""
    least: int = 0
    most: int = 5
    miss_cost: float = 1.0
    """What it costs when a claim finds no shadow VM."""
    idle_cost_h: float = 0.05
    """What one that waits costs in an hour."""
    boot_cost: float = 0.0
    """What booting one costs, once."""
    threshold: float | None = None
    """A shadow VM is made only if booting it and letting it wait until its claim is expected to cost no more; None: always."""
    fallback: Fallback = Fallback.SMALLER
    budget_h: float | None = None
    """Most that all that wait may cost in an hour; None: no limit."""
    expected_h: float = 0.0
    """Claims per hour that the operator expects: counts as one window, until there are claims to learn from."""
    lead_s: float = 120.0
    """From the order to a usable guest, until that was measured."""
    max_age_s: float = 86400.0
    """One that waited for longer is replaced."""
    idle_s: float = 3600.0
    """Without a claim for so long, one too many goes; then the next after as long again."""
    wait_cores: float = 0.1
    wait_mib: float = 256.0
    """What a shadow VM has while it waits, as far as its levers and its guest allow."""


class Pool(PoolRequest, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """A pool as it was asked for, and what became of it."""

    id: str
    project: str
    """Whose servers they are: the project of the credentials that boot them. Nova moves no server to another project."""
    created: float = 0.0
    deleted_at: float | None = None


class Shadow(msgspec.Struct, frozen=True, kw_only=True):
    """One shadow VM, from the plan to the end."""

    id: str
    pool: str
    project: str
    name: str
    """In Nova, until it is claimed; unique, because it has our id in it."""
    image: str
    """Id that it is booted from."""
    flavor: str
    created: float
    since: float
    """When it came into its state."""
    state: State = State.PLANNED
    why: str = ""
    cause: str = ""
    server: str = ""
    """Nova's id; empty while nobody knows of one."""
    host: str = ""
    ports: tuple[str, ...] = ()
    """Neutron's ids of ports that we made."""
    asked_at: float | None = None
    """When Nova was asked to boot it."""
    ready_at: float | None = None
    deflated_at: float | None = None
    """When it was first seen with no more than a waiting one shall have."""
    claimed_at: float | None = None
    handed_at: float | None = None
    claim_name: str = ""
    """What its owner wants it to be called."""
    owner: str = ""
    """Who claimed it, as he said."""
    cold: bool = False
    """Booted for a claim that found the pool empty: nobody else can claim it."""
    tagged: bool = False
    """Nova has its new name and the tag of its claim."""
    sold_cores: float = 0.0
    sold_mib: float = 0.0


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One claim, whatever came of it: what sizes are learned from."""

    pool: str
    at: float
    hit: bool
    shadow: str = ""
    age_s: float = 0.0
    """How long the one that was taken had waited."""
    why: str = ""
    """Of a miss."""


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """What the newest look at a pool found, and what it would do or does."""

    at: float
    wanted: int
    why: str
    boot: int = 0
    retire: tuple[str, ...] = ()
    act: bool = False
    """False: a proposal; ``not_done`` says why."""
    not_done: str = ""
    image: str = ""
    """Id that new ones would be booted from."""
    mean: float = 0.0
    """Claims expected within ``window_s``."""
    fractile: float = 0.0
    window_s: float = 0.0
    problems: tuple[str, ...] = ()


# -- what the API takes and gives -------------------------------------------------------------------------------------------


class ClaimRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /v1/pools/{name}/claims``."""

    name: str
    """What the server shall be called."""
    project: str = ""
    """Must be the pool's; empty: it is."""
    owner: str = ""


class ClaimAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a claim got."""

    shadow: str
    pool: str
    state: str
    hit: bool
    server: str
    """Empty while a cold boot has none yet."""
    name: str
    host: str
    project: str
    took_s: float
    """From the claim until this answer."""
    note: str = ""


class PoolAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """``GET /v1/pools`` and ``/v1/pools/{name}``."""

    pool: Pool
    state: str
    """``open`` or ``closing``."""
    ready: int
    booting: int
    wanted: int
    decided: Decided | None = None
    shadows: tuple[Shadow, ...] = ()
    """Those that are not over; empty in lists."""


class PoolReport(msgspec.Struct, frozen=True, kw_only=True):
    """``GET /v1/pools/{name}/report``: how a pool did in a time."""

    pool: str
    since: float
    until: float
    claims: int
    hits: int
    misses: int
    hit_rate: float | None
    """None without a claim."""
    age_s: float | None
    """Mean age of those that wait now; None: none does."""
    oldest_s: float | None
    hit_age_s: float | None
    """Mean time that those taken had waited."""
    boots: int
    failures: int
    waited_h: float
    """Hours that shadow VMs waited, all together."""
    cost: float
    cost_per_hit: float | None
    """None without a hit."""
    boot_s: float | None
    """Mean from Nova's order to ready."""
    claim_s: float | None
    """Mean from the claim to the hand-over, of hits."""


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a pool's schedule."""

    start: float
    end: float
    claims: float
    """Expected."""
    servers: int
    """Shadow VMs that should wait."""
    cores: float
    mib: float
    """What these hold while they wait."""
    cost: float

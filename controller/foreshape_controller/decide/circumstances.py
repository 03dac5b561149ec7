"""What else held for a server at an instant: hard caps, halts, reclamation, what feedback made of its tier. Pure, in sentences."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime

from foreshape_controller.decide.caps import in_force
from foreshape_controller.model.brakes import Halt
from foreshape_controller.model.cap import UNITS, Cap
from foreshape_controller.model.choice import Choice
from foreshape_controller.model.mark import Factors
from foreshape_controller.model.reclaim import LOWERED, Reclaim
from foreshape_wire.order import Mode

NAMES = {"cpu": "CPU", "memory": "memory", "disk_iops": "disk operations", "disk_kib_s": "disk throughput", "net_kib_s": "network"}

CHOSEN = {Mode.OBSERVE: "out, at what it was sold", Mode.ADVISE: "only advice", Mode.ACT: "in"}


def circumstances(
    scopes: Collection[str], caps: Iterable[Cap], halts: Iterable[Halt], reclaims: Iterable[Reclaim], at: float
) -> tuple[str, ...]:
    """``scopes``: all that the server was in (``server:ID``, ``host:NAME``, ``project:ID``, ``segment:NAME``)."""
    mine = [c for c in in_force(caps, at) if c.scope in scopes]
    stopped = [h for h in halts if h.active and h.since <= at and h.scope in (*scopes, "cloud")]
    lowered = [r for r in reclaims if r.state in LOWERED and r.at <= at]
    return (*map(_cap, mine), *map(_halt, stopped), *map(_reclaim, lowered))


def chosen(choices: Iterable[Choice], at: float) -> Iterator[str]:
    """How far its owner let us go."""
    for c in choices:
        if c.since <= at:
            by, why = f" by {c.by}" if c.by else "", f": {c.reason}" if c.reason else ""
            yield f"Its owner chose for {c.scope} on {_when(c.since)}{by}: {CHOSEN[c.mode]}{why}."


def learned(tier: str, factors: Mapping[tuple[str, str], Factors], at: float) -> Iterator[str]:
    """What feedback had made of a tier; nothing where it changed nothing."""
    for (name, resource), f in sorted(factors.items()):
        if name == tier and f.at <= at and (abs(f.headroom - 1) > 5e-3 or abs(f.hold - 1) > 5e-3):
            yield f"Tier {tier}, {NAMES[resource]}: {learned_of(f)}."


def learned_of(f: Factors) -> str:
    """The factors of one resource, and why."""
    said = f"headroom × {f.headroom:.2f}, hold time × {f.hold:.2f}"
    return f"{said} by feedback of {_when(f.at)}: {f.reason}" if f.at else f"{said}: nothing was learned yet"


def _cap(cap: Cap) -> str:
    by = f" by {cap.by}" if cap.by else ""
    what, amount = NAMES.get(cap.resource, cap.resource), f"{cap.amount:g} {UNITS[cap.resource]}"
    return f"A hard cap on {what} was in force for {cap.scope}: {amount} until {_when(cap.until)}{by}: {cap.reason}."


def _halt(halt: Halt) -> str:
    return f"Orders for {halt.scope} were held back since {_when(halt.since)}: {halt.reason}."


def _reclaim(r: Reclaim) -> str:
    unit = "cores" if r.resource == "cpu" else "MiB"
    return f"It was being reclaimed: its floor of {NAMES[r.resource]} was {r.floor:g} {unit} instead of {r.tier_floor:g}: {r.why}."


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")

"""Reclamation: look through history now and then, look after what is being reclaimed more often, write every transition.

A lowered floor has its effect through ``Reclaims.floors``, which the next plan asks: a row that is not written changes nothing, and
one that is written goes on after a restart. A row that somebody else changed meanwhile (an owner objected) is left to the next run.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import msgspec
import numpy as np

from foreshape_controller.decide.idle import say, with_margin
from foreshape_controller.decide.reclaim import Facts, advance, broken, notice, tier_floor, unfound
from foreshape_controller.decide.segments import grouped
from foreshape_controller.decide.tiers import Tiers
from foreshape_controller.log import get_logger
from foreshape_controller.loops.calendar import Calendar
from foreshape_controller.loops.looking import Histories, Look, Looking, Terms, World
from foreshape_controller.model.forecast import LEVELS
from foreshape_controller.model.group import Member
from foreshape_controller.model.history import RESOURCES
from foreshape_controller.model.reclaim import LOWERED, Reclaim, State
from foreshape_controller.model.server import ClusterView, Server
from foreshape_controller.model.tier import Tier
from foreshape_controller.store.reclaims import Change, Key
from foreshape_wire.ids import new_id
from foreshape_wire.order import Mode
from foreshape_wire.quantity import Size

_log = get_logger("reclaim")

LATELY_BINS = 2
"""In which a demand that came back shows."""
MEDIAN = LEVELS.index(0.5)
ACTIVE = (State.NOTICED, State.SHRINKING, State.RECLAIMED, State.GIVING_BACK, State.GIVEN_BACK, State.OBJECTED)

Leads: TypeAlias = Callable[[ClusterView, float], Mapping[str, Mapping[str, float]]]


class _Rows(Protocol):
    def all(self, states: Sequence[State] = ...) -> Mapping[Key, Reclaim]: ...

    def save(self, changes: Sequence[Change]) -> int: ...

    def had(self, server: str, resource: str, amount: float, since: float) -> float | None: ...


class ReclaimStore(Protocol):
    """The part of the store that is needed."""

    @property
    def reclaims(self) -> _Rows: ...

    @property
    def history(self) -> Histories: ...

    inventory: Any
    forecasts: Any
    anomalies: Any
    profiles: Any


class ReclaimLoop:
    """``run_once`` is a job of its own. It keeps nothing but when it looked last."""

    def __init__(self, store: ReclaimStore, tiers: Callable[[], Tiers], calendar: Calendar, leads: Leads, terms: Terms) -> None:
        self._store, self._tiers, self._leads, self._terms = store, tiers, leads, terms
        self._looking = Looking(store, calendar, terms)
        self._looked_at: float | None = None

    def run_once(self, now: float, ids: Callable[[str], str] = new_id) -> int:
        """Rows → look through history if due → facts → transitions → written. How many rows changed."""
        due = self._looked_at is None or not 0 <= now - self._looked_at < self._terms.options.find_every_s
        rows = self._store.reclaims.all() if due else self._store.reclaims.all(ACTIVE)  # advice waits for the next look
        if not due and not rows:
            return 0
        world = self._world(now)
        looks = {r: self._looking.look(r, world) for r in RESOURCES} if due else {}
        lately = {r: self._lately(r, [row for row in rows.values() if row.resource == r], world) for r in RESOURCES}
        gathered = _Gathered(world, looks, lately, ids)
        changes = [c for key in self._keys(rows, looks) if (c := self._guarded(key, rows.get(key), gathered)) is not None]
        written = self._store.reclaims.save(changes)
        self._looked_at = now if due else self._looked_at
        for c in changes:
            _say(c)
        return written

    # -- the world --------------------------------------------------------------------------------------------------

    def _world(self, now: float) -> World:
        whole: ClusterView = self._store.inventory.view(now)
        waiting = self._terms.shadows(now)
        view = msgspec.structs.replace(whole, servers=tuple(s for s in whole.servers if s.id not in waiting)) if waiting else whole
        groups = grouped([Member.of(s) for s in view.servers], self._terms.segments, self._store.profiles.names())
        policy = self._tiers()
        tiers: dict[str, Tier] = {s.id: policy.of(s, groups.of.get(s.id, ())) for s in view.servers}
        granules = {"cpu": policy.granules.cpu.cores, "memory": policy.granules.memory.mib}
        return World(now, view, groups, tiers, {s.id: s for s in view.servers}, granules, self._leads(view, now))

    def _keys(self, rows: Mapping[Key, Reclaim], looks: Mapping[str, Look]) -> list[Key]:
        """Rows that may change, and servers that were found now."""
        return list(dict.fromkeys(rows) | {(s, resource): None for resource, look in looks.items() for s in look.found})

    # -- looking after what is under way -----------------------------------------------------------------------------

    def _lately(self, resource: str, rows: Sequence[Reclaim], world: World) -> Mapping[str, "_Lately"]:
        """Demand of the last minutes and of the next half-hour, of rows where it matters."""
        names = [r.server for r in rows if r.state in (State.NOTICED, *LOWERED) and r.server in world.servers]
        if not names:
            return {}
        history = self._store.history.read(resource, names, world.now, LATELY_BINS)
        seen = np.nan_to_num(np.fmax.reduce(history.mean, axis=1, initial=np.nan))
        peaks = self._store.forecasts.peaks(resource)
        ahead = [float(peaks.peak30m[peaks.rows[n], MEDIAN]) if n in peaks.rows else 0.0 for n in names]
        return {n: _Lately(float(s), a) for n, s, a in zip(names, seen, ahead, strict=True)}

    def _guarded(self, key: Key, row: Reclaim | None, known: "_Gathered") -> Change | None:
        """One server that makes no sense is passed over, and changes nothing for the others."""
        try:
            change = self._change(key, row, known)
        except (ArithmeticError, ValueError, LookupError, TypeError) as e:
            _log.error("reclaim passed over", server=key[0], resource=key[1], exc_info=e)
            return None
        wrong = broken(change.after) if change else ""
        if wrong:
            _log.error("reclaim passed over", server=key[0], resource=key[1], reason=wrong)
        return None if wrong else change

    def _change(self, key: Key, row: Reclaim | None, known: "_Gathered") -> Change | None:
        (server, resource), world = key, known.world
        look = known.looks.get(resource)
        new = look is not None and server in look.found and (row is None or row.state is State.GONE)  # another time, another cause
        before = unfound(world.servers[server], resource, world.tiers[server], known.ids("cause"), world.now) if new or row is None else row
        if before.state is State.FOUND and server in world.servers:  # nobody was told yet: whoever is, is told of what it is now
            before = _as_it_is(before, world.servers[server], world.tiers[server])
        facts = self._facts(before, world, look, known.lately[resource].get(server))
        after = advance(before, facts, self._terms.rule, world.now)
        return None if after in (row, before) else Change(row, after, notice(before, after, world.now))

    def _facts(self, row: Reclaim, world: World, look: Look | None, lately: "_Lately | None") -> Facts:
        server = world.servers.get(row.server)
        if server is None:
            return Facts(present=False)
        tier, resource = world.tiers[server.id], row.resource
        floor, lead = tier_floor(server, tier, resource), world.leads.get(resource, {}).get(server.id, 0.0)
        return Facts(
            fresh=world.now - server.last_seen <= self._terms.stale_after_s,
            may=self._may_not(server, tier, resource) or _changed(row, server, tier),
            tier_floor=floor,
            least_now=_least_now(server, tier, resource),
            back=_back(row, server, lately),
            looked=look is not None,
            finding=look.found.get(server.id) if look else None,
            not_found=look.why(server.id) if look else "",
            had_at=self._had(row, server, floor, world) if row.state is State.GIVING_BACK else None,
            waits=server.mode is not Mode.ACT,
            stated_s=self._terms.plan_s + lead,
            stated_how=f"up to {self._terms.plan_s:.0f} s until the next plan, {lead:.0f} s until its levers have done it",
        )

    def _may_not(self, server: Server, tier: Tier, resource: str) -> str:
        """Why a server is not acted on; empty: it may be."""
        if not self._terms.options.enabled:
            return "[reclaim] enabled is false: this is advice"
        if not tier.may_reclaim:
            return f"tier {tier.name} says may_reclaim: false"
        if server.mode is not Mode.ACT:
            return f"its mode is {server.mode.value}"
        return "" if server.usable(resource) else "it has no usable lever"

    def _had(self, row: Reclaim, server: Server, floor: float, world: World) -> float | None:
        """When the guest had its floor again: proven by an action, or it had it all the time."""
        enough = floor - world.granules[row.resource]
        since = row.back_since if row.back_since is not None else world.now
        if _has(server, row.resource) < enough:
            return None
        proven = self._store.reclaims.had(row.server, row.resource, enough, since)
        return since if proven is None else proven


class _Gathered(NamedTuple):
    """Everything that one run knows."""

    world: World
    looks: Mapping[str, Look]
    lately: Mapping[str, Mapping[str, "_Lately"]]
    ids: Callable[[str], str]


class _Lately(NamedTuple):
    seen: float
    """Largest mean of the last bins."""
    ahead: float
    """Median of the forecast half-hour's peak."""


def _as_it_is(row: Reclaim, server: Server, tier: Tier) -> Reclaim:
    return msgspec.structs.replace(row, name=server.name, project=server.project, tier=tier.name)


def _changed(row: Reclaim, server: Server, tier: Tier) -> str:
    """What is other than its owner was told of: that floor was announced for another guarantee, or to another owner."""
    if row.state not in (State.NOTICED, *LOWERED):
        return ""
    told = "when its owner was told"
    if row.tier != tier.name:
        return f"its tier is {tier.name}, and was {row.tier} {told}"
    if row.project != server.project:
        return f"its project is {server.project}, and was {row.project} {told}"
    sold = _amount(server.entitlement, row.resource)
    if row.finding is not None and row.finding.entitlement != sold:
        return f"it was sold {say(row.resource, sold)}, and {say(row.resource, row.finding.entitlement)} {told}"
    return ""


def _has(server: Server, resource: str) -> float:
    return _amount(server.allocation, resource)


def _amount(size: Size, resource: str) -> float:
    return size.cpu.cores if resource == "cpu" else size.memory.mib


def _least_now(server: Server, tier: Tier, resource: str) -> float:
    """Memory: the working set and its margin. CPU comes back in a moment: nothing."""
    if resource == "cpu" or server.last is None or server.last.memory is None:
        return 0.0
    return float(with_margin(np.array([server.last.memory.in_use.mib]), np.array([tier.memory.margin_share]))[0])


def _back(row: Reclaim, server: Server, lately: _Lately | None) -> str:
    """A sentence when the demand came back, or is forecast to within the half-hour."""
    raised = server.raised_floor.mib if row.resource == "memory" and server.raised_floor else 0.0
    if row.state in LOWERED and raised > row.floor:
        return "its demand came back: its agent had to give it memory"
    if lately is None:
        return ""
    overhead = _overhead(server) if row.resource == "memory" else 0.0
    for amount, said in (
        (lately.seen, "its demand came back: {0} in the last minutes"),
        (lately.ahead, "{0} are forecast within the half-hour"),
    ):
        if amount + overhead > row.floor:
            return f"{said.format(say(row.resource, amount + overhead))}, above its floor of {say(row.resource, row.floor)}"
    return ""


def _overhead(server: Server) -> float:
    memory = server.last.memory if server.last else None
    return (memory.in_use - memory.demand).mib if memory else 0.0


def _say(c: Change) -> None:
    a, b = c.after, c.before
    if b is not None and b.state is a.state and b.floor == a.floor:
        return
    late = a.state is not State.GIVING_BACK and (b is None or b.measured_s is None) and (a.measured_s or 0.0) > (a.stated_s or float("inf"))
    tell = _log.warning if late else _log.info
    tell("reclaim", server=a.server, resource=a.resource, state=a.state.value, floor=round(a.floor, 3), why=a.why, cause=a.cause)

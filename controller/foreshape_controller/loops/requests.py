"""Requests, carried out: read what room there is, decide in the order of the queue, hold, start, end, tell (domain.md §10).

Each step is in the store before anything is asked of Placement; what a state wants held there is compared with what is planned under the
request's name in every run, so whoever dies at any moment is continued by the next one. In mode advise what is decided is a proposal: its
reservations are planned and not held, until an operator approves. Without an OpenStack the room is kept in the books only.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol

import structlog
from msgspec.structs import replace

from foreshape_controller.decide import request_life as life
from foreshape_controller.decide import requests as rules
from foreshape_controller.decide.request_check import amounts, assumptions, check
from foreshape_controller.decide.request_life import Happened
from foreshape_controller.decide.request_offers import Catalog, Market, Quote, accepted, offers
from foreshape_controller.decide.request_order import advanced, share, tag
from foreshape_controller.decide.request_room import Ledger, Want
from foreshape_controller.decide.requests import RequestRule, Verdict
from foreshape_controller.decide.tiers import Tiers
from foreshape_controller.errors import ControllerError, Invalid, NotFound
from foreshape_controller.loops.request_rooms import Keeper, Rooms
from foreshape_controller.loops.request_supply import Look, Seen, SupplyTerms
from foreshape_controller.model.cloud import CLASSES, MEMORY, VCPU, Resources
from foreshape_controller.model.request import Alternative, Request, RequestAsk, RequestState
from foreshape_controller.model.server import Server
from foreshape_wire.ids import new_id

_log = structlog.get_logger("foreshape.requests")

LOOKS = 200
"""Those who wait that one round looks at; the others are behind them anyhow."""
UNKNOWN = "unknown"
"""Code of a verdict while nobody can tell what room there is."""


@dataclass(frozen=True)
class RequestTerms:
    """What the configuration says. Seconds."""

    rule: RequestRule = field(default_factory=RequestRule)
    supply: SupplyTerms = field(default_factory=SupplyTerms)
    per_project: int = 50
    take_s: float = 3600.0
    """So long the room of a started request is kept for its owner."""
    settle_s: float = 600.0
    """So long after he came his servers count twice, until everybody sees them."""
    patience_s: float = 900.0
    """Room that cannot be held so long after it was due is looked for elsewhere."""


class RequestStore(Protocol):
    """``store/requests.py``, as far as it is needed here."""

    def clock(self, project: str) -> float: ...
    def add(self, project: str, make: Callable[[float], tuple[Request, float]], most: int, now: float) -> Request: ...
    def change(self, wanted: str, by: Callable[[Request], Request], now: float) -> Request: ...
    def find(self, wanted: str, project: str | None = None) -> Request: ...
    def open(self, project: str | None = None) -> tuple[Request, ...]: ...
    def since(self, at: float, state: RequestState) -> tuple[Request, ...]: ...


Flavor = Callable[[str], tuple[Resources, Mapping[str, str]]]
"""Sizes and extra specs of a flavor by its name. Raises NotFound, Invalid."""

May = Callable[[str, str], str]
"""Why nothing may be taken on a host for a project now; empty: it may."""


@dataclass(frozen=True)
class Doors:
    """What requests need of others."""

    look: Look
    may: May
    rooms: Rooms | None = None
    """None: no OpenStack is configured."""
    flavor: Flavor | None = None
    """None: only flavors of servers that are there are known."""
    quote: Quote = lambda _each, _count, _tier, _seconds: ""


class RequestWork:
    """``run_once`` by the clock; the rest for people. Safe from any thread."""

    def __init__(self, store: RequestStore, doors: Doors, tiers: Callable[[], Tiers], terms: RequestTerms) -> None:
        self.store, self.doors, self.tiers, self.terms = store, doors, tiers, terms
        self._deciding = Lock()
        self._keeper = Keeper(store, doors.rooms, self._happen, self._blind, take_s=terms.take_s, patience_s=terms.patience_s)

    @property
    def bookkeeping(self) -> bool:
        """Nothing but our own books knows of what is promised."""
        return self.doors.rooms is None

    def _blind(self, now: float) -> bool:
        return isinstance(self.doors.look(now), str)

    # -- by the clock

    def run_once(self, now: float) -> None:
        """What is due, what waits, what is to be held."""
        self._each(self._due, now)
        self._decide(now)
        self._each(self._due, now)  # who may start now
        self._each(self._keeper.keep, now)
        for request in self._lately(now):
            self._guarded(request, lambda r: self._keeper.keep(r, now))

    def _each(self, work: Callable[[Request, float], object], now: float) -> None:
        for request in self.store.open():
            self._guarded(request, lambda r: work(r, now))

    def _lately(self, now: float) -> Iterable[Request]:
        """Those that are over since a while: what is left of theirs is given back."""
        since = now - max(self.terms.take_s, 3600.0)
        return [r for state in RequestState if state.over for r in self.store.since(since, state)]

    def _guarded(self, request: Request, work: Callable[[Request], object]) -> bool:
        """One that cannot be carried on never stops the others. Whether it was."""
        try:
            work(request)
        except ControllerError as e:
            _log.warning("request", request=request.id, state=request.state.value, reason=str(e))
        except Exception as e:  # noqa: BLE001  a record that cannot be read ends nobody else's turn
            _log.error("request", request=request.id, state=request.state.value, exc_info=e)
        else:
            return True
        return False

    def _due(self, request: Request, now: float) -> None:
        event = life.due(request, now)
        if event is not None:
            self._happen(request.id, event, now, _WORDS[request.state, event])

    def _happen(self, wanted: str, event: Happened, now: float, said: str = "") -> Request:
        after = self.store.change(wanted, lambda r: self._stepped(r, event, now, said), now)
        _log.info("request", request=after.id, happened=event.value, state=after.state.value, reason=after.said)
        return after

    def _stepped(self, request: Request, event: Happened, now: float, said: str) -> Request:
        after = life.step(request, event, now, said)
        if event is Happened.HELD and after is not request:
            return replace(after, take_by=now + min(self.terms.take_s, request.ask.for_s))
        return after

    # -- deciding

    def _decide(self, now: float) -> None:
        """Everybody who waits, in the order of the queue."""
        with self._deciding:
            waiting = [r for r in self.store.open() if r.state is RequestState.QUEUED][:LOOKS]
            if not waiting:
                return
            seen = self.doors.look(now)
            found = self._judged(waiting, seen, now)
            for request in waiting:
                self._guarded(request, lambda r: self._answer(r, found[r.id], seen, now))

    def _judged(self, waiting: Sequence[Request], seen: Seen | str, now: float) -> Mapping[str, "_Judged"]:
        """By id. While nobody can tell what room there is, everybody waits."""
        if isinstance(seen, str):
            return {r.id: _Judged(Verdict(UNKNOWN, f"nothing is promised now: {seen}")) for r in waiting}
        ledger, rule = self._ledger(seen, now), self.terms.rule
        asked = {r.id: (r, self._want(r, seen)) for r in waiting}
        verdicts = rules.decide(asked.values(), ledger, rule, now)
        market = Market(ledger, _priced(seen.catalog, self.doors.quote), rule, now)
        return {name: _Judged(v, offers(*asked[name], v, market)) for name, v in verdicts.items()}

    def _ledger(self, seen: Seen, now: float) -> Ledger:
        """Room after all promises, those of requests included."""
        ledger = seen.ledger(self.terms.rule)
        lately = self.store.since(now - self.terms.settle_s, RequestState.FULFILLED)
        for request in (*self.store.open(), *lately):
            span = life.counts(request, now, self.terms.settle_s)
            if span:
                ledger.promise(self._want(request, seen), request.placed, *span)
        return ledger

    def _want(self, request: Request, seen: Seen) -> Want:
        tiers = self.tiers()
        tier = tiers.tiers.get(request.ask.tier) or tiers.tiers[tiers.default]
        barred = seen.barred(request) if request.state is RequestState.QUEUED else frozenset()
        return rules.want(request, tier, self.terms.rule, barred)

    def _answer(self, request: Request, judged: "_Judged", seen: Seen | str, now: float) -> None:
        """Written only if it still waits: its owner may have cancelled it meanwhile."""
        acts = self._acts(request, judged.verdict)

        def answered(r: Request) -> Request:
            return self._told(r, judged, seen, now, acts=acts) if r.state is RequestState.QUEUED else r

        self.store.change(request.id, answered, now)

    def _acts(self, request: Request, verdict: Verdict) -> bool:
        """Nobody has to approve it."""
        return not any(self.doors.may(p.host, request.project) for p in verdict.placed)

    def _told(self, request: Request, judged: "_Judged", seen: Seen | str, now: float, *, acts: bool) -> Request:
        verdict = judged.verdict
        after = life.answered(request, verdict, judged.offers, now, acts=acts, look_s=self.terms.rule.look_s)
        if after.state is RequestState.PROPOSED:
            after = replace(after, said=f"{verdict.said}; the mode is not act: an operator has to approve")
        start = verdict.start or max(now, request.earliest)
        unforecast = 0 if isinstance(seen, str) else seen.unforecast
        assumed = assumptions(
            request.ask.for_s, start, now, grid_s=self.terms.supply.grid_s, bookkeeping=self.bookkeeping, unforecast=unforecast
        )
        return replace(after, assumed=assumed)

    # -- for people

    def create(self, ask: RequestAsk, project: str, by: str, now: float, server: Server | None = None) -> Request:
        """Kept, and answered. ``server``: the one that is to grow. Raises Invalid, NotFound, and CloudError of Nova's flavors."""
        draft = self._draft(ask, project, by, now, server)
        made = self.store.add(project, lambda clock: self._tagged(draft, clock, now), self.terms.per_project, now)
        return self._answered(made.id, now)

    def preview(self, ask: RequestAsk, project: str, by: str, now: float, server: Server | None = None) -> Request:
        """What would be answered now; nothing is kept, and nothing is promised. Raises as ``create``."""
        draft, _ = self._tagged(self._draft(ask, project, by, now, server), self.store.clock(project), now)
        seen = self.doors.look(now)
        waiting = [r for r in self.store.open() if r.state is RequestState.QUEUED][:LOOKS]
        judged = self._judged([*waiting, draft], seen, now)[draft.id]
        return replace(self._told(draft, judged, seen, now, acts=self._acts(draft, judged.verdict)), id="")

    def _answered(self, wanted: str, now: float) -> Request:
        """As it is after a round of its own."""
        self._decide(now)
        found = self.store.find(wanted)
        if event := life.due(found, now):
            found = self._happen(found.id, event, now, _WORDS[found.state, event])
        self._guarded(found, lambda r: self._keeper.keep(r, now))
        return self.store.find(wanted)

    def _draft(self, ask: RequestAsk, project: str, by: str, now: float, server: Server | None) -> Request:
        earliest, latest = check(ask, now, self.terms.rule.horizon_s)
        if ask.tier and ask.tier not in self.tiers().tiers:
            raise Invalid(f"tier: there is no tier {ask.tier!r}; known are {', '.join(self.tiers().tiers)}")
        each = grown(ask, server) if server is not None else self._sized(ask, now)
        return Request(
            id=new_id("req"),
            project=project,
            ask=ask,
            each=each,
            only_host=str(server.host) if server is not None else "",
            earliest=earliest,
            latest=latest,
            tag=0.0,
            created=now,
            changed=now,
            said="it came, and is looked at",
            cause=new_id("cause"),
            by=by,
        )

    def _tagged(self, draft: Request, clock: float, now: float) -> tuple[Request, float]:
        """With its place in the queue, and the project's clock afterwards."""
        seen = self.doors.look(now)
        capacity = [float("inf")] * 3 if isinstance(seen, str) else seen.supply.capacity[seen.supply.known].sum(axis=0).tolist()
        part = share([float(draft.each.get(c, 0)) for c in CLASSES], draft.ask.count, capacity)
        return replace(draft, tag=tag(draft.ask.criticality, now, clock)), advanced(clock, now, part, self.terms.rule.pace_s)

    def _sized(self, ask: RequestAsk, now: float) -> Resources:
        if not ask.flavor:
            return amounts(ask.vcpus, ask.ram, ask.disk)
        if self.doors.flavor is not None:
            return {k: v for k, v in self.doors.flavor(ask.flavor)[0].items() if v}
        seen = self.doors.look(now)
        return self._known(ask.flavor, seen.catalog if isinstance(seen, Seen) else Catalog({}, ()))

    @staticmethod
    def _known(flavor: str, catalog: Catalog) -> Resources:
        if flavor not in catalog.flavors:
            told = ", ".join(sorted(catalog.flavors)[:10]) or "none yet"
            raise NotFound(f"flavor: no server here has the flavor {flavor[:80]!r}; known are {told}; or say vcpus and ram")
        return catalog.flavors[flavor]

    def cancel(self, wanted: str, why: str, now: float) -> Request:
        """Its owner does not want it any more; what is held is given back. One that is over stays as it is. Raises NotFound."""
        return self._ended(wanted, Happened.CANCEL, why or "cancelled", now)

    def decline(self, wanted: str, why: str, now: float) -> Request:
        """Its owner does not want what was offered."""
        return self._ended(wanted, Happened.DECLINE, why or "its owner does not want it so", now)

    def take(self, wanted: str, now: float) -> Request:
        """Its owner comes now: the room is given up for him. Raises Invalid where it did not start."""
        found = self.store.find(wanted)
        if found.state is not RequestState.STARTED:
            raise Invalid(f"request {wanted} is {found.state.value}: it can be taken when it has started")
        return self._ended(wanted, Happened.TAKE, "its owner came: the room was given up for him", now)

    def _ended(self, wanted: str, event: Happened, why: str, now: float) -> Request:
        after = self._happen(wanted, event, now, why)
        if self._guarded(after, lambda r: self._keeper.keep(r, now)) or not after.state.over:
            return self.store.find(wanted)
        return self.store.change(wanted, lambda r: replace(r, said=f"{r.said}{_SOON}" if _SOON not in r.said else r.said), now)

    def approve(self, wanted: str, by: str, now: float) -> Request:
        """An operator wants it so in mode advise. Raises Invalid where nothing is proposed."""
        found = self.store.find(wanted)
        if found.state is not RequestState.PROPOSED:
            raise Invalid(f"request {wanted} is {found.state.value}: only what is proposed can be approved")

        def approved(r: Request) -> Request:
            after = life.step(r, Happened.APPROVE, now, f"{by} approved it")
            return replace(after, approved=by) if after is not r else r

        self.store.change(wanted, approved, now)
        return self._answered(wanted, now)

    def accept(self, wanted: str, number: int, now: float) -> Request:
        """Its owner takes an alternative. Raises Invalid."""
        sizes = self._flavors(self.store.find(wanted), number, now)

        def other(r: Request) -> Request:
            if r.state not in (RequestState.QUEUED, RequestState.PROPOSED, RequestState.SCHEDULED):
                raise Invalid(f"request {wanted} is {r.state.value}: alternatives are for what has not started")
            if not 0 <= number < len(r.alternatives):
                raise Invalid(f"alternative: {number} is none; it has {len(r.alternatives)}, from 0; see 'foreshape request show {wanted}'")
            back = life.step(r, Happened.LOST, now)  # what was promised is decided anew, all of it
            return replace(accepted(back, r.alternatives[number], sizes), lost=r.lost, said="its owner took an alternative", changed=now)

        self.store.change(wanted, other, now)
        return self._answered(wanted, now)

    def _flavors(self, request: Request, number: int, now: float) -> Mapping[str, Resources]:
        """The size of the flavor that an alternative names."""
        named = request.alternatives[number].flavor if 0 <= number < len(request.alternatives) else ""
        return {named: self._sized(replace(request.ask, flavor=named), now)} if named else {}

    def position(self, request: Request) -> int:
        """In the queue, from 1; 0: it does not wait."""
        waiting = [r.id for r in self.store.open() if r.state is RequestState.QUEUED]
        return waiting.index(request.id) + 1 if request.id in waiting else 0


@dataclass(frozen=True)
class _Judged:
    """A verdict, and what could be had instead."""

    verdict: Verdict
    offers: tuple[Alternative, ...] = ()


def _priced(catalog: Catalog, quote: Quote) -> Catalog:
    """The same with prices."""
    return Catalog(catalog.flavors, catalog.zones, quote)


def grown(ask: RequestAsk, server: Server) -> Resources:
    """What a server has to get beside what it was sold. Raises Invalid."""
    cores, mib = server.entitlement.cpu.cores, server.entitlement.memory.mib
    more = {VCPU: max(0.0, (ask.vcpus or cores) - cores), MEMORY: max(0.0, (ask.ram or mib) - mib)}
    if not any(more.values()) or (ask.vcpus or cores) < cores or (ask.ram or mib) < mib:
        raise Invalid(f"server: {server.name} has {cores:g} vcpus and {mib:.0f} MiB of ram: say more of one, and less of none")
    return {name: int(-(-amount // 1)) for name, amount in more.items() if amount}


_SOON = "; but OpenStack does not answer: what is held is given back as soon as it does"
_S, _H = RequestState, Happened
_WORDS: Mapping[tuple[RequestState, Happened], str] = {
    (_S.QUEUED, _H.EXPIRE): "its latest start is over, and there was no room for it until then",
    (_S.PROPOSED, _H.LOST): "nobody approved it in time: another start is looked for",
    (_S.SCHEDULED, _H.DUE): "its start is here: its room is being held",
    (_S.STARTED, _H.EXPIRE): "its owner did not come in time: its room is given back",
}

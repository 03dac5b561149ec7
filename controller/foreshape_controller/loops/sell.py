"""Selling freed capacity again: looks at every host's forecast and moves its allocation ratio in Placement (domain.md §6).

Off by default. In advise it looks and proposes; in act it writes: the intent first, into our store. A ratio goes back when the forecast
rises or falls silent (in act), and when an operator stops selling or switches it off (whatever the mode, except where all is stopped). A
ratio that somebody else writes over ours is left to them, and said.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol

import msgspec
import structlog

from foreshape_controller.decide import sell
from foreshape_controller.decide.sell import Outlook, SellRule, Terms
from foreshape_controller.decide.spare import spare
from foreshape_controller.errors import CloudError, Invalid, NotFound, Temporary
from foreshape_controller.loops.clouding import CloudWatch
from foreshape_controller.model.cloud import CloudHost, Inventory
from foreshape_controller.model.forecast import Forecast
from foreshape_controller.model.need import Need
from foreshape_controller.model.sale import CLASS_OF, OVERWRITTEN, WRITING, Room, Sale, SaleMove, SaleStop, same
from foreshape_wire.ids import new_id
from foreshape_wire.order import Mode

_log = structlog.get_logger("foreshape.sell")

Choose = Callable[[Inventory, int], float | None]


class Ratios(Protocol):
    """Placement, as far as it is needed here."""

    def change_ratio(self, provider: str, resource: str, choose: Choose) -> float: ...


class SalesStore(Protocol):
    """Where sales are kept."""

    def all(self) -> Sequence[Sale]: ...
    def keep(self, seen: Iterable[Sale]) -> None: ...
    def begin(self, sale: Sale, move: SaleMove) -> None: ...
    def settle(self, sale: Sale, move: str, result: str, now: float) -> None: ...
    def unsettled(self, host: str, resource: str) -> SaleMove | None: ...
    def moves(self, host: str, limit: int = 50) -> Sequence[SaleMove]: ...
    def forget(self, host: str, resource: str) -> None: ...
    def stops(self) -> Sequence[SaleStop]: ...
    def stop(self, stop: SaleStop) -> None: ...
    def start(self, scope: str) -> bool: ...


class _Forecasts(Protocol):
    def latest(self, resource: str, series: str) -> Forecast | None: ...


class _Modes(Protocol):
    def effective(self, host: str, project: str = "", server: str = "") -> Mode: ...


class SellStore(Protocol):
    """The part of the store that is needed here."""

    @property
    def sales(self) -> SalesStore: ...

    @property
    def forecasts(self) -> _Forecasts: ...

    @property
    def modes(self) -> _Modes: ...


@dataclass(frozen=True)
class SellTerms:
    """What the configuration says."""

    enabled: bool = False
    rule: SellRule = field(default_factory=SellRule)
    terms: Mapping[str, Terms] = field(default_factory=lambda: {"cpu": Terms(4.0), "memory": Terms(1.0, 0.02, 1.0)})


@dataclass(frozen=True)
class _Look:
    """One resource of one host now."""

    host: CloudHost
    resource: str
    room: Room
    seen: Outlook | str
    stop: str
    """Why nothing is sold there whatever the forecast says; empty: it may be."""


class Selling:
    """``run_once`` by the clock; ``sales``, ``stop``, ``start`` for people; ``needs`` for who moves servers; ``headroom`` for Nova."""

    def __init__(
        self, store: SellStore, watch: CloudWatch, ratios: Ratios, why_not: Callable[[str], str], terms: SellTerms = SellTerms()
    ) -> None:
        """``why_not``: why nothing may be done on a host now; empty: it may."""
        self._store, self._watch, self._ratios, self._why_not, self._terms = store, watch, ratios, why_not, terms
        self._running = Lock()
        self.frozen = "nothing was looked at yet"
        """Why the last round looked at nothing; empty: it did."""
        self._spare: tuple[float, Mapping[str, float]] = (-math.inf, {})

    # -- by the clock

    def run_once(self, now: float) -> tuple[Sale, ...]:
        """Look at every host, then write what may be written. Returns the sales as they are afterwards."""
        with self._running:
            self.frozen = self._watch.why_not(now)
            view = self._watch.view()
            if self.frozen or view is None:
                return tuple(self._store.sales.all())
            known = {(s.host, s.resource): s for s in self._store.sales.all()}
            looks = list(self._looks(view.hosts.values(), now))
            self._spare = (now, spare((look.host.name, look.room.physical, look.seen) for look in looks))
            found = [self._looked(known.get((look.host.name, look.resource)), look, view.at, now) for look in looks]
            self._store.sales.keep(found)
            done = [self._written(sale, now) for sale in found]
            return (*done, *self._away(known, done))

    def _looks(self, hosts: Iterable[CloudHost], now: float) -> Iterator[_Look]:
        stops = {s.scope: s.reason for s in self._store.sales.stops()}
        for host in hosts:
            why = "selling is switched off" if not self._terms.enabled else stops.get("cloud") or stops.get(f"host:{host.name}") or ""
            for resource, name in CLASS_OF.items():
                inventory = host.inventories.get(name)
                if host.provider and inventory:
                    room = _room(inventory, host.usages.get(name, 0))
                    yield _Look(host, resource, room, self._outlook(host.name, resource, room, now), why)

    def _outlook(self, host: str, resource: str, room: Room, now: float) -> Outlook | str:
        """A forecast that cannot be read is none: one host's must not end the round."""
        try:
            found = self._store.forecasts.latest(resource, f"host:{host}")
            return sell.outlook(found, self._terms.rule, self._terms.rule.full * room.physical, now)
        except (ValueError, TypeError, IndexError) as e:
            _log.error("a host's forecast cannot be used", host=host, resource=resource, error=str(e))
            return "its forecast cannot be read"

    def _looked(self, known: Sale | None, look: _Look, view_at: float, now: float) -> Sale:
        """The sale after this look. One whose host was set up anew begins anew."""
        if known is None or known.provider != look.host.provider:
            there = look.room.ratio
            known = Sale(host=look.host.name, resource=look.resource, provider=look.host.provider, original=there, ratio=there)
        if view_at < known.changed_at:
            return known  # the cloud was read before our own last write
        read = self._reread(known, look.room.ratio, now)
        if read.state in (OVERWRITTEN, WRITING):
            return msgspec.structs.replace(read, used=look.room.used, physical=look.room.physical, looked_at=now)
        if look.stop:
            return sell.give_back(read, look.room, look.stop, now)
        return sell.look(read, look.room, look.seen, self._terms.terms[look.resource], self._terms.rule, now)

    def _reread(self, sale: Sale, ratio: float, now: float) -> Sale:
        """Settled by what is there. What was found to be another's is said once."""
        read = sell.reread(sale, ratio)
        if sale.state == WRITING and read.state != WRITING:
            pending = self._store.sales.unsettled(sale.host, sale.resource)
            if pending:
                self._store.sales.settle(read, pending.id, f"found {ratio:g} there after an interruption", now)
        if read.state == OVERWRITTEN != sale.state:
            _log.error("allocation ratio overwritten", host=sale.host, resource=sale.resource, ratio=ratio, reason=read.reason)
        return read

    def _away(self, known: Mapping[tuple[str, str], Sale], done: Sequence[Sale]) -> list[Sale]:
        seen = {(s.host, s.resource) for s in done}
        return [s for key, s in known.items() if key not in seen]

    # -- writing

    def _written(self, sale: Sale, now: float) -> Sale:
        """One host's trouble is its own."""
        if math.isnan(sale.wanted) or self._forbidden(sale):
            return sale
        try:
            return self._write(sale, now)
        except CloudError as e:
            _log.warning("allocation ratio not written", host=sale.host, resource=sale.resource, error=str(e))
            return sale

    def _forbidden(self, sale: Sale) -> str:
        """Why what is wanted stays a proposal. An operator's own word to give back needs no mode but that not all is stopped."""
        told = not self._terms.enabled or any(s.scope in ("cloud", f"host:{sale.host}") for s in self._store.sales.stops())
        if told:
            return "the mode there is observe" if self._store.modes.effective(sale.host) is Mode.OBSERVE else ""
        return self._why_not(sale.host)

    def _write(self, sale: Sale, now: float) -> Sale:
        """The intent, then the write, then what came of it."""
        move = SaleMove(
            id=new_id("sale"),
            at=now,
            host=sale.host,
            resource=sale.resource,
            was=sale.ratio,
            target=sale.wanted,
            reason=sale.reason,
        )
        intent = msgspec.structs.replace(sale, state=WRITING, target=sale.wanted, wanted=math.nan, changed_at=now)
        choice = _Choice(intent)
        self._store.sales.begin(intent, move)
        try:
            there = self._ratios.change_ratio(sale.provider, CLASS_OF[sale.resource], choice)
        except Temporary as e:
            if not e.maybe_done:
                self._undone(sale, move, f"not done: {e}", now)
            raise
        except CloudError as e:
            self._undone(sale, move, f"not done: {e}", now)
            raise
        done = sell.arrived(intent, there) if choice.made else sell.reread(intent, there)
        self._store.sales.settle(done, move.id, done.reason if done.state == OVERWRITTEN else f"done: {there:g} is there", now)
        _log.info("allocation ratio", cause=move.id, host=sale.host, resource=sale.resource, was=sale.ratio, now=there, reason=done.reason)
        return done

    def _undone(self, sale: Sale, move: SaleMove, result: str, now: float) -> None:
        self._store.sales.settle(sale, move.id, result, now)

    # -- for people, and for others

    def sales(self) -> tuple[Sale, ...]:
        """As they were found and left by the last round."""
        return tuple(self._store.sales.all())

    def proposal(self, sale: Sale) -> str:
        """Why what is wanted is not done; empty: nothing is wanted, or it is done at the next round."""
        return "" if math.isnan(sale.wanted) else self._forbidden(sale)

    def stop(self, host: str, reason: str, now: float) -> SaleStop:
        """Sell nothing on a host (empty: anywhere) any more; what was sold goes back with the next round. Raises NotFound."""
        stop = SaleStop(scope=self._scope(host), since=now, reason=f"selling is stopped: {reason}")
        self._store.sales.stop(stop)
        _log.warning("selling stopped", scope=stop.scope, reason=reason)
        return stop

    def start(self, host: str, reason: str) -> str:
        """Sell again where it was stopped or overwritten: what is there counts as the original from now on. Raises Invalid, NotFound."""
        scope = self._scope(host)
        with self._running:
            lost = [s for s in self._store.sales.all() if s.state == OVERWRITTEN and host in ("", s.host)]
            for sale in lost:
                self._store.sales.forget(sale.host, sale.resource)
        if not self._store.sales.start(scope) and not lost:
            raise Invalid(f"selling is not stopped on {scope}: 'foreshape sell list' shows where it is")
        _log.warning("selling started", scope=scope, reason=reason, overwritten=[s.host for s in lost])
        return scope

    def _scope(self, host: str) -> str:
        view = self._watch.view()
        if host and host not in {s.host for s in self._store.sales.all()} | set(view.hosts if view else ()):
            raise NotFound(f"the cloud has no host {host[:100]!r}: see 'foreshape sell list'")
        return f"host:{host}" if host else "cloud"

    def needs(self, now: float) -> tuple[Need, ...]:
        """Hosts on which more was bought than fits now: somebody has to leave. Nothing without a look of now."""
        if self.frozen:
            return ()
        return tuple(_need(s, self._terms.rule.lead_s, now) for s in self._store.sales.all() if s.short > 0 and s.looked_at >= now - 3600)

    def headroom(self) -> tuple[float, Mapping[str, float]]:
        """When it was last looked, and the share of each host that demand is expected to leave free, 0..1."""
        return self._spare


def _room(inventory: Inventory, used: int) -> Room:
    return Room(total=inventory.total, reserved=inventory.reserved, used=used, ratio=inventory.ratio)


class _Choice:
    """The target, only over the ratio that was decided on, and never below what is held at the moment of writing."""

    def __init__(self, intent: Sale) -> None:
        self._intent = intent
        self.made = False

    def __call__(self, inventory: Inventory, used: int) -> float | None:
        self.made = same(inventory.ratio, self._intent.ratio)
        room = _room(inventory, used)
        target = self._intent.target
        return (target if room.capacity(target) >= used else sell.at_least(target, room)) if self.made else None


def _need(sale: Sale, lead_s: float, now: float) -> Need:
    return Need(
        host=sale.host,
        resource=sale.resource,
        amount=sale.short,
        starts=sale.short_from,
        deadline=max(now, sale.short_from - lead_s / 2),
        probability=0.0,
        candidates=(),
        reason=f"{sale.used} were sold there at a ratio of up to {sale.ratio:g}, {sale.original:g} before; demand is expected to exceed it",
    )

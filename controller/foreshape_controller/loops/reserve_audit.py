"""Compares the journal of reservations with Placement, both ways: what is owned and missing is held again, what nobody owns is deleted.

It reads who holds something of each provider, not each reservation: one request per host. A consumer that looks wrong there is read and
judged by itself, under its reservation's lock, because somebody may be working on it.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from msgspec.structs import replace

from foreshape_controller.errors import CloudError, Gone, Temporary
from foreshape_controller.loops.acting import on_a_persons_word
from foreshape_controller.loops.holding import Holding
from foreshape_controller.loops.reserve_door import Door, May, ReservationStore, Watch
from foreshape_controller.model.cloud import RESERVATION, Allocation, Resources
from foreshape_controller.model.reservation import Audit, Event, Happened, Place, Reservation, Slot, Write

_log = structlog.get_logger("foreshape.reservations")

ENOUGH = 3
"""Temporary failures in a row after which the rest is left to the next audit."""
THERE = (Place.HELD, Place.ASKED)


class Auditor:
    """``run_once``; one at a time."""

    def __init__(self, store: ReservationStore, door: Door, holding: Holding, watch: Watch, may: May, grace_s: float) -> None:
        self._store, self._placement, self._me, self._holding, self._watch = store, door.placement, door.me, holding, watch
        self._type, self._may, self._grace_s = door.type, may, grace_s
        self._strays: dict[str, float] = {}
        """When each consumer without an owner was first seen; a restart gives them their grace anew."""
        self._failing: frozenset[str] = frozenset()
        """Providers that could not be read last time: they come last, so that they are in nobody's way."""

    def run_once(self, now: float) -> Audit:
        """Everything once. What could not be looked at is in ``problems``, and is looked at next time."""
        run = _Audit(self._store.open())
        self._lose_vanished(run, now)
        for provider in sorted(run.providers(), key=lambda p: (p in self._failing, p)):
            run.carefully(lambda p=provider: self._provider(run, p, now), provider)  # type: ignore[misc]
        self._failing = frozenset(run.silent)
        run.carefully(lambda: self._orphans(run, now), "consumers without an owner")
        found = run.result(now)
        (_log.info if found.clean else _log.warning)("reservations audited", **_told(found))
        return found

    # -- owned, and missing

    def _lose_vanished(self, run: "_Audit", now: float) -> None:
        """A host that Nova does not know any more holds nothing for anybody; its provider could not even be deleted."""
        view = self._watch.view()
        if self._watch.why_not(now) or view is None:
            return
        for reservation in list(run.open):
            host, wish = view.hosts.get(reservation.wish.host), reservation.wish
            if reservation.ending is None and (why := _vanished(reservation, host.provider if host else None)):
                run.lost += reservation.held
                run.forget(reservation)
                run.carefully(lambda i=reservation.id, w=why: self._lose(i, w, now), wish.host)  # type: ignore[misc]

    def _lose(self, wanted: str, why: str, now: float) -> None:
        _, error = self._holding.happen(wanted, Event(kind=Happened.LOSE, text=why), now)
        if error:
            raise error

    def _provider(self, run: "_Audit", provider: str, now: float) -> None:
        try:
            holders = self._placement.holders(provider)
        except Gone:
            holders = {}
        run.seen[provider] = holders
        for reservation, slot in run.slots_on(provider):
            if holders.get(slot.consumer) == dict(reservation.wish.resources) and slot.place is Place.HELD:
                run.in_order += 1
            else:
                self._judge(run, reservation, slot, now)

    def _judge(self, run: "_Audit", reservation: Reservation, slot: Slot, now: float) -> None:
        """One slot by itself: it may have been given back since the journal was read."""
        with self._holding.alone(reservation.id):
            current = self._store.find(reservation.id)
            place = next(s.place for s in current.slots if s.consumer == slot.consumer)
            if not current.wanted or place is not slot.place:
                run.in_order += 1
                return
            found = self._placement.allocation(slot.consumer)
            right = found.held == {current.provider: dict(current.wish.resources)}
            if right and place is Place.HELD:
                run.in_order += 1
                return
            event = Event(kind=Happened.PUT if right else Happened.MISSING, consumer=slot.consumer, text=_what(current, found))
            with on_a_persons_word(bool(current.approved)):
                takes = not self._may(current.wish.host)
            after, error = self._holding.happen(current.id, event, now, takes=takes)
            run.count(after, slot, error)

    # -- ours, and nobody's

    def _orphans(self, run: "_Audit", now: float) -> None:
        """Placement says how many there are of us: only if there are more than the journal explains, they are looked for."""
        project, _ = self._me()
        there = self._placement.held_by_type(project)
        found = self._ours(run, project, there.get(self._type, 0) + there.get(RESERVATION, 0) - run.explained())
        late = self._store.written(found)
        untagged = {c for c, (_, kind) in found.items() if kind == RESERVATION and c not in late}
        run.others = len(untagged) + sum(n for kind, n in there.items() if kind.startswith(f"{RESERVATION}_") and kind != self._type)
        found = {c: row for c, row in found.items() if c not in untagged}
        run.orphans = len(found)
        self._strays = {c: min(self._strays.get(c, now), now) for c in found}
        for consumer, (provider, _) in found.items():
            waited = consumer in late or now - self._strays[consumer] >= self._grace_s
            if waited and not self._may(self._host_of(provider)):
                self._delete(consumer, provider, now)
                run.deleted += 1

    def _ours(self, run: "_Audit", project: str, extra: int) -> dict[str, tuple[str, str]]:
        """As many consumers that the journal does not know as Placement counts too many: provider and type, by consumer.

        One without a controller's name is of a Foreshape before they had names: ours only if our journal wrote it once.
        """
        found: dict[str, tuple[str, str]] = {}
        for consumer, provider in self._unknown(run) if extra > 0 else ():
            if len(found) >= extra:
                break
            allocation = self._placement.allocation(consumer)
            if allocation.held and allocation.type in (self._type, RESERVATION) and allocation.project == project:
                found[consumer] = (provider, allocation.type)
        return found

    def _unknown(self, run: "_Audit") -> Iterator[tuple[str, str]]:
        """Consumers that are neither servers nor migrations nor in the journal, with a provider; those on our own hosts first."""
        view = self._watch.view()
        known = set(view.servers) | {m.uuid for m in view.migrations} if view else set()
        known |= {slot.consumer for r in self._store.open() for slot in r.slots}
        for provider in [*run.seen, *(p for p in self._placement.providers() if p not in run.seen)]:
            for consumer in self._holders(run, provider):
                if consumer not in known:
                    known.add(consumer)
                    yield consumer, provider

    def _holders(self, run: "_Audit", provider: str) -> Collection[str]:
        if provider in run.seen:
            return run.seen[provider]
        try:
            return self._placement.holders(provider)
        except Gone:
            return ()

    def _delete(self, consumer: str, provider: str, now: float) -> None:
        write = Write(
            at=now,
            reservation="",
            host=self._host_of(provider),
            provider=provider,
            what="delete",
            subject=consumer,
            reason="a reservation of ours that nobody owns: its write came late, or the journal does not know it",
            undo="none: nobody knows whom it was for",
        )
        number = self._store.ask(write)
        self._placement.delete_allocation(consumer)
        self._store.known([number], "done", now)
        _log.warning("orphan deleted", consumer=consumer, provider=provider, host=write.host)

    def _host_of(self, provider: str) -> str:
        view = self._watch.view()
        return next((h.name for h in view.hosts.values() if h.provider == provider), "") if view else ""


@dataclass
class _Audit:
    """One comparison, while it is made."""

    open: Iterable[Reservation]
    in_order: int = 0
    again: set[str] = field(default_factory=set)
    """Consumers that were missing or wrong, and are held now."""
    lost: int = 0
    orphans: int = 0
    deleted: int = 0
    others: int = 0
    seen: dict[str, Mapping[str, Resources]] = field(default_factory=dict)
    """Who holds what, of each provider that was read."""
    problems: list[str] = field(default_factory=list)
    failed: int = 0
    silent: list[str] = field(default_factory=list)
    """What could not be looked at because nobody answered, or not as it should be."""

    def __post_init__(self) -> None:
        self.open = list(self.open)
        self._slots: dict[str, list[tuple[Reservation, Slot]]] = {}
        for reservation in self.open:
            for slot in _looked_for(reservation):
                self._slots.setdefault(reservation.provider, []).append((reservation, slot))
        self.total = sum(map(len, self._slots.values()))

    def forget(self, reservation: Reservation) -> None:
        """It is dealt with already."""
        mine = self._slots.get(reservation.provider, [])
        mine[:] = [(r, s) for r, s in mine if r.id != reservation.id]

    def providers(self) -> list[str]:
        return sorted(self._slots)

    def slots_on(self, provider: str) -> list[tuple[Reservation, Slot]]:
        return self._slots[provider]

    def explained(self) -> int:
        """Consumers that are surely there and surely ours: seen on the providers that were read."""
        known = {slot.consumer for r in self.open for slot in r.slots}
        return len(self.again | {c for holders in self.seen.values() for c in holders if c in known})

    def count(self, after: Reservation, slot: Slot, error: CloudError | None) -> None:
        place = next(s.place for s in after.slots if s.consumer == slot.consumer)
        if place is Place.HELD:
            self.again.add(slot.consumer)
        elif place is Place.NONE:
            self.lost += slot.place is not Place.NONE
        if error and place is not Place.NONE:
            raise error

    def carefully(self, work: Callable[[], None], what: str) -> None:
        """One thing that goes wrong does not stop the others; a service that does not answer does."""
        if self.failed >= ENOUGH:
            return
        try:
            work()
        except CloudError as e:
            self.failed += isinstance(e, Temporary)
            self.problems.append(f"{what}: {e}")
            self.silent.append(what)
        else:
            self.failed = 0

    def result(self, now: float) -> Audit:
        return Audit(
            at=now,
            reservations=len({r.id for rows in self._slots.values() for r, _ in rows}),
            slots=self.total,
            in_order=self.in_order,
            held_again=len(self.again),
            lost=self.lost,
            orphans=self.orphans,
            deleted=self.deleted,
            others=self.others,
            problems=tuple(self.problems),
        )


def _looked_for(reservation: Reservation) -> list[Slot]:
    """Slots that should be in Placement: also those that were lost, while others of the same reservation are held."""
    if not reservation.wanted or not reservation.provider or not reservation.owed:
        return []
    return list(reservation.slots)


def _vanished(reservation: Reservation, provider: str | None) -> str:
    """``provider``: what its host has now; None: the host is not there, empty: it cannot be told."""
    host = reservation.wish.host
    if provider is None:
        return f"Nova knows no host {host} any more"
    if provider and reservation.provider and reservation.owed and provider != reservation.provider:
        return f"{host} came back with another resource provider"
    return ""


def _what(reservation: Reservation, found: Allocation) -> str:
    if not found.held:
        return "somebody deleted it in Placement"
    if set(found.held) != {reservation.provider}:
        return f"it was on provider {', '.join(sorted(found.held))}"
    return f"it held {dict(found.held[reservation.provider])}"


def _told(found: Audit) -> dict[str, object]:
    return {f: getattr(found, f) for f in found.__struct_fields__ if f not in ("at", "problems")} | {"problems": found.problems[:10]}


def with_lifted(found: Audit, lifted: int, problems: Sequence[str]) -> Audit:
    """Together with what became of locks."""
    return replace(found, lifted=lifted, problems=(*problems, *found.problems))

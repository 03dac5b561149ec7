"""What could be had instead of what was asked for: a smaller flavor, fewer, another zone, another time; each with its price. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from foreshape_controller.decide.request_room import Ledger, Want
from foreshape_controller.decide.requests import RequestRule, Verdict, judge
from foreshape_controller.model.cloud import CLASSES, Resources
from foreshape_controller.model.request import Alternative, Request

MOST = 4
SOON_S = 1800.0
"""Who starts within this of what was asked for is offered nothing else."""

Quote = Callable[[Resources, int, str, float], str]
"""Price of so many of a size, of a tier, for so many seconds; empty: nobody knows."""


@dataclass(frozen=True)
class Catalog:
    """What could be offered."""

    flavors: Mapping[str, Resources]
    zones: Sequence[str]
    quote: Quote = lambda _each, _count, _tier, _seconds: ""


@dataclass(frozen=True)
class Market:
    """What offers are found in."""

    ledger: Ledger
    catalog: Catalog
    rule: RequestRule
    now: float


def offers(request: Request, asked: Want, verdict: Verdict, market: Market) -> tuple[Alternative, ...]:
    """The best of each kind, at most four; none for who starts soon anyhow. The ledger has the verdict's own promise if there is one."""
    if verdict.placed and verdict.start <= max(market.now, request.earliest) + SOON_S:
        return ()
    scene, end = _Scene(request, asked, verdict, market), verdict.start + asked.for_s
    market.ledger.promise(asked, verdict.placed, verdict.start, end, -1)
    found = [a for kind in (scene.times, scene.zones, scene.counts, scene.flavors) for a in kind()]
    market.ledger.promise(asked, verdict.placed, verdict.start, end)
    return tuple(found[:MOST])


@dataclass(frozen=True)
class _Scene:
    request: Request
    asked: Want
    verdict: Verdict
    market: Market

    def times(self) -> Iterator[Alternative]:
        """After the window, where it has no start inside it."""
        if self.verdict.placed or self.request.latest >= self.market.now + self.market.rule.horizon_s:
            return
        late = msgspec.structs.replace(self.request, latest=self.market.now + self.market.rule.horizon_s)
        found = judge(late, self.asked, self.market.ledger, self.market.rule, self.market.now)
        if found.placed:
            yield self._offer("time", "as asked, after its window", found, self.asked)

    def zones(self) -> Iterator[Alternative]:
        """Where one was asked for: the other that has room first."""
        others = [z for z in self.market.catalog.zones if z and z != self.asked.az] if self.asked.az and not self.asked.only_host else []
        tried = [(self._try(replace(self.asked, az=z)), z) for z in sorted(set(others))]
        best = min(((v.start, z, v) for v, z in tried if self._sooner(v)), key=lambda f: f[:2], default=None)
        if best is not None:
            yield self._offer("az", f"as asked, in {best[1]}", best[2], self.asked, az=best[1])

    def counts(self) -> Iterator[Alternative]:
        """As many as would start at once, by halves."""
        count = self.asked.count // 2
        while count >= 1:
            fewer = replace(self.asked, count=count)
            if self._sooner(found := self._try(fewer)):
                yield self._offer("count", f"{count} of {self.asked.count}", found, fewer)
                return
            count //= 2

    def flavors(self) -> Iterator[Alternative]:
        """The largest smaller one that would start sooner."""
        if self.asked.only_host:
            return
        for name, each in sorted(self.market.catalog.flavors.items(), key=lambda f: (_volume(f[1]), f[0]), reverse=True):
            smaller = self._of(each)
            if smaller is None:
                continue
            if self._sooner(found := self._try(smaller)):
                yield self._offer("flavor", f"{name} instead", found, smaller, flavor=name)
                return

    def _of(self, each: Resources) -> Want | None:
        """The same with another flavor; None: it is not smaller."""
        sizes = [float(each.get(c, 0)) for c in CLASSES]
        if not (sizes[0] and sizes[1]) or any(s > a for s, a in zip(sizes[:2], self.asked.each[:2], strict=True)):
            return None
        if tuple(sizes[:2]) == self.asked.each[:2]:
            return None
        use = (sizes[0] * self.market.rule.newcomer_cpu, sizes[1] * self.market.rule.newcomer_memory)
        return replace(self.asked, each=(sizes[0], sizes[1], sizes[2]), use=use)

    def _try(self, other: Want) -> Verdict:
        return judge(self.request, other, self.market.ledger, self.market.rule, self.market.now)

    def _sooner(self, found: Verdict) -> bool:
        return bool(found.placed) and (not self.verdict.placed or found.start < self.verdict.start - SOON_S)

    def _offer(self, kind: str, said: str, found: Verdict, asked: Want, *, az: str = "", flavor: str = "") -> Alternative:
        each = {c: int(a) for c, a in zip(CLASSES, asked.each, strict=True) if a}
        price = self.market.catalog.quote(each, asked.count, self.request.ask.tier, asked.for_s)
        when = "now" if found.start <= self.market.now else f"in {(found.start - self.market.now) / 3600:.1f} h"
        return Alternative(
            kind=kind,
            said=f"{said}, {when}",
            start=found.start,
            flavor=flavor,
            az=az,
            count=asked.count,
            price=price,
        )


def _volume(each: Resources) -> float:
    return each.get("VCPU", 0) + each.get("MEMORY_MB", 0) / 4096


def accepted(request: Request, chosen: Alternative, flavors: Mapping[str, Resources]) -> Request:
    """The request as its owner wants it now; its place in the queue stays. A time moves its latest start."""
    ask = msgspec.structs.replace(request.ask, count=chosen.count, az=chosen.az or request.ask.az)
    each = request.each
    if chosen.flavor:
        ask = msgspec.structs.replace(ask, flavor=chosen.flavor, vcpus=None, ram=None, disk=None)
        each = flavors[chosen.flavor]
    latest = max(request.latest, chosen.start + SOON_S) if chosen.kind == "time" else request.latest
    return msgspec.structs.replace(request, ask=ask, each=each, latest=latest, amended=request.amended + 1)

"""Requests against a small fleet: hosts with the numbers that a test says, and the rounds of decisions over time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace

from foreshape_controller.decide import request_life as life
from foreshape_controller.decide.request_order import advanced, share, tag
from foreshape_controller.decide.request_room import SLOT_S, Ledger, Supply
from foreshape_controller.decide.requests import RequestRule, decide, want
from foreshape_controller.decide.tiers import DEFAULTS
from foreshape_controller.model.cloud import CLASSES
from foreshape_controller.model.forecast import HALF_HOURS, LEVELS
from foreshape_controller.model.request import Criticality, Request, RequestAsk, RequestState

T0 = 1_800_000_000.0
HOUR = 3600.0
RULE = RequestRule(share=1.0, spare=0.0)


def supply(
    hosts: int = 2,
    *,
    cores: float = 16.0,
    ratio: float = 4.0,
    used: float = 0.0,
    demand: float | Sequence[float] = 0.0,
    now: float = T0,
    slots: int = 384,
    zones: Sequence[str] = (),
    closed: Sequence[str] = (),
) -> Supply:
    """Hosts h0, h1 ... of ``cores`` cores and 4 GiB a core; ``demand``: of CPU, one number or one a half-hour, as a share of the cores."""
    day = np.broadcast_to(np.asarray(demand, np.float64), (HALF_HOURS,)) * cores
    fans = np.zeros((hosts, HALF_HOURS, 2, len(LEVELS)))
    fans[:, :, 0, :] = day[None, :, None]
    size = np.array([cores * ratio, cores * 4096.0, np.inf])
    return Supply(
        start=Supply.begin(now),
        slots=slots,
        names=tuple(f"h{i}" for i in range(hosts)),
        zones=tuple(zones) or ("nova",) * hosts,
        closed=tuple(closed) or ("",) * hosts,
        capacity=np.tile(size, (hosts, 1)),
        most=np.tile([cores, cores * 4096.0, 1e9], (hosts, 1)),
        step=np.ones((hosts, 3)),
        used=np.tile([used, used * 1024.0, 0.0], (hosts, 1)),
        physical=np.tile([cores, cores * 4096.0], (hosts, 1)),
        fans=fans,
    )


def request(name: str = "r1", vcpus: int = 4, ram: int = 4096, *, now: float = T0, project: str = "shop", **said: Any) -> Request:
    """One that waits; ``said``: what ``RequestAsk`` has, and ``tag``."""
    given = {k: v for k, v in said.items() if k in RequestAsk.__struct_fields__}
    ask = RequestAsk(vcpus=vcpus, ram=ram, **given)
    earliest = max(now, ask.earliest or now)
    return Request(
        id=name,
        project=project,
        ask=ask,
        each={"VCPU": vcpus, "MEMORY_MB": ram},
        earliest=earliest,
        latest=ask.latest if ask.latest is not None else earliest + RULE.horizon_s,
        tag=said.get("tag", tag(ask.criticality, now, 0.0)),
        created=now,
        changed=now,
    )


class Desk:
    """Rounds over time, as the loop makes them, without a store or a cloud. In mode act: what is placed is promised."""

    def __init__(self, rule: RequestRule = RULE, **fleet: Any) -> None:
        self.rule, self.fleet = rule, fleet
        self.requests: dict[str, Request] = {}
        self.clocks: dict[str, float] = {}
        self.used: Any = None
        """[n] VCPUs without a known end; None: as ``fleet`` says."""

    def supply(self, now: float) -> Supply:
        made = supply(now=now, **self.fleet)
        if self.used is not None:
            made.used[:, 0] = self.used
            made.used[:, 1] = np.asarray(self.used) * 1024.0
        return made

    def ledger(self, now: float) -> Ledger:
        ledger = Ledger(self.supply(now), full=self.rule.full, share=self.rule.share, spare=self.rule.spare)
        for r in self.requests.values():
            span = life.counts(r, now, 0.0)
            if span:
                ledger.promise(self.want(r), r.placed, *span)
        return ledger

    def want(self, r: Request) -> Any:
        return want(r, DEFAULTS["standard"], self.rule)

    def ask(self, name: str, now: float, **said: Any) -> Request:
        """A request comes; it waits for the round."""
        project = said.setdefault("project", "shop")
        made = request(name, now=now, **said)
        clock = self.clocks.get(project, 0.0)
        capacity = self.supply(now).capacity.sum(axis=0)
        each = [float(made.each.get(c, 0)) for c in CLASSES]
        self.clocks[project] = advanced(clock, now, share(each, made.ask.count, capacity), self.rule.pace_s)
        self.requests[name] = replace(made, tag=tag(made.ask.criticality, now, clock))
        return self.requests[name]

    def round(self, now: float) -> Ledger:
        """What is over ends; what waits is decided."""
        for name, r in self.requests.items():
            if r.state is RequestState.SCHEDULED and r.end <= now:
                self.requests[name] = replace(r, state=RequestState.FULFILLED, changed=-1e12)
            elif r.state is RequestState.QUEUED and r.latest < now:
                self.requests[name] = life.step(r, life.Happened.EXPIRE, now)
        ledger = self.ledger(now)
        waiting = [(r, self.want(r)) for r in self.requests.values() if r.state is RequestState.QUEUED]
        for name, verdict in decide(waiting, ledger, self.rule, now).items():
            self.requests[name] = life.answered(self.requests[name], verdict, (), now, acts=True, look_s=60.0)
        return ledger


__all__ = ["HOUR", "RULE", "SLOT_S", "T0", "Criticality", "Desk", "request", "supply"]

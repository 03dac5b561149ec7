"""Hosts, outlooks and forecasts for tests of selling what is free."""

import math

import numpy as np

from cloud_emulator import Emulator
from foreshape_controller.cloud.call import Ways
from foreshape_controller.cloud.inventory import read_cloud
from foreshape_controller.cloud.patience import Patience
from foreshape_controller.cloud.session import Access, Cloud, connect
from foreshape_controller.decide.sell import Outlook, SellRule, Terms
from foreshape_controller.loops.acting import Acting
from foreshape_controller.loops.clouding import CloudWatch
from foreshape_controller.loops.sell import Selling, SellTerms
from foreshape_controller.model.cloud import VCPU
from foreshape_controller.model.forecast import HALF_HOURS, LEVELS, Forecast
from foreshape_controller.model.sale import Room, Sale
from foreshape_wire.order import Mode
from store_support import open_store

NOW = 1_700_000_100.0
HOUR = 3600.0
RULE = SellRule(quantile=0.99, full=0.9, lead_s=6 * HOUR, hold_s=24 * HOUR, dead_band=0.05)
TERMS = Terms(most=4.0, step=0.25, newcomer=0.5)
SELLS = SellTerms(enabled=True, rule=RULE, terms={"cpu": Terms(2.0, 0.25, 0.5), "memory": Terms(1.0, 0.02, 1.0)})


def room(used: int = 40, ratio: float = 1.0, total: int = 100, reserved: int = 0) -> Room:
    return Room(total=total, reserved=reserved, used=used, ratio=ratio)


def sale(ratio: float = 1.0, *, original: float | None = None, resource: str = "cpu", **more) -> Sale:
    told = {"host": "hv1", "resource": resource, "provider": "rp-hv1", "original": ratio if original is None else original, "ratio": ratio}
    return Sale(**{**told, **more})


def expects(soon: float, later: float | None = None, *, limit: float = 90.0) -> Outlook:
    """Demand within the lead time, and within the day."""
    return Outlook(NOW, soon, max(soon, later or 0.0), NOW + HOUR if soon > limit else math.inf)


def forecast(
    levels: list[float], *, series: str = "host:hv1", resource: str = "cpu", origin: float = NOW, age_h: float = 100.0
) -> Forecast:
    """Of each half-hour, without any spread; the last one goes on to the end of the day."""
    each = np.array([*levels, *[levels[-1]] * HALF_HOURS][:HALF_HOURS])
    flat = np.repeat(each[:, None], len(LEVELS), axis=1).astype(np.float32)
    return Forecast(
        resource=resource,
        series=(series,),
        origin=int(origin),
        steps=np.repeat(flat[:1, None], 6, axis=1),
        half_hours=flat[None],
        peak30m=flat[:1],
        peak24h=flat.max(axis=0)[None],
        source=("baseline",),
        reason=("",),
        age_s=np.array([age_h * HOUR]),
    )


class Bed:
    """One host of 100 cores, sold once, on a cloud and in a store that survive the loop."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator, self.now = emulator, NOW
        self.provider = emulator.add_host("hv1", vcpus=100, ram=524288, ratio=1.0)
        self.cloud: Cloud = connect(Access(timeout_s=5.0, options=emulator.options()), Ways(Patience(tries=2, first_s=0.01)))
        self.store = open_store()
        self.store.modes.set("cloud", Mode.ACT, "test", 0.0)
        self.start()

    def start(self, terms: SellTerms = SELLS) -> None:
        """The controller, as it is after a start: nothing is remembered but what is stored."""
        read = self.cloud
        watch = CloudWatch(
            lambda before: read_cloud(read.nova, read.placement, lambda: self.now, before=before), full_every_s=1800, stale_after_s=120
        )
        self.watch, self.sell = watch, Selling(self.store, watch, read.placement, Acting(self.store).why_not, terms)

    def expects(self, *levels: float, host: str = "hv1", memory: float = 1000.0) -> None:
        """Demand by half-hours from now on; the last goes on."""
        for resource, each in (("cpu", list(levels)), ("memory", [memory])):
            self.store.forecasts.save(forecast(each, series=f"host:{host}", resource=resource, origin=self.now))

    def look(self, hours: float = 0.0) -> Sale:
        """Some time later; the CPU's sale afterwards."""
        self.now += hours * HOUR
        self.watch.run_once(self.now)
        self.sell.run_once(self.now)
        return self.cpu

    def day(self, *levels: float) -> Sale:
        """A day of hourly looks that all expect the same."""
        for _ in range(25):
            self.expects(*levels)
            self.look()
            self.now += HOUR
        self.now -= HOUR
        return self.cpu

    @property
    def cpu(self) -> Sale:
        return next(s for s in self.sell.sales() if s.host == "hv1" and s.resource == "cpu")

    @property
    def ratio(self) -> float:
        """What Placement has."""
        return self.emulator.placement.providers[self.provider].inventories[VCPU]["allocation_ratio"]

    def writes(self) -> int:
        return sum(r.startswith("placement PUT") and "inventories" in r for r in self.emulator.requests)

"""Forecasts of everything that is watched, made anew when they are old: of servers for the plan, of groups for whoever asks.

Servers are taken in batches of whole hosts, so that memory stays bounded and a host's sums are complete in its batch. In each:
histories → predictor → adjusters → hosts from their own histories → reconciled → saved → observers. Projects, segments and zones
are added up over the batches and forecast from their own totals. Nothing that fails in here ends a plan: the last forecast holds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, TypeAlias, TypeVar

import numpy as np

from foreshape_controller import log
from foreshape_controller.decide.segments import BUILT_IN, Segments
from foreshape_controller.forecast.baseline import HALF_HOUR, Baseline
from foreshape_controller.forecast.reconcile import reconcile
from foreshape_controller.forecast.scores import bins_before
from foreshape_controller.forecast.totals import Totals, counts
from foreshape_controller.loops.ahead import Ahead, Belonging, Forecasts
from foreshape_controller.loops.round import Batch, Histories, Known, Round, read
from foreshape_controller.loops.scene import Hooks, Scene
from foreshape_controller.model.forecast import ENTITLED, NO_FORECAST, Forecast, Predictor
from foreshape_controller.model.group import Groups, Member
from foreshape_controller.model.history import RESOURCES, WATCHED, History
from foreshape_controller.model.server import ClusterView

_log = log.get_logger("foresight")
_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Made:
    """What a plan takes from memory: forecasts by resource, each whole. Nothing of it is changed in place."""

    made_at: Mapping[str, float] = field(default_factory=dict)
    latest: Mapping[str, Forecast] = field(default_factory=dict)
    """Of servers."""
    whole: Mapping[str, tuple[Forecast, ...]] = field(default_factory=dict)
    """Groups' by resource, and of ``sums of RESOURCE``: hosts are made more often than what is added up over them."""
    working: Mapping[str, str] = field(default_factory=dict)
    """Workload classes by server."""

    def since(self, last: "Made") -> "Made":
        """Without forecasts that were there before; the rest is all."""
        return replace(
            self,
            latest={r: f for r, f in self.latest.items() if f is not last.latest.get(r)},
            whole={r: f for r, f in self.whole.items() if f is not last.whole.get(r)},
        )

    def over(self, last: "Made") -> "Made":
        """Itself, and what of the last it does not replace."""
        return replace(self, latest={**last.latest, **self.latest}, whole={**last.whole, **self.whole})


Look: TypeAlias = Callable[[], Predictor]
"""Who looks ahead now: asked each time, so that a new champion speaks at once."""

SERVERS = "servers"
"""Counts of servers, forecast like a resource of groups."""

PEERS = 64
"""Series that a newcomer is compared with."""


@dataclass(frozen=True)
class ForesightSettings:
    """What foresight can be told; names as in the configuration."""

    history_bins: int = 2016
    forecast_every_s: float = 300.0
    slow_forecast_every_s: float = 1800.0
    forecast_batch: int = 250

    def every_s(self, resource: str) -> float:
        return self.forecast_every_s if resource in RESOURCES else self.slow_forecast_every_s


class _Saved(Protocol):
    def save(self, forecast: Forecast) -> None: ...


class _Departed(Protocol):
    def departed(self, now: float, since: float) -> tuple[Member, ...]: ...


class ForesightStore(Protocol):
    """The part of the store that foresight needs."""

    @property
    def history(self) -> Histories: ...

    @property
    def forecasts(self) -> _Saved: ...

    @property
    def groups(self) -> _Departed: ...


class Foresight:
    """Keeps the newest forecasts in memory; everything else is in the store."""

    def __init__(
        self,
        store: ForesightStore,
        look: Look,
        settings: ForesightSettings | None = None,
        *,
        segments: Segments = BUILT_IN,
        classes: Callable[[], Mapping[str, str]] = dict,
        hooks: Hooks | None = None,
    ) -> None:
        """``classes``: workload classes by server, for segments that ask for them."""
        self._store, self._look = store, look
        self._settings = settings or ForesightSettings()
        self._segments, self._classes = segments, classes
        self._hooks = hooks or Hooks()
        self._made_at: dict[str, float] = {}
        self._latest: dict[str, Forecast] = {}
        self._whole: dict[str, tuple[Forecast, ...]] = {}
        self._belonging, self._working = Belonging(segments), dict[str, str]()

    @property
    def made_at(self) -> Mapping[str, float]:
        """When each resource's newest forecasts were made."""
        return dict(self._made_at)

    @property
    def made(self) -> Made:
        """What ``newest`` answers from, as it is now."""
        return Made(dict(self._made_at), dict(self._latest), dict(self._whole), self._working)

    def adopt(self, made: Made) -> None:
        """Take over what another process made."""
        now = made.over(self.made)
        self._latest, self._whole = dict(now.latest), dict(now.whole)
        self._made_at, self._working = dict(now.made_at), dict(now.working)

    def newest(self, view: ClusterView) -> Ahead:
        """What is there now, made by whoever calls ``run_once``. Safe beside it, for one caller at a time."""
        servers = {r: self._latest[r] for r in RESOURCES if r in self._latest}
        parts = {r: (*self._whole.get(r, ()), *self._whole.get(_sums(r), ())) for r in RESOURCES}
        whole = {r: Forecast.joined(found) for r, found in parts.items() if found}
        return Ahead(servers, whole, self._belonging.of(view, self._working))

    def run_once(self, now: float, view: ClusterView) -> Forecasts:
        """Forecasts of CPU and memory of every server that has one; what is due is made anew, and newcomers get theirs."""
        due = [r for r in (*WATCHED, SERVERS) if self._due(r, now, self._settings.every_s(r))]
        if due and (view.servers or view.hosts):
            around = self._round(now, view)
            for resource in due:
                self._guarded(resource, partial(self._renew, resource, around))
        for resource in RESOURCES:
            if resource in self._latest and resource not in due:
                self._guarded(resource, partial(self._meet, resource, now, view))
        return {r: self._latest[r] for r in RESOURCES if r in self._latest}

    def _due(self, what: str, now: float, every_s: float) -> bool:
        made = self._made_at.get(what)
        return made is None or not 0 <= now - made < every_s

    def _guarded(self, resource: str, work: Callable[[], None]) -> None:
        """A resource that cannot be forecast now keeps its last forecast, and is tried again with the next plan."""
        try:
            work()
        except Exception as e:  # noqa: BLE001  whatever it is, plans go on
            _log.error("forecasts failed; the last ones hold", resource=resource, exc_info=e)

    # -- all servers -----------------------------------------------------------------------------------------

    def _round(self, now: float, view: ClusterView) -> Round:
        window_s = self._settings.history_bins * self._store.history.step_s
        left = self._store.groups.departed(now, now - window_s)
        self._working = dict(self._classes())
        return Round.of(view, now, left, self._segments, self._working, self._settings.forecast_batch)

    def _renew(self, resource: str, around: Round) -> None:
        """One resource of everybody. Counts are of groups only."""
        if resource == SERVERS:
            self._count(around)
        else:
            sums, hosts = _sums(resource), list[Forecast]()
            due = self._due(sums, around.now, self._settings.slow_forecast_every_s)
            totals = Totals(resource, around.group_names() if due else (), self._span(around.now))
            made = [f for b in around.batches if (f := self._batch(resource, b, totals, around, hosts)) is not None]
            self._keep(resource, made, hosts)
            if due:
                self._whole[sums] = self._groups(totals.history(), around)
                self._made_at[sums] = around.now
        self._made_at[resource] = around.now

    def _keep(self, resource: str, made: Sequence[Forecast], hosts: Sequence[Forecast]) -> None:
        """Only what is sized is looked up again."""
        if resource in RESOURCES:
            self._whole[resource] = tuple(h for h in hosts if h.series)
        if resource in RESOURCES and made:
            self._latest[resource] = Forecast.joined(made)

    def _batch(self, resource: str, batch: Batch, totals: Totals, around: Round, of_hosts: list[Forecast]) -> Forecast | None:
        """Servers of a batch and their hosts, in agreement, saved; its hosts' are added to the list. None: nobody is there."""
        known = read(self._store.history, batch, around.groups, resource, (around.now, self._settings.history_bins))
        totals.add(known.members, known.lives, around.groups.of)
        servers = self._look_ahead(known.servers, around) if known.servers.series else None
        hosts, overheads = self._hosts(known, around)  # after: hooks know its servers by then
        servers, whole = _agreed(servers, hosts, overheads, known, around.present)
        if servers is not None:
            self._tell(servers, known.servers, around)
        self._tell(whole, known.hosts, around)
        of_hosts.append(whole)
        return servers

    def _groups(self, history: History, around: Round) -> tuple[Forecast, ...]:
        """Groups from their own history, a batch of them at a time."""
        size, made = self._settings.forecast_batch, list[Forecast]()
        for first in range(0, len(history.series), size):
            some = history.pick(range(first, min(first + size, len(history.series))))
            made.append(self._look_ahead(some, around))
            self._tell(made[-1], some, around)
        return tuple(made)

    def _count(self, around: Round) -> None:
        lives = around.lives()
        self._groups(counts(tuple(lives), lives, self._span(around.now)), around)

    def _span(self, now: float) -> tuple[int, int, int]:
        step, bins = self._store.history.step_s, self._settings.history_bins
        return -int(-now // step) * step - bins * step, bins, step

    # -- newcomers -------------------------------------------------------------------------------------------

    def _meet(self, resource: str, now: float, view: ClusterView) -> None:
        """Servers without a forecast get one now, beside some that have theirs: a newcomer is judged by its peers."""
        last = self._latest[resource]
        met = set(last.series)
        new = [s.id for s in view.servers if s.id not in met]
        if not new:
            return
        peers = [last.series[i] for i in np.linspace(0, len(met) - 1, min(PEERS, len(met))).astype(int)]
        around = self._round(now, view)
        history = self._store.history.read(resource, [*new, *peers], now, self._settings.history_bins)
        rows = range(len(new))
        forecast = self._look_ahead(history, around).pick(rows)
        self._tell(forecast, history.pick(rows), around)
        self._latest[resource] = Forecast.joined([last, forecast])

    # -- one batch -------------------------------------------------------------------------------------------

    def _look_ahead(self, history: History, around: Round) -> Forecast:
        """Prepared, predicted, adjusted."""
        return self._adjusted(self._predict(self._prepared(history, around), int(around.now)), history, around)

    def _hosts(self, known: Known, around: Round) -> tuple[Forecast, Forecast]:
        """Hosts, and their overheads: parts of a sum that nobody outside asks for, so that nothing hangs in there."""
        asked = History.joined([self._prepared(known.hosts, around), known.overheads])
        made, n = self._predict(asked, int(around.now)), len(known.hosts.series)
        hosts = _unmeasured(made.pick(range(n)), known.hosts)
        return self._adjusted(hosts, known.hosts, around), made.pick(range(n, len(made.series)))

    def _prepared(self, history: History, around: Round) -> History:
        for prepare in self._hooks.preparers:
            history = _or_else(partial(prepare, _scene(history, around)), history, "preparer", prepare)
        return history

    def _adjusted(self, forecast: Forecast, measured: History, around: Round) -> Forecast:
        scene = _scene(measured, around)
        for adjust in self._hooks.adjusters:
            forecast = _or_else(partial(adjust, forecast, scene), forecast, "adjuster", adjust)
        return forecast

    def _predict(self, history: History, origin: int) -> Forecast:
        """The predictor's word, the baseline's where it fails."""
        try:
            return self._look().predict(history, origin)
        except Exception as e:  # noqa: BLE001  a model that breaks is not the end of forecasts
            _log.error("predictor failed; the baseline speaks", resource=history.resource, series=len(history.series), exc_info=e)
            return Baseline().predict(history, origin)

    def _tell(self, forecast: Forecast, history: History, around: Round) -> None:
        """Saved, then shown to observers."""
        if not forecast.series:
            return
        _or_else(partial(self._store.forecasts.save, forecast), None, "store", self._store.forecasts)
        scene = _scene(history, around)
        for observe in self._hooks.observers:
            _or_else(partial(observe, forecast, scene), None, "observer", observe)


def _sums(resource: str) -> str:
    """What sums of a resource are called, beside the resource itself."""
    return f"sums of {resource}"


def _unmeasured(forecast: Forecast, history: History) -> Forecast:
    """With the hosts named that only repeat what they have: nobody measured them lately, so that this is no demand."""
    known = bins_before(history, forecast.origin)
    lately = np.isfinite(history.max[:, max(0, known - HALF_HOUR) : known]).sum(axis=1) > 0
    named = (s if s != NO_FORECAST or seen else ENTITLED for s, seen in zip(forecast.source, lately, strict=True))
    return replace(forecast, source=tuple(named))


def _scene(history: History, around: Round) -> Scene:
    return Scene(view=around.view, now=around.now, history=history, groups=around.present)


def _or_else(work: Callable[[], _T], otherwise: _T, what: str, who: object) -> _T:
    try:
        return work()
    except Exception as e:  # noqa: BLE001  what hangs in here may break; forecasts go on without it
        _log.error(f"{what} failed; forecasts go on without it", who=type(who).__name__, exc_info=e)
        return otherwise


def _agreed(
    servers: Forecast | None, hosts: Forecast, overheads: Forecast, known: Known, groups: Groups
) -> tuple[Forecast | None, Forecast]:
    """Servers and hosts reconciled; the overheads end here."""
    if NO_FORECAST in {*hosts.source, *overheads.source, *(servers.source if servers else ())}:
        return servers, hosts  # what was measured is not argued with
    row = {name: i for i, name in enumerate(known.hosts.series)}
    on = [row[groups.of[s][0]] for s in known.servers.series]
    parts = [p for p in (servers, overheads) if p is not None and p.series]
    if not parts:
        return servers, hosts
    agreed = reconcile(hosts, Forecast.joined(parts), np.array([*on, *known.overhead_of], np.intp))
    return (agreed.parts.pick(range(len(on))) if servers is not None else None), agreed.hosts

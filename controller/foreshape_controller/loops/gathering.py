"""Reads everything that migrations are decided by, at one instant; what costs much is read again only when it can have changed."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from foreshape_controller.decide.room import Ground
from foreshape_controller.decide.segments import Segments, grouped
from foreshape_controller.decide.tiers import Tiers
from foreshape_controller.loops.clouding import PLACING
from foreshape_controller.loops.foreigners import Foreigners
from foreshape_controller.loops.scout import Scout
from foreshape_controller.loops.surroundings import Facts, Surroundings, Watch, terms_of
from foreshape_controller.model.group import Member
from foreshape_controller.model.reservation import Reservation
from foreshape_controller.model.server import ClusterView

AGENTS_S = 10.0
"""Agents report about as often."""

PAST_S = 2 * 86400.0
"""How far back migrations of a server are looked at: its longest rest, and migrations in a row before it."""


class Gathering:
    """Called with the time. Safe from any thread: the coordinator's, and those of people's questions."""

    def __init__(  # noqa: PLR0913  each is asked for something else
        self,
        store: Any,
        watch: Watch,
        scout: Scout,
        tiers: Callable[[], Tiers],
        foreigners: Foreigners,
        *,
        full: float,
        hold_s: float,
        segments: Segments | None = None,
    ) -> None:
        """``segments``: tiers are assigned by them, too; None: there are none."""
        self._store, self._watch, self._scout, self._tiers, self._foreigners = store, watch, scout, tiers, foreigners
        self._full, self._hold_s, self._segments = full, hold_s, segments
        self._agents: tuple[ClusterView, Mapping[str, float]] | None = None
        self._base: tuple[tuple[object, ...], Ground] | None = None

    def __call__(self, now: float) -> Surroundings | None:
        """Everything as it is now; None: the cloud was not read yet."""
        cloud = self._watch.view()
        if cloud is None:
            return None
        agents, weights = self._of_agents(now)
        store, kept = self._store, self._store.migrating
        ended = kept.moves.list(now - PAST_S)
        facts = Facts(
            now=now,
            cloud=cloud,
            blind=self._watch.why_not(now, PLACING),
            agents=agents,
            rows=tuple(r for r in reversed(ended) if not r.over),
            proposals=kept.proposals.waiting(),
            drains=kept.drains.open(),
            needs=store.needs.open(),
            halts=store.halts.all(),
            levels=store.modes.now(),
            past=tuple(r for r in ended if r.over),
            arrived=self._foreigners.arrived,
            dirty=kept.learnt.of("dirty"),
            factors=kept.learnt.of("link"),
            stops=kept.learnt.of("downtime"),
            weights=weights,
            held=_held(store.reservations.open()),
        )
        return Surroundings(facts, self._scout, self._ground(facts), full=self._full, hold_s=self._hold_s)

    def _of_agents(self, now: float) -> tuple[ClusterView, Mapping[str, float]]:
        """What agents report, and the weights of the servers' tiers."""
        known = self._agents  # another thread may replace it meanwhile
        if known is None or not 0 <= now - known[0].at < AGENTS_S:
            view: ClusterView = self._store.inventory.view(now)
            policy = self._tiers()
            groups = self._groups(view) if any(rule.segment is not None for rule in policy.rules) else {}
            tiers = {str(s.id): policy.of(s, groups.get(str(s.id), ())) for s in view.servers}
            known = self._agents = view, {s: t.weight * t.criticality for s, t in tiers.items()}
        return known

    def _groups(self, view: ClusterView) -> Mapping[str, tuple[str, ...]]:
        """By server: names of its groups' series."""
        if self._segments is None:
            return {}
        return grouped([Member.of(s) for s in view.servers], self._segments, self._store.profiles.names()).of

    def _ground(self, facts: Facts) -> Ground:
        """Made anew when the cloud, the agents' view or the drains are others."""
        key = (facts.cloud, facts.agents, tuple(d.id for d in facts.drains))
        base = self._base
        if base is None or any(a is not b for a, b in zip(key[:2], base[0][:2], strict=True)) or key[2] != base[0][2]:
            base = self._base = key, self._scout.ground(facts.cloud, facts.agents, terms_of(facts))
        return base[1]


def _held(reservations: Iterable[Reservation]) -> dict[str, frozenset[str]]:
    """By server: hosts on which Placement holds room for it."""
    found: dict[str, frozenset[str]] = {}
    for r in reservations:
        if r.wish.server and r.held:
            found[r.wish.server] = found.get(r.wish.server, frozenset()) | {r.wish.host}
    return found

"""What a configured OpenStack adds to the controller, put together: a part of the composition root.

Without ``[cloud] enabled`` nothing here is made, and openstacksdk is not loaded.
"""

import time
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING

from foreshape_controller.config import Settings
from foreshape_controller.decide.segments import Segments
from foreshape_controller.decide.sell import SellRule, Terms
from foreshape_controller.decide.tiers import BUILT_IN, Tiers
from foreshape_controller.errors import ConfigError, Gone
from foreshape_controller.loops.acting import Acting
from foreshape_controller.loops.census import Census, Doors, Speaks
from foreshape_controller.loops.clouding import CloudWatch
from foreshape_controller.loops.cloudwork import CloudWork
from foreshape_controller.loops.elsewhere import Elsewhere
from foreshape_controller.loops.joining import Joining
from foreshape_controller.loops.lockout import without_ours
from foreshape_controller.loops.migrations import SIDE_BY_SIDE, migrations
from foreshape_controller.loops.pool import PoolTerms, PoolWork
from foreshape_controller.loops.reserve import Reservations, ReserveTerms
from foreshape_controller.loops.reserve_door import Door
from foreshape_controller.loops.reserve_foreseen import Foreseen
from foreshape_controller.loops.reserve_request import Requests
from foreshape_controller.loops.sell import Selling, SellTerms
from foreshape_controller.loops.shadowing import ShadowTerms
from foreshape_controller.model.cloud import CloudView, Right, reservation_type
from foreshape_controller.store import Store

if TYPE_CHECKING:
    from foreshape_controller.cloud.session import Cloud
    from foreshape_controller.cloud.tokens import KeystoneTokens

LOCK_S = 60.0
"""A reading may show a lock of ours that was lifted since, if it was set so long before at most."""

CLEAN = {"auto": None, "yes": True, "no": False}


def connect(settings: Settings, name: str = "") -> "Cloud":
    """The door, as configured; nothing is asked yet. ``name``: another entry of clouds.yaml, for its credentials. Raises ConfigError."""
    try:
        from foreshape_controller.cloud import call, patience, session  # noqa: PLC0415  openstacksdk: only where a cloud is configured
    except ImportError as e:
        raise ConfigError(f"[cloud] enabled needs openstacksdk ({e}): pip install 'foreshape[openstack]'") from e
    c = settings.cloud
    access = session.Access(name or c.name, c.region, c.timeout_s, CLEAN[c.aborts_cleanly])
    burst = max(1, int(c.requests_per_second))
    return session.connect(access, call.Ways(pace=patience.Pace(c.requests_per_second, burst, time.monotonic, time.sleep)))


def build(
    settings: Settings,
    store: Store,
    clock: Callable[[], float],
    door: "Cloud | None" = None,
    tiers: Callable[[], Tiers] = lambda: BUILT_IN,
    segments: Segments | None = None,
) -> CloudWork | None:
    """None where no cloud is configured. ``door``: one that is connected already, for tests. Raises ConfigError."""
    if not settings.cloud.enabled:
        store.cloud_servers.clear()  # of a cloud that was configured once
        return None
    cloud = door or connect(settings)
    from foreshape_controller.cloud.inventory import read_cloud  # noqa: PLC0415  only where a cloud is configured

    c = settings.cloud
    read = partial(read_cloud, cloud.nova, cloud.placement, clock)
    joining = Joining(store, cloud.keystone.projects)

    def look(before: CloudView | None) -> CloudView:
        view = read(before=before)
        return without_ours(view, store.reservations.locked_since(view.at - LOCK_S))

    watch = CloudWatch(look, full_every_s=c.full_every_s, stale_after_s=c.stale_after_s, then=joining.take)
    acting = Acting(store)
    store.inventory.in_cloud = True
    reservations = _reservations(settings, store, cloud, watch, acting)
    return CloudWork(
        settings=settings,
        watch=watch,
        joining=joining,
        census=Census(_doors(cloud)),
        rights=partial(_rights, cloud),
        reservations=reservations,
        requests=Requests(reservations, cloud.nova.flavor, acting.why_not, settings.reservations.lead_s),
        foreseen=Foreseen(
            reservations, watch, store.migrating.proposals.waiting, lambda: {r.migration.server for r in store.migrating.moves.open()}
        ),
        migrations=migrations(
            settings, store, cloud.nova, watch, reservations, tiers, workers=SIDE_BY_SIDE, segments=segments, placement=cloud.placement
        ),
        elsewhere=Elsewhere(watch, lambda: joining.joined.elsewhere, store.migrating.sightings, reservations, store.migrating.moves),
        selling=Selling(store, watch, cloud.placement, acting.why_not, _selling(settings)),
        pools=_pools(settings, store, cloud, watch, acting),
    )


def tokens(settings: Settings, door: "Cloud | None", clock: Callable[[], float]) -> "KeystoneTokens | None":
    """Tenants' tokens; None where no cloud is configured."""
    if not settings.cloud.enabled or door is None or door.subject is None:
        return None
    from foreshape_controller.cloud.tokens import KeystoneTokens, TokenTerms  # noqa: PLC0415  only where a cloud is configured

    return KeystoneTokens(door.subject, TokenTerms(settings.identity.token_cache_s), clock, time.monotonic, door.issue)


def _pools(settings: Settings, store: Store, cloud: "Cloud", watch: CloudWatch, acting: Acting) -> PoolWork:
    @cache
    def doors(name: str) -> "Cloud":
        return connect(settings, name) if name else cloud

    p = settings.pools
    shadow = ShadowTerms(p.boot_limit_s, p.unknown_s, p.claim_limit_s)
    reserved, ttl = settings.plan.memory_reserved_mib, settings.plan.order_ttl_s
    return PoolWork(store, watch, doors, acting, PoolTerms(p.interval_s, p.boots_at_once, p.sweep_every_s, reserved, ttl, shadow))


def _selling(settings: Settings) -> SellTerms:
    s = settings.sell
    rule = SellRule(s.quantile, s.full, s.lead_s, s.hold_s, s.dead_band, s.history_s, s.forecast_stale_s)
    cpu, memory = Terms(s.cpu_most, s.cpu_step, s.cpu_newcomer), Terms(s.memory_most, s.memory_step, s.memory_newcomer)
    return SellTerms(s.enabled, rule, {"cpu": cpu, "memory": memory})


def _doors(cloud: "Cloud") -> Doors:
    services: dict[str, Speaks] = {"Keystone": cloud.keystone, "Nova": cloud.nova, "Placement": cloud.placement}
    return Doors(services, cloud.keystone.me, cloud.placement.held_by_type)


def _rights(cloud: "Cloud") -> tuple[Right, ...]:
    from foreshape_controller.cloud.rights import check  # noqa: PLC0415  only where a cloud is configured

    return check({"nova": cloud.nova, "placement": cloud.placement, "keystone": cloud.keystone}, cloud.keystone.me().roles)


def _reservations(settings: Settings, store: Store, cloud: "Cloud", watch: CloudWatch, acting: Acting) -> Reservations:
    def me() -> tuple[str, str]:
        whose = cloud.keystone.me()
        return whose.project, whose.user

    def disabled(host: str) -> bool:
        try:
            return not cloud.nova.find_service(host).enabled
        except Gone:
            return False

    r = settings.reservations
    door = Door(cloud.placement, me, disabled, reservation_type(store.controller))
    return Reservations(
        store.reservations, door, watch, acting.why_not, ReserveTerms(r.lead_s, r.lock_wait_s, r.audit_every_s, r.orphan_grace_s)
    )

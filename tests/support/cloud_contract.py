"""What the controller relies on in a cloud, as one suite for the emulated and the real one: what passes on one must pass on the other.

How to run it: subclass ``CloudContract`` in a test module, and give it a fixture ``bed`` that yields a ``Bed`` with at least two empty
hosts of the same zone and size, open to the scheduler, whose ``max_unit`` of VCPU is 4 or more. For a real control plane with fake computes
that is a thin class over openstacksdk: ``boot`` creates a server with ``networks="none"`` on ``host`` and returns when it is ACTIVE,
``migration_takes`` writes the fake driver's configured seconds, ``audit_delete`` runs ``nova-manage placement audit --delete``. Every check
makes its own servers and reservations and waits with a deadline, so that slow services only make it slower. ``patience_s``: 10 s here, 60 s
there. Real hosts write inventories now and then: no check relies on a generation of a provider that stays.
"""

import time
import uuid
from collections.abc import Callable
from typing import Protocol

import pytest

from foreshape_controller.cloud.inventory import read_cloud
from foreshape_controller.cloud.rights import check
from foreshape_controller.cloud.session import Cloud
from foreshape_controller.errors import Conflict, Gone, NoRoom, Permanent
from foreshape_controller.model.cloud import LOCKED_OUT, NOT_MOVED, RESERVATION, UNKNOWN, Allocation, CloudHost


class Bed(Protocol):
    """A cloud to try, and the hands of its users and operators."""

    cloud: Cloud
    hosts: tuple[str, ...]
    patience_s: float

    def boot(self, host: str = "", *, vcpus: int = 2, ram: int = 1024) -> str:
        """Id of a new, running server. Raises NoRoom."""

    def delete(self, server: str) -> None: ...

    def migration_takes(self, seconds: float) -> None: ...

    def audit_delete(self) -> None: ...


class CloudContract:
    """Needs the fixture ``bed``."""

    # -- reading

    def test_the_view_has_every_host_with_its_room(self, bed: Bed) -> None:
        view = read_cloud(bed.cloud.nova, bed.cloud.placement, time.time)
        assert view.problems == ()
        assert set(bed.hosts) <= set(view.hosts)
        one = view.hosts[bed.hosts[0]]
        assert one.schedulable
        assert one.free("VCPU") == one.inventories["VCPU"].capacity - one.usages["VCPU"] > 0

    def test_what_placement_says_of_all_hosts_at_once_is_what_it_says_of_each(self, bed: Bed) -> None:
        server = bed.boot(bed.hosts[0], vcpus=2, ram=1024)
        placement, at_once = bed.cloud.placement, bed.cloud.placement.held("VCPU")
        view = read_cloud(bed.cloud.nova, placement, time.time)
        for name in bed.hosts:
            provider = view.hosts[name].provider
            usages, traits = at_once[provider]
            assert {k: v for k, v in usages.items() if v} == {k: v for k, v in placement.usages(provider).items() if v}
            assert traits == placement.traits(provider)[0]
        assert at_once[view.hosts[bed.hosts[0]].provider][0]["VCPU"] >= 2
        bed.delete(server)

    def test_every_right_that_can_be_tried_is_answered_and_nothing_is_changed(self, bed: Bed) -> None:
        """Policies are looked at before bodies and ids, in all three services: whoever changes that makes a right ``unknown``."""
        cloud = bed.cloud
        before = {h.name: (h.enabled, h.inventories, h.traits) for h in read_cloud(cloud.nova, cloud.placement, time.time).hosts.values()}
        doors = {"nova": cloud.nova, "placement": cloud.placement, "keystone": cloud.keystone}
        found = check(doors, frozenset())
        untold = {"os_compute_api:os-migrate-server:migrate_live", "os_compute_api:servers:migrations:delete"}
        assert {r.policy: r.why for r in found if r.state == "unknown"}.keys() == untold
        assert {r.policy: r.why for r in found if r.state == "refused" and r.needed_for in ("advice", "reservations")} == {}
        after = {h.name: (h.enabled, h.inventories, h.traits) for h in read_cloud(cloud.nova, cloud.placement, time.time).hosts.values()}
        assert after == before

    def test_a_server_is_seen_with_its_flavor_and_its_share(self, bed: Bed) -> None:
        server = bed.boot(bed.hosts[0], vcpus=2, ram=1024)
        view = read_cloud(bed.cloud.nova, bed.cloud.placement, time.time, with_allocations=True)
        seen = view.servers[server]
        assert (seen.host, seen.flavor.vcpus, seen.flavor.ram, seen.status) == (bed.hosts[0], 2, 1024, "ACTIVE")
        assert view.allocations is not None
        assert view.allocations[server].held[view.hosts[seen.host].provider]["VCPU"] == 2
        assert bed.cloud.placement.allocation(server).type == UNKNOWN

    def test_a_reading_on_top_of_another_sees_what_came_and_what_went(self, bed: Bed) -> None:
        first = bed.boot(bed.hosts[0])
        before = read_cloud(bed.cloud.nova, bed.cloud.placement, time.time)
        bed.delete(first)
        second = bed.boot(bed.hosts[1])
        after = read_cloud(bed.cloud.nova, bed.cloud.placement, time.time, before=before)
        assert first in before.servers
        assert first not in after.servers
        assert second in after.servers

    # -- reservations

    def test_a_reservation_takes_room_until_it_is_deleted(self, bed: Bed) -> None:
        host = _host(bed, 0)
        consumer = _reserve(bed, host, 2)
        held = bed.cloud.placement.allocation(consumer)
        assert (held.type, held.held[host.provider]["VCPU"], held.generation) == (RESERVATION, 2, 1)
        assert _host(bed, 0).free("VCPU") == host.free("VCPU") - 2
        assert bed.cloud.placement.delete_allocation(consumer)
        assert not bed.cloud.placement.delete_allocation(consumer)
        assert _host(bed, 0).free("VCPU") == host.free("VCPU")

    def test_a_stale_generation_is_a_conflict_and_changes_nothing(self, bed: Bed) -> None:
        host = _host(bed, 0)
        consumer = _reserve(bed, host, 2)
        for stale in (None, 7):
            with pytest.raises(Conflict):
                _reserve(bed, host, 1, consumer=consumer, generation=stale)
        _reserve(bed, host, 1, consumer=consumer, generation=1)
        assert bed.cloud.placement.allocation(consumer).held[host.provider]["VCPU"] == 1
        bed.cloud.placement.delete_allocation(consumer)

    def test_holding_nothing_is_a_deletion_that_minds_the_generation(self, bed: Bed) -> None:
        host, me = _host(bed, 0), bed.cloud.keystone.me()
        consumer = _reserve(bed, host, 2)
        with pytest.raises(Conflict):
            bed.cloud.placement.put_allocation(consumer, {}, generation=7, type=RESERVATION, project=me.project, user=me.user)
        bed.cloud.placement.put_allocation(consumer, {}, generation=1, type=RESERVATION, project=me.project, user=me.user)
        assert bed.cloud.placement.allocation(consumer).generation is None

    def test_one_consumer_never_holds_more_than_max_unit_however_much_is_free(self, bed: Bed) -> None:
        host = _host(bed, 0)
        most = host.inventories["VCPU"].max_unit
        assert most < host.free("VCPU")
        with pytest.raises(NoRoom):
            _reserve(bed, host, most + 1)

    def test_a_consumer_type_in_small_letters_is_refused(self, bed: Bed) -> None:
        with pytest.raises(Permanent) as refused:
            _reserve(bed, _host(bed, 0), 1, kind="foreshape")
        assert not isinstance(refused.value, NoRoom)

    def test_a_reservation_is_split_in_one_step(self, bed: Bed) -> None:
        host = _host(bed, 0)
        whole = _reserve(bed, host, 4)
        had, part = bed.cloud.placement.allocation(whole), str(uuid.uuid4())
        rest = Allocation(
            consumer=whole, type=had.type, project=had.project, user=had.user, held=_share(host, 1), generation=had.generation
        )
        new = Allocation(consumer=part, type=had.type, project=had.project, user=had.user, held=_share(host, 3))
        bed.cloud.placement.post_allocations([rest, new])
        assert [bed.cloud.placement.allocation(c).held[host.provider]["VCPU"] for c in (whole, part)] == [1, 3]
        for consumer in (whole, part):
            bed.cloud.placement.delete_allocation(consumer)

    def test_our_consumers_are_counted_by_their_type_and_found_among_the_holders(self, bed: Bed) -> None:
        server = bed.boot(bed.hosts[0])
        host, project = _host(bed, 0), bed.cloud.keystone.me().project
        before = bed.cloud.placement.held_by_type(project).get(RESERVATION, 0)
        consumer = _reserve(bed, host, 1)
        assert bed.cloud.placement.held_by_type(project)[RESERVATION] == before + 1
        assert {server, consumer} <= set(bed.cloud.placement.holders(host.provider))
        assert [bed.cloud.placement.allocation(c).type for c in (server, consumer)] == [UNKNOWN, RESERVATION]
        bed.cloud.placement.delete_allocation(consumer)

    def test_an_operators_audit_deletes_reservations_and_nothing_else(self, bed: Bed) -> None:
        server, consumer = bed.boot(bed.hosts[0]), _reserve(bed, _host(bed, 0), 1)
        bed.audit_delete()
        assert not bed.cloud.placement.allocation(consumer).held
        assert bed.cloud.placement.allocation(server).held

    def test_a_full_host_refuses_boots_and_migrations_also_forced_ones(self, bed: Bed) -> None:
        server, host = bed.boot(bed.hosts[0]), _host(bed, 1)
        taken = _fill(bed, host)
        with pytest.raises(NoRoom):
            bed.boot(host.name)
        for force in (False, True):
            with pytest.raises(NoRoom):
                bed.cloud.nova.live_migrate(server, host.name, force=force)
        for consumer in taken:
            bed.cloud.placement.delete_allocation(consumer)

    # -- the lock

    def test_the_lock_keeps_the_scheduler_out_but_not_a_forced_migration(self, bed: Bed) -> None:
        server, host = bed.boot(bed.hosts[0]), _host(bed, 1)
        bed.migration_takes(0.2)
        assert bed.cloud.placement.add_trait(host.provider, LOCKED_OUT)
        assert not bed.cloud.placement.add_trait(host.provider, LOCKED_OUT)
        with pytest.raises(NoRoom):
            bed.boot(host.name)
        with pytest.raises(NoRoom):
            bed.cloud.nova.live_migrate(server, host.name)
        assert not bed.cloud.placement.candidates({"VCPU": 1}, forbidden=[LOCKED_OUT], provider=host.provider)
        bed.cloud.nova.live_migrate(server, host.name, force=True)
        assert bed.cloud.placement.remove_trait(host.provider, LOCKED_OUT)
        _until(bed, lambda: _settled(bed, server), "the forced migration to end")
        assert bed.cloud.nova.server(server).host == host.name

    def test_a_disabled_host_is_seen_as_one_and_comes_back(self, bed: Bed) -> None:
        service = bed.cloud.nova.find_service(bed.hosts[0])
        bed.cloud.nova.disable(service.id, "contract")
        _until(bed, lambda: LOCKED_OUT in _host(bed, 0).traits, "the trait of a disabled host")
        seen = _host(bed, 0)
        assert (seen.enabled, seen.disabled_why, seen.schedulable) == (False, "contract", False)
        bed.cloud.nova.enable(service.id)
        _until(bed, lambda: _host(bed, 0).schedulable, "the host to be open again")

    # -- migrations

    def test_a_migration_claims_its_target_at_once_and_holds_its_source_to_the_end(self, bed: Bed) -> None:
        server, source, target = bed.boot(bed.hosts[0]), _host(bed, 0), _host(bed, 1)
        bed.migration_takes(0.5)
        bed.cloud.nova.live_migrate(server, target.name)
        (moving,) = [m for m in bed.cloud.nova.migrations(server=server) if m.moving]
        assert (moving.source, moving.target) == (source.name, target.name)
        assert set(bed.cloud.placement.allocation(server).held) == {target.provider}
        share = bed.cloud.placement.allocation(moving.uuid)
        assert (share.type, set(share.held)) == (UNKNOWN, {source.provider})
        with pytest.raises(Conflict):
            bed.cloud.nova.live_migrate(server, target.name)
        _until(bed, lambda: _settled(bed, server), "the migration to be completed")
        assert bed.cloud.nova.server(server).host == target.name
        _until(bed, lambda: not bed.cloud.placement.allocation(moving.uuid).held, "the source's share to be free")

    def test_an_aborted_migration_did_not_move(self, bed: Bed) -> None:
        server, source, target = bed.boot(bed.hosts[0]), _host(bed, 0), _host(bed, 1)
        bed.migration_takes(30.0)
        bed.cloud.nova.live_migrate(server, target.name)
        _until(bed, lambda: any(m.status == "running" for m in bed.cloud.nova.progress(server)), "the migration to run")
        (running,) = bed.cloud.nova.progress(server)
        bed.cloud.nova.abort(server, running.id)
        _until(bed, lambda: bed.cloud.nova.migrations(server=server)[0].status in NOT_MOVED, "the migration to be given up")
        assert bed.cloud.nova.server(server).host == source.name
        _until(bed, lambda: set(bed.cloud.placement.allocation(server).held) == {source.provider}, "the target's room to be free again")
        with pytest.raises((Conflict, Gone, Permanent)):
            bed.cloud.nova.abort(server, running.id)

    def test_a_migration_to_nowhere_is_refused(self, bed: Bed) -> None:
        server = bed.boot(bed.hosts[0])
        with pytest.raises(Permanent):
            bed.cloud.nova.live_migrate(server, "no-such-host")
        with pytest.raises(Gone):
            bed.cloud.nova.live_migrate(str(uuid.uuid4()), bed.hosts[1])


def _host(bed: Bed, number: int) -> CloudHost:
    return read_cloud(bed.cloud.nova, bed.cloud.placement, time.time).hosts[bed.hosts[number]]


def _share(host: CloudHost, vcpus: int) -> dict[str, dict[str, int]]:
    return {host.provider: {"VCPU": vcpus, "MEMORY_MB": 64}}


def _reserve(bed: Bed, host: CloudHost, vcpus: int, *, consumer: str = "", generation: int | None = None, kind: str = RESERVATION) -> str:
    me, consumer = bed.cloud.keystone.me(), consumer or str(uuid.uuid4())
    bed.cloud.placement.put_allocation(consumer, _share(host, vcpus), generation=generation, type=kind, project=me.project, user=me.user)
    return consumer


def _fill(bed: Bed, host: CloudHost) -> list[str]:
    """All its VCPUs but one, in pieces of at most ``max_unit``."""
    left, pieces = host.free("VCPU") - 1, []
    while left > 0:
        pieces.append(_reserve(bed, host, min(left, host.inventories["VCPU"].max_unit)))
        left -= host.inventories["VCPU"].max_unit
    return pieces


def _settled(bed: Bed, server: str) -> bool:
    return bed.cloud.nova.migrations(server=server)[0].status == "completed"


def _until(bed: Bed, holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + bed.patience_s
    while not holds():
        assert time.monotonic() < end, f"waited {bed.patience_s} s for {what}"
        time.sleep(0.02)

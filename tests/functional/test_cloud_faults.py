"""A cloud that fails in every way it can: what is tried again, what is not, and what a view says of what it could not read."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cloud_emulator import ANSWERED_S, Emulator, Fault, running
from foreshape_controller.cloud.call import Ways
from foreshape_controller.cloud.inventory import read_cloud
from foreshape_controller.cloud.patience import Patience
from foreshape_controller.cloud.session import Access, Cloud, connect
from foreshape_controller.errors import ConfigError, Conflict, Gone, Permanent, Temporary
from foreshape_controller.model.cloud import RESERVATION, CloudView

pytestmark = pytest.mark.functional

TRIES = 3


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Three hosts, a server on each."""
    with running(Emulator()) as cloud:
        for host in ("node01", "node02", "node03"):
            cloud.add_host(host)
            cloud.boot(host)
        yield cloud


@pytest.fixture
def waits() -> list[float]:
    """Every wait that would have been slept."""
    return []


@pytest.fixture
def cloud(emulator: Emulator, waits: list[float]) -> Cloud:
    return connect(Access(timeout_s=ANSWERED_S, options=emulator.options()), ways(waits))


def ways(waits: list[float]) -> Ways:
    return Ways(Patience(tries=TRIES, first_s=1.0, spread=0.0), sleep=waits.append)


def look(cloud: Cloud, before: CloudView | None = None) -> CloudView:
    return read_cloud(cloud.nova, cloud.placement, time.time, before=before)


def asked(emulator: Emulator, what: str) -> int:
    return sum(what in request for request in emulator.requests)


# -- one request


def test_a_service_that_starts_is_waited_for_longer_each_time(emulator: Emulator, cloud: Cloud, waits: list[float]) -> None:
    emulator.faults = [Fault("compute GET /os-services", "status", times=2, status=503)]
    assert len(cloud.nova.services()) == 3
    assert waits == [1.0, 2.0]


def test_a_service_that_stays_away_is_given_up_after_so_many_tries(emulator: Emulator, cloud: Cloud) -> None:
    emulator.faults = [Fault("compute GET /os-services", "status", times=99, status=503)]
    with pytest.raises(Temporary, match="Nova answered 503"):
        cloud.nova.services()
    assert asked(emulator, "/os-services") == TRIES


@pytest.mark.parametrize("kind", ["status", "lost", "slow"])
def test_a_migration_without_an_answer_is_ordered_once_and_may_have_been_done(emulator: Emulator, cloud: Cloud, kind: str) -> None:
    """A 500, a connection that breaks after it was done, and one that answers too late."""
    server = next(iter(emulator.nova.servers))
    if kind == "slow":
        cloud = connect(Access(timeout_s=0.5, options=emulator.options()), ways([]))
    emulator.faults = [Fault("compute POST .*/action", kind, status=500, seconds=0.8)]
    with pytest.raises(Temporary) as unknown:
        cloud.nova.live_migrate(server, "node02")
    assert unknown.value.maybe_done
    assert asked(emulator, "compute POST") == 1


def test_a_migration_that_certainly_was_not_begun_is_ordered_again(emulator: Emulator, cloud: Cloud) -> None:
    server = next(iter(emulator.nova.servers))
    emulator.faults = [Fault("compute POST .*/action", "status", status=503)]
    cloud.nova.live_migrate(server, "node02")
    assert len(emulator.nova.migrations) == 1


def test_a_reservation_that_was_made_without_an_answer_shows_as_a_conflict(emulator: Emulator, cloud: Cloud) -> None:
    """The second try meets the first one's generation: nothing is held twice, and reading tells what is held."""
    provider, consumer = emulator.nova.hosts["node01"].provider, "7e0a5e9c-0000-4000-8000-000000000001"
    emulator.faults = [Fault("placement PUT /allocations", "lost")]
    me = cloud.keystone.me()
    with pytest.raises(Conflict):
        cloud.placement.put_allocation(
            consumer, {provider: {"VCPU": 1}}, generation=None, type=RESERVATION, project=me.project, user=me.user
        )
    assert cloud.placement.allocation(consumer).held == {provider: {"VCPU": 1}}


def test_a_storm_of_generations_is_ridden_out_and_a_lasting_one_is_told(emulator: Emulator, cloud: Cloud) -> None:
    provider = emulator.nova.hosts["node01"].provider
    emulator.faults = [Fault("placement PUT .*/traits", "storm", times=3)]
    assert cloud.placement.add_trait(provider, "CUSTOM_CALM")
    emulator.faults = [Fault("placement PUT .*/traits$", "storm", times=99)]
    with pytest.raises(Conflict, match="5 times"):
        cloud.placement.remove_trait(provider, "CUSTOM_CALM")


def test_an_expired_token_is_renewed_once_and_nobody_notices(emulator: Emulator, cloud: Cloud, waits: list[float]) -> None:
    cloud.nova.services()
    emulator.expire_tokens()
    assert len(cloud.nova.services()) == 3
    assert (emulator.logins, waits) == (2, [])


def test_a_token_that_is_refused_again_and_again_is_permanent(emulator: Emulator, cloud: Cloud, waits: list[float]) -> None:
    emulator.faults = [Fault("compute GET /os-services", "status", times=99, status=401)]
    with pytest.raises(Permanent, match="check user, password and project"):
        cloud.nova.services()
    assert asked(emulator, "/os-services") == 2
    assert waits == []


def test_a_wrong_password_says_what_to_check(emulator: Emulator) -> None:
    options = emulator.options()
    options["auth"]["password"] = "wrong"
    with pytest.raises(Permanent, match="refused the credentials"):
        connect(Access(options=options), ways([])).keystone.me()


def test_a_policy_that_refuses_names_the_document(emulator: Emulator, cloud: Cloud) -> None:
    emulator.faults = [Fault("compute GET /os-services", "status", status=403)]
    with pytest.raises(Permanent, match=r"docs/openstack\.md"):
        cloud.nova.services()


def test_a_nova_that_is_too_old_is_named(emulator: Emulator) -> None:
    emulator.newest = "2.90"
    with pytest.raises(Permanent, match=r"2\.90 at most; 2\.93"):
        connect(Access(options=emulator.options()), ways([])).nova.newest()


def test_every_request_names_a_microversion_that_the_service_has(emulator: Emulator) -> None:
    emulator.newest = "2.95"
    cloud = connect(Access(options=emulator.options()), ways([]))
    assert look(cloud).problems == ()
    versions = {
        r.split(" ")[3] for r in emulator.requests if r.startswith(("compute GET /", "placement GET /")) and not r.endswith("GET  ")
    }
    assert versions == {"2.95", "1.39"}


def test_the_pins_of_a_forced_migration_hold_on_every_nova(emulator: Emulator, cloud: Cloud) -> None:
    server = next(iter(emulator.nova.servers))
    cloud.nova.live_migrate(server, "node02", force=True)
    assert asked(emulator, "/action 2.30") == 1


@pytest.mark.parametrize(
    ("newest", "how", "status", "clean"),
    [("2.96", "failed", "ACTIVE", True), ("2.100", "error", "ERROR", False), ("2.104", "error", "ERROR", False)],
)
def test_which_nova_survives_an_abort_is_known_beforehand(emulator: Emulator, newest: str, how: str, status: str, clean: bool) -> None:
    emulator.newest, emulator.nova.abort, emulator.nova.migration_s = newest, how, 30.0
    cloud, server = connect(Access(options=emulator.options()), ways([])), next(iter(emulator.nova.servers))
    cloud.nova.live_migrate(server, "node02")
    cloud.nova.abort(server, cloud.nova.progress(server)[0].id)
    assert cloud.nova.aborts_cleanly() is clean
    assert (cloud.nova.server(server).status, cloud.nova.server(server).host) == (status, "node01")


def test_an_operator_who_knows_better_says_whether_aborts_are_survived(emulator: Emulator) -> None:
    """Nova 31 survives them and Nova 32 does not, and both speak 2.100 at most."""
    emulator.newest = "2.100"
    assert connect(Access(options=emulator.options(), aborts_cleanly=True), ways([])).nova.aborts_cleanly()
    emulator.newest = "2.95"
    assert not connect(Access(options=emulator.options(), aborts_cleanly=False), ways([])).nova.aborts_cleanly()


def test_an_unknown_cloud_is_a_matter_of_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"clouds\.yaml"):
        connect(Access(cloud="no-such-cloud"), ways([]))


def test_a_cloud_that_is_not_there_is_temporary_and_nothing_was_done(emulator: Emulator) -> None:
    options = emulator.options()
    options["auth"]["auth_url"] = "http://127.0.0.1:9/identity/v3"
    with pytest.raises(Temporary) as nobody:
        connect(Access(options=options), ways([])).nova.live_migrate("x", "y")
    assert not nobody.value.maybe_done


# -- the view


@pytest.mark.parametrize(
    ("pattern", "part"),
    [
        ("compute GET /servers/detail", "servers"),
        ("compute GET /os-server-groups", "groups"),
        ("compute GET /os-migrations", "migrations"),
        ("compute GET /os-aggregates", "aggregates"),
        ("compute GET /os-services", "hosts"),
        ("placement GET /resource_providers$", "inventories"),
        ("placement GET .*/(usages|allocation_candidates)", "usages"),
    ],
)
def test_a_part_that_cannot_be_read_is_named_and_the_others_are_there(emulator: Emulator, cloud: Cloud, pattern: str, part: str) -> None:
    emulator.faults = [Fault(pattern, "status", times=999, status=500)]
    view = look(cloud)
    assert not view.complete(part)
    assert any("500" in problem for problem in view.problems)
    assert (len(view.servers) == 3) == (part != "servers")
    assert (len(view.hosts) == 3) == (part != "hosts")


def test_one_host_that_placement_stumbles_over_has_no_room_and_the_others_have(emulator: Emulator, cloud: Cloud) -> None:
    bad = emulator.nova.hosts["node02"].provider
    emulator.faults = [Fault(f"placement GET .*{bad}/inventories", "status", times=99, status=500)]
    view = look(cloud)
    assert [h for h in view.hosts.values() if not h.schedulable] == [view.hosts["node02"]]
    assert view.hosts["node02"].free("VCPU") == 0
    assert view.hosts["node01"].free("VCPU") == 16 * 4 - 2


def test_a_placement_that_does_not_answer_is_not_asked_for_every_host(emulator: Emulator, cloud: Cloud) -> None:
    for number in range(4, 24):
        emulator.add_host(f"node{number:02}")
    emulator.faults = [Fault("placement GET /resource_providers/.+", "status", times=9999, status=503)]
    view = look(cloud)
    assert asked(emulator, "/inventories") == 3 * TRIES
    assert any("the rest is not asked for" in problem for problem in view.problems)
    assert len(view.hosts) == 23


@pytest.mark.parametrize(("service", "parts"), [("compute", {"hosts", "servers", "groups"}), ("placement", {"inventories"})])
def test_an_endpoint_that_the_catalogue_lacks_is_named(emulator: Emulator, cloud: Cloud, service: str, parts: set[str]) -> None:
    emulator.without = {service}
    view = look(cloud)
    assert parts <= view.missing
    assert any("catalogue has no endpoint" in problem for problem in view.problems)


def test_rows_that_make_no_sense_are_left_out_by_name(emulator: Emulator, cloud: Cloud) -> None:
    emulator.nova.extra_rows = {"servers": [{"name": "no id"}, 7, {"id": "odd", "flavor": {"vcpus": "many"}}]}
    view = look(cloud)
    assert len(view.servers) == 3
    assert not view.complete("servers")
    assert any("server odd makes no sense" in problem for problem in view.problems)


def test_a_name_that_two_services_have_is_no_place_and_the_other_hosts_are(emulator: Emulator, cloud: Cloud) -> None:
    emulator.nova.extra_rows = {"services": [{"id": "other", "host": "node01", "status": "enabled", "state": "up"}]}
    view = look(cloud)
    assert [name for name, h in view.hosts.items() if not h.schedulable] == ["node01"]
    assert (view.hosts["node01"].free("VCPU"), view.missing) == (0, frozenset())
    assert any("two nova-compute services call themselves node01" in problem for problem in view.problems)


def test_a_host_that_vanished_from_nova_is_not_in_the_view_and_its_reservation_still_is(emulator: Emulator, cloud: Cloud) -> None:
    before, me = look(cloud), cloud.keystone.me()
    provider, consumer = before.hosts["node03"].provider, "7e0a5e9c-0000-4000-8000-000000000003"
    cloud.placement.put_allocation(consumer, {provider: {"VCPU": 1}}, generation=None, type=RESERVATION, project=me.project, user=me.user)
    del emulator.nova.hosts["node03"]
    assert "node03" not in look(cloud, before).hosts
    assert consumer in cloud.placement.holders(provider)


def test_a_provider_that_is_gone_takes_no_reservation(cloud: Cloud) -> None:
    me = cloud.keystone.me()
    with pytest.raises(Gone):
        cloud.placement.put_allocation(
            "7e0a5e9c-0000-4000-8000-000000000004",
            {"7e0a5e9c-0000-4000-8000-00000000dead": {"VCPU": 1}},
            generation=None,
            type=RESERVATION,
            project=me.project,
            user=me.user,
        )


def test_long_lists_are_read_to_their_end(emulator: Emulator, cloud: Cloud) -> None:
    emulator.nova.page = 4
    for _ in range(10):
        emulator.boot(vcpus=1, ram=64)
    assert len(look(cloud).servers) == 13


def test_a_list_that_breaks_on_its_second_page_keeps_the_first(emulator: Emulator, cloud: Cloud) -> None:
    emulator.nova.page = 2
    cloud.nova.newest()
    pages = iter(cloud.nova.servers())
    assert {next(pages).id, next(pages).id} == set(list(emulator.nova.servers)[:2])
    emulator.faults = [Fault("compute GET /servers/detail", "status", times=99, status=500)]
    with pytest.raises(Temporary):
        next(pages)


def test_a_second_look_reads_inventories_only_where_something_was_written(emulator: Emulator, cloud: Cloud) -> None:
    before = look(cloud)
    emulator.boot("node02")
    emulator.requests.clear()
    after = look(cloud, before)
    assert asked(emulator, "/inventories") == 1
    assert (asked(emulator, "/usages"), asked(emulator, "/allocation_candidates")) == (0, 2), "all hosts at once"
    assert after.hosts["node02"].usages["VCPU"] == 4
    assert after.hosts["node01"] == before.hosts["node01"]


def test_a_full_host_and_a_placement_without_candidates_are_asked_one_by_one(emulator: Emulator, cloud: Cloud) -> None:
    """Candidates are hosts with room; whoever has none is not among them."""
    for vcpus, ram in ((16, 1), (16, 1), (16, 1), (14, 32768 - 512 - 2048 - 3)):  # beside the server of 2 and 2048 that is there
        emulator.boot("node03", vcpus=vcpus, ram=ram)
    first = look(cloud)
    assert (first.hosts["node03"].free("VCPU"), first.hosts["node03"].free("MEMORY_MB")) == (0, 0)
    assert asked(emulator, "/usages") == 1
    emulator.faults = [Fault("placement GET /allocation_candidates", "status", times=99, status=500)]
    again = look(cloud)
    assert again.problems == ()
    assert again.hosts == first.hosts


def test_a_look_that_missed_servers_is_no_ground_for_the_next(emulator: Emulator, cloud: Cloud) -> None:
    partial = replace_missing(look(cloud))
    assert len(look(cloud, partial).servers) == 3


def replace_missing(view: CloudView) -> CloudView:
    return msgspec.structs.replace(view, servers={}, missing=frozenset({"servers"}), at=view.at + 3600)


def test_groups_zones_and_a_service_that_is_down_are_seen(emulator: Emulator, cloud: Cloud) -> None:
    emulator.add_host("node09", zone="az2")
    group = emulator.nova.add_group("anti-affinity", rules={"max_server_per_host": 2})
    server = emulator.boot("node09", group=group, zone="az2")
    emulator.nova.hosts["node09"].up = False
    emulator.nova.aggregates = [{"name": "fast", "hosts": ["node09"], "metadata": {"ssd": "true", "availability_zone": "az2"}}]
    view = look(cloud)
    assert (view.servers[server].groups, view.servers[server].az, view.servers[server].asked_az) == ((group,), "az2", "az2")
    assert (view.groups[group].policy, view.groups[group].most_per_host) == ("anti-affinity", 2)
    host = view.hosts["node09"]
    assert (host.az, host.aggregates, host.aggregate_metadata["ssd"], host.schedulable) == ("az2", ("fast",), "true", False)


def test_the_door_is_loaded_only_by_who_opens_it() -> None:
    """Everything but ``session`` works without openstacksdk: a controller without a cloud never pays for it."""
    names = ["call", "inventory", "keystone", "nova", "parse", "patience", "placement"]
    program = "import sys\n" + "".join(f"import foreshape_controller.cloud.{n}\n" for n in names)
    program += "sys.exit(bool({'openstack', 'keystoneauth1', 'requests'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False, env={"PYTHONPATH": "agent:controller"}).returncode == 0

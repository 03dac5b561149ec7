"""Nova's word joined to agents': whose wins, who is left alone, and that nothing is concluded from what could not be read."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshape_controller.decide.join import SHOWN, Joined, join
from foreshape_controller.model.cloud import CloudFlavor, CloudHost, CloudMigration, CloudServer, CloudView
from foreshape_controller.model.cloud_word import CloudWord, Reported

pytestmark = pytest.mark.unit

M1 = CloudFlavor(name="m1", vcpus=2, ram=2048)


def server(ident: str = "a", **words: Any) -> CloudServer:
    said = {"name": "vm", "project": "p", "host": "h1", "flavor": M1, "status": "ACTIVE", "vm_state": "active", **words}
    return CloudServer(id=ident, **said)


def reported(ident: str = "a", **words: Any) -> Reported:
    said = {"host": "h1", "name": "vm", "project": "p", "flavor": "m1", "cores": 2.0, "mib": 2048.0, **words}
    return Reported(server=ident, **said)


def host(name: str = "h1", **words: Any) -> CloudHost:
    return CloudHost(name=name, hypervisor=name, az="az1", **words)


def view(*servers: CloudServer, **words: Any) -> CloudView:
    hosts = words.pop("hosts", (host(),))
    return CloudView(at=1000.0, servers={s.id: s for s in servers}, hosts={h.name: h for h in hosts}, **words)


def joined(
    cloud: CloudView, told: Sequence[Reported] = (), agents: Sequence[str] = ("h1",), before: Mapping[str, CloudWord] | None = None
) -> Joined:
    return join(cloud, told, agents, {"p": "shop"}, before or {})


def test_what_both_say_alike_is_free_to_be_resized() -> None:
    found = joined(view(server()), [reported()])
    assert (found.words["a"].held, found.differences, found.held, found.reported) == ("", (), {}, 1)
    assert (found.words["a"].project_name, found.words["a"].az) == ("shop", "az1")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ({"task_state": "image_snapshot"}, "nova_task"),
        ({"status": "VERIFY_RESIZE"}, "nova_state"),
        ({"status": "PAUSED"}, "nova_state"),
        ({"status": "SHELVED_OFFLOADED", "host": ""}, "nova_state"),
        ({"status": "ERROR"}, "nova_state"),
        ({"status": "UNKNOWN", "host": ""}, "nova_state"),
        ({"locked": True}, "locked"),
        ({"host": "h2"}, "elsewhere"),
    ],
)
def test_who_is_left_alone(words: dict[str, Any], code: str) -> None:
    word = joined(view(server(**words)), [reported()]).words["a"]
    assert (word.held_code, bool(word.held)) == (code, True)


def test_a_migration_whose_server_still_looks_active_keeps_us_off_it() -> None:
    """The moment between Nova's ACTIVE and the migration's end (facts: 0.1 to some seconds)."""
    cloud = view(server(), migrations=(CloudMigration(uuid="m", server="a", source="h2", target="h1", status="post-migrating"),))
    assert joined(cloud, [reported()]).words["a"].held_code == "nova_migration"


def test_a_host_that_is_forced_down_is_being_evacuated() -> None:
    cloud = view(server(), hosts=(host(forced_down=True, up=False),))
    assert joined(cloud, [reported()]).words["a"].held_code == "forced_down"


def test_a_host_that_is_down_or_disabled_still_has_its_servers_sized() -> None:
    """Its nova-compute does not answer, its agent does: growth is still needed there."""
    assert joined(view(server(), hosts=(host(up=False, enabled=False),)), [reported()]).words["a"].held == ""


@pytest.mark.parametrize(
    ("agent", "hosts", "advice"),
    [
        (
            "n1.dc.example",
            (
                host(
                    "n1",
                ),
            ),
            "one called n1: write host = n1",
        ),
        ("N1", (host("n1"),), "one called n1"),
        ("n1.dc.example", (CloudHost(name="compute-7", hypervisor="n1.dc.example"),), "Nova calls that host compute-7"),
        ("n1", (host("n1.a"), host("n1.b")), "n1.a, n1.b: write the right one"),
        ("other", (host("n1"),), "Nova has no nova-compute of that name"),
    ],
)
def test_an_agent_whose_name_nova_does_not_have_is_told_what_to_write(agent: str, hosts: tuple[CloudHost, ...], advice: str) -> None:
    found = joined(view(hosts=hosts), [], (agent,))
    assert advice in found.strange_hosts[agent]


def test_nothing_is_said_of_strange_hosts_where_hosts_could_not_be_read() -> None:
    assert joined(view(hosts=(), missing=frozenset({"hosts"})), [], ("h1",)).strange_hosts == {}


def test_what_differs_is_counted_whole_and_told_in_part() -> None:
    many = [server(f"s{i}", project="mine") for i in range(SHOWN + 50)]
    found = joined(view(*many), [reported(s.id, cores=4.0) for s in many])
    assert found.differing == {"project": SHOWN + 50, "size": SHOWN + 50}
    assert len(found.differences) == SHOWN
    assert found.words["s0"].project == "mine"


def test_a_name_of_a_project_outlives_keystones_silence() -> None:
    before = joined(view(server()), [reported()]).words
    again = join(view(server()), [reported()], ("h1",), {}, before)
    assert again.words["a"].project_name == "shop"


def test_deleted_once_stays_deleted_since_then() -> None:
    first = joined(view(server()), [reported()]).words
    gone = joined(view(), [reported()], before=first).words
    later = joined(msgspec.structs.replace(view(), at=2000.0), [reported()], before=gone).words
    assert (gone["a"].gone_at, later["a"].gone_at, later["a"].project) == (1000.0, 1000.0, "p")


def test_what_is_gone_on_both_sides_is_no_leftover() -> None:
    first = joined(view(server()), [reported()]).words
    assert joined(view(), [], before=first).words["a"].held == "Nova deleted it"
    assert joined(view(), [], before=first).strangers == ()


def test_a_stranger_that_is_gone_is_forgotten() -> None:
    first = joined(view(), [reported()]).words
    assert joined(view(), [], before=first).words == {}


def test_a_server_that_comes_back_is_no_longer_gone() -> None:
    """Restored from a soft deletion."""
    first = joined(view(server()), [reported()]).words
    gone = joined(view(), [reported()], before=first).words
    assert joined(view(server()), [reported()], before=gone).words["a"].gone_at is None


NAMES = st.sampled_from("abcde")
HOSTS = st.sampled_from(["h1", "h2", "h3"])
STATES = st.sampled_from(["ACTIVE", "SHUTOFF", "MIGRATING", ""])
SERVERS = st.lists(st.builds(server, NAMES, host=HOSTS, status=STATES, task_state=st.sampled_from(["", "x"])), max_size=5)
REPORTS = st.lists(st.builds(reported, NAMES, host=HOSTS), unique_by=lambda r: r.server, max_size=5)
MISSING = st.frozensets(st.sampled_from(["servers", "hosts", "groups"]))


@given(st.lists(SERVERS, max_size=3), REPORTS, MISSING)
def test_nobody_is_free_whom_nova_does_not_have_active_on_that_host(
    readings: list[list[CloudServer]], told: list[Reported], missing: frozenset[str]
) -> None:
    """Whatever was read before, whatever is missing now: free are only ACTIVE servers, at rest, on the host that reports them."""
    words: Mapping[str, CloudWord] = {}
    for number, servers in enumerate(readings):
        last = number == len(readings) - 1
        cloud = view(*servers, hosts=(host("h1"), host("h2")), missing=missing if last else frozenset())
        words = joined(cloud, told, ("h1", "h2", "h3"), before=words).words
        known = {s.id: s for s in servers}
        assert set(words) >= {r.server for r in told} | set(known)
        for r in told:
            s = known.get(r.server)
            free = not words[r.server].held
            if s is not None:
                assert free == (s.status == "ACTIVE" and not s.task_state and s.host == r.host)
            elif not (last and missing):
                assert not free


@given(SERVERS, REPORTS)
def test_a_reading_without_servers_changes_no_word(servers: list[CloudServer], told: list[Reported]) -> None:
    before = joined(view(*servers), told).words
    after = joined(view(missing=frozenset({"servers"})), told, before=before)
    assert after.words == before
    assert [r.server for r in told if r.server in after.strangers] == [
        r.server for r in told if before[r.server].held_code == "not_in_nova"
    ]


@given(SERVERS, REPORTS)
def test_joining_twice_says_the_same(servers: list[CloudServer], told: list[Reported]) -> None:
    once = joined(view(*servers), told)
    assert joined(view(*servers), told, before=once.words) == once

"""Where room is to be held: what Nova's scheduler would look at, asked of the emulated cloud, and of Placement's own candidates."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from foreshape_controller.decide.target import Guest, guest
from foreshape_controller.errors import Gone, NoRoom, Temporary
from reserve_support import World, world

pytestmark = pytest.mark.functional

SMALL = Guest(resources={"VCPU": 2, "MEMORY_MB": 1024})


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def against(here: World, host: str, who: Guest = SMALL) -> str:
    here.look()
    return here.reservations.targets.why_not(host, who, here.at)


def chosen(here: World, who: Guest = SMALL) -> str:
    here.look()
    return here.reservations.targets.choose(who, here.at)


def test_the_host_with_most_room_is_chosen_and_a_closed_one_never(here: World) -> None:
    here.emulator.boot("node01")
    assert chosen(here) == "node02"
    here.emulator.nova.hosts["node02"].up = False
    assert chosen(here) == "node03"
    here.cloud.nova.disable(here.cloud.nova.find_service("node03").id, "disk")
    assert chosen(here) == "node01"
    assert "disabled: disk" in against(here, "node03")


def test_what_is_held_counts_as_taken(here: World) -> None:
    here.hold(host="node02")
    assert chosen(here) == "node01"
    here.fill("node01")
    assert "0 VCPU are free" in against(here, "node01")


def test_placement_has_the_last_word(here: World) -> None:
    """Somebody takes the room between our reading and our asking."""
    here.look()
    here.fill("node01")
    assert here.reservations.targets.why_not("node01", SMALL, here.at) == "Placement has no candidate there"


def test_places_promised_to_members_of_a_group_count_although_nobody_is_there_yet(here: World) -> None:
    group = here.emulator.nova.add_group("anti-affinity")
    server = here.emulator.boot("node01", group=group)
    here.look()
    view = here.work.watch.view()
    assert view is not None
    mover = guest(view.servers[server], SMALL.resources)
    another = Guest(resources=SMALL.resources, groups=(group,))
    assert against(here, "node02", another) == ""
    held = here.hold(groups=(group,), server=server)
    assert "promised 1 of server group" in against(here, "node02", another)
    assert against(here, "node02", mover) == ""
    here.reservations.hand_over(held.id, lambda: None, here.at, force=True)
    assert "promised 1 of server group" in against(here, "node02", another)
    here.reservations.release(held.id, "over", here.at)
    assert against(here, "node02", another) == ""


def test_where_nobody_fits_each_host_says_why(here: World) -> None:
    with pytest.raises(NoRoom) as refused:
        chosen(here, Guest(resources={"VCPU": 17}, az="nova"))
    for host in ("node01", "node02", "node03"):
        assert f"{host}: it lets one consumer hold 1 to 16 VCPU" in str(refused.value)


def test_unknown_hosts_and_old_readings_are_told_apart(here: World) -> None:
    with pytest.raises(Gone, match="node09"):
        against(here, "node09")
    here.at += 10_000
    with pytest.raises(Temporary, match="last read 10000 s ago"):
        here.reservations.targets.choose(SMALL, here.at)

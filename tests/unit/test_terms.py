"""By which terms things are metered: servers, shadow VMs that wait, reservations that somebody asked for."""

from dataclasses import dataclass, field

import msgspec
import pytest

from decide_support import server
from foreshape_controller.decide.tiers import DEFAULTS
from foreshape_controller.loops.terms import TermSources, terms_now, whole
from foreshape_controller.model.metering import Kind
from foreshape_controller.model.pool import Shadow, State
from foreshape_controller.model.reservation import Place, Reservation, ReservationWish, Slot
from foreshape_controller.model.server import ClusterView
from foreshape_wire.order import Mode
from store_support import size

pytestmark = pytest.mark.unit


@dataclass
class World:
    """One server of project p1 that was sold 4 cores and 8 GiB."""

    shadows_of: tuple[Shadow, ...] = ()
    held: tuple[Reservation, ...] = ()
    floors: dict = field(default_factory=dict)
    accuracy: dict = field(default_factory=dict)
    more: dict = field(default_factory=dict)

    def all(self, *, closing=False):
        return ()

    def shadows(self, pool="", *, alive=False):
        return self.shadows_of

    def open(self):
        return self.held

    def terms(self):
        plain = server("vm-1")
        sold = {"project": "p1", "entitlement": size(4, 8192), "ceiling": size(8, 8192), "mode": Mode.ACT, "name": "web"}
        one = msgspec.structs.replace(plain, **{**sold, **self.more})
        sources = TermSources(
            tiers=lambda view: {s.id: DEFAULTS["guaranteed"] for s in view.servers},
            default_tier=lambda: "standard",
            floors=lambda now: self.floors,
            accuracy=lambda: self.accuracy,
            pools=self,
            reservations=self,
        )
        return terms_now(ClusterView(at=0.0, hosts=(), servers=(one,)), sources, 0.0)


def shadow(state):
    return Shadow(
        id="sh-1", pool="pool-1", project="p2", name="waiting", image="i", flavor="f", created=0.0, since=0.0, state=state, server="vm-1"
    )


def reservation(owner="operator:ann", project="p1", *, held=2, server_=""):
    wish = ReservationWish(
        host="hv1", resources={"VCPU": 2, "MEMORY_MB": 4096}, owner=owner, reason="r", until=9e9, project=project, server=server_, count=3
    )
    places = [Place.HELD] * held + [Place.ASKED] * (3 - held)
    return Reservation(id="r-1", wish=wish, slots=tuple(Slot(f"c{i}", p) for i, p in enumerate(places)), created=0.0, changed=0.0)


def test_a_server_is_metered_by_what_it_was_sold_its_tiers_floor_and_its_ceiling():
    """guaranteed: half of the cores and three quarters of the memory are always there."""
    found = World(accuracy={"vm-1": 0.87}).terms()["vm-1"]
    assert (found.kind, found.project, found.name, found.tier, found.act, found.accuracy) == (
        Kind.SERVER,
        "p1",
        "web",
        "guaranteed",
        True,
        8,
    )
    assert found.size("cpu") == (4000, 2000, 8000)
    assert found.size("memory") == (8192, 6144, 8192)
    assert World(more={"mode": Mode.ADVISE}).terms()["vm-1"].act is False


def test_where_the_owner_agreed_to_less_the_floor_is_what_he_agreed_to():
    assert World(floors={"cpu": {"vm-1": 0.5}}).terms()["vm-1"].floor_mcores == 500


def test_who_has_no_project_is_not_metered():
    assert World(more={"project": ""}).terms() == {}


@pytest.mark.parametrize("state", [State.PLANNED, State.BOOTING, State.RETIRING, State.FAILED])
def test_a_shadow_vm_that_cannot_be_claimed_costs_nothing(state):
    assert World((shadow(state),)).terms() == {}


def test_a_shadow_vm_that_waits_is_its_pools_projects_and_one_that_was_claimed_is_a_server():
    waiting = World((shadow(State.READY),)).terms()["vm-1"]
    assert (waiting.kind, waiting.project, waiting.mcores, waiting.mib) == (Kind.POOL, "p2", 4000, 8192)
    for state in (State.CLAIMED, State.HANDED_OVER):
        assert World((shadow(state),)).terms()["vm-1"].kind == Kind.SERVER


def test_of_a_reservation_what_placement_is_known_to_hold():
    found = World(held=(reservation(),)).terms()["reservation:r-1"]
    assert (found.kind, found.project, found.tier, found.mcores, found.mib) == (Kind.RESERVATION, "p1", "standard", 4000, 8192)
    assert World(held=(reservation(server_="vm-1"),)).terms()["reservation:r-1"].tier == "guaranteed"


@pytest.mark.parametrize(
    "of", [reservation("migration:m"), reservation("need:h/cpu"), reservation("pool:p"), reservation(project=""), reservation(held=0)]
)
def test_what_nobody_asked_for_or_nobody_holds_costs_nobody_anything(of):
    assert set(World(held=(of,)).terms()) == {"vm-1"}


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -1.0, 1e18])
def test_what_is_no_amount_is_none(odd):
    assert whole(odd) == 0

"""What a plan says of a host that is short, on a real database: shares for agents, transfers, needs; by HTTP and by command."""

import json

import msgspec
import pytest
from litestar.testing import TestClient

from decide_support import NOW, numbered
from foreshape_controller.cli.main import main
from foreshape_controller.decide.known import Limits
from foreshape_controller.decide.orders import Ordering, release
from foreshape_controller.decide.plan import make_plan
from foreshape_controller.loops.shortage import Shortage
from foreshape_controller.main import build
from foreshape_controller.model.answers import NeedAnswer
from foreshape_controller.model.brakes import Brakes
from foreshape_controller.model.server import ClusterView
from foreshape_controller.store import Store
from foreshape_controller.store.shares import of_host
from foreshape_demo.serve import Serving
from short_support import crowded
from store_support import settings

pytestmark = pytest.mark.functional

HOLDS_S = 300.0
ROOM = Limits(cpu_ratio=4.0)
"""64 cores."""


@pytest.fixture
def store(tmp_path):
    opened = Store.open(f"sqlite:///{tmp_path / 'c.db'}")
    yield opened
    opened.close()


def tell(listener, at=NOW, *, ordered=True, view=None, **changes):
    """One plan about the crowded host, told to the listener."""
    cluster, known = crowded(**changes)
    cluster = view or cluster
    plan = make_plan(cluster, known, NOW, numbered())
    plan = type(plan)(plan=f"plan-{at:.0f}", at=at, table=plan.table, needs=plan.needs, transfers=plan.transfers)
    plan, orders = release(plan, Ordering({s.id: s for s in cluster.servers}, {}, Brakes()), numbered())
    listener(plan, orders if ordered else (), cluster)
    return plan


def shares(store, at=NOW):
    with store.db.read() as conn:
        return {server: share.amount.cores for server, share in of_host(conn, "hv1", at).items()}


def test_agents_are_told_the_share_of_whoever_wants_more_than_there_is(store):
    tell(Shortage(store, HOLDS_S))
    assert shares(store) == {"low": 2.0}
    assert shares(store, NOW + HOLDS_S + 1) == {}, "a controller that is gone holds nobody down"


def test_a_share_ends_when_a_plan_says_that_there_is_room(store):
    listener = Shortage(store, HOLDS_S)
    tell(listener)
    tell(listener, NOW + 60, limits=ROOM)
    assert shares(store) == {}


def test_a_plan_without_forecasts_leaves_shares_as_they_are(store):
    listener = Shortage(store, HOLDS_S)
    tell(listener)
    tell(listener, NOW + 60, forecasts={})
    assert shares(store) == {"low": 2.0}


def test_who_gave_and_who_got_is_kept_once_however_often_it_is_planned_before_it_is_proven(store):
    listener = Shortage(store, HOLDS_S)
    for n in range(3):
        tell(listener, NOW + 60 * n)
    ((at, transfer),) = store.transfers.since(NOW - 1)
    assert (at, transfer.giver, transfer.taker, transfer.amount) == (NOW, "tier:low", "tier:high", 2.0)


def test_what_was_not_ordered_was_not_given(store):
    tell(Shortage(store, HOLDS_S), ordered=False)
    assert store.transfers.since(0) == ()


def test_a_need_is_opened_once_renewed_and_closed_with_a_reason_after_a_while(store):
    listener = Shortage(store, HOLDS_S)
    for n in range(3):
        tell(listener, NOW + 60 * n)
    (opened,) = store.needs.open()
    assert (opened.since, opened.need.amount, opened.closed_at) == (NOW, 2.0, None)
    tell(listener, NOW + 180, limits=ROOM)
    assert len(store.needs.open()) == 1, "gone from one plan is not gone"
    tell(listener, NOW + 120 + HOLDS_S, limits=ROOM)
    assert store.needs.open() == ()
    (closed,) = store.needs.list(NOW)
    assert closed.closed_why == "what is expected on hv1 fits again"


def test_a_need_of_a_host_that_is_gone_is_closed_at_once(store):
    listener = Shortage(store, HOLDS_S)
    tell(listener)
    tell(listener, NOW + 1, view=ClusterView(at=NOW, hosts=(), servers=()))
    assert store.needs.list(NOW)[0].closed_why == "hv1 is no longer there"


def test_another_controller_after_a_restart_goes_on_with_the_same_need(store):
    tell(Shortage(store, HOLDS_S))
    tell(Shortage(store, HOLDS_S), NOW + 60)
    assert [k.since for k in store.needs.open()] == [NOW]


def test_what_is_old_is_deleted_and_what_is_open_never(store):
    tell(Shortage(store, HOLDS_S))
    store.needs.tidy(NOW + 1e9)
    store.transfers.tidy(NOW + 1e9)
    assert len(store.needs.open()) == 1
    assert store.transfers.since(0) == ()


# -- people -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path):
    made = build(settings(tmp_path), lambda: NOW + 60)
    tell(Shortage(made.store, HOLDS_S))
    yield made
    made.store.close()


def test_needs_are_told_over_http_with_deadline_and_candidates(program):
    with TestClient(program.app) as client:
        assert client.get("/v1/needs").status_code == 401
        reply = client.get("/v1/needs", headers={"Authorization": f"Bearer {program.admin_token}"})
    (need,) = msgspec.json.decode(reply.content, type=list[NeedAnswer])
    assert (need.host, need.resource, need.amount, need.deadline) == ("hv1", "cpu", 2.0, NOW)
    assert [c.server for c in need.candidates] == ["low", "high"]


def test_and_by_command(program, capsys):
    with Serving(program, 0) as api:
        access = ["--url", api.url, "--token-file", program.settings.api.admin_token_file]
        assert main([*access, "need", "list", "-f", "json"]) == 0
        assert json.loads(capsys.readouterr().out)[0]["amount"] == 2.0
        assert main([*access, "need", "list", "--all"]) == 0
        assert "2.00 cores" in capsys.readouterr().out

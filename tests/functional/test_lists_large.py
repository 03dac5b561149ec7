"""Lists and figures of a large cloud: a page is made of what it shows, a glance is soon renewed, what somebody wrote is seen at once."""

import pytest
from litestar.testing import TestClient

from foreshape_controller.main import build
from foreshape_wire.codec import encode
from store_support import T0, card, report, sample, settings

pytestmark = pytest.mark.functional

HOSTS, EACH = 12, 5


class Clock:
    now = T0 + 30

    def __call__(self):
        return self.now


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    clock = Clock()
    program = build(settings(tmp_path_factory.mktemp("lists")), clock=clock)
    for h in range(HOSTS):
        ids = [f"vm-{h:02d}-{n}" for n in range(EACH)]
        cards = [card(i, name=f"web-{i}" if n % 2 else f"db-{i}", project=f"p{n}") for n, i in enumerate(ids)]
        host = f"hv{h:02d}"
        program.intake.accept(host, encode(report(1, samples=[sample(i) for i in ids], cards=cards, host=host)), clock.now)
    with TestClient(program.app) as client:
        client.headers["Authorization"] = f"Bearer {program.admin_token}"
        yield program, client, clock
    program.store.close()


def walked(client, path):
    """All pages of a list, one after the other."""
    found, pages = [], 0
    while path:
        reply = client.get(path)
        assert reply.status_code == 200, reply.text
        found, pages = found + reply.json(), pages + 1
        path = reply.links["next"]["url"] if "next" in reply.links else ""
    return found, pages


@pytest.mark.parametrize("limit", [1, 7, 59, 60, 61, 1000])
def test_pages_put_together_are_the_whole_list(world, limit):
    _, client, _ = world
    whole = client.get("/v1/servers").json()
    assert len(whole) == HOSTS * EACH
    assert walked(client, f"/v1/servers?limit={limit}") == (whole, -(-len(whole) // limit))


@pytest.mark.parametrize(
    "asked", ["name=web-*", "host=hv03", "project=p1", "name=db-*&project=p2", "tier=standard", "mode=advise", "name=none"]
)
def test_filters_and_pages_go_together(world, asked):
    _, client, _ = world
    whole = client.get(f"/v1/servers?{asked}").json()
    assert walked(client, f"/v1/servers?{asked}&limit=4")[0] == whole
    for key, value in (x.split("=") for x in asked.split("&")):
        assert all(s[key].startswith(value.rstrip("*")) for s in whole)


def test_hosts_are_cut_into_pages_too(world):
    _, client, _ = world
    whole = client.get("/v1/hosts").json()
    assert (len(whole), {h["servers"] for h in whole}) == (HOSTS, {EACH})
    assert walked(client, "/v1/hosts?limit=5") == (whole, 3)
    assert [h["name"] for h in client.get("/v1/hosts?name=*v0*&limit=3").json()] == ["hv00", "hv01", "hv02"]


def test_a_marker_that_is_not_there_is_refused(world):
    _, client, _ = world
    assert client.get("/v1/servers?limit=5&marker=nobody").status_code == 400


def test_a_glance_is_the_same_for_some_seconds_and_never_hides_what_was_written(world):
    program, client, clock = world
    of = client.get("/v1/servers?limit=1").json()[0]["id"]
    clock.now += 1.0
    program.store.inventory.set_tier(of, "economy")
    assert client.get("/v1/servers?limit=1").json()[0]["tier"] == "standard", "written by nobody who asked here"
    clock.now += 6.0
    assert client.get("/v1/servers?limit=1").json()[0]["tier"] == "economy"
    clock.now += 1.0
    assert client.put(f"/v1/servers/{of}/tier", json={"tier": "guaranteed"}).status_code == 200
    clock.now += 1.0
    assert client.get("/v1/servers?limit=1").json()[0]["tier"] == "guaranteed"
    client.put(f"/v1/servers/{of}/tier", json={"tier": ""})


def test_a_view_that_was_begun_before_a_write_is_not_kept_after_it(world, monkeypatch):
    program, _, clock = world
    inventory = program.store.inventory
    taken = inventory._decoded

    def written_meanwhile(*args, **more):
        inventory.forget()
        return taken(*args, **more)

    monkeypatch.setattr(inventory, "_decoded", written_meanwhile)
    inventory.lately(clock.now, 5.0)
    monkeypatch.undo()
    assert inventory.lately(clock.now + 1, 5.0).at == clock.now + 1

"""What HTTP promises of every route: keys that make writes repeatable, tags, parts of lists, media types, HEAD."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import structlog
from litestar.testing import TestClient

from foreshape_controller.api import repeat
from foreshape_controller.errors import Unavailable
from foreshape_controller.main import build
from foreshape_controller.model.caller import Caller
from foreshape_controller.store.replies import OWNER, Replies
from store_support import T0, ask, card, report, sample, settings
from tenants_support import ADMIN, MEMBER, OTHER, READER, FakeTokens

pytestmark = pytest.mark.functional

ONE = {"name": "sale", "start": "2026-11-27T09:00", "duration_s": 3600}


class World:
    def __init__(self, folder):
        self.folder, self.at = folder, T0 + 100
        self.start()
        cards = tuple(card(f"vm-{k}", name=f"web-{k}", project="p1" if k < 6 else "p2") for k in range(8))
        ask(self.program.intake, report(1, T0 + 99, [sample(f"vm-{k}") for k in range(8)], cards=cards), now=self.at)

    def start(self):
        self.program = build(settings(self.folder), lambda: self.at, tokens=FakeTokens())
        self.client = TestClient(self.program.app, raise_server_exceptions=False)

    def create(self, key="k1", headers=MEMBER, **more):
        return self.client.post("/v1/events", json=ONE | more, headers=headers | ({"Idempotency-Key": key} if key is not None else {}))

    def events(self, headers=READER):
        return self.client.get("/v1/events", headers=headers).json()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    made = World(tmp_path_factory.mktemp("protocol"))
    yield made
    made.program.store.close()


@pytest.fixture(autouse=True)
def _no_events(world):
    for event in world.program.store.events.all():
        world.program.store.events.remove(event.id)


# -- Idempotency-Key ---------------------------------------------------------------------------------------------------


def test_the_same_key_and_request_is_the_same_answer_and_one_event(world):
    first, again = world.create("a1"), world.create("a1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert len(world.events()) == 1


def test_another_request_with_the_same_key_is_refused_and_another_caller_has_keys_of_his_own(world):
    world.create("a2")
    other = world.create("a2", name="other")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert world.client.post("/v1/stop", json={"reason": "x"}, headers=MEMBER | {"Idempotency-Key": "a2"}).status_code == 403
    assert world.create("a2", OTHER, name="other").status_code == 201


def test_keys_of_one_project_lie_together_whoever_of_it_asks():
    keys = [repeat._key(Caller(user=u, project=p), "k") for u, p in (("u1", "p1"), ("u2", "p1"), ("u1", "p2"), ("u1", ""), ("u2", ""))]
    assert len(set(keys)) == 5
    assert {len(k) for k in keys} == {64}
    assert [k[:OWNER] == keys[0][:OWNER] for k in keys] == [True, True, False, False, False]
    assert keys[3][:OWNER] != keys[4][:OWNER]


def test_of_one_owner_the_newest_answers_are_kept_and_nobody_elses_go(world):
    kept = Replies(world.program.store.db, most=3)
    mine, other = "a" * OWNER, "b" * OWNER
    assert kept.claim(other + "0" * 48, "asked", "here", 0.0) is None
    for k in range(5):
        assert kept.claim(mine + f"{k:048x}", "asked", "here", float(k)) is None
    assert [kept.get(mine + f"{k:048x}") is not None for k in range(5)] == [False, False, True, True, True]
    assert kept.get(other + "0" * 48) is not None


def test_a_refusal_is_repeated_too(world):
    assert world.create("a3", scope="server:no").status_code == 404
    again = world.create("a3", scope="server:no")
    assert (again.status_code, again.headers["content-type"]) == (404, "application/problem+json")
    assert again.json()["code"] == "not_found"


def test_twenty_at_once_are_done_once(world):
    with ThreadPoolExecutor(10) as threads:
        replies = list(threads.map(lambda _: world.create("a4"), range(20)))
    assert {r.status_code for r in replies} == {201}
    assert len({r.content for r in replies}) == 1
    assert len(world.events()) == 1


def test_it_survives_a_restart(tmp_path):
    world = World(tmp_path)
    first = world.create("r1")
    world.program.store.close()
    world.start()
    assert world.create("r1").content == first.content
    assert len(world.events()) == 1
    world.program.store.close()


def test_what_died_half_way_is_told_so_and_done_by_nobody(world):
    body = world.client.build_request("POST", "/v1/events", json=ONE).content
    key = repeat._key(Caller(user="user-of-p1", project="p1"), "dead")
    asked = repeat._hash("POST", "/v1/events", "", body)
    assert world.program.store.replies.claim(key, asked, "a process that is gone", world.at) is None
    reply = world.create("dead")
    assert (reply.status_code, reply.json()["code"]) == (409, "outcome_unknown")
    assert world.events() == []


def test_a_key_is_forgotten_after_a_day(world):
    world.create("day")
    world.at += 86401
    try:
        assert "idempotent-replayed" not in world.create("day").headers
    finally:
        world.at -= 86401


def test_a_fault_of_ours_is_not_kept(world, monkeypatch):
    store, broken = world.program.store, threading.Event()
    put = store.events.put
    monkeypatch.setattr(store.events, "put", lambda e: 1 / 0 if not broken.is_set() else put(e))
    assert world.create("fault").status_code == 500
    broken.set()
    assert world.create("fault").status_code == 201


def test_an_answer_that_cannot_be_kept_is_given_and_a_repetition_is_told_that_nobody_knows(world, monkeypatch):
    def busy(*_):
        raise Unavailable("the store is busy")

    with monkeypatch.context() as patched:
        patched.setattr(world.program.store.replies, "keep", busy)
        assert world.create("unkept").status_code == 201
    again = world.create("unkept")
    assert (again.status_code, again.json()["code"]) == (409, "outcome_unknown")
    assert len(world.events()) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "\u00fc".encode()])
def test_keys_that_make_no_sense_are_refused(world, key):
    assert world.create(key).status_code == 400


def test_reads_and_writes_without_a_key_are_as_ever(world):
    assert world.create(None).status_code == 201
    assert world.create(None).status_code == 201
    assert len(world.events()) == 2


# -- tags --------------------------------------------------------------------------------------------------------------


def test_a_thing_has_a_tag_that_changes_when_it_does(world):
    path = "/v1/choices/project"
    before = world.client.get(path, headers=READER)
    tag = before.headers["etag"]
    assert world.client.get(path, headers=READER | {"If-None-Match": tag}).status_code == 304
    world.client.put(path, json={"mode": "advise"}, headers=MEMBER)
    after = world.client.get(path, headers=READER | {"If-None-Match": tag})
    assert (after.status_code, after.headers["etag"] != tag) == (200, True)


def test_a_write_with_an_old_tag_is_refused_and_with_the_new_one_done(world):
    path = "/v1/choices/server:vm-1"
    tag = world.client.get(path, headers=READER).headers["etag"]
    assert world.client.put(path, json={"mode": "advise"}, headers=MEMBER | {"If-Match": tag}).status_code == 200
    refused = world.client.put(path, json={"mode": "observe"}, headers=MEMBER | {"If-Match": tag})
    assert (refused.status_code, refused.json()["code"]) == (412, "changed_meanwhile")
    assert world.client.get(path, headers=READER).json()["mode"] == "advise"
    assert world.client.delete(path, headers=MEMBER | {"If-Match": "*"}).status_code == 204
    assert world.client.delete("/v1/events/none", headers=MEMBER | {"If-Match": "*"}).status_code == 412


def test_of_ten_who_saw_the_same_one_writes(world):
    path = "/v1/choices/server:vm-2"
    tag = world.client.get(path, headers=READER).headers["etag"]

    def write(k):
        return client.put(path, json={"mode": "advise", "reason": f"number {k}"}, headers=MEMBER | {"If-Match": tag}).status_code

    with TestClient(world.program.app) as client, ThreadPoolExecutor(10) as threads:
        assert sorted(threads.map(write, range(10))) == [200, *[412] * 9]


def test_a_tag_tells_nobody_what_he_may_not_see(world):
    assert world.client.put("/v1/choices/server:vm-1", json={"mode": "act"}, headers={"If-Match": "*"}).status_code == 401
    assert world.client.put("/v1/choices/server:vm-1", json={"mode": "act"}, headers=OTHER | {"If-Match": "*"}).status_code == 412


# -- lists -------------------------------------------------------------------------------------------------------------


def test_a_list_in_parts_is_the_whole_list_in_its_order(world):
    whole = [s["id"] for s in world.client.get("/v1/servers", headers=READER).json()]
    seen, path = [], "/v1/servers?limit=4"
    while path:
        reply = world.client.get(path, headers=READER)
        seen += [s["id"] for s in reply.json()]
        link = reply.headers.get("link", "")
        assert not link or link.endswith('; rel="next"')
        path = link[1 : link.index(">")] if link else ""
    assert seen == whole
    assert len(whole) == 6


def test_lists_are_filtered_by_what_items_say(world):
    assert [s["name"] for s in world.client.get("/v1/servers?name=web-3", headers=READER).json()] == ["web-3"]
    assert len(world.client.get("/v1/servers?project=p2", headers=ADMIN).json()) == 2
    assert world.client.get("/v1/servers?project=p2", headers=READER).json() == []


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=-1", "limit=x", "limit=99999999999", "limit=1e3", "limit=", "marker=none", "marker=" + "x" * 301]
)
def test_limits_and_markers_that_make_no_sense_are_refused(world, query):
    assert world.client.get(f"/v1/servers?{query}", headers=READER).status_code == 400


# -- bodies and methods ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_a_body_of_another_kind_is_refused(world, kind):
    reply = world.client.post("/v1/events", content=b"{}", headers=MEMBER | {"Content-Type": kind})
    assert (reply.status_code, reply.json()["code"]) == (415, "wrong_media_type")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff", b'{"name": NaN}', b"[" * 100_000, b'{"name": "\\u0000", "start": "x"}', b'{"name":"\\ud800"}'],
)
def test_what_is_no_sound_json_is_refused(world, body):
    assert world.client.post("/v1/events", content=body, headers=MEMBER | {"Content-Type": "application/json"}).status_code == 400


def test_head_is_get_without_its_body_of_a_stream_too(world):
    get, head = (world.client.request(m, "/v1/servers", headers=READER) for m in ("GET", "HEAD"))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert world.client.head("/v1/nothing").status_code == 404
    assert world.client.head("/v1/servers").status_code == 401
    assert world.client.head("/v1/stream", headers=READER).headers["content-type"].startswith("text/event-stream")

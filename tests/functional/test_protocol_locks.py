"""Who is slow, or nobody, holds no path: only writes of those who are known, and whose body is here, wait for one another."""

import asyncio
import json
import threading

import pytest

from foreshape_controller.main import build
from store_support import T0, settings
from tenants_support import MEMBER, OTHER, FakeTokens

pytestmark = pytest.mark.functional

PATH = "/v1/choices/project"


@pytest.fixture
def app(tmp_path):
    program = build(settings(tmp_path), clock=lambda: T0, tokens=FakeTokens())
    yield program.app
    program.store.close()


async def ask(app, method, headers, receive):
    """One request by ASGI: its status, its headers, what it answers."""
    said = {}

    async def send(message):
        if message["type"] == "http.response.start":
            said.update(status=message["status"], headers=dict(message["headers"]), body=b"")
        else:
            said["body"] += message.get("body", b"")

    named = [(k.lower().encode(), v.encode()) for k, v in headers.items()]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http", "path": PATH}
    more = {"raw_path": PATH.encode(), "root_path": "", "query_string": b"", "client": ("192.0.2.1", 1), "server": ("test", 80)}
    await app({**scope, **more, "headers": [(b"content-type", b"application/json"), *named], "state": {}}, receive, send)
    return said["status"], said["headers"], json.loads(said["body"] or b"{}")


def whole(said):
    async def receive():
        return {"type": "http.request", "body": json.dumps(said).encode(), "more_body": False}

    return receive


@pytest.mark.parametrize("match", [{}, {"If-Match": "*"}])
@pytest.mark.parametrize("who", [MEMBER, {"X-Auth-Token": "bogus"}])
def test_a_body_that_drips_holds_up_nobody(app, match, who):
    async def story():
        async def never():
            await asyncio.Event().wait()

        slow = asyncio.create_task(ask(app, "PUT", who | match, never))
        await asyncio.sleep(0.05)
        for headers in (OTHER | {"X-Auth-Token": "p2:member,reader"}, MEMBER | {"If-Match": "*"}):
            status, *_ = await asyncio.wait_for(ask(app, "PUT", headers, whole({"mode": "advise"})), 5)
            assert status == 200
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)

    asyncio.run(story())


class Paced(FakeTokens):
    """Keystone, which answers about one token as late as a test wants."""

    def __init__(self):
        super().__init__()
        self.slow, self.entered, self.go_on = -1, threading.Event(), threading.Event()

    def ask(self, token):
        if token == SLOW["X-Auth-Token"]:
            self.slow -= 1
            if not self.slow:
                self.entered.set()
                assert self.go_on.wait(20)
        return super().ask(token)


SLOW = {"X-Auth-Token": "p1:reader,member"}


@pytest.fixture
def paced(tmp_path):
    tokens = Paced()
    program = build(settings(tmp_path), clock=lambda: T0, tokens=tokens)
    yield program.app, tokens
    program.store.close()


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_between_a_tag_that_fits_and_its_write_nobody_writes(paced, method):
    """Keystone is asked three times: for both looks at the tag, and for the write, which is held up here after both looks."""
    app, tokens = paced

    async def story():
        _, headers, _ = await ask(app, "GET", MEMBER, whole({}))
        tokens.slow = 3
        first = {"mode": "advise", "reason": "saw what there was"}
        careful = asyncio.create_task(ask(app, "PUT", SLOW | {"If-Match": headers[b"etag"].decode()}, whole(first)))
        assert await asyncio.to_thread(tokens.entered.wait, 20)
        blind = asyncio.create_task(ask(app, method, MEMBER, whole({"mode": "observe", "reason": "saw nothing"})))
        done, _ = await asyncio.wait({blind}, timeout=0.5)
        tokens.go_on.set()
        told = [(await asyncio.wait_for(task, 20))[0] for task in (careful, blind)]
        return bool(done), told, (await ask(app, "GET", MEMBER, whole({})))[2]

    early, statuses, left = asyncio.run(story())
    assert not early, "it waits for its turn"
    assert statuses == [200, 200 if method == "PUT" else 204]
    assert left["reason"] != "saw what there was", "the later write is the one that stays"


def test_whoever_writes_blindly_either_comes_first_and_is_seen_or_comes_last_and_stays(app):
    """Forty times two at once: a write that looked is done only on what it saw."""

    async def once(k):
        _, headers, _ = await ask(app, "GET", MEMBER, whole({}))
        careful, blind = await asyncio.gather(
            ask(app, "PUT", MEMBER | {"If-Match": headers[b"etag"].decode()}, whole({"mode": "advise", "reason": f"careful {k}"})),
            ask(app, "PUT", MEMBER, whole({"mode": "advise", "reason": f"blind {k}"})),
        )
        left = (await ask(app, "GET", MEMBER, whole({})))[2]["reason"]
        assert blind[0] == 200
        assert (careful[0], left) in {(200, f"blind {k}"), (412, f"blind {k}")}

    async def story():
        for k in range(40):
            await once(k)

    asyncio.run(story())


def test_a_write_that_is_refused_gives_its_turn_back(app):
    async def story():
        for body in ({"mode": "nonsense"}, {"mode": "advise"}):
            status = (await asyncio.wait_for(ask(app, "PUT", MEMBER, whole(body)), 10))[0]
        return status

    assert asyncio.run(story()) == 200


def test_a_body_in_parts_arrives_whole(app):
    async def story():
        parts = iter([b'{"mode": ', b'"advise"}'])

        async def receive():
            part = next(parts)
            return {"type": "http.request", "body": part, "more_body": not part.endswith(b"}")}

        return (await ask(app, "PUT", MEMBER | {"If-Match": "*"}, receive))[0]

    assert asyncio.run(story()) == 200

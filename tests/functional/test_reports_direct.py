"""The shorter way of agents' reports answers as the framework does: status, words and headers."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from foreshape_controller.errors import Forged, Unauthenticated, Unavailable
from foreshape_controller.main import Program, build
from foreshape_wire.codec import MAX_MESSAGE_BYTES, WireError
from store_support import T0, settings

pytestmark = pytest.mark.functional

BEARER = [(b"authorization", b"Bearer mine")]


@dataclass
class Door:
    """Stands where another process takes reports: answers as told."""

    outcome: Callable[[bytes], bytes] = lambda _data: b'{"accepted":[1]}'
    known: bool = True
    open: bool = True
    taken: list[bytes] = field(default_factory=list)

    async def knows(self, token: str) -> bool:
        return self.known and token == "mine"

    @contextmanager
    def room(self, token: str, size: int) -> Iterator[None]:
        yield

    async def accept(self, token: str, data: bytes, now: float) -> bytes:
        self.taken.append(data)
        return self.outcome(data)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    made = build(settings(tmp_path), lambda: T0)
    yield made
    made.store.close()


def put(program: Program, door: Door) -> None:
    """Both ways have this door now."""
    object.__setattr__(program.app.state.services, "door", door)


def raising(e: Exception) -> Callable[[bytes], bytes]:
    def outcome(_data: bytes) -> bytes:
        raise e

    return outcome


@dataclass(frozen=True)
class Asked:
    """A request, its body in parts; ``None`` among them: the sender goes away."""

    parts: tuple[bytes | None, ...] = (b"{}",)
    headers: tuple[tuple[bytes, bytes], ...] = tuple(BEARER)
    scheme: str = "http"


def answer(app: Any, asked: Asked) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body."""
    waiting, sent = list(asked.parts), list[Any]()

    async def receive() -> Any:
        part = waiting.pop(0) if waiting else None
        return {"type": "http.disconnect"} if part is None else {"type": "http.request", "body": part, "more_body": bool(waiting)}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/reports",
        "raw_path": b"/v1/reports",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"controller"), (b"content-type", b"application/json"), *asked.headers],
        "scheme": asked.scheme,
        "client": ("192.0.2.1", 4711),
        "server": ("controller", 80),
        "http_version": "1.1",
        "asgi": {"version": "3.0"},
        "extensions": {},
        "state": {},
    }
    asyncio.run(app(scope, receive, send))
    headers = {k.decode().lower(): v.decode() for k, v in sent[0]["headers"]}
    assert len(headers) == len(sent[0]["headers"]), "no header twice"
    return sent[0]["status"], headers, b"".join(m.get("body", b"") for m in sent[1:])


CASES = {
    "taken": (Door(), Asked()),
    "taken in parts, by TLS": (Door(), Asked((b"{", b"", b"}"), scheme="https")),
    "no token": (Door(), Asked(headers=())),
    "another kind of token": (Door(), Asked(headers=((b"authorization", b"Basic bWU6bWU="),))),
    "an unknown token": (Door(known=False), Asked()),
    "revoked meanwhile": (Door(raising(Unauthenticated("revoked"))), Asked()),
    "malformed": (Door(raising(WireError("$.host: a name is wanted"))), Asked()),
    "another version": (Door(raising(WireError("$.version is 7, this program speaks 1"))), Asked()),
    "another's host": (Door(raising(Forged("$.host is 'hv2'"))), Asked()),
    "not now": (Door(raising(Unavailable("send it again"))), Asked()),
    "too large": (Door(), Asked((b" " * (MAX_MESSAGE_BYTES // 2),) * 3)),
    "gone in the middle": (Door(), Asked((b"{", None))),
}


@pytest.mark.parametrize("case", CASES)
def test_the_shorter_way_answers_as_the_framework(program: Program, case: str) -> None:
    door, asked = CASES[case]
    put(program, door)
    door.taken.clear()
    one = answer(program.app, asked)
    short = list(door.taken)
    door.taken.clear()
    program.app.asgi_handler = program.app.asgi_handler._app
    assert answer(program.app, asked) == one
    assert door.taken == short
    assert (one[0] == 200) == case.startswith("taken")


def test_a_fault_of_ours_is_one_line_and_a_number(program: Program) -> None:
    put(program, Door(raising(RuntimeError("a secret"))))
    status, headers, body = answer(program.app, Asked())
    assert (status, headers["content-type"]) == (500, "application/problem+json")
    assert msgspec.json.decode(body)["code"] == "internal"
    assert b"secret" not in body


def test_reports_are_counted_on_the_shorter_way_too(program: Program) -> None:
    services = program.app.state.services
    for outcome in (Door().outcome, raising(Forged("not yours")), raising(Unavailable("later"))):
        put(program, Door(outcome))
        answer(program.app, Asked())
    assert dict(services.traffic.reports) == {"taken": 1, "refused": 1, "failed": 1}
    assert services.traffic.under_way == 0


def test_wrong_tokens_are_counted_by_address_and_then_refused(program: Program) -> None:
    put(program, Door(known=False))
    found = [answer(program.app, Asked())[0] for _ in range(program.settings.identity.failures_per_minute + 20)]
    assert set(found) == {401, 429}
    assert found[0] == 401
    assert found[-1] == 429


def test_a_door_that_is_closed_is_no_door(program: Program) -> None:
    door = Door(open=False)
    put(program, door)
    assert answer(program.app, Asked())[0] == 401  # the controller itself knows no such agent
    assert not door.taken

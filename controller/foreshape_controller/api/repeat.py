"""``Idempotency-Key`` on every POST: the same key with the same request is the same answer again, and the work is done once.

Between the guard, which says who asks, and the handler a key is claimed in the store; the answer is kept there before it is sent.
A claim whose process died, or whose answer could not be kept, has no answer: nobody knows how far it came, and whoever repeats it is
told so.
"""

import asyncio
import hashlib
from typing import Any

from litestar import Request, Response
from litestar.concurrency import sync_to_thread

from foreshape_controller.api.services import Services
from foreshape_controller.errors import Invalid, KeyReused, OutcomeUnknown, RequestUnderWay
from foreshape_controller.log import get_logger
from foreshape_controller.model.caller import Caller
from foreshape_controller.store.replies import OWNER, Reply

_log = get_logger("repeat")

HEADER = "idempotency-key"
LONGEST = 255
WAIT_S, LOOK_EVERY_S = 10.0, 0.1
"""How long a repetition waits for the first one."""
BODY_MOST = 1024 * 1024
"""Larger answers are not kept: asking again does it again."""
KEPT = ("content-type", "location", "link", "etag")
SECRET = frozenset({"/v1/session", "/v1/agents/{host}/join", "/v1/webhooks"})
"""Routes whose answers hold secrets: those are not kept, and a repetition is a new request."""
CLAIM = "foreshape_claim"
"""Where a request's state names the key it has claimed."""


async def before(request: "Request[Any, Any, Any]") -> "Response[bytes] | None":
    """Claim the key. Answers what was answered before. Raises Invalid, KeyReused, RequestUnderWay, OutcomeUnknown."""
    said = request.headers.get(HEADER)
    caller: Caller | None = request.state.get("caller")
    if said is None or request.method != "POST" or caller is None or request.scope.get("path_template") in SECRET:
        return None
    services: Services = request.app.state.services
    if not (0 < len(said) <= LONGEST and said.isascii() and said.isprintable()):
        raise Invalid(f"Idempotency-Key: 1 to {LONGEST} printable ASCII characters are wanted")
    key = _key(caller, said)
    asked = _hash(request.method, request.url.path, request.url.query, await request.body())
    known = await sync_to_thread(services.store.replies.claim, key, asked, services.bus.epoch, services.clock())
    if known is None:
        request.scope["state"][CLAIM] = key
        return None
    return _again(await _answered(services, key, known, asked))


async def _answered(services: Services, key: str, known: Reply, asked: str) -> Reply:
    """Waits for whoever was first."""
    if known.asked != asked:
        raise KeyReused("this Idempotency-Key was used for another request: use a new key for a new request")
    until = asyncio.get_running_loop().time() + WAIT_S
    while known.status is None:
        if known.process != services.bus.epoch:
            raise OutcomeUnknown(
                "the controller was restarted meanwhile, or could not keep its answer: look whether it was done, then use another key"
            )
        if asyncio.get_running_loop().time() > until:
            raise RequestUnderWay("the same request is being worked on: ask again with the same key")
        await asyncio.sleep(LOOK_EVERY_S)
        newer = await sync_to_thread(services.store.replies.get, key)
        if newer is None:
            raise RequestUnderWay("the same request failed meanwhile: ask again with the same key")
        known = newer
    return known


def _key(caller: Caller, said: str) -> str:
    """Hexadecimal; it begins with whose it is, so that the store can bound what one project keeps there."""
    owner = _hash(caller.project or f"user {caller.user}", str(caller.local))
    return owner[:OWNER] + _hash(caller.user, caller.project, str(caller.local), said)[OWNER:]


def _again(reply: Reply) -> "Response[bytes]":
    headers = {k: v for k, v in reply.headers.items() if k != "content-type"} | {"Idempotent-Replayed": "true"}
    return Response(reply.body, status_code=reply.status or 200, headers=headers, media_type=reply.headers.get("content-type", ""))


def keeping(services: Services, scope: Any, send: Any) -> Any:
    """A ``send`` that keeps the answer of a claimed request before it passes it on."""
    held: list[Any] = []

    async def sent(message: Any) -> None:
        key = (scope.get("state") or {}).get(CLAIM)
        if key is None:
            await send(message)
            return
        held.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            await sync_to_thread(_kept, services, key, held)
            for one in held:
                await send(one)

    return sent


def _kept(services: Services, key: str, messages: list[Any]) -> None:
    """What was done is answered as it is, whether the store takes the answer or not: then whoever repeats it is told that nobody knows."""
    try:
        _keep(services, key, messages)
    except Exception as e:  # noqa: BLE001  whatever the store's fault is, the work is done
        services.store.replies.lose(key)
        _log.error("answer not kept", reason=f"{type(e).__name__}: {e}")


def _keep(services: Services, key: str, messages: list[Any]) -> None:
    start, body = messages[0], b"".join(m.get("body", b"") for m in messages[1:])
    if start["status"] >= 500 or len(body) > BODY_MOST:
        services.store.replies.drop(key)
        return
    headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in start["headers"]}
    services.store.replies.keep(key, start["status"], {k: v for k, v in headers.items() if k in KEPT}, body)


def _hash(*parts: str | bytes) -> str:
    made = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode("utf-8", "surrogateescape")
        made.update(len(data).to_bytes(8, "big") + data)
    return made.hexdigest()

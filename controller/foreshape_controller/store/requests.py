"""Customers' requests, the journal of their steps, the projects' clocks, webhooks, and what is to be told to them.

One transaction keeps a request's new state, its step, and a delivery for each of its project's webhooks: who dies after it finds all three.
"""

from collections.abc import Callable, Collection
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, delete, func, insert, select, update

from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.model.request import UNDO, Delivery, Request, RequestState, RequestStep, Webhook
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import request_clocks, request_steps, requests, webhook_deliveries, webhooks
from foreshape_controller.store.telling import tell
from foreshape_wire.ids import new_id

HOOKS_MOST = 10
"""Of one project."""
WAITING_MOST = 1000
"""Deliveries of one webhook that wait; what comes beyond is given up at once, and said."""

_json = msgspec.json.Encoder()
_request = msgspec.json.Decoder(Request)
_hook = msgspec.json.Decoder(Webhook)
_delivery = msgspec.json.Decoder(Delivery)

Make = Callable[[float], tuple[Request, float]]
"""A request, and its project's clock afterwards, from the clock as it is."""


class Requests:
    """Methods are transactions of their own, safe from any thread."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._clock = db.upsert(request_clocks, ["project"])

    # -- requests

    def clock(self, project: str) -> float:
        """How far the project's clock is; 0: it never asked."""
        with self._db.read() as conn:
            return _clock(conn, project)

    def add(self, project: str, make: Make, most: int, now: float) -> Request:
        """Keep a new one. Raises Invalid where its project has too many that are open, or one of the same name."""
        with self._db.write() as conn:
            mine = [_request.decode(r) for r in conn.execute(_open(project)).scalars()]
            if len(mine) >= most:
                raise Invalid(f"project {project} has {len(mine)} open requests; at most {most} may be: wait, or cancel one")
            made, clock = make(_clock(conn, project))
            same = next((r.id for r in mine if made.ask.name and r.ask.name == made.ask.name), "")
            if same:
                raise Invalid(f"name: request {same} of this project is called {made.ask.name!r} and is open: was this sent twice?")
            conn.execute(insert(requests), _row(made))
            self._clock.run(conn, [(project, clock)])
            _note(conn, made, now)
            return made

    def change(self, wanted: str, by: Callable[[Request], Request], now: float) -> Request:
        """Change one as a function of what is there now; a change of state is journalled and told. ``by`` may raise. NotFound."""
        with self._db.write() as conn:
            before = _locked(conn, wanted)
            after = by(before)
            if after != before:
                conn.execute(update(requests).where(requests.c.id == wanted).values(**_row(after)))
            if (after.state, after.amended) != (before.state, before.amended):
                _note(conn, after, now)
        return after

    def find(self, wanted: str, project: str | None = None) -> Request:
        """By id; ``project``: another's is not there. Raises NotFound."""
        query = select(requests.c.data).where(requests.c.id == wanted)
        query = query if project is None else query.where(requests.c.project == project)
        with self._db.read() as conn:
            data = conn.execute(query).scalar_one_or_none()
        if data is None:
            raise NotFound(f"there is no request {wanted[:80]!r}: see 'foreshape request list'")
        return _request.decode(data)

    def open(self, project: str | None = None) -> tuple[Request, ...]:
        """Those that are not over, in the order of the queue."""
        return self._decoded(_open(project))

    def over(self, project: str | None = None, limit: int = 200) -> tuple[Request, ...]:
        """The newest first."""
        query = select(requests.c.data).where(requests.c.open.is_(False)).order_by(requests.c.changed.desc(), requests.c.id).limit(limit)
        return self._decoded(query if project is None else query.where(requests.c.project == project))

    def since(self, at: float, state: RequestState) -> tuple[Request, ...]:
        """Those that came into a state since then."""
        return self._decoded(select(requests.c.data).where(requests.c.state == state.value, requests.c.changed >= at))

    def _decoded(self, query: Select[Any]) -> tuple[Request, ...]:
        with self._db.read() as conn:
            return tuple(map(_request.decode, conn.execute(query).scalars()))

    def steps(self, wanted: str, limit: int = 50) -> tuple[RequestStep, ...]:
        """The journal of one, the newest first."""
        query = select(request_steps).where(request_steps.c.request == wanted).order_by(request_steps.c.id.desc()).limit(limit)
        with self._db.read() as conn:
            rows = conn.execute(query).all()
        return tuple(RequestStep(**{k: v for k, v in r._mapping.items() if k != "id"}) for r in rows)

    def tidy(self, before: float) -> None:
        """Forget what was over long ago, its journal, and what was told of it."""
        old = select(requests.c.id).where(requests.c.open.is_(False), requests.c.changed < before)
        with self._db.write() as conn:
            conn.execute(delete(request_steps).where(request_steps.c.request.in_(old)))
            conn.execute(delete(webhook_deliveries).where(webhook_deliveries.c.created < before))
            conn.execute(delete(requests).where(requests.c.open.is_(False), requests.c.changed < before))

    # -- webhooks

    def hook(self, made: Webhook) -> None:
        """Keep one. Raises Invalid where its project has too many."""
        with self._db.write() as conn:
            there = conn.execute(select(func.count()).select_from(webhooks).where(webhooks.c.project == made.project)).scalar() or 0
            if there >= HOOKS_MOST:
                raise Invalid(f"project {made.project} has {there} webhooks; at most {HOOKS_MOST} may be: delete one")
            conn.execute(insert(webhooks), {"id": made.id, "project": made.project, "data": _json.encode(made)})

    def hooks(self, project: str | None = None) -> tuple[Webhook, ...]:
        query = select(webhooks.c.data).order_by(webhooks.c.project, webhooks.c.id)
        query = query if project is None else query.where(webhooks.c.project == project)
        with self._db.read() as conn:
            return tuple(map(_hook.decode, conn.execute(query).scalars()))

    def find_hook(self, wanted: str, project: str | None = None) -> Webhook:
        """Raises NotFound; another project's is not there."""
        found = next((h for h in self.hooks(project) if h.id == wanted), None)
        if found is None:
            raise NotFound(f"there is no webhook {wanted[:80]!r}: see 'foreshape webhook list'")
        return found

    def unhook(self, wanted: str) -> None:
        """Forget one, and what it was to be told."""
        with self._db.write() as conn:
            conn.execute(delete(webhook_deliveries).where(webhook_deliveries.c.hook == wanted))
            conn.execute(delete(webhooks).where(webhooks.c.id == wanted))

    def due(self, now: float, limit: int, each: int | None = None, but: Collection[str] = ()) -> tuple[Delivery, ...]:
        """What is to be told now, one of each project in turn, the oldest first. ``each``: of one webhook at most; ``but``: of others."""
        d = webhook_deliveries.c
        oldest = d.next_try, d.id
        of_hook = func.row_number().over(partition_by=d.hook, order_by=oldest)
        waiting = (
            select(d.id, d.next_try, d.data, d.hook, webhooks.c.project, of_hook.label("of_hook"))
            .outerjoin(webhooks, webhooks.c.id == d.hook)
            .where(d.state == "waiting", d.next_try <= now, d.hook.not_in(but))
            .subquery()
        )
        w = waiting.c
        turn = func.row_number().over(partition_by=w.project, order_by=(w.of_hook, w.next_try, w.id))
        query = select(w.data).where(w.of_hook <= (each or limit)).order_by(turn, w.next_try, w.id).limit(limit)
        with self._db.read() as conn:
            return tuple(map(_delivery.decode, conn.execute(query).scalars()))

    def told(self, delivery: Delivery) -> None:
        """Keep how a try ended; one whose webhook was deleted meanwhile is gone."""
        row = _delivery_row(delivery)
        with self._db.write() as conn:
            conn.execute(update(webhook_deliveries).where(webhook_deliveries.c.id == delivery.id).values(**row))

    def deliveries(self, hook: str, limit: int = 50) -> tuple[Delivery, ...]:
        """The newest first."""
        d = webhook_deliveries.c
        query = select(d.data).where(d.hook == hook).order_by(d.created.desc(), d.id).limit(limit)
        with self._db.read() as conn:
            return tuple(map(_delivery.decode, conn.execute(query).scalars()))


def event_of(request: Request) -> str:
    """The name under which its state is told."""
    return f"request_{request.state.value}"


def body_of(request: Request) -> dict[str, Any]:
    """What its owner is told: nothing of hosts."""
    placed = request.state.promised
    return {
        "id": request.id,
        "name": request.ask.name,
        "project": request.project,
        "state": request.state.value,
        "start": request.start if placed else None,
        "end": request.end if placed else None,
        "take_by": request.take_by if request.state is RequestState.STARTED else None,
        "count": request.ask.count,
        "said": request.said,
    }


def _open(project: str | None) -> Select[Any]:
    query = select(requests.c.data).where(requests.c.open.is_(True)).order_by(requests.c.tag, requests.c.id)
    return query if project is None else query.where(requests.c.project == project)


def _clock(conn: Connection, project: str) -> float:
    return float(conn.execute(select(request_clocks.c.at).where(request_clocks.c.project == project)).scalar() or 0.0)


def _locked(conn: Connection, wanted: str) -> Request:
    """Its record, for this transaction alone. Raises NotFound."""
    data = conn.execute(select(requests.c.data).where(requests.c.id == wanted).with_for_update()).scalar_one_or_none()
    if data is None:
        raise NotFound(f"there is no request {wanted[:80]!r}: see 'foreshape request list'")
    return _request.decode(data)


def _row(r: Request) -> dict[str, Any]:
    return {
        "id": r.id,
        "project": r.project,
        "state": r.state.value,
        "open": not r.state.over,
        "tag": r.tag,
        "changed": r.changed,
        "data": _json.encode(r),
    }


def _note(conn: Connection, r: Request, now: float) -> None:
    """Its step, and what is to be told of it."""
    undo = UNDO.get(r.state, "")
    row = {"at": now, "request": r.id, "state": r.state.value, "said": r.said, "cause": r.cause, "undo": undo}
    conn.execute(insert(request_steps), row)
    hosts = [f"{p.host}: {p.count}" for p in r.placed]
    tell(conn, "request", r.project, {"event": event_of(r), "at": now, **body_of(r)}, {"hosts": hosts, "cause": r.cause})
    _to_hooks(conn, r, now)


def _to_hooks(conn: Connection, r: Request, now: float) -> None:
    hooks = conn.execute(select(webhooks.c.id).where(webhooks.c.project == r.project)).scalars().all()
    d = webhook_deliveries.c
    for hook in hooks:
        waiting = (
            conn.execute(select(func.count()).select_from(webhook_deliveries).where(d.hook == hook, d.state == "waiting")).scalar() or 0
        )
        ident = new_id("dlv")
        payload = _json.encode({"delivery": ident, "event": event_of(r), "at": now, "request": body_of(r)}).decode()
        full = waiting >= WAITING_MOST
        made = Delivery(
            id=ident,
            hook=hook,
            project=r.project,
            request=r.id,
            event=event_of(r),
            payload=payload,
            created=now,
            next_try=now,
            state="given_up" if full else "waiting",
            said=f"{waiting} deliveries wait for this webhook already" if full else "",
        )
        conn.execute(insert(webhook_deliveries), {"id": ident, **_delivery_row(made)})


def _delivery_row(d: Delivery) -> dict[str, Any]:
    return {"hook": d.hook, "created": d.created, "next_try": d.next_try, "state": d.state, "data": _json.encode(d)}

"""Telling webhooks: what waits is sent, tried again later and later, and given up at last; each try is kept with how it ended.

What is to be told was written with the change itself (``store/requests.py``), so it is told at least once, whoever dies when: a delivery
has an id of its own by which who receives it knows it again.
"""

import secrets
from collections import OrderedDict
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Protocol

import structlog
from msgspec.structs import replace

from foreshape_controller.errors import NotFound
from foreshape_controller.loops.hook_door import HookDoor, checked
from foreshape_controller.model.request import Delivery, Webhook
from foreshape_wire.ids import new_id

_log = structlog.get_logger("foreshape.webhooks")

EVERY_S = 5.0
BATCH = 40
SIDE_BY_SIDE = 8
EACH = 2
"""Of one webhook at a time."""
SILENT_MOST = 5000
"""Webhooks that gave no answer and are remembered; beyond them the one that was silent longest ago is asked as any other."""
TRIES = 12
FIRST_S, LONGEST_S = 10.0, 3600.0


class HookStore(Protocol):
    """``store/requests.py``, as far as it is needed here."""

    def due(self, now: float, limit: int, each: int | None = None, but: Collection[str] = ()) -> Sequence[Delivery]: ...
    def told(self, delivery: Delivery) -> None: ...
    def hook(self, made: Webhook) -> None: ...
    def find_hook(self, wanted: str, project: str | None = None) -> Webhook: ...


class _Silent:
    """Webhooks that gave no answer: nothing more is sent to them for a while, longer each time. In memory: a restart asks them again."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """How often in a row, and until when nothing is sent."""
        self._lock = Lock()

    def pausing(self, now: float) -> frozenset[str]:
        with self._lock:
            return frozenset(hook for hook, (_, until) in self._of.items() if until > now)

    def note(self, hook: str, answered: bool, now: float) -> None:
        with self._lock:
            times, until = self._of.pop(hook, (0, 0.0))
            if answered:
                return
            if until <= now:  # two at once are silent once
                times = min(times + 1, TRIES)
                until = now + wait(times)
            self._of[hook] = times, until
            if len(self._of) > SILENT_MOST:
                self._of.popitem(last=False)


class Webhooks:
    """``run_once`` by the clock; ``create`` for people."""

    def __init__(self, store: HookStore, door: HookDoor) -> None:
        self._store, self._door, self._silent = store, door, _Silent()

    def create(self, project: str, url: str, now: float) -> Webhook:
        """Raises Invalid."""
        checked(url, self._door.terms)
        made = Webhook(id=new_id("hook"), project=project, url=url, created=now, secret=secrets.token_urlsafe(32))
        self._store.hook(made)
        return made

    def run_once(self, now: float) -> int:
        """Tell what is due; how many were tried. Projects take turns, and a webhook that gives no answer pauses: it holds up few others."""
        due = self._store.due(now, BATCH, EACH, self._silent.pausing(now))
        if due:
            with ThreadPoolExecutor(min(SIDE_BY_SIDE, len(due)), thread_name_prefix="webhook") as pool:
                list(pool.map(lambda d: self._tell(d, now), due))
        return len(due)

    def _tell(self, delivery: Delivery, now: float) -> None:
        try:
            hook = self._store.find_hook(delivery.hook, delivery.project)
        except NotFound:
            return  # deleted meanwhile, and its deliveries with it
        told = self._door.post(hook.url, hook.secret, delivery.id, delivery.payload.encode(), now)
        self._silent.note(hook.id, told.status != 0, now)
        tries = delivery.tries + 1
        state = "taken" if told.taken else "given_up" if tries >= TRIES else "waiting"
        after = replace(delivery, tries=tries, state=state, status=told.status, said=told.said, next_try=now + wait(tries))
        self._store.told(after)
        if not told.taken:
            _log.info("webhook not told", hook=hook.id, delivery=delivery.id, tries=tries, state=state, reason=told.said)


def wait(tries: int) -> float:
    """Seconds until the next try: 10 s, doubled each time, an hour at most; twelve tries in three and a half hours."""
    return float(min(LONGEST_S, FIRST_S * 2.0 ** (tries - 1)))

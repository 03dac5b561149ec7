"""The process that makes forecasts of a large cloud: the controller's own parts, on the same database, asked through a pipe.

Begun by ``loops.away``: its job and then what is asked come on standard input, the answers go to standard output. It ends when its
input ends, in the middle of whatever it does, so that it never outlives the controller; signals are the controller's to answer.
"""

import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from foreshape_controller import log
from foreshape_controller.config import Settings
from foreshape_controller.decide.tiers import Tiers, check_tiers
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.forecast.folder import verify
from foreshape_controller.loops import piped
from foreshape_controller.loops.away import Ask, Job, Told
from foreshape_controller.loops.feedback import adapting, feedback_rule
from foreshape_controller.loops.foresight import Made
from foreshape_controller.loops.learn import marks_of
from foreshape_controller.loops.marking import Marking
from foreshape_controller.loops.office import InOffice
from foreshape_controller.loops.sight import Sight, sight
from foreshape_controller.model.server import Server
from foreshape_controller.model.tier import Tier
from foreshape_controller.store import Store
from foreshape_controller.store.models import Models

_log = log.get_logger("foresight")


class Collected:
    """Stands for the bus: what would be told goes with the answer."""

    def __init__(self) -> None:
        self._news: list[tuple[str, str, Any, Any]] = []

    def publish(self, kind: str, project: str, data: Mapping[str, Any], operators: Mapping[str, Any] | None = None) -> None:
        """As ``Bus.publish``."""
        self._news.append((kind, project, dict(data), dict(operators) if operators else None))

    def all(self) -> list[tuple[str, str, Any, Any]]:
        """Everything, and forget it."""
        found, self._news = self._news, []
        return found


class InForce:
    """The tiers that the controller keeps in force, as the store has them: read once before each run."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._adapt = store, adapting(store.tier_factors, feedback_rule(settings.feedback))
        self._tiers: Tiers | None = None

    def look(self) -> None:
        """Read what the controller has written since."""
        self._store.tier_factors.forget()
        kept = self._store.policies.newest()
        told = check_tiers(kept.text).tiers if kept else None
        self._tiers = self._adapt(told) if told else self._tiers

    def of(self, server: Server) -> Tier:
        """The tier of one server."""
        assert self._tiers is not None, "the controller writes its tiers down before it begins this process"
        return self._tiers.of(server)


class Looker:
    """Answers what is asked."""

    def __init__(self, job: Job) -> None:
        self._store = store = Store.beside(job.settings.store.url, job.beside)
        self._collected = collected = Collected()
        instead: Any = collected
        store.db.bus = store.bus = instead
        self._refreshed: tuple[Callable[[], object], ...] = ()
        self._sight = self._made(job)
        self._last: Made | None = None

    def answer(self, ask: Ask) -> Told:
        """Whatever happens becomes an answer."""
        try:
            for refresh in self._refreshed:
                refresh()
            made = WORK[ask.what](self, ask.now)
        except Exception as e:  # noqa: BLE001  the controller is told, and asks again; the log has everything
            _log.error("forecasts failed; the last ones hold", exc_info=e)
            return Told(None, self._collected.all(), f"{type(e).__name__}: {e}")
        return Told(made, self._collected.all())

    def forecast(self, now: float) -> Made:
        """What is new since it was told last."""
        self._sight.foresight.run_once(now, self._store.inventory.view(now))
        made, last = self._sight.foresight.made, self._last
        self._last = made
        return made if last is None else made.since(last)

    def measure(self, now: float) -> Made:
        """Events that are over; no forecast."""
        self._sight.aftermath.run_once(now)
        return Made()

    def _made(self, job: Job) -> Sight:
        """With the model in office, and forecasts archived for its marks, where the controller learns."""
        settings, learn = job.settings, job.settings.learn
        if not learn.enabled or settings.plan.forecast != "auto":
            return sight(self._store, settings, job.segments)
        office = InOffice(Models(Path(learn.models_dir), verify), recover=False)
        tiers = InForce(self._store, settings)
        self._refreshed = (office.refresh, tiers.look)
        marking = Marking(self._store, Baseline(), lambda: office.model, tiers, marks_of(learn))
        return sight(self._store, settings, job.segments, office.look, marking)


NICE = 5
"""A forecast may come a little later; who waits for an answer to a report or a question comes first."""

WORK = {"forecast": Looker.forecast, "measure": Looker.measure}


def main() -> int:
    """Until the input ends."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    asked, told = os.fdopen(0, "rb", closefd=False), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints, prints into the log
    job: Job = piped.get(asked)
    log.configure(job.settings.log.level, job.settings.log.format)
    asks: queue.SimpleQueue[Ask] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(asked, asks), daemon=True).start()
    looker = Looker(job)
    with suppress(OSError):  # a service that may not change priorities still looks ahead
        os.nice(NICE)
    try:
        while True:
            piped.put(told, looker.answer(asks.get()))
    except BrokenPipeError:
        return 1  # nobody is there any more


def _listen(asked: Any, asks: "queue.SimpleQueue[Ask]") -> None:
    try:
        while True:
            asks.put(piped.get(asked))
    except (EOFError, OSError):
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())

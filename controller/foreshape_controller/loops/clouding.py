"""The cloud as it was read last: one reading for everybody who decides about it."""

from collections.abc import Callable, Sequence
from threading import Lock
from typing import TypeAlias

import structlog

from foreshape_controller.model.cloud import CloudView

_log = structlog.get_logger("foreshape.cloud")

Read: TypeAlias = Callable[[CloudView | None], CloudView]
"""Reads what changed since an earlier view, or everything."""

Then: TypeAlias = Callable[[CloudView, float], object]

CORE = ("hosts", "servers", "inventories", "usages")
"""Parts without which nothing may be booted or sold."""

PLACING = (*CORE, "groups", "aggregates", "traits", "migrations")
"""Parts without which no room may be taken and nobody moved: a forced order skips Nova's scheduler, so that server groups,
aggregates and traits that were not read would count for nobody, and neither would somebody else's migrations."""


class CloudWatch:
    """Reads by the clock; hands out the newest view, and says when it is no ground to act on."""

    def __init__(self, read: Read, *, full_every_s: float, stale_after_s: float, then: Then = lambda _view, _now: None) -> None:
        """``then`` is told of each reading, before anybody else can ask for it."""
        self._read, self._then = read, then
        self._full_every_s, self._stale_after_s = full_every_s, stale_after_s
        self._view: CloudView | None = None
        self._full_at = float("-inf")
        self._told: tuple[str, ...] = ()
        self._reading = Lock()

    def run_once(self, now: float) -> CloudView:
        """Read. What could not be read is in the view's ``problems``; a change of these is logged once."""
        with self._reading:
            full = self._view is None or now - self._full_at >= self._full_every_s
            view = self._read(None if full else self._view)
            if full and not view.missing:
                self._full_at = now
            self._then(view, now)
            self._view = view
            self._tell(view)
            return view

    def view(self) -> CloudView | None:
        """The newest reading, of whatever age; None: nothing was read yet."""
        return self._view

    def why_not(self, now: float, parts: Sequence[str] = CORE) -> str:
        """Why nothing may be reserved or ordered on the ground of these parts of the newest reading; empty: it may."""
        view = self._view
        if view is None:
            return "the cloud was not read yet"
        if abs(now - view.at) > self._stale_after_s:  # also one of a future that the clock was set back from
            return f"the cloud was last read {now - view.at:.0f} s ago"
        if not view.complete(*parts):
            return f"the cloud could not be read in full: {'; '.join(view.problems[:3])}"
        return ""

    def _tell(self, view: CloudView) -> None:
        if view.problems != self._told:
            self._told = view.problems
            if view.problems:
                _log.warning("cloud not read in full", problems=view.problems[:20], missing=sorted(view.missing))
            else:
                _log.info("cloud read", hosts=len(view.hosts), servers=len(view.servers))

"""Whether Foreshape may act in the cloud at a place now: the mode in force, and the guard's halts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from foreshape_controller.model.brakes import Halt
from foreshape_wire.order import Mode

BALANCER = "balancer"
"""Kind of the halt for a second balancer: it holds back migrations that nobody asked for (``decide/permit.py``), and nothing else."""

_asked: ContextVar[bool] = ContextVar("asked", default=False)


@contextmanager
def on_a_persons_word(asked: bool = True) -> Iterator[None]:
    """Inside, what is done was approved by a person: mode advise allows it. What is approved outside stays so."""
    token = _asked.set(asked or _asked.get())
    try:
        yield
    finally:
        _asked.reset(token)


def has_a_persons_word() -> bool:
    """Whether what is done now was approved by a person."""
    return _asked.get()


class _Modes(Protocol):
    def effective(self, host: str, project: str = "", server: str = "") -> Mode: ...


class _Halts(Protocol):
    def all(self) -> Sequence[Halt]: ...


class ActingStore(Protocol):
    """The part of the store that is needed here."""

    @property
    def modes(self) -> _Modes: ...

    @property
    def halts(self) -> _Halts: ...


class Acting:
    """Asked before each action, not once for a round: a stop counts at once."""

    def __init__(self, store: ActingStore) -> None:
        self._store = store

    def why_not(self, host: str, project: str = "", server: str = "") -> str:
        """Why nothing may be taken, ordered or booted there; empty: it may."""
        mode, asked = self._store.modes.effective(host, project, server), _asked.get()
        if mode is Mode.OBSERVE or (mode is Mode.ADVISE and not asked):
            return f"the mode there is {mode.value}, not act"
        scopes = {"cloud", f"host:{host}", f"server:{server}"}
        halts = (h for h in self._store.halts.all() if h.active and h.kind != BALANCER)
        halted = next((h for h in halts if h.scope in scopes), None)
        return f"{halted.scope} is halted: {halted.reason}" if halted else ""

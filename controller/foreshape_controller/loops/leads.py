"""Lead times in force: learned anew now and then, handed to every plan."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from foreshape_controller.decide.leads import Leads, leads_of, learn
from foreshape_controller.model.history import STEP_S
from foreshape_controller.model.pull import Pull
from foreshape_controller.model.server import ClusterView

LEARN_EVERY_S = 600.0


class PullStore(Protocol):
    """The part of the store that is needed."""

    def pulls(self, now: float) -> Sequence[Pull]: ...


class LeadTimes:
    """A source of the plan loop. Holds no truth: after a restart the first plan learns it again."""

    def __init__(self, store: PullStore, step_s: int = STEP_S) -> None:
        """``step_s``: width of history's bins."""
        self._store = store
        self._pace = step_s / STEP_S
        self._leads = Leads()
        self._learned_at = float("-inf")

    def __call__(self, view: ClusterView, now: float) -> Mapping[str, Mapping[str, float]]:
        """By resource and server, seconds from a decision until the guest has it."""
        if not 0 <= now - self._learned_at < LEARN_EVERY_S:  # a clock that was set back counts as long ago
            self._leads, self._learned_at = learn(self._store.pulls(now), self._pace), now
        return leads_of(view.servers, self._leads)

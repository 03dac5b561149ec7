"""What the HTTP edge works with; ``main.build`` puts it together."""

from collections.abc import Callable
from dataclasses import dataclass

from foreshape_controller.config import Settings
from foreshape_controller.decide.segments import BUILT_IN, Segments
from foreshape_controller.loops.cloudwork import CloudWork
from foreshape_controller.loops.guard import Guard
from foreshape_controller.loops.guarding import Guarding
from foreshape_controller.loops.intake import Intake
from foreshape_controller.loops.learn import Learn
from foreshape_controller.loops.policy import Policy
from foreshape_controller.store import Store


@dataclass(frozen=True)
class Services:
    """Handed to every handler."""

    settings: Settings
    store: Store
    intake: Intake
    admin_token: str
    clock: Callable[[], float]
    policy: Policy
    guarding: Guarding
    guard: Guard
    learn: Learn | None = None
    """None: ``[learn] enabled`` is false."""
    segments: Segments = BUILT_IN
    cloud: CloudWork | None = None
    """None: no OpenStack is configured; a route that needs one answers Invalid, saying so."""
    headroom_token: str = ""
    """By which Nova's scheduler asks for the hosts' headroom; empty: it may not."""

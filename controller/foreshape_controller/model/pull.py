"""Pulls of levers: what an order's outcome says about how long a guest waits for a size. Seconds."""

import msgspec

from foreshape_wire.reading import LeverName


class Pull(msgspec.Struct, frozen=True, kw_only=True):
    """One lever pulled once, by an order."""

    lever: LeverName
    host: str
    grew: bool
    """The target was above what it had before."""
    applied: bool
    took_s: float
    """What the lever itself needed."""
    waited_s: float
    """From the order to its proof in the guest: the way to the agent, other orders before it, further tries."""
    at: float

"""Room above the forecast for each server, learnt online (domain.md §3): s ← clamp(s + η·(violated − target), low, high).

The size rule wants q50 + s·(q_tier − q50) of the half-hour's peak. A server whose peaks exceed that more often than agreed gets
a larger s, one whose peaks never do a smaller one. While s is inside its bounds the share of violations over T half-hours differs
from the target by |s_T − s_0| / (η·T) exactly (adaptive conformal inference): nothing has to be assumed of the demand.
Study: with η 0.5 and a target of 2 % it needs 21.8 % instead of 23.6 % of the CPU sold at 0.5 % violations, and no active VM
is left above 2 %. For memory it did not help, so that memory's may only widen unless the rule says otherwise.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from foreshape_controller.decide.peak import at_quantile
from foreshape_controller.model.forecast import LEVELS
from foreshape_controller.model.history import Floats

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class HeadroomRule:
    """How the factor moves. The bounds hold whatever happens."""

    rate: float = 0.5
    """η: a violation adds nearly this much, a half-hour without one takes η·target away."""
    target: float = 0.02
    """Share of half-hours that may exceed what was wanted; never more than the tier's quantile leaves open."""
    low: float = 0.5
    high: float = 3.0
    memory_narrows: bool = False

    def of(self, resource: str) -> "HeadroomRule":
        """The rule for one resource: memory never below the tier's own quantile, unless it may narrow."""
        widen_only = resource == "memory" and not self.memory_narrows
        return replace(self, low=max(self.low, 1.0)) if widen_only else self


@dataclass(frozen=True, eq=False)
class Window:
    """One half-hour that is over, for n servers. All [n]; cores or MiB; a peak that was not measured is NaN."""

    wanted: Floats
    """What the size rule asked for before it, the factor then included."""
    peak: Floats
    """The largest maximum measured in it."""
    censored: Flags
    """Some of it ran into its cap: the demand is not known."""
    odd: Flags
    """An anomaly lasted in it, or an event that the forecast knew: nothing is learnt of these."""


def wanted(peaks: Floats, quantiles: Floats, factors: Floats) -> Floats:
    """[n] what the size rule asks for: ``peaks`` [n, 13] of the next half-hour, each server's tier quantile and factor [n]."""
    median = peaks[:, LEVELS.index(0.5)]
    asked: Floats = (median + factors * (at_quantile(peaks, quantiles) - median)).astype(np.float32)
    return asked


def adapt(factors: Floats, window: Window, quantiles: Floats, rule: HeadroomRule) -> Floats:
    """[n] the factors after one half-hour; those without a usable measurement stay as they are, inside the bounds."""
    known = np.isfinite(window.peak) & np.isfinite(window.wanted) & ~window.censored & ~window.odd
    target = np.minimum(rule.target, 1.0 - quantiles)
    moved = factors + rule.rate * ((window.peak > window.wanted) - target)
    kept: Floats = np.clip(np.where(known, moved, factors), rule.low, rule.high).astype(np.float32)
    return kept

"""What size one resource of one server should have (domain.md §4). Every rule that was asked stands in the result as a gate.

    target = clamp(granule_up(q50 + s·(q_tier − q50) of the window peak), floor, ceiling)

Growth happens at once. A shrink needs all of: a tier that allows it, history, uncensored and trusted data, low use seen and
predicted for the hold time; it takes one step at most and leaves memory its working set and a margin.
"""

from dataclasses import dataclass, replace

import msgspec

from foreshape_controller.decide import reach
from foreshape_controller.model.forecast import NO_FORECAST
from foreshape_controller.model.plan import Choice, Gate, PeakRange, Sizing
from foreshape_controller.model.tier import ResourceRules, Tier
from foreshape_wire.reading import Capability

CONFIDENT = 0.5
"""Memory demand trusted less than this (resident set only) never shrinks a server."""

LEAST_MARGIN_MIB = 64.0
"""Room above the working set that the agent insists on (its ``memory_margin_mib``): to order less is to be refused each time."""


@dataclass(frozen=True)
class Seen:
    """What was measured of one resource lately. None: not measured."""

    window_peak: float | None = None
    """Largest maximum of the last half-hour: what a rule without forecasts would size by."""
    hold_peak: float | None = None
    """Largest 5-minute mean of the hold time."""
    hold_max: float | None = None
    """Largest maximum of the hold time: what a rule without forecasts would have wanted meanwhile."""
    latest: float | None = None
    """The newest sample's demand; for memory the working set."""
    censored: bool = False
    """Some of the last half-hour ran into its cap."""
    confidence: float = 1.0
    age_s: float = 0.0
    """Seconds of history."""
    overhead: float = 0.0
    """What must be there beside the demand: memory that the guest's kernel keeps for itself."""


@dataclass(frozen=True)
class Facts:
    """One resource of one server at one instant. Amounts in cores or MiB."""

    resource: str
    allocation: float
    entitlement: float
    ceiling: float
    granule: float
    levers: tuple[Capability, ...]
    """Usable ones."""
    peak: PeakRange | None
    seen: Seen
    held: float | None = None
    """Largest ``wanted`` of earlier plans within the hold time."""
    raised_floor: float = 0.0
    no_lever: str = ""
    """Why no lever is usable."""
    frozen: tuple[str, str] | None = None
    """Code and sentence of what forbids any change: stale data, safe mode, a migration."""

    @property
    def looked_ahead(self) -> bool:
        """Whether the peak is a forecast, and not only what was measured."""
        return self.peak is None or self.peak.source != NO_FORECAST


def size(facts: Facts, tier: Tier) -> Sizing:
    """Size one resource. The result also says what the same rules choose without a forecast."""
    chosen = _Case.of(facts, tier).choose()
    return msgspec.structs.replace(chosen, reactive_target=_reactive(facts, tier) if facts.looked_ahead else chosen.target)


def _reactive(facts: Facts, tier: Tier) -> float | None:
    """Target with measured maxima in place of forecasts: the last window's now, the hold time's for what was wanted before."""
    last = facts.seen.window_peak
    if last is None:
        return None
    seen = PeakRange(median=last, wanted=last, quantile=1.0, source=NO_FORECAST, reason="last half-hour's maximum", age_s=facts.seen.age_s)
    held = None if facts.seen.hold_max is None else facts.seen.hold_max + facts.seen.overhead
    return _Case.of(replace(facts, peak=seen, held=held), tier).choose().target


def bounds(facts: Facts, rules: ResourceRules) -> tuple[float, float]:
    """Floor and ceiling that hold for this server: promised, and reachable with the levers it has."""
    promised = max(rules.floor_share * facts.entitlement, min(rules.floor_least, facts.entitlement), facts.raised_floor)
    if not facts.levers:
        return min(promised, facts.ceiling), facts.ceiling
    ceiling = min(facts.ceiling, reach.highest(facts.levers))
    return min(max(promised, reach.lowest(facts.levers)), ceiling), ceiling


@dataclass(frozen=True)
class _Case:
    """One question to the rules, with the bounds worked out."""

    facts: Facts
    tier: Tier
    rules: ResourceRules
    floor: float
    ceiling: float
    gates: tuple[Gate, ...] = ()

    @classmethod
    def of(cls, facts: Facts, tier: Tier) -> "_Case":
        rules = tier.cpu if facts.resource == "cpu" else tier.memory
        floor, ceiling = bounds(facts, rules)
        return cls(facts, tier, rules, floor, ceiling)

    # -- the way through the rules ------------------------------------------------------------------------------

    def choose(self) -> Sizing:
        """The table of contents: may anything change, what is wanted, which way, under which rules."""
        stop = self._stop()
        if stop:
            return self._hold(*stop)
        case = self._asked("lever", True, ", ".join(c.lever.value for c in self.facts.levers))
        goal = case.fit(case.wanted)
        if goal > self.facts.allocation:
            return case._grow(goal)
        if goal < self.facts.allocation:
            return case._shrink(goal)
        if case.wanted > case.ceiling:
            return case._hold("at_ceiling", f"wants {self._say(case.wanted)}, and {self._say(goal)} is the most it can have")
        return case._hold("at_target", f"{self._say(goal)} is what it should have")

    def _stop(self) -> tuple[str, str] | None:
        """Code and sentence of what forbids any change."""
        if self.facts.frozen:
            return self.facts.frozen
        if not self.facts.levers:
            return "no_lever", f"no usable lever: {self.facts.no_lever or 'none was reported'}"
        if self.facts.peak is None:
            return "no_forecast", "no forecast for this server yet"
        return None

    @property
    def wanted(self) -> float:
        """The predicted peak and what must be there beside it, but never less than the working set and its margin."""
        peak = self.facts.peak.wanted + self.facts.seen.overhead if self.facts.peak else self.facts.allocation
        return max(peak, self._working_set())

    @property
    def used(self) -> float:
        """The largest that was used in the hold time, and what must be there beside it."""
        return (self.facts.seen.hold_peak or 0.0) + self.facts.seen.overhead

    def fit(self, amount: float) -> float:
        """Rounded up to what a lever can do, then clamped."""
        reachable = reach.at_least(self.facts.levers, amount, self.facts.granule)
        return min(self.ceiling, max(self.floor, reachable))

    # -- growth -------------------------------------------------------------------------------------------------

    def _grow(self, goal: float) -> Sizing:
        have = self.facts.allocation
        needed = goal - have >= self.tier.dead_band * have or self.facts.seen.censored or have < self.floor
        case = self._asked("dead_band", needed, f"{self._say(goal)} against {self._say(have)}, band {self.tier.dead_band:.0%}")
        if not needed:
            return case._hold("dead_band", f"{self._say(goal)} wanted: less than {self.tier.dead_band:.0%} away")
        case = case._asked("ceiling", self.wanted <= self.ceiling, f"wants {self._say(self.wanted)}, ceiling {self._say(self.ceiling)}")
        if have < self.floor and goal <= self.floor:
            return case._move(Choice.GROW, goal, "below_floor", f"its floor is {self._say(self.floor)}")
        peak = "predicted peak" if self.facts.looked_ahead else "last half-hour's peak"
        return case._move(Choice.GROW, goal, "peak_above", f"{peak} {self._say(self.wanted)} is above its {self._say(have)}")

    # -- shrinking ----------------------------------------------------------------------------------------------

    def _shrink(self, goal: float) -> Sizing:
        case, refused = self._permission()
        if refused:
            return case._hold(*refused)
        case, kept, why = case._kept(goal)
        have = self.facts.allocation
        if have - kept < self.tier.dead_band * have:
            return case._hold(*why)
        return case._step(kept)

    def _permission(self) -> "tuple[_Case, tuple[str, str] | None]":
        """Ask every condition of a shrink; the first that says no is the reason."""
        case, refused = self, None
        for name, passed, detail in self._conditions():
            case = case._asked(name, passed, detail)
            if not passed and refused is None:
                refused = (name, detail)
        return case, refused

    def _conditions(self) -> list[tuple[str, bool, str]]:
        seen, rules = self.facts.seen, self.rules
        trusted = self.facts.resource != "memory" or seen.confidence >= CONFIDENT
        return [
            ("tier_keeps", self.tier.may_shrink, f"tier {self.tier.name} {'may' if self.tier.may_shrink else 'is never to'} shrink"),
            ("young", seen.age_s >= rules.young_s, f"{seen.age_s / 3600:.1f} h of history, {rules.young_s / 3600:.1f} h needed"),
            (
                "unobserved",
                seen.hold_peak is not None,
                "use was measured lately" if seen.hold_peak is not None else "no use measured lately",
            ),
            (
                "censored",
                not seen.censored,
                "use ran into its cap: the demand may be higher" if seen.censored else "use stayed below its cap",
            ),
            ("low_confidence", trusted, f"confidence {seen.confidence:.2f}, memory needs {CONFIDENT}"),
        ]

    def _kept(self, goal: float) -> "tuple[_Case, float, tuple[str, str]]":
        """What must stay: the largest of the forecast, what was seen and what was wanted in the hold time. With the reason to hold."""
        hours = f"{self.rules.hold_s / 3600:.1f} h"
        seen, held = self.fit(self.used), self.fit(self.facts.held or 0.0)
        case = self._asked("observed_high", seen <= goal, f"largest use of the last {hours}: {self._say(self.used)}")
        case = case._asked(
            "hold_time", held <= goal, f"largest wanted in the last {hours}: {self._say(max(self.facts.held or 0.0, self.wanted))}"
        )
        kept = max(goal, seen, held)
        if self.facts.allocation - goal < self.tier.dead_band * self.facts.allocation:
            return case, kept, ("dead_band", f"{self._say(goal)} wanted: less than {self.tier.dead_band:.0%} away")
        if held >= seen:
            return case, kept, ("hold_time", f"{self._say(held)} was wanted within the last {hours}")
        return case, kept, ("observed_high", f"{self._say(seen)} was used within the last {hours}")

    def _step(self, kept: float) -> Sizing:
        """Down by at most one step; where one step is less than a granule, by one granule."""
        have, share = self.facts.allocation, self.rules.shrink_step_share
        one = self.fit(have * (1 - share))
        if one >= have:
            one = reach.at_most(self.facts.levers, have - self.facts.granule, self.facts.granule)
        target = max(kept, one)
        case = self._asked("step", target <= kept, f"one step takes at most {share:.0%} of {self._say(have)}")
        if target >= have:
            return case._hold("at_target", "no lever reaches anything smaller that is enough")
        stays = "predicted to stay" if self.facts.looked_ahead else "lately"
        why = f"use is {stays} below {self._say(self.wanted)} and was low for {self.rules.hold_s / 3600:.1f} h"
        return case._move(Choice.SHRINK, target, "peak_below", why)

    def _working_set(self) -> float:
        """Memory in use now and room above it; nothing for CPU, which can be given back in a moment."""
        if self.facts.resource != "memory" or self.facts.seen.latest is None:
            return 0.0
        return self.facts.seen.latest + max(LEAST_MARGIN_MIB, self.rules.margin_share * self.facts.seen.latest)

    # -- words --------------------------------------------------------------------------------------------------

    def _asked(self, name: str, passed: bool, detail: str) -> "_Case":
        return replace(self, gates=(*self.gates, Gate(name=name, passed=passed, detail=detail)))

    def _say(self, amount: float) -> str:
        return f"{amount:.2f} cores" if self.facts.resource == "cpu" else f"{amount:.0f} MiB"

    def _hold(self, code: str, reason: str) -> Sizing:
        case = self if any(g.name == code for g in self.gates) else self._asked(code, False, reason)
        return case._move(Choice.HOLD, self.facts.allocation, code, reason)

    def _move(self, choice: Choice, target: float, code: str, reason: str) -> Sizing:
        return Sizing(
            resource=self.facts.resource,
            choice=choice,
            allocation=self.facts.allocation,
            target=target,
            wanted=self.wanted,
            floor=self.floor,
            ceiling=self.ceiling,
            code=code,
            reason=reason,
            gates=self.gates,
            peak=self.facts.peak,
        )

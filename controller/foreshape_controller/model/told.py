"""A row of a plan put into words: the decision, its sizings, and every gate that was asked. Pure: columns in, sentences out.

Nothing is computed here. A stored plan is told with the same words as the one just made.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite

from foreshape_controller.model.cap import UNITS
from foreshape_controller.model.columns import CHOICES, GATES, HOLD, PlanTable, Sizes
from foreshape_controller.model.decision import Choice, Decision, Gate, PeakRange, Sizing
from foreshape_controller.model.forecast import NO_FORECAST
from foreshape_wire.ids import CauseId, HostName, ServerId
from foreshape_wire.order import Mode
from foreshape_wire.quantity import Cores, Memory, Size

CONFIDENT = 0.5
"""Memory demand trusted less than this (resident set only) never shrinks a server."""


def decision(table: PlanTable, row: int) -> Decision:
    """One server of a plan."""
    tier, host = table.tiers[row], table.hosts[row]
    cpu, memory = (sizing(sizes, row, tier, host) for sizes in (table.cpu, table.memory))
    return Decision(
        server=ServerId(table.servers[row]),
        host=HostName(host),
        cause=CauseId(table.causes[row]),
        at=table.at,
        tier=tier,
        mode=Mode(table.modes[row]),
        cpu=cpu,
        memory=memory,
        floor=Size(Cores(cpu.floor), Memory(memory.floor)),
        ceiling=Size(Cores(cpu.ceiling), Memory(memory.ceiling)),
    )


def sizing(sizes: Sizes, row: int, tier: str = "", host: str = "") -> Sizing:
    """One resource of one server."""
    r = _Row(sizes, row, tier, host)
    reactive = float(sizes.reactive[row])
    return Sizing(
        resource=sizes.resource,
        choice=Choice(CHOICES[sizes.choice[row]]),
        allocation=float(sizes.allocation[row]),
        target=float(sizes.target[row]),
        wanted=float(sizes.wanted[row]),
        floor=float(sizes.floor[row]),
        ceiling=float(sizes.ceiling[row]),
        code=r.code,
        reason=reason(r),
        gates=tuple(_gates(r)),
        peak=_peak(r),
        reactive_target=reactive if isfinite(reactive) else None,
    )


def amount(resource: str, value: float) -> str:
    """``1.50 cores``, ``2048 MiB``; of what can only be capped ``100 requests/s``, ``no limit``."""
    if resource in {"cpu", "memory"}:
        return f"{value:.2f} cores" if resource == "cpu" else f"{value:.0f} MiB"
    return f"{value:.0f} {UNITS[resource]}" if value else "no limit"


@dataclass(frozen=True)
class _Row:
    """One row, its numbers by name."""

    sizes: Sizes
    row: int
    tier: str
    host: str

    def __getitem__(self, name: str) -> float:
        """A column of the sizes or one of their inputs; NaN where a stored plan does not have it."""
        if name in self.sizes.inputs:
            return float(self.sizes.inputs[name][self.row])
        return float(getattr(self.sizes, name)[self.row]) if hasattr(self.sizes, name) else float("nan")

    @property
    def code(self) -> str:
        return self.sizes.codes[int(self.sizes.code[self.row])]

    def word(self, name: str) -> str:
        """The text that an input points at; empty where it points at none."""
        at, words = self[name], self.sizes.words.get(name, ())
        return words[int(at)] if isfinite(at) and 0 <= at < len(words) else ""

    def say(self, name: str) -> str:
        return amount(self.sizes.resource, self[name])

    def said(self, gate: int) -> bool | None:
        """What a gate said; None where it was not asked."""
        asked, passed = int(self.sizes.asked[self.row]) >> gate & 1, int(self.sizes.passed[self.row]) >> gate & 1
        return bool(passed) if asked else None

    @property
    def hours(self) -> str:
        """The hold time."""
        return f"{self['hold_s'] / 3600:.1f} h"

    @property
    def looked_ahead(self) -> bool:
        return self.word("peak_source") != NO_FORECAST


# -- why it was so decided --------------------------------------------------------------------------------------------


def reason(r: _Row) -> str:
    """The sentence of the reason code; a gate that refused speaks for itself; what nobody knows was said by whoever halted it."""
    if r.code in _REASONS:
        return _REASONS[r.code](r)
    return _DETAILS[r.code](r, False) if r.code in _DETAILS else r.word("stop")


def _at_target(r: _Row) -> str:
    stepped = r.said(GATES.index("step")) is not None
    return "no lever reaches anything smaller that is enough" if stepped else f"{r.say('goal')} is what it should have"


def _in_dead_band(r: _Row) -> str:
    return f"{r.say('goal')} wanted: less than {_band(r):.0%} away"


def _band(r: _Row) -> float:
    """The dead band of the way it would go; plans of older versions know one for both."""
    own = r["shrink_band"]
    return own if r["goal"] < r["allocation"] and isfinite(own) else r["dead_band"]


def _grown(r: _Row) -> str:
    below = r["allocation"] < r["floor"] and r["goal"] <= r["floor"]
    return _below_floor(r) if below else _peak_above(r)


def _below_floor(r: _Row) -> str:
    return f"its floor is {r.say('floor')}"


def _peak_above(r: _Row) -> str:
    if r["in_use"] >= r["wanted"] and r["in_use"] > r["peak_wanted"]:
        return f"{r.say('in_use')} in use, its margin included, is above its {r.say('allocation')}"
    peak = "predicted peak" if r.looked_ahead else "last half-hour's peak"
    return f"{peak} {r.say('wanted')} is above its {r.say('allocation')}"


def _peak_below(r: _Row) -> str:
    stays = "predicted to stay" if r.looked_ahead else "lately"
    return f"use is {stays} below {r.say('wanted')} and was low for {r.hours}"


def _capped(r: _Row) -> str:
    cap = _cap(r)
    if r["target"] < r["allocation"]:
        return cap
    return f"{cap}; less might take what is in use" if r["allocation"] > r["ceiling"] else f"wants {r.say('wanted')}, but is {cap}"


def _cap(r: _Row) -> str:
    until = datetime.fromtimestamp(r["cap_until"], UTC).strftime("%Y-%m-%d %H:%M UTC") if isfinite(r["cap_until"]) else "it is lifted"
    return f"capped at {r.say('cap')} until {until}: {r.word('cap_reason')}"


_REASONS: Mapping[str, Callable[[_Row], str]] = {
    "no_lever": lambda r: f"no usable lever: {r.word('no_lever') or 'none was reported'}",
    "no_forecast": lambda _: "no forecast for this server yet",
    "odd_data": lambda r: f"its numbers make no sense: {r.word('odd')}",
    "at_target": _at_target,
    "at_ceiling": lambda r: f"wants {r.say('wanted')}, and {r.say('goal')} is the most it can have",
    "dead_band": _in_dead_band,
    "below_floor": _below_floor,
    "peak_above": _peak_above,
    "peak_below": _peak_below,
    "forecast_missed": lambda r: f"{r.say('missed')} was held for a peak that was forecast, and {r.say('came')} came: taken back",
    "capped": _capped,
    "observed_high": lambda r: f"{r.say('seen_kept')} was used within the last {r.hours}",
    "hold_time": lambda r: f"{r.say('held_kept')} was wanted within the last {r.hours}",
    "host_full": lambda r: f"wants to grow, but {_fits(r)}",
    "host_short": lambda r: f"{_grown(r)}; only {_fits(r)}",
    "throttled": lambda r: f"{_share(r)}; what is above goes to {r.word('taker') or 'others'}",
    "host_risk": lambda r: f"{_grown(r)}, but {_risk(r)}: higher tiers come first",
}


def _fits(r: _Row) -> str:
    return f"{r['grant']:.2f} of {r['goal']:.2f} fit host {r.host}"


def _share(r: _Row) -> str:
    return f"host {r.host} is short, and its fair share is {r.say('share')}"


def _risk(r: _Row) -> str:
    return f"host {r.host} runs short with {r['host_risk_soon']:.1%} chance, {r['host_risk_most']:.1%} allowed"


# -- gates ------------------------------------------------------------------------------------------------------------


def _gates(r: _Row) -> Iterator[Gate]:
    """All that were asked; what holds a server without having been a question of its own (stale, no lever …) is the last."""
    own = r.sizes.choice[r.row] == HOLD
    for bit, name in enumerate(GATES):
        passed = r.said(bit)
        if passed is not None:
            own = own and name != r.code
            yield Gate(name=name, passed=passed, detail=_DETAILS[name](r, passed))
    if own:
        yield Gate(name=r.code, passed=False, detail=reason(r))


def _levers(r: _Row, _: bool) -> str:
    names, bits = r.sizes.words.get("levers", ()), int(r["levers"])
    return ", ".join(name for k, name in enumerate(names) if bits >> k & 1)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes"


_DETAILS: Mapping[str, Callable[[_Row, bool], str]] = {
    "lever": _levers,
    "capped": lambda r, _: _cap(r),
    "dead_band": lambda r, _: f"{r.say('goal')} against {r.say('allocation')}, band {_band(r):.0%}",
    "ceiling": lambda r, _: f"wants {r.say('wanted')}, ceiling {r.say('ceiling')}",
    "tier_keeps": lambda r, passed: f"tier {r.tier} {'may' if passed else 'is never to'} shrink",
    "young": lambda r, _: f"{r['age_s'] / 3600:.1f} h of history, {r['young_s'] / 3600:.1f} h needed",
    "unobserved": lambda _, passed: "use was measured lately" if passed else "too little of the hold time was measured",
    "censored": lambda _, passed: "use stayed below its cap" if passed else "use ran into its cap: the demand may be higher",
    "low_confidence": lambda r, _: f"confidence {r['confidence']:.2f}, memory needs {CONFIDENT}",
    "anomalous": lambda _, passed: "use follows its habits" if passed else "its use left its habits: nothing is taken from it meanwhile",
    "forecast_old": lambda r, _: f"the forecast is {_minutes(r['forecast_age_s'])} old, {_minutes(r['forecast_old_s'])} at most",
    "step_time": lambda r, _: (
        f"shrunk {_minutes(r['since_shrink_s'])} ago, {_minutes(r['step_s'])} between two steps"
        if isfinite(r["since_shrink_s"])
        else "not shrunk lately"
    ),
    "working_set": lambda r, passed: f"{r.say('in_use')} in use, its margin included, {'fits' if passed else 'must stay'}",
    "observed_high": lambda r, _: f"largest use of the last {r.hours}: {r.say('used')}",
    "hold_time": lambda r, _: f"largest wanted in the last {r.hours}: {r.say('held')}",
    "step": lambda r, _: f"one step takes at most {r['step_share']:.0%} of {r.say('allocation')}",
    "host_capacity": lambda r, _: _fits(r),
    "share": lambda r, _: _share(r),
    "host_risk": lambda r, _: _risk(r),
}


def _peak(r: _Row) -> PeakRange | None:
    """The forecast that the decision was made from; None where there was none."""
    median, wanted = r["peak_median"], r["peak_wanted"]
    if not (isfinite(median) and isfinite(wanted)) or r.code == "odd_data":
        return None
    return PeakRange(
        median=median,
        wanted=wanted,
        quantile=r["peak_quantile"],
        source=r.word("peak_source"),
        reason=r.word("peak_reason"),
        age_s=r["peak_age_s"],
        headroom=r["headroom"] if isfinite(r["headroom"]) else 1.0,
        half_hours=int(r["half_hours"]) if isfinite(r["half_hours"]) else 0,
    )

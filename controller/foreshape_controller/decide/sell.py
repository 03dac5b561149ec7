"""How much of a host may be sold again: its allocation ratio from the forecast of its own peak (domain.md §6). Pure.

With C what guests can really use (inventory total less reserved), D the host's demand at quantile q, u what is allocated (the same units
as C: a VCPU is taken for a core, a MEMORY_MB for a MiB) and f the share of C that demand may reach:

    each   = max(newcomer, D/u)                      demand that one more sold unit is expected to bring
    sold   = u + floor(max(0, f·C − D) / each)       so much may be sold in all
    ratio  = sold / C, at most the operator's bound, never below u/C nor what the host had before

Up: only after the day ahead allowed it at every look for ``hold_s``, by one step, to the least that any look allowed. Back: at once, as
far as the demand within the lead time asks, whatever the step; nobody loses anything by it, new servers only go elsewhere. What is unknown
for too long goes back. A ratio that others wrote is theirs.
"""

import math
from dataclasses import dataclass

import msgspec
import numpy as np

from foreshape_controller.decide.peak import WINDOW, at_quantile
from foreshape_controller.model.forecast import HALF_HOURS, NO_FORECAST, Forecast
from foreshape_controller.model.sale import GRAIN, MOVED, OVERWRITTEN, WATCHED, WRITING, Room, Sale, same

LEAST_CHANGE = 0.01
"""Less than this share of a ratio is not worth a write, not even back."""
LATE_S = 3600.0
"""So long after it was sent a write without an answer may still arrive: far longer than any proxy keeps a request."""


@dataclass(frozen=True)
class Terms:
    """The operator's bounds for one resource."""

    most: float
    """No ratio of ours is above it. Below is what the host had before: that is never undercut."""
    step: float = 0.25
    """Most that a ratio rises at once."""
    newcomer: float = 0.5
    """Demand that one more sold unit is taken to bring at least."""


@dataclass(frozen=True)
class SellRule:
    """What holds for both resources."""

    quantile: float = 0.99
    full: float = 0.9
    """Share of what guests can use that demand may reach."""
    lead_s: float = 6 * 3600.0
    """So long before a rise the ratio is moved back."""
    hold_s: float = 24 * 3600.0
    """So long must capacity have been free before it is sold."""
    dead_band: float = 0.05
    """A ratio rises only if that is more than this share of it."""
    history_s: float = 48 * 3600.0
    """No forecast of a host known for less is a ground to sell."""
    stale_s: float = 3600.0
    """A forecast that is older is none; what was sold by it is moved back."""


@dataclass(frozen=True)
class Outlook:
    """Demand of one host and resource at the rule's quantile: cores or MiB."""

    made: float
    soon: float
    """Within the lead time."""
    later: float
    """Within the day ahead, never less than ``soon``."""
    short_from: float
    """When it first exceeds a limit within the lead time; infinite: it does not."""


def outlook(forecast: Forecast | None, rule: SellRule, limit: float, now: float) -> Outlook | str:
    """Of a forecast of one row, or why it is no ground. ``limit``: what demand may reach."""
    why = _unusable(forecast, rule, now)
    if why or forecast is None:
        return why
    half_hour = WINDOW * forecast.step_s
    fans = np.concatenate([forecast.peak30m, forecast.half_hours[0, 1:], forecast.peak24h]).astype(np.float64)
    if not np.isfinite(fans).all():
        return "its forecast has no numbers"
    *half_hours, day = at_quantile(fans, np.full(len(fans), rule.quantile))
    each = np.array(half_hours)
    starts = forecast.origin + half_hour * np.arange(HALF_HOURS)
    near = starts < now + rule.lead_s
    over = starts[near & (each > limit)]
    soon = float(each[near].max(initial=0.0))
    return Outlook(float(forecast.origin), soon, max(float(each.max()), float(day)), float(over[0]) if over.size else math.inf)


def _unusable(forecast: Forecast | None, rule: SellRule, now: float) -> str:
    if forecast is None or not forecast.series:
        return "nobody forecasts its demand"
    if forecast.source[0] == NO_FORECAST:
        return "forecasts are switched off"
    if now - forecast.origin > rule.stale_s:
        return f"its forecast is {(now - forecast.origin) / 60:.0f} minutes old"
    age = float(forecast.age_s[0])
    if not age >= rule.history_s:
        return f"it has been measured for {max(0.0, age) / 3600 if math.isfinite(age) else 0:.0f} h only"
    return ""


# -- how much -----------------------------------------------------------------------------------------------------------


def at_least(ratio: float, room: Room) -> float:
    """The ratio in whole grains, raised as far as what is allocated needs by Placement's own arithmetic."""
    if room.physical <= 0:
        return room.ratio
    grains = max(math.floor(ratio / GRAIN + 1e-6), math.ceil(room.used / room.physical / GRAIN - 1e-6))
    while room.capacity(round(grains * GRAIN, 3)) < room.used:
        grains += 1
    return round(grains * GRAIN, 3)


def supported(room: Room, demand: float, newcomer: float, full: float) -> float:
    """The ratio that a demand leaves room for, before any bounds."""
    if room.physical <= 0:
        return room.ratio
    each = max(newcomer, demand / room.used if room.used > 0 else 0.0)
    more = math.floor(max(0.0, full * room.physical - demand) / each)
    return (room.used + more) / room.physical


def bounded(ratio: float, room: Room, terms: Terms, original: float) -> float:
    """Between what the host had before and the operator's bound, and never below what is allocated."""
    return at_least(min(max(ratio, original), max(terms.most, original)), room)


# -- what now -----------------------------------------------------------------------------------------------------------


def look(sale: Sale, room: Room, seen: Outlook | str, terms: Terms, rule: SellRule, now: float) -> Sale:
    """The sale with what it wants now: ``wanted`` is another ratio than ``room.ratio``, or NaN. Its state is not changed here."""
    fresh = msgspec.structs.replace(sale, used=room.used, physical=room.physical, looked_at=now, wanted=math.nan)
    if isinstance(seen, str):
        return _blind(fresh, room, seen, now)
    soon, later = (
        bounded(supported(room, demand, terms.newcomer, rule.full), room, terms, sale.original) for demand in (seen.soon, seen.later)
    )
    fresh = _shortage(fresh, room, seen, rule)
    if soon < room.ratio * (1 - LEAST_CHANGE):
        return _settled(fresh, soon, f"demand of {seen.soon:.1f} of {room.physical} is expected within {rule.lead_s / 3600:g} h")
    if later <= room.ratio * (1 + rule.dead_band):
        return _settled(fresh, math.nan, f"no more can be sold: {later:.3f} at most, by a demand of {seen.later:.1f} of {room.physical}")
    return _free(fresh, room, later, terms, rule, now)


def give_back(sale: Sale, room: Room, why: str, now: float) -> Sale:
    """Back to what was there before, as far as what is allocated meanwhile lets it."""
    target = sale.original if room.capacity(sale.original) >= room.used else at_least(sale.original, room)
    back = msgspec.structs.replace(sale, used=room.used, physical=room.physical, looked_at=now, short=0.0)
    rest = "" if same(target, sale.original) else f"; {room.used} are allocated: {sale.original:g} when these are gone"
    return _settled(back, math.nan if same(target, room.ratio) else target, why + rest)


def reread(sale: Sale, ratio: float) -> Sale:
    """The sale after the ratio in Placement was read: a write whose outcome nobody knew is settled, somebody else's is noticed."""
    if _arrives_late(sale, ratio):
        return arrived(sale, ratio)
    if sale.state == OVERWRITTEN or (sale.state == MOVED and same(ratio, sale.ratio)):
        return sale
    if sale.state == WATCHED:
        return sale if same(ratio, sale.ratio) else msgspec.structs.replace(sale, ratio=ratio, original=ratio, free_since=None)
    if sale.state == WRITING and _own(sale, ratio):
        late = math.nan if same(ratio, sale.target) else sale.target
        return msgspec.structs.replace(arrived(sale, ratio), late=late)
    said = _overwritten(sale, ratio)
    return msgspec.structs.replace(sale, state=OVERWRITTEN, ratio=ratio, target=math.nan, wanted=math.nan, reason=said)


def arrived(sale: Sale, ratio: float) -> Sale:
    """After a write: this is there now; if it is another ratio, waiting begins anew. At the original nothing of ours is left."""
    state = WATCHED if same(ratio, sale.original) else MOVED
    done = msgspec.structs.replace(sale, state=state, ratio=ratio, target=math.nan, wanted=math.nan, late=math.nan)
    return done if same(ratio, sale.ratio) else msgspec.structs.replace(done, free_since=None, could_be=math.inf)


def _arrives_late(sale: Sale, ratio: float) -> bool:
    """Whether this is our own write of before, and neither what was there originally nor somebody else's."""
    if sale.state == OVERWRITTEN or math.isnan(sale.late) or sale.looked_at - sale.changed_at > LATE_S or same(ratio, sale.ratio):
        return False
    return same(ratio, sale.late) or sale.late < ratio < sale.ratio


def _own(sale: Sale, ratio: float) -> bool:
    """Whether an interrupted write can have led there: not done, done, or done less far because more was allocated meanwhile."""
    low, high = sorted((sale.ratio, sale.target))
    return same(ratio, low) or same(ratio, high) or (sale.target < sale.ratio and low <= ratio <= high)


def _overwritten(sale: Sale, ratio: float) -> str:
    option = {"cpu": "cpu_allocation_ratio", "memory": "ram_allocation_ratio"}[sale.resource]
    ours = sale.target if sale.state == WRITING else sale.ratio
    return (
        f"somebody wrote {ratio:g} over our {ours:g}: most likely nova-compute of {sale.host}, because [DEFAULT] {option} is set in its"
        f" nova.conf. Unset it (initial_{option} is enough), or do not sell there; then: foreshape sell start {sale.host}"
    )


def _blind(sale: Sale, room: Room, why: str, now: float) -> Sale:
    """Nothing is sold on no ground; what was sold goes back, at once: the forecast's own age was the patience."""
    if sale.ours:
        return give_back(msgspec.structs.replace(sale, free_since=None, could_be=math.inf), room, f"moved back: {why}", now)
    return _settled(sale, math.nan, f"nothing is sold: {why}")


def _settled(sale: Sale, wanted: float, reason: str) -> Sale:
    """Not free, so that waiting begins anew."""
    return msgspec.structs.replace(sale, wanted=wanted, reason=reason, free_since=None, could_be=math.inf)


def _free(sale: Sale, room: Room, later: float, terms: Terms, rule: SellRule, now: float) -> Sale:
    """More could be sold; it is once that held for long enough."""
    since = now if sale.free_since is None else sale.free_since
    could_be = min(sale.could_be, later)
    waiting = msgspec.structs.replace(sale, free_since=since, could_be=could_be)
    if now - since < rule.hold_s:
        left = (rule.hold_s - (now - since)) / 3600
        return msgspec.structs.replace(waiting, reason=f"{could_be:.3f} could be sold; free for {left:.1f} h more before it is")
    target = at_least(min(could_be, room.ratio + terms.step), room)
    said = f"free for {(now - since) / 3600:.0f} h: {could_be:.3f} could be sold at every look, one step is {terms.step:g}"
    return msgspec.structs.replace(waiting, wanted=target, reason=said)


def _shortage(sale: Sale, room: Room, seen: Outlook, rule: SellRule) -> Sale:
    """What does not fit although no more is sold: only where we sold more than the host had, so that it is our doing."""
    over = seen.soon - rule.full * room.physical
    ours = room.used > room.capacity(sale.original) and over > 0 and math.isfinite(seen.short_from)
    return msgspec.structs.replace(sale, short=over if ours else 0.0, short_from=seen.short_from if ours else 0.0)

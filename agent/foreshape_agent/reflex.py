"""The local answer to pressure between two plans: give back at once, within the entitlement and any hard cap. Pure.

It only ever grows, so it is allowed in every mode for what Foreshape itself took (the caller knows what that is).
It acts on the sample that shows the pressure, and again with the next one while the pressure lasts.
"""

import msgspec

from foreshape_agent.config import Settings
from foreshape_wire.order import Guard
from foreshape_wire.quantity import Size
from foreshape_wire.sample import CpuSample, MemorySample, VmSample

LEAST_GROWTH = 1.05
"""An answer smaller than this would come again and again, and never be enough."""
WORTH_CORES, WORTH_MIB = 0.01, 1.0
"""Less than this is not worth an action."""


class Terms(msgspec.Struct, frozen=True):
    """How generous the answer is: the tier's word, where the controller said one."""

    growth: float
    """Under pressure the allocation is multiplied by this …"""
    headroom: float
    """… or the demand by this, whichever is more."""


def terms(guard: Guard | None, settings: Settings) -> Terms:
    """The guard's, and the agent's own where it has none."""
    growth = guard.reflex_growth if guard and guard.reflex_growth is not None else settings.reflex_growth
    headroom = guard.reflex_headroom if guard and guard.reflex_headroom is not None else settings.reflex_headroom
    return Terms(max(LEAST_GROWTH, growth), max(1.0, headroom))


class Give(msgspec.Struct, frozen=True):
    """Give back: one resource, up to ``target`` (cores or MiB)."""

    resource: str
    target: float
    code: str
    reason: str


def decide(sample: VmSample, before: VmSample | None, bound: Size, settings: Settings, guard: Guard | None = None) -> tuple[Give, ...]:
    """What to give back to one domain now; nothing where it has its bound (what was sold, under any hard cap) or shows no pressure."""
    earlier, tuned = None if before is None else before.memory, terms(guard, settings)
    gives = (
        None if sample.cpu is None else _cpu(sample.cpu, bound.cpu.cores, settings, tuned),
        None if sample.memory is None else _memory(sample.memory, earlier, bound.memory.mib, settings, tuned),
    )
    return tuple(g for g in gives if g is not None)


def _cpu(seen: CpuSample, bound: float, settings: Settings, tuned: Terms) -> Give | None:
    has = seen.allocation.cores
    if bound - has < WORTH_CORES:
        return None
    held = seen.throttled.cores > settings.pressure_throttled_share * has and seen.demand.cores > settings.pressure_busy_share * has
    if not seen.censored and not held:
        return None
    why = f"held back by its cap for {seen.throttled.cores:.2f} core" if held else "at its limit"
    target = _more(has, seen.demand.cores, bound, tuned)
    return Give("cpu", target, "cpu_starved", f"uses {seen.used.cores:.2f} of {has:.2f} cores, {why}")


def _memory(seen: MemorySample, before: MemorySample | None, bound: float, settings: Settings, tuned: Terms) -> Give | None:
    has = seen.allocation.mib
    if bound - has < WORTH_MIB:
        return None
    if storm := _storm(seen, before, settings):
        return Give("memory", bound, *storm)
    if why := _squeezed(seen, settings):
        return Give("memory", _more(has, seen.demand.mib, bound, tuned), "memory_pressure", why)
    return None


def _storm(seen: MemorySample, before: MemorySample | None, settings: Settings) -> tuple[str, str] | None:
    """Worst cases: all is given back. A guest in a storm often stops telling its numbers."""
    if seen.swap_in_kib_s >= settings.storm_swap_in_kib_s:
        return "swap_storm", f"swaps in {seen.swap_in_kib_s:.0f} KiB/s"
    if seen.usable is not None and seen.usable.mib < 0.02 * seen.allocation.mib:
        return "out_of_memory", f"only {seen.usable.mib:.0f} MiB usable"
    if before is not None and before.confidence >= settings.least_confidence > seen.confidence:
        return "guest_silent", "the guest stopped telling its memory numbers"
    return None


def _squeezed(seen: MemorySample, settings: Settings) -> str:
    """Why this is pressure; empty: it is none. Half the margin of a shrink is always left alone: no shrink leads into pressure."""
    if seen.swap_in_kib_s >= settings.pressure_swap_in_kib_s:
        return f"swaps in {seen.swap_in_kib_s:.0f} KiB/s"
    if seen.usable is None:
        return ""
    least = max(settings.pressure_usable_share * seen.allocation.mib, settings.memory_margin_mib / 2)
    if seen.usable.mib < least:
        return f"only {seen.usable.mib:.0f} of {seen.allocation.mib:.0f} MiB usable"
    if seen.major_faults_s >= settings.pressure_major_faults_s and seen.usable.mib < 2 * least:
        return f"{seen.major_faults_s:.0f} major faults/s with {seen.usable.mib:.0f} MiB usable"
    return ""


def _more(has: float, demand: float, bound: float, tuned: Terms) -> float:
    """More than now, enough for the demand, never above the bound."""
    return min(bound, max(has * tuned.growth, demand * tuned.headroom))

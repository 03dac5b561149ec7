"""The local answer to pressure between two plans: give back at once, within the entitlement. Pure.

It only ever grows, so it is allowed in every mode for what Foreshape itself took (the caller knows what that is).
It acts on the sample that shows the pressure, and again with the next one while the pressure lasts.
"""

import msgspec

from foreshape_agent.config import Settings
from foreshape_wire.quantity import Size
from foreshape_wire.sample import CpuSample, MemorySample, VmSample

WORTH_CORES, WORTH_MIB = 0.01, 1.0
"""Less than this is not worth an action."""


class Give(msgspec.Struct, frozen=True):
    """Give back: one resource, up to ``target`` (cores or MiB)."""

    resource: str
    target: float
    code: str
    reason: str


def decide(sample: VmSample, before: VmSample | None, entitlement: Size, settings: Settings) -> tuple[Give, ...]:
    """What to give back to one domain now; nothing where it has its entitlement or shows no pressure."""
    earlier = None if before is None else before.memory
    gives = (
        None if sample.cpu is None else _cpu(sample.cpu, entitlement.cpu.cores, settings),
        None if sample.memory is None else _memory(sample.memory, earlier, entitlement.memory.mib, settings),
    )
    return tuple(g for g in gives if g is not None)


def _cpu(seen: CpuSample, entitlement: float, settings: Settings) -> Give | None:
    has = seen.allocation.cores
    if entitlement - has < WORTH_CORES:
        return None
    held = seen.throttled.cores > settings.pressure_throttled_share * has and seen.demand.cores > settings.pressure_busy_share * has
    if not seen.censored and not held:
        return None
    why = f"held back by its cap for {seen.throttled.cores:.2f} core" if held else "at its limit"
    target = _more(has, seen.demand.cores, entitlement, settings)
    return Give("cpu", target, "cpu_starved", f"uses {seen.used.cores:.2f} of {has:.2f} cores, {why}")


def _memory(seen: MemorySample, before: MemorySample | None, entitlement: float, settings: Settings) -> Give | None:
    has = seen.allocation.mib
    if entitlement - has < WORTH_MIB:
        return None
    if storm := _storm(seen, before, settings):
        return Give("memory", entitlement, *storm)
    if why := _squeezed(seen, settings):
        return Give("memory", _more(has, seen.demand.mib, entitlement, settings), "memory_pressure", why)
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


def _more(has: float, demand: float, entitlement: float, settings: Settings) -> float:
    """More than now, enough for the demand, never above the entitlement."""
    return min(entitlement, max(has * settings.reflex_growth, demand * settings.reflex_headroom))

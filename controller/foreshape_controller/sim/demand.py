"""What simulated servers would use if nothing held them back: a pure function of (seed, server, time).

Recipe and shares: measured on real traces (strata 69/15/16 % idle/mid/busy; semi-Markov on and off, daily profile,
AR(1) noise, cron spikes on a fifth of the servers, a level shift about once a month). A day is drawn from a generator
seeded by (seed, server, day) and handed its end state by the day before, so the order of questions changes nothing.
Generated data shows that the product works; it proves no headline result.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Series = npt.NDArray[np.float32]

TICK_S = 30
"""Demand is constant within a tick: ten ticks make a 5-minute bin, so that a bin's maximum differs from its mean."""

TICKS_PER_DAY = 86400 // TICK_S
BIN_TICKS = 10
BINS = TICKS_PER_DAY // BIN_TICKS

STRATA = (("idle", 0.69), ("mid", 0.15), ("busy", 0.16))


class Wish(NamedTuple):
    """Unthrottled demand at one instant: cores, and the working set in MiB."""

    cpu: float
    memory: float


class Workload(Protocol):
    """What one server wants at any time."""

    def at(self, t: float) -> Wish:
        """Demand at an instant, seconds since the epoch. Pure."""


@dataclass(frozen=True)
class Character:
    """One server's habits; amounts as shares of ``cores`` and ``mib``."""

    cores: float
    mib: float
    cpu_base: float
    memory_base: float
    daily: float
    """Amplitude of the daily profile, 0..1."""
    peak_bin: int
    weekend: float
    """Factor on Saturdays and Sundays."""
    off_factor: float
    on_bins: float
    off_bins: float
    """Median dwell times on and off, in 5-minute bins."""
    ar: float
    """AR(1) coefficient between bins."""
    noise: float
    burst: float
    """Spread of the ticks inside a bin."""
    cron_ticks: int
    """Period of its cron job; 0 for none."""
    cron_height: float
    memory_of_load: float
    """Share of ``mib`` that full CPU load adds to the working set, slowly."""


@dataclass(frozen=True)
class _State:
    """What a day hands to the next."""

    on: bool = True
    dwell: int = 0
    ar: float = 0.0
    level: float = 1.0
    inertia: float = 0.1


class GeneratedWorkload:
    """A server drawn from the recipe. Days are made when first asked for, always in order."""

    def __init__(self, seed: int, number: int, character: Character, start: float) -> None:
        self._key = (seed, number)
        self._character = character
        self._first_day = int(start // 86400)
        self._days: list[tuple[Series, Series]] = []
        self._state = _State()

    def at(self, t: float) -> Wish:
        day, second = divmod(int(t), 86400)
        cpu, memory = self._day(max(0, day - self._first_day))
        tick = second // TICK_S
        return Wish(float(cpu[tick]), float(memory[tick]))

    def _day(self, number: int) -> tuple[Series, Series]:
        while len(self._days) <= number:
            rng = np.random.default_rng([*self._key, len(self._days)])
            weekend = (self._first_day + len(self._days) + 3) % 7 >= 5  # the epoch was a Thursday
            cpu, memory, self._state = draw_day(self._character, self._state, rng, weekend=weekend)
            self._days.append((cpu, memory))
        return self._days[number]


def draw_day(c: Character, state: _State, rng: np.random.Generator, *, weekend: bool) -> tuple[Series, Series, _State]:
    """CPU [2880] and memory [2880] of one day, and the state at its end."""
    if rng.random() < 1 / 30:
        state = replace(state, level=float(np.clip(state.level * rng.lognormal(0, 0.5), 0.5, 2.0)))
    switch, state = _on_off(c, state, rng)
    noise, state = _ar(c, state, rng)
    day = 1 + c.daily * np.cos(2 * np.pi * (np.arange(BINS) - c.peak_bin) / BINS)
    load = c.cpu_base * state.level * day * switch * np.exp(noise) * (c.weekend if weekend else 1.0)
    ticks = np.repeat(load, BIN_TICKS) * rng.lognormal(-(c.burst**2) / 2, c.burst, TICKS_PER_DAY)
    cpu = np.clip(ticks + _cron(c), 0.002, 1.0) * c.cores
    memory, state = _memory(c, state, np.clip(load, 0, 1), rng)
    return cpu.astype(np.float32), memory.astype(np.float32), state


def _on_off(c: Character, state: _State, rng: np.random.Generator) -> tuple[npt.NDArray[np.float64], _State]:
    """Factor per bin: 1 while on, ``off_factor`` while off; dwell times are log-normal."""
    factor = np.ones(BINS)
    on, dwell, at = state.on, state.dwell, 0
    while at < BINS:
        if dwell <= 0:
            on = not on
            dwell = 1 + int((c.on_bins if on else c.off_bins) * rng.lognormal(0, 0.6))
        take = min(dwell, BINS - at)
        factor[at : at + take] = 1.0 if on else c.off_factor
        at, dwell = at + take, dwell - take
    return factor, replace(state, on=on, dwell=dwell)


def _ar(c: Character, state: _State, rng: np.random.Generator) -> tuple[npt.NDArray[np.float64], _State]:
    shocks = rng.normal(0, c.noise * np.sqrt(1 - c.ar**2), BINS)
    out, x = np.empty(BINS), state.ar
    for i in range(BINS):
        x = c.ar * x + shocks[i]
        out[i] = x
    return out, replace(state, ar=float(x))


def _cron(c: Character) -> npt.NDArray[np.float64]:
    """Two minutes of extra load each period."""
    if not c.cron_ticks:
        return np.zeros(TICKS_PER_DAY)
    return np.where(np.arange(TICKS_PER_DAY) % c.cron_ticks < 4, c.cron_height, 0.0)


def _memory(c: Character, state: _State, load: npt.NDArray[np.float64], rng: np.random.Generator) -> tuple[Series, _State]:
    """The working set follows the load: up within minutes, down over hours (caches linger)."""
    out, x = np.empty(BINS), state.inertia
    for i in range(BINS):
        x += (0.30 if load[i] > x else 0.02) * (load[i] - x)
        out[i] = x
    share = (c.memory_base + c.memory_of_load * out) * rng.lognormal(0, 0.01, BINS)
    ticks = np.interp(np.arange(TICKS_PER_DAY) / BIN_TICKS, np.arange(BINS), share)
    return (np.clip(ticks, 0.03, 0.97) * c.mib).astype(np.float32), replace(state, inertia=float(x))


def strata(count: int, rng: np.random.Generator) -> list[str]:
    """A stratum for each of ``count`` servers in the measured shares, shuffled; each stratum at least once if there is room."""
    busy = max(1, round(count * STRATA[2][1])) if count > 2 else 0
    mid = max(1, round(count * STRATA[1][1])) if count > 2 else 0
    names = ["busy"] * busy + ["mid"] * mid + ["idle"] * (count - busy - mid)
    return [names[i] for i in rng.permutation(count)]


_BASE = {"idle": (0.008, 0.6, 0.025), "mid": (0.10, 0.4, 0.25), "busy": (0.33, 0.3, 0.70)}
"""CPU base per stratum: median share of the flavor, spread of its logarithm, largest."""


def draw_character(stratum: str, cores: float, mib: float, rng: np.random.Generator) -> Character:
    """A server of a stratum; ``cores`` and ``mib`` bound what it can ever want."""
    median, spread, most = _BASE[stratum]
    idle = stratum == "idle"
    cron = rng.random() < 0.2
    return Character(
        cores=cores,
        mib=mib,
        cpu_base=float(min(most, median * rng.lognormal(0, spread))),
        memory_base=float(rng.uniform(0.12, 0.30) if idle else rng.uniform(0.20, 0.45)),
        daily=float(rng.uniform(0.0, 0.3) if idle else rng.uniform(0.2, 0.8)),
        peak_bin=int(rng.normal(14 * 12, 24)) % BINS,
        weekend=float(rng.uniform(0.5, 1.0)),
        off_factor=float(rng.uniform(0.2, 0.5)),
        on_bins=float(rng.uniform(30, 90)),
        off_bins=float(rng.uniform(20, 70)),
        ar=float(rng.uniform(0.66, 0.95)),
        noise=float(rng.uniform(0.10, 0.30)),
        burst=float(rng.uniform(0.15, 0.45)),
        cron_ticks=int(rng.choice((30, 60, 120))) if cron else 0,
        cron_height=float(rng.uniform(0.10, 0.40)) * (0.2 if idle else 1.0) if cron else 0.0,
        memory_of_load=float(rng.uniform(0.2, 0.5)),
    )

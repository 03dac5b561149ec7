"""Histories of groups from those of their members, gathered batch by batch, so that no more than one batch is in memory.

The mean of a group is the sum of its members' means, as they were then: a member that has left counts until it left. The
maximum inside a bin is the sum of the means plus the root of the sum of squared (maximum − mean): members' bursts inside five
minutes are taken as independent. (Adding the maxima would say that all burst in the same second; a host's own maxima, where
they were measured, lie in between.)

A member without a bin either was switched off (its host was heard: it counts as nothing) or was not heard: then its last known
level stands in, so that a silent agent does not look like a drop. Where most members were not heard, the bin is a gap.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foreshape_controller.model.history import Floats, History

Flags = npt.NDArray[np.bool_]

MOST = 0.5
"""Share of the members that may go unheard before a bin is a gap."""


@dataclass(frozen=True, eq=False)
class Lives:
    """When n members were there, and when their hosts were heard. since, until: [n] epoch s (inf: still there)."""

    since: npt.NDArray[np.float64]
    until: npt.NDArray[np.float64]
    heard: Flags
    """[n, T] the member's host reported in this bin."""

    def alive(self, start: int, bins: int, step_s: int) -> Flags:
        """[n, T] bins in which each was there."""
        at = start + step_s * np.arange(bins, dtype=np.float64)
        return (at + step_s > self.since[:, None]) & (at < self.until[:, None])


@dataclass(frozen=True, eq=False)
class Filled:
    """n members without gaps: [n, T] each."""

    mean: Floats
    spread: Floats
    """Squared distance of the bin's maximum from its mean; nothing where it was not measured."""
    capped: Floats
    """Censored share × mean."""
    used: Floats | None
    heard: Flags
    """Measured, or known to be off."""
    missing: Flags


def filled(history: History, lives: Lives) -> Filled:
    """What each member adds to its groups in each bin."""
    known = np.isfinite(history.mean)
    alive = lives.alive(history.start, history.bins, history.step_s)
    missing = alive & ~known & ~lives.heard
    mean = np.where(known, history.mean, np.float32(0))
    rows = np.flatnonzero(missing.any(axis=1))
    mean[rows] = np.where(missing[rows], _last_known(history.mean[rows]), mean[rows])
    spread = np.where(known, (history.max - history.mean) ** 2, np.float32(0)).astype(np.float32)
    used = None if history.used is None else np.where(known, np.nan_to_num(history.used), mean).astype(np.float32)
    return Filled(mean, spread, np.nan_to_num(history.censored) * mean, used, (alive | known) & ~missing, missing)


def _last_known(values: Floats) -> Floats:
    """Each bin's newest known value up to then; 0 before the first."""
    known = np.isfinite(values)
    at = np.maximum.accumulate(np.where(known, np.arange(values.shape[1]), 0), axis=1)
    return np.nan_to_num(np.take_along_axis(values, at, 1))


class Totals:
    """Sums over members of many groups of one resource."""

    def __init__(self, resource: str, names: Sequence[str], span: tuple[int, int, int]) -> None:
        """``span``: start, bins, step."""
        self.resource = resource
        self.names = tuple(names)
        self._row = {name: i for i, name in enumerate(self.names)}
        self._start, self._bins, self._step = span
        shape = (len(self.names), self._bins)
        self._mean, self._spread, self._capped, self._heard, self._missing = (np.zeros(shape, np.float32) for _ in range(5))
        self._used = np.zeros(shape, np.float32)
        self._since = np.full(len(self.names), np.inf)
        self._sold = np.zeros(len(self.names), np.float64)

    def add(self, history: History, lives: Lives, groups: Mapping[str, Sequence[str]]) -> None:
        """Members of one batch, each to all its groups (by member: names of groups; others than this instance's are left out)."""
        pairs = [(self._row[g], i) for i, s in enumerate(history.series) for g in groups.get(s, ()) if g in self._row]
        if not pairs:
            return
        group, member = np.array(sorted(pairs), np.intp).T
        found, starts = np.unique(group, return_index=True)
        parts = filled(history, lives)

        def fold(into: Floats, values: npt.NDArray[np.generic]) -> None:
            into[found] += np.add.reduceat(values[member], starts, axis=0, dtype=np.float32)

        for into, values in (
            (self._mean, parts.mean),
            (self._spread, parts.spread),
            (self._capped, parts.capped),
            (self._heard, parts.heard),
            (self._missing, parts.missing),
        ):
            fold(into, values)
        if parts.used is not None:
            fold(self._used, parts.used)
        np.minimum.at(self._since, group, lives.since[member])
        np.add.at(self._sold, group, np.where(np.isinf(lives.until), np.nan_to_num(history.entitlement), 0)[member])

    def history(self) -> History:
        """The groups' histories. Entitlement: what the present members were sold; NaN where nothing was."""
        members = self._heard + self._missing
        began = self._start + self._step * (np.arange(self._bins) + 1) > self._since[:, None]
        gap = ~began | (self._missing > MOST * members)
        nothing = np.float32(np.nan)
        mean = np.where(gap, nothing, self._mean)
        return History(
            resource=self.resource,
            series=self.names,
            start=self._start,
            mean=mean,
            max=np.where(gap, nothing, self._mean + np.sqrt(self._spread)),
            coverage=np.where(gap, 0, self._heard / np.maximum(members, 1)).astype(np.float32),
            censored=np.where(gap, 0, self._capped / np.maximum(self._mean, np.float32(1e-9))).astype(np.float32),
            entitlement=np.where(self._sold > 0, self._sold, np.nan).astype(np.float32),
            first_seen=np.where(np.isfinite(self._since), self._since, float(self._start + self._bins * self._step)),
            step_s=self._step,
            used=np.where(gap, nothing, self._used),
        )


def with_overhead(total: History, measured: History) -> tuple[History, History]:
    """Histories of hosts: what their servers wanted and their own overhead; and the overhead alone.

    total: sums over the servers of each host. measured: the hosts' own series (cores busy, MiB in use), same rows and bins.
    Overhead = what the host used − what its servers used (CPU) or have (memory: a guest's page cache is not the host's own, so
    that this is the least the host needs for itself), never below 0. What servers used that have left since, or that nobody
    knows, is in it too: the host's total is right for the past whoever ran there.
    """
    assert total.used is not None
    over = np.maximum(measured.mean - np.where(np.isfinite(total.used), total.used, np.float32(0)), 0)
    known = np.isfinite(total.mean)
    add = np.where(np.isfinite(over), over, np.float32(0))
    # Before the first server of today came, the host had only itself and others.
    mean = np.where(known, total.mean + add, over)
    peak = np.where(known, total.max + add, over)
    since = np.minimum(total.first_seen, measured.first_seen)
    own = _of_host(measured, over, over, since)
    return _of_host(total, mean, peak, since, measured.entitlement), own


def _of_host(like: History, mean: Floats, peak: Floats, since: npt.NDArray[np.float64], has: Floats | None = None) -> History:
    return History(
        resource=like.resource,
        series=like.series,
        start=like.start,
        mean=mean.astype(np.float32),
        max=peak.astype(np.float32),
        coverage=np.where(np.isfinite(mean), like.coverage, 0).astype(np.float32),
        censored=like.censored if has is not None else np.zeros_like(mean, np.float32),
        entitlement=like.entitlement if has is None else has,
        first_seen=since,
        step_s=like.step_s,
    )


def counts(names: Sequence[str], lives: Mapping[str, Sequence[tuple[float, float]]], span: tuple[int, int, int]) -> History:
    """How many servers each group had over time: growth and churn. ``lives``: by group, when each member came and left (inf)."""
    start, bins, step_s = span
    change = np.zeros((len(names), bins + 1), np.float64)
    since = np.full(len(names), float(start + bins * step_s))
    for i, name in enumerate(names):
        came, left = np.array(lives[name], np.float64).reshape(-1, 2).T
        slots = [np.clip((np.minimum(t, 1e15) - start) // step_s, 0, bins).astype(np.intp) for t in (came, left)]
        change[i] += np.bincount(slots[0], minlength=bins + 1) - np.bincount(slots[1], minlength=bins + 1)
        since[i] = came.min(initial=since[i])
    there = np.cumsum(change, axis=1)[:, :bins].astype(np.float32)
    there[start + step_s * (np.arange(bins) + 1) <= since[:, None]] = np.nan
    return History(
        resource="servers",
        series=tuple(names),
        start=start,
        mean=there,
        max=there,
        coverage=np.isfinite(there).astype(np.float32),
        censored=np.zeros_like(there),
        entitlement=np.full(len(names), np.nan, np.float32),
        first_seen=since,
        step_s=step_s,
    )

"""Sizes fitted into their hosts: growth from room that is really there, and lower tiers taken to their share where targets do not fit.

Three questions, host by host, each answered by ``share_hosts``:

1. What should everybody have? The share: floors, use in tier order, headroom (``decide.share``).
2. What can grow now? Nobody is pushed below what it has, and what shrinks counts as there until it is proven gone.
3. Who waits for room that others have above their share, or uses what is not there? Where somebody does, those are shrunk to
   it, and growth follows when the room is proven free. Such a shrink asks no hold time, dead band, history or step of the CPU.
   It never goes below the floor; memory goes by steps, and never below what is in use and its margin.

Against flapping: nobody is taken, and nobody who has less than it wants is given, less than BAND of what it has; a host
that handed out more than it has, but of which less is used and nobody wants more, is left alone.
"""

from dataclasses import dataclass, replace

import numpy as np

from foreshape_controller.decide import reach
from foreshape_controller.decide.facts import Levers
from foreshape_controller.decide.share import Claims, share_hosts
from foreshape_controller.model.columns import CODE, GATE, GROW, HOLD, SHRINK, Codes, Column, Flags, Rows, Sizes

BAND = 0.05
"""Share of what a server has that a change by a shortage is worth, at least."""

WAITS = 0.5
"""Granules that growth lacks before it counts as waiting."""


@dataclass(frozen=True, eq=False)
class Terms:
    """How the hosts' room is shared among n servers. Columns are [n], but for the hosts'."""

    capacity: Column
    """[h]: what each host may hand out to these servers."""
    host: Rows
    """Index into the capacities; -1: an unknown host, left alone."""
    weight: Column
    """Tier's weight × criticality."""
    order: Codes
    """Throttle order of the tier."""
    levers: Levers
    granule: float
    used: Column
    """What it uses or is expected to use; NaN: not known, all it has counts."""
    least: Column
    """Never less than this, floor or not: memory in use and its margin; NaN: nothing can be taken."""
    step_share: Column
    """Memory: largest part that one shrink takes."""
    fixed: Flags
    """Nothing can be taken from it now: it is halted, has no lever, or is not acted on."""
    shadow: Flags
    spare: Column
    excess: Column
    """[h]: how much of the growth of lower tiers the host's own risk forbids."""
    under_way: Column
    """What it was ordered to grow to and nobody told yet what came of it: room that is no longer free. NaN: nothing."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """The sizes as they fit, and what came of it. Columns are [n]."""

    sizes: Sizes
    share: Column
    unmet: Column
    """Use that the share does not cover: what nothing on this host can meet."""
    given: Column
    """Taken from it now for somebody who waits."""
    awaited: Column
    """Growth that waits for that."""
    floors_exceed: Flags
    """[h]: what is promised is more than the host has."""


def fit(sizes: Sizes, terms: Terms) -> Fitted:
    """The sizes, none of which makes its host hand out more than it has."""
    at = np.flatnonzero(terms.host >= 0)
    claims = _claims(sizes, terms, at)
    shares = share_hosts(terms.capacity, claims)
    now = _now(sizes, terms, at, claims, shares.granted)
    held_back = now[at] - _careful(now[at], replace(claims, allocation=_taken_up(claims, terms, at)), terms.excess)
    now[at] -= held_back
    share = _spread(sizes.target, at, shares.granted)
    waiting = np.where(sizes.choice == GROW, np.maximum(0.0, np.minimum(share, sizes.target) - now), 0.0)
    waiting = np.where(_spread(np.zeros(len(now)), at, held_back) > 0, 0.0, waiting)
    # What a hard cap or a halt keeps from a server, room on another host would not give it either.
    lacks = np.maximum(0.0, np.minimum(claims.used, claims.target) - shares.granted)
    unmet = _spread(np.zeros(len(now)), at, np.where(claims.shadow, 0.0, lacks))
    short = _short(np.maximum(waiting, unmet), terms)
    taken = _taken(sizes, terms, share, short)
    cut = (sizes.choice == GROW) & ~taken.where & (now < sizes.target - reach.EPSILON)
    fitted = _with_taken(_with_cut(sizes, terms, cut, now, share, _spread(np.zeros(len(now)), at, held_back)), taken, share)
    return Fitted(
        sizes=replace(fitted, inputs={**fitted.inputs, "limit": _limit(sizes, fitted, terms, share, short)}),
        share=share,
        unmet=unmet,
        given=np.where(taken.where, sizes.allocation - taken.to, 0.0),
        awaited=waiting,
        floors_exceed=np.bincount(claims.host, sizes.floor[at], len(terms.capacity)) > terms.capacity + reach.EPSILON,
    )


def _spread(otherwise: Column, at: Rows, values: Column) -> Column:
    """[n]: the values at their rows."""
    found = np.asarray(otherwise, np.float64).copy()
    found[at] = values
    return found


# -- what is asked ----------------------------------------------------------------------------------------------------


def _claims(sizes: Sizes, terms: Terms, at: Rows) -> Claims:
    """What everybody should have: whoever cannot be taken anything keeps what it has; memory keeps what is in use."""
    have, target = sizes.allocation[at], sizes.target[at]
    promised = np.minimum(sizes.floor[at], target)
    in_use = np.where(np.isfinite(terms.least[at]), np.minimum(terms.least[at], have), have)
    floor = np.where(terms.fixed[at], np.maximum(have, promised), np.maximum(promised, in_use))
    used = np.where(np.isfinite(terms.used[at]), terms.used[at], have)
    return Claims(
        host=terms.host[at],
        floor=floor,
        allocation=have,
        target=np.maximum(floor, target),
        weight=terms.weight[at],
        shadow=terms.shadow[at],
        order=terms.order[at].astype(np.int64),
        used=used,
        spare=terms.spare[at],
    )


def _now(sizes: Sizes, terms: Terms, at: Rows, claims: Claims, share: Column) -> Column:
    """[n]: what each can have at once: nobody less than it has, was ordered, or is promised; only growth competes, up to the share."""
    kept = np.maximum(_taken_up(claims, terms, at), np.minimum(sizes.floor[at], sizes.target[at]))
    goal = np.maximum(kept, np.where(sizes.choice[at] == GROW, share, kept))
    granted = share_hosts(terms.capacity, replace(claims, floor=kept, target=goal, used=np.minimum(claims.used, goal))).granted
    return _spread(np.full(len(sizes.target), np.inf), at, granted)


def _taken_up(claims: Claims, terms: Terms, at: Rows) -> Column:
    """[n]: what each has, or will have by an order whose end is not known yet."""
    return np.fmax(claims.allocation, terms.under_way[at])


def _careful(now: Column, claims: Claims, excess: Column) -> Column:
    """Growth without what the host's risk forbids: lower tiers wait first, the highest on the host never does, floors are given."""
    highest = np.full(excess.size, np.iinfo(np.int64).min)
    np.maximum.at(highest, claims.host[~claims.shadow], claims.order[~claims.shadow])
    lower = (claims.order < highest[claims.host]) | claims.shadow
    growth = np.where(lower, np.maximum(0.0, now - np.maximum(claims.allocation, claims.floor)), 0.0)
    if not (growth.any() and excess.any()):
        return now
    sort = np.lexsort((claims.order, ~claims.shadow, claims.host))
    sums = np.cumsum(growth[sort])
    of_others = np.bincount(claims.host, growth, excess.size).cumsum() - np.bincount(claims.host, growth, excess.size)
    before = sums - growth[sort] - of_others[claims.host[sort]]
    less = np.empty_like(now)
    less[sort] = np.clip(excess[claims.host[sort]] - before, 0.0, growth[sort])
    return now - less


# -- growth -----------------------------------------------------------------------------------------------------------


def _with_cut(sizes: Sizes, terms: Terms, cut: Flags, now: Column, share: Column, held_back: Column) -> Sizes:
    """Growth cut to what there is, in steps that a lever can do; or held, where nothing useful is left of it."""
    if not cut.any():
        return sizes
    have = sizes.allocation
    offered = reach.at_most(terms.levers, np.where(cut, now, 0.0), terms.granule)
    promised = offered <= sizes.floor + reach.EPSILON
    useful = cut & (offered > have) & (promised | (offered - have >= BAND * have))
    target = np.select([useful, cut], [offered, have], sizes.target)
    risky = held_back > 0
    code = np.select(
        [cut & risky, useful, cut],
        [CODE["host_risk"], CODE["host_short"], CODE["host_full"]],
        sizes.code,
    )
    asked = np.where(cut, sizes.asked | GATE["host_capacity"], sizes.asked)
    return replace(
        sizes,
        choice=np.where(cut & ~useful, HOLD, sizes.choice).astype(np.int32),
        code=code.astype(np.int32),
        target=target,
        reactive=np.where(cut, np.minimum(sizes.reactive, target), sizes.reactive),  # a rule without forecasts would have been cut as well
        asked=np.where(cut & risky, asked | GATE["host_risk"], asked).astype(np.uint32),
        inputs={**sizes.inputs, "grant": np.where(cut, now, np.nan), "share": np.where(cut, share, np.nan)},
    )


# -- throttling -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Taken:
    """Who is shrunk to its share, and to what. Columns are [n]."""

    where: Flags
    to: Column


def _short(lacking: Column, terms: Terms) -> Flags:
    """[n]: on whose host somebody waits for room, or uses what is not there."""
    much = (lacking > WAITS * terms.granule) & (terms.host >= 0)
    hosts = np.bincount(terms.host[much], minlength=len(terms.capacity)) > 0
    known = terms.host >= 0
    return known & hosts[np.where(known, terms.host, 0)] if hosts.size else known


def _taken(sizes: Sizes, terms: Terms, share: Column, short: Flags) -> _Taken:
    """On hosts that are short: down to the share, in steps that a lever can do, never below the floor."""
    have, floor = sizes.allocation, np.minimum(sizes.floor, sizes.allocation)
    to = reach.at_most(terms.levers, share, terms.granule)
    to = np.where(to < floor - reach.EPSILON, reach.at_least(terms.levers, np.maximum(floor, share), terms.granule), to)
    if sizes.resource == "memory":
        one = reach.at_least(terms.levers, have * (1 - terms.step_share), terms.granule)
        in_use = reach.enough(terms.levers, np.where(np.isfinite(terms.least), terms.least, have), terms.granule, have)
        one = np.where(one < have, one, reach.at_most(terms.levers, have - terms.granule, terms.granule))
        to = np.maximum(np.maximum(to, one), in_use)
    worth = have - np.maximum(share, floor) >= np.maximum(BAND * have, WAITS * terms.granule)
    where = short & ~terms.fixed & worth & (to < have - reach.EPSILON) & (to < sizes.target - reach.EPSILON)
    return _Taken(where, to)


def _with_taken(sizes: Sizes, taken: _Taken, share: Column) -> Sizes:
    if not taken.where.any():
        return sizes
    where = taken.where
    return replace(
        sizes,
        choice=np.where(where, SHRINK, sizes.choice).astype(np.int32),
        code=np.where(where, CODE["throttled"], sizes.code).astype(np.int32),
        target=np.where(where, taken.to, sizes.target),
        reactive=np.where(where, np.minimum(sizes.reactive, taken.to), sizes.reactive),
        asked=np.where(where, sizes.asked | GATE["share"], sizes.asked).astype(np.uint32),
        inputs={**sizes.inputs, "share": np.where(where, share, sizes.inputs.get("share", np.full(len(share), np.nan)))},
    )


def _limit(sizes: Sizes, fitted: Sizes, terms: Terms, share: Column, short: Flags) -> Column:
    """[n]: what the agent may give by itself: on a host that is short, no more CPU than the share, to whoever wants more.

    NaN: no limit. Endless: this plan knows nothing of it, and what an earlier one said holds until its end. Memory has no limit:
    what keeps a guest from running out of it comes before any share.
    """
    if sizes.resource == "memory":
        return np.full(len(share), np.nan)
    unknown = terms.fixed | (sizes.code == CODE["no_forecast"])
    wants = np.maximum(np.where(sizes.choice == GROW, sizes.target, 0.0), np.nan_to_num(terms.used))
    less = share < wants - WAITS * terms.granule
    offered = reach.at_most(terms.levers, share, terms.granule)
    limit = np.maximum(np.maximum(offered, fitted.target), sizes.floor)
    bound = (short | (sizes.choice == GROW)) & less & (terms.host >= 0)
    return np.select([unknown, bound], [np.inf, limit], np.nan)

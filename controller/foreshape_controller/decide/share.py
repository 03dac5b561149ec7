"""How the hosts' capacity is shared when not all targets fit (domain.md §5). Pure, all hosts at once.

The rule, host by host. What a claim asks for lies in layers; a layer gets nothing before all layers under it are full:

    0  floors                      given even where they exceed the capacity: they were promised
    1  use, of the highest order   what a server uses or is expected to use, up to its target …
    …  use, of the lowest order    … one layer for each throttle order
    n  headroom                    from there to the target: what the quantile asks for beside the expected use, all orders together
    n+1  spare                     the part of the headroom that the server's segment as a whole is not expected to need
    n+2  shadow                    whatever shadow servers ask for above their floors

Read from the other end it is the order in which a short host takes: shadow servers first, then what segments forecast low can
spare to those forecast high, then headroom, then use in the order of the tiers, and floors never. So nobody loses what it
uses before every server of a lower order is at its floor.

Inside a layer capacity is shared by weighted max-min fairness: the layer's level L rises until it is full or used up, and a
claim with need n and weight w gets min(n, L·w) (water-filling: Bertsekas & Gallager, *Data Networks*, 2nd ed., §6.5.2). The
level is found exactly, without rounds: sorted by n/w, the claim j is full when

    (needs before j) + n_j/w_j · (weights from j on) ≤ what the layer has

and the first that is not gives L = (has − needs before it) / (weights from it on). Sorting makes it O(n log n).
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from foreshape_controller.model.columns import Column

Whole = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

LEAST_WEIGHT = 1e-3
"""What a weight that is zero, negative or no number counts as: such a server comes last in its layer, and stops nobody."""

MOST = 1e12
"""No amount is larger (cores or MiB): an endless one would swallow the digits of all others."""

EPSILON = 1e-9


@dataclass(frozen=True, eq=False)
class Claims:
    """What n servers must have, have, and would like to have of one resource. Columns are [n]; cores or MiB."""

    host: Whole
    """Index into the capacities."""
    floor: Column
    """Given in any case: what was promised, or what cannot be taken from it."""
    allocation: Column
    target: Column
    weight: Column
    """Tier's weight × criticality."""
    shadow: Flags
    order: npt.NDArray[np.int64]
    """Throttle order of the tier: lower gives first."""
    used: Column
    """What it uses or is expected to use."""
    spare: Column
    """How much of its target its segment as a whole is not expected to need."""


@dataclass(frozen=True, eq=False)
class Shares:
    """What n servers may have. Columns are [n], but for the hosts'."""

    granted: Column
    """floor ≤ granted ≤ max(target, floor); together no more than the capacity, where the floors fit."""
    unmet: Column
    """What is missing to the target."""
    squeezed: Flags
    """It gets less than it has."""
    floors_exceed: Flags
    """[h]: the floors alone are more than the host has."""


def share_hosts(capacity: Column, claims: Claims) -> Shares:
    """Share what each host has among its servers. A number that is none counts as nothing asked; it stops nobody."""
    c = _sound(claims)
    room = np.clip(np.nan_to_num(np.asarray(capacity, np.float64)), 0.0, MOST)
    floors = np.bincount(c.host, c.floor, room.size)
    granted = c.floor + _above_floors(np.maximum(0.0, room - floors), c)
    return Shares(
        granted=granted,
        unmet=np.maximum(0.0, c.target - granted),
        squeezed=granted < c.allocation - EPSILON,
        floors_exceed=floors > room + EPSILON,
    )


def _sound(c: Claims) -> Claims:
    """The same claims with every number a number, and none that contradicts another."""
    floor, target, used = _amount(c.floor), _amount(c.target), _amount(c.used)
    weight = np.where(np.isfinite(c.weight) & (c.weight > LEAST_WEIGHT), c.weight, LEAST_WEIGHT)
    target = np.maximum(floor, target)
    used = np.clip(used, floor, target)
    spare = np.minimum(_amount(c.spare), target - used)
    return replace(c, floor=floor, target=target, used=used, spare=spare, weight=weight, allocation=_amount(c.allocation))


def _amount(values: Column) -> Column:
    return np.clip(np.nan_to_num(np.asarray(values, np.float64), nan=0.0, posinf=MOST, neginf=0.0), 0.0, MOST)


# -- layers -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Layers:
    """Needs above the floors, a row for every server and layer that it asks in. Columns are [m]."""

    server: Whole
    rank: Whole
    """0 is served first."""
    need: Column
    ranks: int


def _layered(c: Claims) -> _Layers:
    orders, by_order = np.unique(-c.order, return_inverse=True)  # the highest order is served first
    headroom, spare, shadow = (orders.size + k for k in range(3))
    visible = ~c.shadow
    asked = (
        (by_order.reshape(-1), np.where(visible, c.used - c.floor, 0.0)),
        (headroom, np.where(visible, c.target - c.used - c.spare, 0.0)),
        (spare, np.where(visible, c.spare, 0.0)),
        (shadow, np.where(visible, 0.0, c.target - c.floor)),
    )
    rank = np.concatenate([np.broadcast_to(r, c.host.shape) for r, _ in asked])
    need = np.concatenate([n for _, n in asked])
    server = np.tile(np.arange(c.host.size), len(asked))
    some = need > 0
    return _Layers(server[some], rank[some].astype(np.intp), need[some], orders.size + 3)


def _above_floors(left: Column, c: Claims) -> Column:
    """[n]: what each gets of what the floors leave, [h]."""
    layers = _layered(c)
    host = c.host[layers.server]
    need = np.minimum(layers.need, left[host])  # more than there is changes nobody's part, but would cost digits
    group = host * layers.ranks + layers.rank
    total = np.bincount(group, need, left.size * layers.ranks).reshape(left.size, layers.ranks)
    below = np.cumsum(total, axis=1) - total
    has = np.clip(left[:, None] - below, 0.0, total).reshape(-1)
    given = fill(has, group, need, c.weight[layers.server])
    found: Column = np.bincount(layers.server, given, c.host.size).astype(np.float64)
    return found


def fill(has: Column, group: Whole, need: Column, weight: Column) -> Column:
    """[m]: weighted max-min fair parts of what each group has, [g]; needs and weights are positive."""
    if not need.size:
        return np.zeros(0)
    ratio = need / weight
    sort = np.lexsort((ratio, group))
    groups, needs, weights = group[sort], need[sort], weight[sort]
    first, size = _runs(groups)
    run = np.repeat(np.arange(first.size), size)
    before = _before(needs, first, run)
    onward = np.maximum(weights, np.add.reduceat(weights, first)[run] - _before(weights, first, run))
    full = before + ratio[sort] * onward <= has[groups]
    count = np.add.reduceat(full.astype(np.intp), first)
    at = np.minimum(first + count, need.size - 1)
    level = np.where(count < size, np.maximum(0.0, has[groups[first]] - before[at]) / onward[at], np.inf)
    given = np.empty_like(need)
    given[sort] = np.minimum(needs, level[run] * weights)
    return given


def _runs(groups: Whole) -> tuple[Whole, Whole]:
    """Where each run of equal values begins, and how long it is."""
    first = np.flatnonzero(np.concatenate(([True], groups[1:] != groups[:-1])))
    return first, np.diff(np.append(first, groups.size))


def _before(values: Column, first: Whole, run: Whole) -> Column:
    """Sum of what stands before each value in its run."""
    sums = np.cumsum(values) - values
    found: Column = sums - sums[first][run]
    return found

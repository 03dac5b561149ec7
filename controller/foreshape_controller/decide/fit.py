"""Growth that does not fit its host is cut, by weighted fairness. What shrinks counts as still there until it is proven gone."""

from dataclasses import dataclass, replace

import numpy as np

from foreshape_controller.decide import reach
from foreshape_controller.decide.facts import Levers
from foreshape_controller.decide.share import Claims, share_hosts
from foreshape_controller.model.columns import CODE, GATE, GROW, HOLD, Codes, Column, Rows, Sizes


@dataclass(frozen=True, eq=False)
class Terms:
    """How the hosts' room is shared among n servers. Columns are [n], but for the capacity."""

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


def fit(sizes: Sizes, terms: Terms) -> Sizes:
    """The sizes, none of which makes its host hand out more than it has: a growth is cut to its part, or held where nothing is left."""
    grant = np.where(terms.host >= 0, _granted(sizes, terms), np.inf)
    cut = (sizes.choice == GROW) & (grant < sizes.target - reach.EPSILON)
    if not cut.any():
        return sizes
    offered = reach.at_most(terms.levers, np.where(cut, grant, 0.0), terms.granule)
    useful = cut & (offered > sizes.allocation)
    target = np.select([useful, cut], [offered, sizes.allocation], sizes.target)
    code = np.select([useful, cut], [CODE["host_short"], CODE["host_full"]], sizes.code)
    return replace(
        sizes,
        choice=np.where(cut & ~useful, HOLD, sizes.choice).astype(np.int32),
        code=code.astype(np.int32),
        target=target,
        reactive=np.where(cut, np.minimum(sizes.reactive, target), sizes.reactive),  # a rule without forecasts would have been cut as well
        asked=np.where(cut, sizes.asked | GATE["host_capacity"], sizes.asked).astype(np.uint32),
        inputs={**sizes.inputs, "grant": np.where(cut, grant, np.nan)},
    )


def _granted(sizes: Sizes, terms: Terms) -> Column:
    """[n]: what each may have. Nobody is pushed below what it has, or is promised; only growth competes."""
    known = np.flatnonzero(terms.host >= 0)
    kept = np.maximum(sizes.allocation, np.minimum(sizes.floor, sizes.target))[known]
    claims = Claims(
        host=terms.host[known],
        floor=kept,
        allocation=sizes.allocation[known],
        target=np.maximum(kept, sizes.target[known]),
        weight=terms.weight[known],
        shadow=np.zeros(len(known), bool),
        order=terms.order[known].astype(np.int64),
        used=kept,
        spare=np.zeros(len(known)),
    )
    granted = np.zeros(len(terms.host))
    granted[known] = share_hosts(terms.capacity, claims).granted
    return granted

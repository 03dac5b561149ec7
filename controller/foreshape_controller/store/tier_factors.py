"""What feedback made of each tier's headroom and hold time; one row per tier and resource."""

from collections.abc import Mapping
from types import MappingProxyType

from sqlalchemy import select

from foreshape_controller.model.mark import Factors
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import tier_factors


class TierFactors:
    """``all`` for the policy in force, ``save`` for feedback. The policy is asked for every server: what was read is remembered."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._put = db.upsert(tier_factors, ["tier", "resource"])
        self._known: Mapping[tuple[str, str], Factors] | None = None

    def all(self) -> Mapping[tuple[str, str], Factors]:
        """By tier and resource; one that is not here has learned nothing. The same object until something is saved."""
        known = self._known
        if known is None:
            with self._db.read() as conn:
                rows = conn.execute(select(tier_factors)).all()
            found = {(r.tier, r.resource): Factors(headroom=r.headroom, hold=r.hold, at=r.at, reason=r.reason) for r in rows}
            self._known = known = MappingProxyType(found)
        return known

    def forget(self) -> None:
        """Read again: another process saves."""
        self._known = None

    def save(self, factors: Mapping[tuple[str, str], Factors]) -> None:
        """Replace the factors of these."""
        rows = [(tier, resource, f.headroom, f.hold, f.at, f.reason) for (tier, resource), f in factors.items()]
        with self._db.write() as conn:
            self._put.run(conn, rows)
        self._known = None

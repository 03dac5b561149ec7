"""Plans as columns, read back one after the other."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, select

from foreshape_controller.model.columns import PlanTable
from foreshape_controller.store import tables
from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import plan_tables


class Decided:
    """What was decided, whole plans at a time."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def between(self, since: float, until: float) -> Iterator[PlanTable]:
        """Plans made in (since, until], the oldest first; each is read when it is asked for."""
        yield from self._tables(plan_tables.c.at > since, plan_tables.c.at <= until)

    def newest(self, until: float, since: float) -> PlanTable | None:
        """The last plan made in (since, until]."""
        query = select(plan_tables.c.plan).where(plan_tables.c.at > since, plan_tables.c.at <= until)
        with self._db.read() as conn:
            plan = conn.execute(query.order_by(plan_tables.c.at.desc(), plan_tables.c.plan.desc()).limit(1)).scalar()
        return None if plan is None else next(self._tables(plan_tables.c.plan == plan), None)

    def _tables(self, *where: ColumnElement[Any]) -> Iterator[PlanTable]:
        query = select(plan_tables.c.plan, plan_tables.c.at).where(*where).distinct().order_by(plan_tables.c.at, plan_tables.c.plan)
        with self._db.read() as conn:
            found = conn.execute(query).all()
        for plan, at in found:
            with self._db.read() as conn:
                parts = conn.execute(select(plan_tables.c.data).where(plan_tables.c.plan == plan)).scalars().all()
            yield tables.unpack(parts, plan, at)

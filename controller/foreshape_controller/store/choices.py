"""What tenants choose for their projects and servers. Out is out at once: their open orders are withdrawn in the same transaction."""

from collections.abc import Sequence

from sqlalchemy import delete, func, insert, select

from foreshape_controller.errors import Invalid
from foreshape_controller.model.choice import Choice, ChoiceEvent
from foreshape_controller.store.engine import Database
from foreshape_controller.store.modes import check_scope, withdraw
from foreshape_controller.store.schema import choice_events, choices
from foreshape_controller.store.telling import owner, tell
from foreshape_wire.order import Mode

MOST = 1000
"""Choices of one project: every report of an agent is answered by all of them."""

HISTORY = 50


class Choices:
    """By scope (``project:ID``, ``server:ID``)."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._put = db.upsert(choices, ["scope"])

    def all(self, project: str | None = None) -> tuple[Choice, ...]:
        """Everything that is chosen, or a project's; projects before servers."""
        query = select(choices).order_by(choices.c.scope)
        query = query if project is None else query.where(choices.c.project == project)
        with self._db.read() as conn:
            return tuple(Choice(**{**r._mapping, "mode": Mode(r.mode)}) for r in conn.execute(query))

    def get(self, scope: str) -> Choice | None:
        """What is chosen for exactly this scope."""
        with self._db.read() as conn:
            row = conn.execute(select(choices).where(choices.c.scope == scope)).one_or_none()
        return None if row is None else Choice(**{**row._mapping, "mode": Mode(row.mode)})

    def of(self, server: str) -> tuple[Choice, ...]:
        """What is chosen for a server, and for its project."""
        with self._db.read() as conn:
            scopes = (f"server:{server}", f"project:{owner(conn, server)}")
            rows = conn.execute(select(choices).where(choices.c.scope.in_(scopes)).order_by(choices.c.scope)).all()
        return tuple(Choice(**{**r._mapping, "mode": Mode(r.mode)}) for r in rows)

    def put(self, choice: Choice) -> None:
        """Keep a choice, and its line of history. Raises Invalid where a project has too many."""
        check_scope(choice.scope)
        c = choice
        with self._db.write() as conn:
            self._put.run(conn, [(c.scope, c.project, c.mode.value, c.reason, c.by, c.since)])
            if (conn.execute(select(func.count()).where(choices.c.project == c.project)).scalar() or 0) > MOST:
                raise Invalid(f"a project may choose for at most {MOST} servers one by one: choose for the whole project")
            row = {"at": c.since, "scope": c.scope, "project": c.project, "mode": c.mode.value, "reason": c.reason, "by": c.by}
            conn.execute(insert(choice_events), row)
            withdraw(conn, c.scope, c.since)
            tell(conn, "mode", c.project, {"scope": c.scope, "chosen": c.mode.value, "at": c.since, "reason": c.reason}, {"by": c.by})

    def remove(self, choice: Choice, reason: str, by: str, now: float) -> None:
        """Take a choice back: the default holds again."""
        with self._db.write() as conn:
            conn.execute(delete(choices).where(choices.c.scope == choice.scope))
            row = {"at": now, "scope": choice.scope, "project": choice.project, "mode": "", "reason": reason, "by": by}
            conn.execute(insert(choice_events), row)
            withdraw(conn, choice.scope, now)
            tell(conn, "mode", choice.project, {"scope": choice.scope, "chosen": "", "at": now, "reason": reason}, {"by": by})

    def history(self, scope: str) -> Sequence[ChoiceEvent]:
        """The newest first."""
        query = select(choice_events).where(choice_events.c.scope == scope).order_by(choice_events.c.id.desc()).limit(HISTORY)
        with self._db.read() as conn:
            return tuple(ChoiceEvent(at=r.at, mode=r.mode, reason=r.reason, by=r.by) for r in conn.execute(query))

    def tidy(self, before: float) -> None:
        """Forget old history."""
        with self._db.write() as conn:
            conn.execute(delete(choice_events).where(choice_events.c.at < before))

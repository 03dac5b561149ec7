"""The part of the store that migrations are kept in."""

from foreshape_controller.store.drains import Drains
from foreshape_controller.store.engine import Database
from foreshape_controller.store.learnt import Learnt
from foreshape_controller.store.moves import Moves
from foreshape_controller.store.proposals import Proposals
from foreshape_controller.store.sightings import Sightings


class Migrating:
    """Migrations, the proposals that lead to them, drains, and what they teach."""

    def __init__(self, db: Database) -> None:
        self.moves = Moves(db)
        self.proposals = Proposals(db)
        self.drains = Drains(db)
        self.learnt = Learnt(db)
        self.sightings = Sightings(db)

    def tidy(self, before: float) -> None:
        """Forget what ended before."""
        for part in (self.moves, self.proposals, self.drains, self.learnt):
            part.tidy(before)

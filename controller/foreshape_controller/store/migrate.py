"""Brings a database's schema up to date with the migrations packaged beside this file; needs no alembic.ini."""

from foreshape_controller.store.engine import Database
from foreshape_controller.store.schema import metadata


def upgrade(db: Database) -> None:
    with db.write() as conn:
        metadata.create_all(conn)

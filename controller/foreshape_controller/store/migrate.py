"""Brings a database's schema up to date with the migrations packaged beside this file; needs no alembic.ini."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from foreshape_controller.errors import ConfigError
from foreshape_controller.store import postgres
from foreshape_controller.store.engine import Database

FOLDER = Path(__file__).parent / "migrations"

UPGRADE_S = 600.0
"""Of two controllers that start together one brings the schema up to date, and the other waits for it."""


@cache
def newest() -> str:
    """The newest revision that this program knows."""
    return str(ScriptDirectory(str(FOLDER)).get_current_head())


def upgrade(db: Database) -> None:
    """Run what is missing, in one transaction under the writer's lock: a start that is cut off leaves the old schema.

    Raises ConfigError, Unavailable.
    """
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    try:
        with db.write(wait_s=UPGRADE_S) as conn:
            if conn.dialect.name == "postgresql":
                postgres.check(conn)
            if MigrationContext.configure(conn).get_current_revision() == newest():
                return
            config.attributes["connection"] = conn
            command.upgrade(config, "head")
    except CommandError as e:
        raise ConfigError(f"[store] url: the database was made by another, newer Foreshape ({e}): upgrade this one") from e

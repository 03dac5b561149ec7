"""Brings a database's schema up to date with the migrations packaged beside this file; needs no alembic.ini."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError

from foreshape_controller.errors import ConfigError
from foreshape_controller.store.engine import Database

FOLDER = Path(__file__).parent / "migrations"


def upgrade(db: Database) -> None:
    """Run what is missing, in one transaction: a start that is cut off leaves the old schema. Raises ConfigError, Unavailable."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    try:
        with db.write() as conn:
            config.attributes["connection"] = conn
            command.upgrade(config, "head")
    except CommandError as e:
        raise ConfigError(f"[store] url: the database was made by another, newer Foreshape ({e}): upgrade this one") from e

"""Alembic's entry: runs the steps on the connection, and in the transaction, that ``store.migrate`` hands over."""

from alembic import context

from foreshape_controller.store.schema import metadata

# SQLite cannot alter a column: steps that do so are written with batch operations.
context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()

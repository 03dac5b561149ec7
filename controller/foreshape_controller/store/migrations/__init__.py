"""Steps from one schema to the next (Alembic); run by ``store.migrate`` at every start."""

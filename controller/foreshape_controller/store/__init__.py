"""SQLAlchemy Core schema and Alembic migrations; history, journal, agents, modes."""

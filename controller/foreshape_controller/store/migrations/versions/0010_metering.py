"""What was used, and what it costs."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add tables."""
    _used()
    _priced()


def _used() -> None:
    """Terms, usage, and what collectors see of it."""
    op.create_table(
        "meter_terms",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("server", sa.String(length=300), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_meter_terms_at"), "meter_terms", ["at"], unique=False)
    op.create_index("meter_terms_by_server", "meter_terms", ["server", "at"], unique=False)
    op.create_table(
        "usage",
        sa.Column("day", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("project", sa.String(length=255), nullable=False),
        sa.Column("booked", sa.String(length=7), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("day", "project", "booked"),
    )
    op.create_index("usage_by_booking", "usage", ["booked", "project"], unique=False)
    op.create_table(
        "published",
        sa.Column("project", sa.String(length=255), nullable=False),
        sa.Column("tier", sa.String(length=64), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("project", "tier"),
    )


def _priced() -> None:
    """Closed statements, and the rate cards they were made with."""
    op.create_table(
        "statements",
        sa.Column("period", sa.String(length=7), nullable=False),
        sa.Column("project", sa.String(length=255), nullable=False),
        sa.Column("closed_at", sa.Float(), nullable=False),
        sa.Column("summary", sa.LargeBinary(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("period", "project"),
    )
    op.create_table(
        "rate_cards",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_rate_cards_hash"), "rate_cards", ["hash"], unique=False)

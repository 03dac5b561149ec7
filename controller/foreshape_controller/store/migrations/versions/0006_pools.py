"""Pools of shadow VMs, and moved allocation ratios."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add tables."""
    _pools()
    _sales()


def _pools() -> None:
    """Pools, their shadow VMs, claims, and the journal of what was done to them."""
    op.create_table(
        "pools",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("deleted_at", sa.Float(), nullable=True),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("decided", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    open_ones = sa.text("deleted_at IS NULL")
    op.create_index("one_open_pool", "pools", ["name"], unique=True, sqlite_where=open_ones, postgresql_where=open_ones)
    op.create_table(
        "shadows",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("pool", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("server", sa.String(length=64), server_default="", nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    for column in ("pool", "state", "server"):
        op.create_index(op.f(f"ix_shadows_{column}"), "shadows", [column], unique=False)
    op.create_table(
        "pool_claims",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("pool", sa.String(length=64), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("pool_claims_by_time", "pool_claims", ["pool", "at"], unique=False)
    op.create_table(
        "pool_steps",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("pool", sa.String(length=64), nullable=False),
        sa.Column("shadow", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("cause", sa.String(length=255), server_default="", nullable=False),
        sa.Column("why", sa.Text(), server_default="", nullable=False),
        sa.Column("undo", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    for column in ("at", "pool", "shadow"):
        op.create_index(op.f(f"ix_pool_steps_{column}"), "pool_steps", [column], unique=False)


def _sales() -> None:
    """Moved allocation ratios, their journal, and operators' stops."""
    op.create_table(
        "sales",
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("resource", sa.String(length=16), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("host", "resource"),
    )
    op.create_table(
        "sale_moves",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("resource", sa.String(length=16), nullable=False),
        sa.Column("was", sa.Float(), nullable=False),
        sa.Column("target", sa.Float(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("settled_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    for column in ("at", "host"):
        op.create_index(op.f(f"ix_sale_moves_{column}"), "sale_moves", [column], unique=False)
    op.create_table(
        "sale_stops",
        sa.Column("scope", sa.String(length=300), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("scope"),
    )

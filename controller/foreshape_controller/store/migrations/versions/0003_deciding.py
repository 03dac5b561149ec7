"""Deciding: plans as columns, caps, reclamation, notices, transfers, needs, halts, marks of tiers."""

import time

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add tables, columns and indexes.

    No server has a tier of its own yet: what stands there is the default of a column that nobody could set.
    """
    op.execute("UPDATE servers SET tier = ''")
    _forget_wishes()
    op.add_column("modes", sa.Column("before", sa.String(length=16), nullable=True))
    op.add_column("orders", sa.Column("cpu_change", sa.Float(), nullable=True))
    op.add_column("orders", sa.Column("memory_change", sa.Float(), nullable=True))
    op.create_index("orders_by_time", "orders", ["issued_at"], unique=False)
    op.create_index("outcomes_by_time", "outcomes", ["at"], unique=False)
    _decisions()
    _consequences()


def _decisions() -> None:
    """Plans, and what people and reclamation said."""
    op.create_table(
        "plan_tables",
        sa.Column("plan", sa.String(length=64), nullable=False),
        sa.Column("part", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("parts", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("plan", "part"),
    )
    op.create_index(op.f("ix_plan_tables_at"), "plan_tables", ["at"], unique=False)
    op.create_table(
        "wishes",
        sa.Column("slot", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("slot", "kind"),
    )
    op.create_table(
        "caps",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("scope", sa.String(length=300), nullable=False),
        sa.Column("resource", sa.String(length=16), nullable=False),
        sa.Column("amount", sa.Float(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by", sa.String(length=255), server_default="", nullable=False),
        sa.Column("lifted_at", sa.Float(), nullable=True),
        sa.Column("lifted_why", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_caps_scope"), "caps", ["scope"], unique=False)
    op.create_index(op.f("ix_caps_until"), "caps", ["until"], unique=False)
    op.create_table(
        "reclaims",
        sa.Column("server", sa.String(length=64), nullable=False),
        sa.Column("resource", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("server", "resource"),
    )
    op.create_index("reclaims_by_state", "reclaims", ["state"], unique=False)
    op.create_table(
        "notices",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("project", sa.String(length=255), nullable=False),
        sa.Column("server", sa.String(length=64), server_default="", nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("answered_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_notices_at"), "notices", ["at"], unique=False)
    op.create_index(op.f("ix_notices_project"), "notices", ["project"], unique=False)


def _consequences() -> None:
    """What followed from plans, and how they did."""
    op.create_table(
        "transfers",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("plan", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("resource", sa.String(length=16), nullable=False),
        sa.Column("giver", sa.String(length=300), nullable=False),
        sa.Column("taker", sa.String(length=300), nullable=False),
        sa.Column("amount", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_transfers_at"), "transfers", ["at"], unique=False)
    op.create_table(
        "needs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("resource", sa.String(length=16), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("deadline", sa.Float(), nullable=False),
        sa.Column("amount", sa.Float(), nullable=False),
        sa.Column("closed_at", sa.Float(), nullable=True),
        sa.Column("closed_why", sa.Text(), server_default="", nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_needs_closed_at"), "needs", ["closed_at"], unique=False)
    open_ones = sa.text("closed_at IS NULL")
    op.create_index("one_open_need", "needs", ["host", "resource"], unique=True, sqlite_where=open_ones, postgresql_where=open_ones)
    op.create_table(
        "shares",
        sa.Column("server", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("cores", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("server"),
    )
    op.create_index(op.f("ix_shares_host"), "shares", ["host"], unique=False)
    op.create_table(
        "halts",
        sa.Column("scope", sa.String(length=300), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "kind"),
    )
    op.create_table(
        "policies",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "marks",
        sa.Column("slot", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tier", sa.String(length=64), nullable=False),
        sa.Column("resource", sa.String(length=16), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("slot", "tier", "resource"),
    )
    op.create_table(
        "tier_factors",
        sa.Column("tier", sa.String(length=64), nullable=False),
        sa.Column("resource", sa.String(length=16), nullable=False),
        sa.Column("headroom", sa.Float(), nullable=False),
        sa.Column("hold", sa.Float(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("tier", "resource"),
    )


def _forget_wishes() -> None:
    """Wishes have a form of their own now, and what was wanted before is not carried over.

    So that no hold time is cut short: the time of the upgrade is noted, and until a tier's hold time has passed since then, plans take
    what a server has as what was wanted of it. Nothing shrinks in that time; growth goes on.
    """
    if op.get_bind().execute(sa.text("SELECT 1 FROM wanted LIMIT 1")).first() is not None:
        op.bulk_insert(sa.table("meta", sa.column("name"), sa.column("value")), [{"name": "wishes_since", "value": str(time.time())}])
    op.drop_table("wanted")

"""The first schema: history, inventory, agents, journal, forecasts."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:  # noqa: PLR0915  one statement per table and index
    """Make everything."""
    op.create_table(
        "agent_tokens",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("issued_at", sa.Float(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_index(op.f("ix_agent_tokens_host"), "agent_tokens", ["host"], unique=False)
    op.create_table(
        "bins",
        sa.Column("bin", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("series", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("samples", sa.Float(), server_default="0", nullable=False),
        sa.Column("cpu_s", sa.Float(), server_default="0", nullable=False),
        sa.Column("cpu_sum", sa.Float(), server_default="0", nullable=False),
        sa.Column("cpu_used_sum", sa.Float(), server_default="0", nullable=False),
        sa.Column("cpu_alloc_sum", sa.Float(), server_default="0", nullable=False),
        sa.Column("cpu_capped_s", sa.Float(), server_default="0", nullable=False),
        sa.Column("memory_s", sa.Float(), server_default="0", nullable=False),
        sa.Column("memory_sum", sa.Float(), server_default="0", nullable=False),
        sa.Column("memory_alloc_sum", sa.Float(), server_default="0", nullable=False),
        sa.Column("memory_capped_s", sa.Float(), server_default="0", nullable=False),
        sa.Column("memory_doubt_s", sa.Float(), server_default="0", nullable=False),
        sa.Column("io_s", sa.Float(), server_default="0", nullable=False),
        sa.Column("disk_kib", sa.Float(), server_default="0", nullable=False),
        sa.Column("disk_ops", sa.Float(), server_default="0", nullable=False),
        sa.Column("net_kib", sa.Float(), server_default="0", nullable=False),
        sa.Column("cpu_max", sa.Float(), server_default="0", nullable=False),
        sa.Column("cpu_used_max", sa.Float(), server_default="0", nullable=False),
        sa.Column("memory_max", sa.Float(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("bin", "series"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "chunks",
        sa.Column("series", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("part", sa.String(length=8), nullable=False),
        sa.Column("day", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("series", "part", "day"),
    )
    op.create_index("chunks_by_day", "chunks", ["day"], unique=False)
    op.create_table(
        "counters",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "decisions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("plan", sa.String(length=64), nullable=False),
        sa.Column("server", sa.String(length=64), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("acting", sa.Boolean(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("decisions_by_age", "decisions", ["acting", "at"], unique=False)
    op.create_index("decisions_by_server", "decisions", ["server", "at"], unique=False)
    op.create_index(op.f("ix_decisions_plan"), "decisions", ["plan"], unique=False)
    op.create_table(
        "forecasts",
        sa.Column("series", sa.String(length=300), nullable=False),
        sa.Column("resource", sa.String(length=16), nullable=False),
        sa.Column("origin", sa.BigInteger(), nullable=False),
        sa.Column("step_s", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("age_s", sa.Float(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("series", "resource"),
    )
    op.create_table(
        "hosts",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("last_seen", sa.Float(), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("agent_version", sa.String(length=64), server_default="", nullable=False),
        sa.Column("safe_mode", sa.Text(), server_default="", nullable=False),
        sa.Column("gap", sa.Text(), server_default="", nullable=False),
        sa.Column("clock_ahead_s", sa.Float(), server_default="0", nullable=False),
        sa.Column("host_sample", sa.LargeBinary(), nullable=True),
        sa.Column("samples", sa.LargeBinary(), nullable=True),
        sa.Column("cards_digest", sa.String(length=64), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "join_tokens",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_index(op.f("ix_join_tokens_host"), "join_tokens", ["host"], unique=False)
    op.create_table(
        "meta",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "modes",
        sa.Column("scope", sa.String(length=300), nullable=False),
        sa.Column("mode", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("scope"),
    )
    op.create_table(
        "orders",
        sa.Column("order", sa.String(length=64), nullable=False),
        sa.Column("plan", sa.String(length=64), nullable=False),
        sa.Column("server", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("issued_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("closed_at", sa.Float(), nullable=True),
        sa.Column("cpu_verdict", sa.String(length=16), nullable=True),
        sa.Column("memory_verdict", sa.String(length=16), nullable=True),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("order"),
    )
    op.create_index(
        "one_open_order",
        "orders",
        ["server"],
        unique=True,
        sqlite_where=sa.text("status = 'open'"),
        postgresql_where=sa.text("status = 'open'"),
    )
    op.create_index("orders_by_host", "orders", ["host", "status"], unique=False)
    op.create_index("orders_by_server", "orders", ["server", "issued_at"], unique=False)
    op.create_table(
        "outcomes",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("order", sa.String(length=64), nullable=False),
        sa.Column("server", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("origin", sa.String(length=16), nullable=False),
        sa.Column("resource", sa.String(length=16), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("stray", sa.Boolean(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_outcomes_order"), "outcomes", ["order"], unique=False)
    op.create_index("outcomes_by_server", "outcomes", ["server", "origin", "at"], unique=False)
    op.create_table(
        "plans",
        sa.Column("plan", sa.String(length=64), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("notes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("plan"),
    )
    op.create_index(op.f("ix_plans_at"), "plans", ["at"], unique=False)
    op.create_table(
        "seen",
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("epoch", sa.String(length=255), nullable=False),
        sa.Column("first", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("host", "epoch", "first"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "series",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("first_seen", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "servers",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("owned_since", sa.Float(), nullable=False),
        sa.Column("released_at", sa.Float(), nullable=True),
        sa.Column("first_seen", sa.Float(), nullable=False),
        sa.Column("last_seen", sa.Float(), nullable=False),
        sa.Column("last_sample", sa.LargeBinary(), nullable=True),
        sa.Column("name", sa.String(length=255), server_default="", nullable=False),
        sa.Column("project", sa.String(length=255), server_default="", nullable=False),
        sa.Column("tier", sa.String(length=64), server_default="standard", nullable=False),
        sa.Column("entitled_cpu", sa.Float(), nullable=True),
        sa.Column("entitled_memory", sa.Float(), nullable=True),
        sa.Column("floor_cpu", sa.Float(), nullable=True),
        sa.Column("floor_memory", sa.Float(), nullable=True),
        sa.Column("raised_floor", sa.Float(), nullable=True),
        sa.Column("raised_until", sa.Float(), nullable=True),
        sa.Column("card", sa.LargeBinary(), nullable=True),
        sa.Column("card_host", sa.String(length=255), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_servers_host"), "servers", ["host"], unique=False)
    op.create_table(
        "wanted",
        sa.Column("slot", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("server", sa.String(length=64), nullable=False),
        sa.Column("cpu", sa.Float(), nullable=False),
        sa.Column("memory", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("slot", "server"),
        sqlite_with_rowid=False,
    )

"""Disk and network maxima; what learning remembers: forecasts and their scores, headroom, profiles, classes, anomalies, events."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add columns and tables; nothing that was told is changed."""
    for name in ("disk_read_kib", "disk_max", "net_max"):
        op.add_column("bins", sa.Column(name, sa.Float(), server_default="0", nullable=False))
    op.create_table(
        "archive",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("resource", sa.String(length=16), nullable=False),
        sa.Column("origin", sa.BigInteger(), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("step_s", sa.Integer(), nullable=False),
        sa.Column("predictor", sa.String(length=64), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_archive_due"), "archive", ["due"], unique=False)
    op.create_table(
        "scores",
        sa.Column("origin", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("resource", sa.String(length=16), nullable=False),
        sa.Column("stratum", sa.String(length=32), nullable=False),
        sa.Column("head", sa.String(length=16), nullable=False),
        sa.Column("predictor", sa.String(length=64), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("origin", "resource", "stratum", "head", "predictor"),
    )
    op.create_table(
        "headroom",
        sa.Column("server", sa.String(length=64), nullable=False),
        sa.Column("resource", sa.String(length=16), nullable=False),
        sa.Column("factor", sa.Float(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("server", "resource"),
    )
    for name in ("profiles", "classes"):
        op.create_table(
            name,
            sa.Column("server", sa.String(length=64), nullable=False),
            sa.Column("at", sa.Float(), nullable=False),
            sa.Column("data", sa.LargeBinary(), nullable=False),
            sa.PrimaryKeyConstraint("server"),
        )
    op.create_table(
        "anomalies",
        sa.Column("series", sa.String(length=300), nullable=False),
        sa.Column("resource", sa.String(length=16), nullable=False),
        sa.Column("since", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("series", "resource", "since"),
    )
    op.create_index("anomalies_by_end", "anomalies", ["until"], unique=False)
    op.create_table(
        "events",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("scope", sa.String(length=300), nullable=False),
        sa.Column("source", sa.String(length=300), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_events_scope"), "events", ["scope"], unique=False)
    op.create_table(
        "effects",
        sa.Column("event", sa.String(length=64), nullable=False),
        sa.Column("resource", sa.String(length=16), nullable=False),
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("factor", sa.Float(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("event", "resource", "start"),
    )

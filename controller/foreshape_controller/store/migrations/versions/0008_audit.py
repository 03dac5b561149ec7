"""Who wrote what, and what came of it: rows that the database itself keeps as they are."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

SEALED = "CAST(coalesce((SELECT value FROM meta WHERE name = 'audit_sealed'), '0') AS BIGINT)"
"""Rows up to this number are older than their retention."""
SQLITE = (
    "CREATE TRIGGER audit_stays BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is never changed'); END",
    (
        f"CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit WHEN OLD.id > {SEALED} "
        "BEGIN SELECT RAISE(ABORT, 'the audit is kept until its time is over'); END"
    ),
)
POSTGRESQL = (
    (
        "CREATE FUNCTION audit_stays() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF TG_OP = 'DELETE' THEN IF OLD.id <= {SEALED} THEN RETURN OLD; END IF; END IF; "
        "RAISE EXCEPTION 'the audit is never changed, and kept until its time is over'; END $$"
    ),
    "CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_stays()",
    "CREATE TRIGGER audit_is_kept BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_stays()",
)


def upgrade() -> None:
    """Add a table, and what guards it."""
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("request", sa.String(length=64), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("method", sa.String(length=16), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    for column in ("at", "request", "project", "cause"):
        op.create_index(op.f(f"ix_audit_{column}"), "audit", [column], unique=False)
    for text in SQLITE if op.get_bind().dialect.name == "sqlite" else POSTGRESQL:
        op.execute(text)

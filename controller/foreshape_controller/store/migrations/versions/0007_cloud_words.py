"""What the cloud says of servers."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add a table."""
    op.create_table(
        "cloud_servers",
        sa.Column("server", sa.String(length=64), nullable=False),
        sa.Column("project", sa.String(length=255), nullable=True),
        sa.Column("project_name", sa.String(length=255), nullable=True),
        sa.Column("name", sa.String(length=255), nullable=True),
        sa.Column("flavor", sa.String(length=255), nullable=True),
        sa.Column("image", sa.String(length=255), nullable=True),
        sa.Column("az", sa.String(length=255), nullable=True),
        sa.Column("aggregates", sa.Text(), server_default="[]", nullable=False),
        sa.Column("held_code", sa.String(length=32), server_default="", nullable=False),
        sa.Column("held", sa.Text(), server_default="", nullable=False),
        sa.Column("gone_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("server"),
    )
    op.create_index(op.f("ix_cloud_servers_project"), "cloud_servers", ["project"], unique=False)

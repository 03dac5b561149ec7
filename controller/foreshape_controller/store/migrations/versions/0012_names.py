"""Servers are found by their name and their project without looking at each."""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add three indexes."""
    op.create_index(op.f("ix_servers_name"), "servers", ["name"], unique=False)
    op.create_index(op.f("ix_servers_project"), "servers", ["project"], unique=False)
    op.create_index(op.f("ix_cloud_servers_name"), "cloud_servers", ["name"], unique=False)

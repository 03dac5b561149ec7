"""Pools of shadow VMs, and moved allocation ratios."""

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add tables."""

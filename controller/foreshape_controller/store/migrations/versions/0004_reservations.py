"""Reservations held in Placement."""

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add tables."""

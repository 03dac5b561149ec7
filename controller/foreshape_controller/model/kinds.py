"""Kinds of groups that are forecast directly, and how their series are told from servers'. Light: commands start with it."""

GROUPS = ("host", "project", "segment", "zone")
"""What is forecast directly beside servers: as series named ``KIND:NAME`` (a server's series is its bare id)."""


def kind_of(series: str) -> str | None:
    """``host``, ``project``, ``segment`` or ``zone``; None for a server's series."""
    kind, found, _ = series.partition(":")
    return kind if found and kind in GROUPS else None

"""Names as parts of the API's paths. Imports no HTTP client: a command that only wants its help starts quickly."""

from urllib.parse import quote


def segment(text: str) -> str:
    """A name as one part of a path, whatever characters it has."""
    return quote(text, safe="")


def path(kind: str, name: str, *more: str) -> str:
    """``/v1/<kind>/<name>``, and what is wanted of that one."""
    return "/".join((f"/v1/{kind}", segment(name), *more))

"""How far a tenant lets Foreshape go with his project and his servers: opting out, and in again.

Kept apart from the operators' modes, so that neither overwrites the other; the lowest of both is in force.
"""

from collections.abc import Mapping

import msgspec

from foreshape_wire.order import OPTED_OUT, Mode

PLAN = OPTED_OUT


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant chose for a scope of his: ``project:ID`` or ``server:ID``."""

    scope: str
    project: str
    mode: Mode
    reason: str = ""
    by: str = ""
    since: float = 0.0


class Terms(msgspec.Struct, frozen=True):
    """What operators allow tenants."""

    default: Mode = Mode.ACT
    """In force where a tenant chose nothing."""
    most: Mode = Mode.ACT
    """The highest that he may choose."""


def word(chosen: Mapping[str, Mode], terms: Terms, project: str, server: str) -> Mode:
    """What the owner of a server lets Foreshape do: the lowest of what he chose for it and for his project, else the default."""
    scopes = ([f"project:{project}"] if project else []) + [f"server:{server}"]
    found = [chosen[s] for s in scopes if s in chosen]
    return min(terms.most, min(found, key=_rank) if found else terms.default, key=_rank)


def _rank(mode: Mode) -> int:
    return mode.rank


class ChoiceRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """``PUT /v1/choices/{of}``: ``observe`` is out, ``advise`` only looks and explains, ``act`` is in."""

    mode: str
    reason: str = ""


class ChoiceEvent(msgspec.Struct, kw_only=True):
    """One choice that was made; an empty mode: taken back."""

    at: float
    mode: str
    reason: str
    by: str


class ChoiceAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/choices`` and ``/v1/choices/{of}``."""

    scope: str
    name: str
    """Of the server, or of the project as Keystone has it."""
    project: str
    mode: str
    """As chosen; empty: nothing was chosen for exactly this scope."""
    reason: str
    by: str
    since: float | None
    default: str
    """In force where nothing is chosen, and the highest mode that may be chosen: the operators' word."""
    most: str
    operators: str
    """The operators' own mode there."""
    in_force: str
    """The lowest of all that applies."""
    said: str
    """What that means, in a sentence."""
    returning: int = 0
    """Servers of the scope that are not back at what they were sold yet."""
    history: tuple[ChoiceEvent, ...] = ()
    """The newest first; of one scope only."""

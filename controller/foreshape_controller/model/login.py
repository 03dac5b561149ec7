"""Logging in with a password, which is Keystone's to judge: it passes through, and is neither kept nor logged."""

from typing import Annotated, TypeAlias

import msgspec

Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Optional: TypeAlias = Annotated[str, msgspec.Meta(max_length=255)]
Password: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]


class Login(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /v1/session`` without a token: whose session it shall be, and what for. Names, not ids."""

    user: Name
    password: Password
    user_domain: Name = "Default"
    project: Optional = ""
    """Empty, and not ``system``: the user's default project."""
    project_domain: Optional = ""
    """Empty: the user's."""
    system: bool = False
    """The whole system instead of a project: for operators."""

    def __repr__(self) -> str:
        return "Login(…)"

    __str__ = __repr__

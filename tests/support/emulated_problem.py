"""What the emulated services share: how a request finds its action, and a refusal in the words of the real one."""

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloud_emulator import Request

Routes = Iterable[tuple[str, str, Callable[..., tuple[int, Any]]]]
"""Method, pattern of the whole path, and what answers: called with the state, the request, its microversion and the pattern's groups."""


class Problem(Exception):
    """A status above 299."""

    def __init__(self, status: int, text: str, code: str = "placement.undefined_code") -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.code = code

    def body(self, service: str) -> Any:
        if service == "placement":
            return {"errors": [{"status": self.status, "title": "Error", "detail": self.text, "code": self.code}]}
        if service == "compute":
            return {
                {409: "conflictingRequest", 404: "itemNotFound"}.get(self.status, "badRequest"): {"code": self.status, "message": self.text}
            }
        return {"error": {"code": self.status, "message": self.text}}


def routed(state: Any, routes: Routes, request: "Request", version: tuple[int, int]) -> tuple[int, Any]:
    """Status and body of the first route that fits; Problem 404 where none does."""
    for method, pattern, action in routes:
        found = re.fullmatch(pattern, request.path)
        if found and request.method == method:
            return action(state, request, version, *found.groups())
    raise Problem(404, f"The resource could not be found: {request.path}")

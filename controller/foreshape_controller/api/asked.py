"""Before every handler: the kind of its body, its Idempotency-Key, and the part of a list that is asked for."""

from typing import Any

from litestar import Request, Response

from foreshape_controller.api import lists, repeat
from foreshape_controller.errors import WrongMedia


async def before(request: "Request[Any, Any, Any]") -> "Response[bytes] | None":
    """Hook of the whole application. Raises WrongMedia, and what ``repeat`` and ``lists`` raise."""
    _media(request)
    lists.before(request)
    return await repeat.before(request)


def _media(request: "Request[Any, Any, Any]") -> None:
    """A route that takes JSON takes nothing that says it is something else."""
    said = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if "data" not in request.route_handler.parsed_fn_signature.parameters or not said:
        return
    if said != "application/json" and not (said.startswith("application/") and said.endswith("+json")):
        raise WrongMedia(f"the body is said to be {said[:80]!r}: send JSON, with Content-Type: application/json")

"""The dashboard's files, as they lie in the package: read once, compressed once, known again by their hash.

They are the same for everybody and hold nothing of anybody's: whoever opens the page has to log in before the API answers it anything.
"""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from litestar import Request, Response, Router, get
from litestar.params import FromPath
from litestar.response import Redirect

from foreshape_controller.api.auth import PUBLIC
from foreshape_controller.errors import NotFound

TYPES: Mapping[str, str] = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}
"""What is served, by the end of its name; other files of the folder (the licence) as plain text."""
PLAIN = "text/plain"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""No script and no style but the files of this folder, no other host, nobody's frame."""


@dataclass(frozen=True)
class Asset:
    """One file."""

    content: bytes
    packed: bytes
    etag: str
    media_type: str


@cache
def assets() -> Mapping[str, Asset]:
    """By path below ``/dashboard/``."""
    found: dict[str, Asset] = {}
    _collect(files("foreshape_controller") / "dashboard", "", found)
    return found


@get(["/", "/dashboard"], opt=PUBLIC, include_in_schema=False, sync_to_thread=False)
def entrance() -> Redirect:
    """Where a person begins who only knows the controller's address."""
    return Redirect("/dashboard/index.html")


@get("/dashboard/{name:path}", opt=PUBLIC, include_in_schema=False, sync_to_thread=False)
def asset(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
    """One file. Browsers ask each time whether theirs is still the same: an upgrade is seen at once."""
    found = assets().get(name.strip("/") or "index.html")
    if found is None:
        raise NotFound(f"the dashboard has no file {name[:80]!r}: it begins at /dashboard")
    headers = {"ETag": found.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding", "Content-Security-Policy": POLICY} | SAFE
    if found.etag in [tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")]:
        return Response(b"", status_code=304, media_type=found.media_type, headers=headers)
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        return Response(found.packed, media_type=found.media_type, headers=headers | {"Content-Encoding": "gzip"})
    return Response(found.content, media_type=found.media_type, headers=headers)


SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin"}
ROUTER = Router("/", route_handlers=[entrance, asset])


def _collect(folder: Traversable, path: str, found: dict[str, Asset]) -> None:
    for file in folder.iterdir():
        if file.is_dir():
            _collect(file, f"{path}{file.name}/", found)
        else:
            found[f"{path}{file.name}"] = _asset(file.name, file.read_bytes())


def _asset(name: str, content: bytes) -> Asset:
    return Asset(
        content=content,
        packed=gzip.compress(content, 9, mtime=0),
        etag=f'"{sha256(content).hexdigest()[:32]}"',
        media_type=TYPES.get(name.rpartition(".")[2], PLAIN),
    )

"""What every answer tells browsers: whom they may trust, and what they must not keep."""

from collections.abc import Mapping
from typing import Any

from litestar.datastructures import MutableScopeHeaders

PAGE_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""The dashboard is files of our own: nothing inline, nothing from elsewhere, and nobody's frame."""
ANSWER_POLICY = "default-src 'none'; frame-ancestors 'none'"
HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
HSTS = "max-age=31536000"
"""Browsers come back by TLS only."""
PAGES = "/dashboard"


async def guard(message: Any, scope: Any) -> None:
    """Hook before anything is sent; what a handler has set itself stays."""
    if message["type"] != "http.response.start":
        return
    headers = MutableScopeHeaders.from_message(message)
    for name, value in told(str(scope.get("path", "")), str(scope.get("scheme", ""))).items():
        headers.setdefault(name, value)


def told(path: str, scheme: str) -> Mapping[str, str]:
    """With every answer at that path, by ``http`` or ``https``."""
    page = path.startswith(PAGES)
    wanted = {**HEADERS, "Content-Security-Policy": PAGE_POLICY if page else ANSWER_POLICY}
    if not page:
        wanted["Cache-Control"] = "no-store"
    if scheme == "https":
        wanted["Strict-Transport-Security"] = HSTS
    return wanted

"""Stands in for neutron-server: what Nova asks where every server is booted with networks='none'. network.py ADDRESS PORT."""

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

QUOTAS = dict.fromkeys(("floatingip", "network", "port", "security_group", "security_group_rule"), -1)


class Request(BaseHTTPRequestHandler):
    """Every list is empty; nothing can be made."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._take_body()
        path = self.path.partition("?")[0].rstrip("/")
        self._say(*answer(path, f"http://{self.headers.get('Host')}"))

    def do_POST(self) -> None:
        self._take_body()
        self._say(*nothing(self.path))

    do_PUT = do_DELETE = do_POST  # noqa: N815 - the names are BaseHTTPRequestHandler's

    def _take_body(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _say(self, code: int, body: dict[str, Any]) -> None:
        text = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name is BaseHTTPRequestHandler's
        pass


def answer(path: str, root: str) -> tuple[int, dict[str, Any]]:
    """Status and body for one path."""
    if path == "":
        return 200, {"versions": [{"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": f"{root}/v2.0/"}]}]}
    if found := re.fullmatch(r"/v2\.0/([a-z-]+)", path):
        return 200, {found.group(1).replace("-", "_"): []}
    if re.fullmatch(r"/v2\.0/quotas/[^/]+(/.*)?", path):
        return 200, {"quota": QUOTAS}
    return nothing(path)


def nothing(path: str) -> tuple[int, dict[str, Any]]:
    return 404, {"NeutronError": {"type": "NotFound", "message": path, "detail": ""}}


if __name__ == "__main__":
    ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Request).serve_forever()

"""A stand-in for the controller that tells Nova's scheduler of headroom, as badly as a test wants."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def told(
    hosts: dict[str, float], *, at: float | None = None, token: str = "", body: bytes | None = None, wait_s: float = 0.0
) -> Iterator[str]:
    """The URL of a controller that tells this."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(wait_s)
            granted = self.headers.get("Authorization", "") == (f"Bearer {token}" if token else "")
            said = body if body is not None else json.dumps({"at": time.time() if at is None else at, "hosts": hosts}).encode()
            self.send_response(200 if granted else 401)
            self.end_headers()
            with suppress(BrokenPipeError):  # the asker waits no longer
                self.wfile.write(said if granted else b"{}")

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/headroom"
    finally:
        server.shutdown()
        server.server_close()

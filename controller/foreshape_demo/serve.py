"""The controller's API on loopback while the demo runs, so that the operator's command can be tried in another terminal."""

import socket
import threading
from types import TracebackType
from typing import Self

import uvicorn

from foreshape_controller.listening import Patient
from foreshape_controller.main import Program


class PortTaken(Exception):
    """The port asked for cannot be listened on; the text says what to do."""


class Serving:
    """Serves from a thread of its own as long as the context lasts."""

    def __init__(self, program: Program, port: int) -> None:
        self._socket, self._bus = _listen(port), program.store.bus
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(
            uvicorn.Config(program.app, log_config=None, access_log=False, lifespan="on", http=Patient, ws="none")
        )
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True, name="api")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bus.close()
        self._server.should_exit = True
        self._thread.join(timeout=5)
        self._socket.close()


def _listen(port: int) -> socket.socket:
    # The protocol is named because asyncio sets TCP_NODELAY only where it is: without it, each answer on a kept connection takes 40 ms.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen(128)  # who is told the address at once waits until somebody answers; without it he would be refused
    except (OSError, OverflowError) as e:
        listening.close()
        raise PortTaken(f"cannot listen on 127.0.0.1:{port}: {getattr(e, 'strerror', None) or e}; choose another --port, or none") from e
    return listening

"""The controller stops soon, whatever OpenStack does."""

import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller_support import Controller, written

pytestmark = pytest.mark.functional

SOON_S = 12.0
"""Five seconds for OpenStack, and a slow machine."""

CLOUDS = """
clouds:
  mute:
    auth: {{auth_url: "http://127.0.0.1:{port}/identity/v3", username: me, password: x, project_name: p,
           user_domain_id: default, project_domain_id: default}}
    region_name: R
"""


@pytest.fixture
def mute() -> Iterator[tuple[int, threading.Event]]:
    """A service that takes connections, and never says anything; and whether somebody asked it."""
    asked, kept = threading.Event(), []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def take() -> None:
            try:
                while True:
                    kept.append(listening.accept()[0])
                    asked.set()
            except OSError:
                return  # the test is over

        threading.Thread(target=take, daemon=True).start()
        yield listening.getsockname()[1], asked
        listening.shutdown(socket.SHUT_RDWR)
    for connection in kept:
        connection.close()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_an_openstack_that_hangs_does_not_keep_it(tmp_path: Path, mute: tuple[int, threading.Event], how: signal.Signals) -> None:
    port, asked = mute
    (tmp_path / "clouds.yaml").write_text(CLOUDS.format(port=port))
    conf = written(tmp_path, cloud="enabled = true\nname = mute\ntimeout_s = 90")
    c = Controller(conf, {"OS_CLIENT_CONFIG_FILE": str(tmp_path / "clouds.yaml")})
    try:
        assert c.url
        assert asked.wait(30), "it waits for an answer now"
        began = time.monotonic()
        assert c.end(how) == 0
        assert time.monotonic() - began < SOON_S
        assert c.log.read_text().count('"stopped"') == 1
        assert "OpenStack gives no answer" in c.log.read_text()
    finally:
        if c.process.poll() is None:
            c.process.kill()
            c.process.wait(10)

"""Ports of pools, on a real Neutron API: ML2 without agents on SQLite, one project; no Keystone, no wire behind it."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from foreshape_cloudbed import environment
from foreshape_lab import Missing
from foreshape_lab.errors import LabError
from foreshape_lab.processes import wait_until
from foreshape_lab.shell import run
from foreshape_lab.state import locked

from foreshape_controller.cloud.call import Ways
from foreshape_controller.cloud.patience import Patience
from foreshape_controller.cloud.session import Access, connect
from pool_contract import PortBed, PortContract

pytestmark = pytest.mark.integration

WANTED = "neutron==29.0.0"
INSIDE = Path(__file__).parents[1] / "support" / "neutron_inside.py"


def installed() -> Path:
    """Python of an environment that has Neutron; some seconds the first time, for it shares most packages with the cloud's."""
    environment.install()
    home, stamp = environment.CACHE / "neutron", environment.CACHE / "neutron-installed"
    python = home / "bin" / "python"
    with locked("neutron-environment"):
        if not (stamp.exists() and stamp.read_text() == WANTED and python.exists()):
            try:
                run([sys.executable, "-m", "venv", "--clear", "--without-pip", home])
                environment.uv("pip", "install", "-q", "--python", python, "-c", environment.PINS, WANTED)
            except LabError as e:
                raise Missing(f"Neutron could not be installed from PyPI: {e}") from e
            stamp.write_text(WANTED)
    return python


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("neutron")
    try:
        python = installed()
    except Missing as e:
        pytest.skip(str(e))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([python, INSIDE, folder, str(port)], stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: "serving" in (folder / "log").read_text() or server.poll() is not None, "Neutron to serve", 90.0)
            assert server.poll() is None, (folder / "log").read_text()[-2000:]
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()
            server.wait(10)


def made(url: str, what: str, **words: object) -> str:
    body = json.dumps({what: words}).encode()
    with urlopen(Request(f"{url}/v2.0/{what}s", body, {"Content-Type": "application/json"})) as answer:
        return str(json.load(answer)[what]["id"])


class TestOnARealNeutron(PortContract):
    @pytest.fixture
    def bed(self, url: str) -> PortBed:
        options = {"auth_type": "none", "auth": {"endpoint": url}, "network_endpoint_override": f"{url}/v2.0"}
        access = Access(options={**options, "load_yaml_config": False, "load_envvars": False})

        def network() -> str:
            """Of five addresses."""
            ident = made(url, "network", name="n")
            made(url, "subnet", network_id=ident, cidr="10.9.0.0/29", ip_version=4)
            return ident

        return PortBed(connect(access, Ways(Patience(tries=2))).neutron, network)

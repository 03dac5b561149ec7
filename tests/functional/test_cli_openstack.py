"""``openstack shape …``: every command that asks the controller is there, and works by the OpenStack client's login."""

import io
import json
import tomllib
from argparse import ArgumentParser
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace

import pytest

from foreshape_controller.cli import osc
from foreshape_controller.cli.errors import UsageError
from sim_support import canned_api

pytestmark = pytest.mark.functional

DECLARED = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["entry-points"]


@pytest.fixture
def api():
    with canned_api() as made:
        yield made


class Login:
    """As osc-lib's ClientManager: somebody who has a token and a catalogue."""

    region_name, interface, cacert, verify = "RegionOne", "public", None, True

    def __init__(self, catalogue="", option=""):
        self._catalogue = catalogue
        self._cli_options = SimpleNamespace(shape_endpoint=option)
        self.session = SimpleNamespace(get_token=lambda: "gAAAA-token")

    def get_endpoint_for_service_type(self, service_type, region_name=None, interface="public"):
        return self._catalogue if service_type == "foreshape" else ""


MANAGER = SimpleNamespace(namespace="openstack.cli")


def run(login, name, *words):
    out = io.StringIO()
    app = SimpleNamespace(
        client_manager=SimpleNamespace(shape=osc.make_client(login)), stdout=out, stderr=io.StringIO(), command_manager=MANAGER
    )
    command = getattr(osc, name)(app, None, cmd_name=name)
    assert command.run(command.get_parser(f"openstack shape {name.replace('_', ' ')}").parse_args(words)) == 0
    return out.getvalue()


def test_every_command_that_asks_the_controller_is_a_command_of_the_openstack_client():
    """A new command of ``foreshape`` needs its line in the group openstack.shape.v1, too."""
    ours = {name for name in DECLARED["foreshape.cli"] if name not in osc.LOCAL}
    theirs = DECLARED["openstack.shape.v1"]
    assert set(theirs) == {f"shape_{name}" for name in ours}
    assert theirs == {f"shape_{name}": f"foreshape_controller.cli.osc:{name.replace('-', '_')}" for name in ours}


def test_each_can_be_loaded_and_has_its_help():
    for entry in entry_points(group="openstack.shape.v1"):
        command = entry.load()(SimpleNamespace(command_manager=MANAGER), None, cmd_name=entry.name)
        assert command.get_parser(f"openstack {entry.name.replace('_', ' ')}").format_help()


def test_it_asks_with_keystone_s_token_at_the_catalogue_s_endpoint(api):
    rows = json.loads(run(Login(catalogue=f"{api.url}/"), "server_list", "-f", "json"))
    assert [r["name"] for r in rows] == ["web-1"]
    assert not api.asked[0].authorization
    assert api.asked[0].keystone == "gAAAA-token"


def test_an_endpoint_that_is_named_wins(api):
    assert "hv1" in run(Login(catalogue="http://127.0.0.1:9/", option=api.url), "host_list")


def test_without_an_endpoint_it_says_what_to_do():
    with pytest.raises(UsageError, match="--os-shape-endpoint"):
        osc.make_client(Login())


def test_the_client_s_options_are_declared():
    parsed = osc.build_option_parser(ArgumentParser()).parse_args(["--os-shape-endpoint", "http://x"])
    assert (parsed.os_shape_endpoint, parsed.os_shape_api_version) == ("http://x", "1")


def test_commands_that_work_on_files_are_not_offered():
    with pytest.raises(AttributeError):
        _ = osc.backtest

"""``openstack shape …``: the same commands inside the OpenStack client, by its login.

python-openstackclient loads this module in every one of its runs (entry point ``openstack.cli.extension``): nothing heavy is imported here.
The names in capitals, ``make_client`` and ``build_option_parser`` are its interface (osc-lib, "plugins").
"""

import os
from argparse import ArgumentParser
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foreshape_controller.cli.client import Client

API_NAME = "shape"
API_VERSION_OPTION = "os_shape_api_version"
DEFAULT_API_VERSION = "1"
API_VERSIONS = {"1": "foreshape_controller.cli.client.Client"}
SERVICE_TYPE = "foreshape"
"""In Keystone's catalogue."""


def build_option_parser(parser: ArgumentParser) -> ArgumentParser:
    """Two global options."""
    parser.add_argument("--os-shape-api-version", metavar="VERSION", default=DEFAULT_API_VERSION, help="version of Foreshape's API (1)")
    parser.add_argument(
        "--os-shape-endpoint",
        metavar="URL",
        default=os.environ.get("OS_SHAPE_ENDPOINT", ""),
        help=f"the controller's address (env OS_SHAPE_ENDPOINT; else of service type {SERVICE_TYPE!r} in Keystone's catalogue)",
    )
    return parser


def make_client(instance: Any) -> "Client":
    """The API's client with the token of whoever has logged in. ``instance``: osc-lib's ClientManager. Raises CliError."""
    from foreshape_controller.cli.client import Access, Client  # noqa: PLC0415 - httpx costs a tenth of a second
    from foreshape_controller.cli.errors import UsageError  # noqa: PLC0415

    named = getattr(instance._cli_options, "shape_endpoint", "")  # where osc-lib keeps a plugin's options; it has no public place
    url = named or instance.get_endpoint_for_service_type(SERVICE_TYPE, region_name=instance.region_name, interface=instance.interface)
    if not url:
        raise UsageError(f"Keystone's catalogue has no endpoint of service type {SERVICE_TYPE!r}: give --os-shape-endpoint URL")
    ca = Path(instance.cacert) if instance.cacert else None
    token = str(instance.session.get_token())
    return Client(Access(url=url.rstrip("/"), token_file=Path(os.devnull), ca_file=ca, keystone_token=token, verify=bool(instance.verify)))


class Borrowed:
    """The OpenStack client's program, as our commands expect a program to be: with ``client``."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)

    @property
    def client(self) -> Any:
        return getattr(self._app.client_manager, API_NAME)


def borrowed(command: Callable[..., Any]) -> type:
    """A command of ``foreshape`` that works inside the OpenStack client."""
    base: Any = command

    class Shaped(base):  # type: ignore[misc]
        __doc__ = base.__doc__

        def __init__(self, app: Any, app_args: Any, cmd_name: str | None = None) -> None:
            super().__init__(Borrowed(app), app_args, cmd_name=cmd_name)

    return Shaped


LOCAL = frozenset({"backtest", "demo", "replay", "trace_import", "train"})
"""Commands that work on files here, and know no controller: they are not offered."""


def __getattr__(name: str) -> Any:
    """``server_list`` and so on: what pyproject.toml's group ``openstack.shape.v1`` names. Raises AttributeError."""
    for entry in entry_points(group="foreshape.cli"):
        if entry.name.replace("-", "_") == name and name not in LOCAL:
            return borrowed(entry.load())
    raise AttributeError(name)

"""The services of OpenStack's control plane."""

import http.client
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from foreshape_cloudbed.environment import BIN, ETC, INSIDE, PYTHON
from foreshape_cloudbed.infrastructure import epmd, mariadb, rabbitmq
from foreshape_cloudbed.places import PORTS, Places
from foreshape_cloudbed.service import Service

MODULES = {
    "keystone": "keystone.wsgi.api",
    "placement": "placement.wsgi.api",
    "glance": "glance.wsgi.api",
    "nova-api": "nova.wsgi.osapi_compute",
}


def services(places: Places) -> dict[str, Service]:
    """By name, in the order in which they are started."""
    every = [
        epmd(places),
        mariadb(places),
        rabbitmq(places),
        keystone(places),
        web(places, "placement", {"OS_PLACEMENT_CONFIG_DIR": str(places.etc)}),
        network(places),
        web(places, "nova-api", {"OS_NOVA_CONFIG_FILES": f"{ETC / 'nova/api-paste.ini'};{places.etc / 'nova.conf'}"}),
        nova(places, "conductor"),
        nova(places, "scheduler"),
        web(places, "glance", {"OS_GLANCE_CONFIG_DIR": str(places.etc)}),
    ]
    return {s.name: s for s in every}


def keystone(places: Places) -> Service:
    return web(
        places, "keystone", {"OS_KEYSTONE_CONFIG_DIR": str(places.etc), "OS_KEYSTONE_CONFIG_FILES": str(places.etc / "keystone.conf")}
    )


def web(places: Places, name: str, environment: Mapping[str, str]) -> Service:
    key = name.removesuffix("-api")
    return Service(
        places.folder / name,
        [PYTHON, INSIDE / "serve.py", places.address, str(PORTS[key]), MODULES[name]],
        environment,
        answers=lambda: status(places.endpoint(key)),
    )


def network(places: Places) -> Service:
    return Service(
        places.folder / "neutron",
        [PYTHON, INSIDE / "network.py", places.address, str(PORTS["neutron"])],
        answers=lambda: status(places.root("neutron")),
    )


def nova(places: Places, name: str) -> Service:
    """conductor or scheduler. That they answer shows only in what needs them."""
    return Service(places.folder / name, [BIN / f"nova-{name}", "--config-file", places.etc / "nova.conf"])


def status(url: str) -> int:
    """HTTP status of an address; 0 when nothing answers."""
    where = urlsplit(url)
    link = http.client.HTTPConnection(where.hostname or "", where.port or 80, timeout=10)
    try:
        link.request("GET", where.path or "/")
        return link.getresponse().status
    except OSError:
        return 0
    finally:
        link.close()


def folders(bed: Path) -> list[Path]:
    """Of every service that was ever started for a bed: what a clean-up looks at."""
    return sorted(p for p in bed.glob("*") if p.is_dir() and (p / "log").is_file())

"""Neutron: ports that are there before their server is, so that its address is known while it boots and stays its own."""

from dataclasses import dataclass
from typing import Any

from foreshape_controller.cloud.call import Json, Service
from foreshape_controller.cloud.parse import is_id
from foreshape_controller.errors import Gone, Permanent


@dataclass(frozen=True)
class Port:
    """One port, and the addresses that Neutron gave it."""

    id: str
    network: str
    addresses: tuple[str, ...] = ()


class Neutron:
    """The network service. Everything raises CloudError."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def network(self, wanted: str) -> str:
        """Its id, if there is one of that id that this project may use. Raises Gone."""
        if not is_id(wanted):
            raise Gone(f"{wanted[:80]!r} is no id of a network")
        found = _field(_field(self._service.ask("GET", f"/networks/{wanted}"), "network"), "id")
        if found != wanted:
            raise Permanent("Neutron's answer is no network: is something else at its endpoint?")
        return wanted

    def create_port(self, network: str, name: str) -> Port:
        """A port with an address of its network's subnets. Raises Gone (no such network), Conflict (no address is free), Permanent (quota);
        a Temporary with ``maybe_done``: look for its name.
        """
        body = {"port": {"network_id": network, "name": name, "admin_state_up": True, "description": "of a Foreshape pool"}}
        return _port(_field(self._service.ask("POST", "/ports", body=body), "port"))

    def ports(self, name: str) -> tuple[Port, ...]:
        """Our project's ports of exactly this name."""
        rows = _field(self._service.ask("GET", "/ports", params={"name": name}), "ports")
        if not isinstance(rows, list):
            raise Permanent("Neutron's answer has no list of ports: is something else at its endpoint?")
        return tuple(_port(row) for row in rows if isinstance(row, dict) and row.get("name") == name)

    def delete_port(self, port: str) -> bool:
        """False: it is not there."""
        try:
            self._service.ask("DELETE", f"/ports/{port}")
        except Gone:
            return False
        return True


def _field(body: Json, key: str) -> Any:
    return body.get(key) if isinstance(body, dict) else None


def _port(row: Any) -> Port:
    try:
        addresses = tuple(str(a["ip_address"]) for a in row.get("fixed_ips") or ())
        return Port(str(row["id"]), str(row["network_id"]), addresses)
    except (KeyError, TypeError, AttributeError) as e:
        raise Permanent(f"Neutron's answer is no port ({type(e).__name__} {e}): is something else at its endpoint?") from e

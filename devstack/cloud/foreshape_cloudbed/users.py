"""What users and operators of the cloud do, by openstacksdk."""

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openstack
from foreshape_lab.errors import LabError
from foreshape_lab.processes import wait_until
from openstack import exceptions

ENDED = frozenset({"completed", "error", "failed", "cancelled"})
SERVER_S = 120.0


class NoValidHost(LabError):
    """Nova found no host for a server."""


class Users:
    """One user's hands: servers without a network."""

    def __init__(self, access: dict[str, Any], image: Callable[["Users"], str] | None = None) -> None:
        self.link = openstack.connect(**access)
        self._make_image = image or empty_image
        self._image = ""
        self._flavors: dict[tuple[int, int, int], str] = {}

    # -- what servers are made of

    @property
    def image(self) -> str:
        self._image = self._image or self._make_image(self)
        return self._image

    def flavor(self, vcpus: int, ram: int, disk: int = 0) -> str:
        """Id of the flavor of this size; only administrators can make one."""
        key = (vcpus, ram, disk)
        if key not in self._flavors:
            name = f"c{vcpus}-m{ram}-d{disk}"
            found = self.link.compute.find_flavor(name) or self.link.compute.create_flavor(name=name, vcpus=vcpus, ram=ram, disk=disk)
            self._flavors[key] = found.id
        return self._flavors[key]

    def upload(self, name: str, content: bytes | Path, **properties: object) -> str:
        """Id of the image of this name, uploaded if it is not there."""
        if found := self.link.image.find_image(name):
            return str(found.id)
        data = content if isinstance(content, bytes) else content.read_bytes()
        words: dict[str, Any] = {"container_format": "bare", "disk_format": "raw", "visibility": "public", **properties}
        return str(self.link.image.create_image(name=name, data=data, wait=True, **words).id)

    # -- servers

    def order(self, host: str = "", *, vcpus: int = 2, ram: int = 1024, disk: int = 0, name: str = "", **words: Any) -> str:
        """Id of a server that Nova has begun to build."""
        where = {"availability_zone": f"nova:{host}"} if host else {}
        name = name or f"s{uuid.uuid4().hex[:6]}"
        made = self.link.compute.create_server(
            name=name, image_id=self.image, flavor_id=self.flavor(vcpus, ram, disk), networks="none", **where, **words
        )
        return str(made.id)

    def boot(self, host: str = "", **words: Any) -> str:
        """Id of a running server. Raises NoValidHost; what could not be built is deleted."""
        server = self.order(host, **words)
        if self.built(server) == "ACTIVE":
            return server
        why = (self.link.compute.get_server(server).fault or {}).get("message", "no reason given")
        self.delete(server)
        raise NoValidHost(f"the server was not built: {why}")

    def built(self, server: str) -> str:
        """ACTIVE or ERROR, when Nova has come to an end with it."""
        status = [""]

        def over() -> bool:
            status[0] = self.link.compute.get_server(server).status
            return status[0] in {"ACTIVE", "ERROR"}

        wait_until(over, f"an end of the building of {server}", SERVER_S, every_s=0.2)
        return status[0]

    def host_of(self, server: str) -> str:
        return str(self.link.compute.get_server(server).compute_host)

    def delete(self, *servers: str) -> None:
        """And wait until they are gone."""
        for server in servers:
            self.link.compute.delete_server(server)
        for server in servers:
            wait_until(lambda s=server: self._gone(s), f"the deletion of {server}", SERVER_S, every_s=0.1)  # type: ignore[misc]

    def _gone(self, server: str) -> bool:
        try:
            self.link.compute.get_server(server)
        except exceptions.NotFoundException:
            return True
        return False

    # -- migrations

    def migrate(self, server: str, host: str) -> None:
        """Order it, at once; Nova answers when the target has its claim."""
        self.link.compute.live_migrate_server(server, host=host, block_migration="auto")

    def migrated(self, server: str, timeout_s: float = 120) -> str:
        """How its newest migration ended."""
        status = [""]

        def over() -> bool:
            newest = next(iter(self.link.compute.migrations(instance_uuid=server)), None)
            status[0] = str(newest.status) if newest else ""
            return status[0] in ENDED and self.link.compute.get_server(server).task_state is None

        wait_until(over, f"an end of the migration of {server}", timeout_s, every_s=0.2)
        return status[0]

    def clear(self) -> None:
        """Every server of every project is gone."""
        self.delete(*(s.id for s in self.link.compute.servers(all_projects=True)))


def empty_image(users: Users) -> str:
    """For hosts without a hypervisor, which never look into it."""
    return users.upload("empty", b"\0" * 1024)


def seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began

"""A virt driver without a hypervisor, for Nova's own nova-compute.

Live migrations take as long as a file says when they begin, and can be aborted and forced one by one. Nodes keep their identity, and
servers go on running, when nova-compute ends and starts again, as they would on a real hypervisor.
"""

import json
import os
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from nova.virt import fake

STATE = Path(os.environ["CLOUDBED_STATE"])
MIGRATION_SECONDS = Path(os.environ["CLOUDBED_MIGRATION_SECONDS"])
VCPUS, RAM_MIB, DISK_GIB = 16, 65536, 1000


def node_uuid(host: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{host}.foreshape.test"))


def migration_s() -> float:
    return float(MIGRATION_SECONDS.read_text()) if MIGRATION_SECONDS.exists() else 1.0


class BedDriver(fake.FakeDriver):  # type: ignore[misc]  # Nova has no types
    """One host's."""

    vcpus, memory_mb, local_gb = VCPUS, RAM_MIB, DISK_GIB

    def __init__(self, *arguments: Any, **words: Any) -> None:
        super().__init__(*arguments, **words)
        self.ends: dict[str, tuple[threading.Event, list[str]]] = {}
        """Server → what wakes its migration, and why."""
        self.lock = threading.Lock()

    # -- identity and memory

    def init_host(self, host: str) -> None:
        super().init_host(host)
        file = self._file()
        for server, (name, state) in (json.loads(file.read_text()) if file.exists() else {}).items():
            self.instances[server] = fake.FakeInstance(name, state, server)

    def get_available_resource(self, nodename: str) -> dict[str, Any]:
        return {**super().get_available_resource(nodename), "uuid": node_uuid(self._host)}

    def get_nodenames_by_uuid(self, *_: Any, **__: Any) -> dict[str, str]:
        return {node_uuid(self._host): self.get_available_nodes()[0]}

    def _file(self) -> Path:
        return STATE / f"{self._host}.json"

    def _remember(self) -> None:
        with self.lock:
            known = {server: (guest.name, guest.state) for server, guest in list(self.instances.items())}
            new = self._file().with_suffix(".new")
            new.write_text(json.dumps(known))
            new.replace(self._file())

    # -- servers

    def spawn(self, *arguments: Any, **words: Any) -> None:
        super().spawn(*arguments, **words)
        self._remember()

    def destroy(self, *arguments: Any, **words: Any) -> None:
        super().destroy(*arguments, **words)
        self._remember()

    def power_off(self, *arguments: Any, **words: Any) -> None:
        super().power_off(*arguments, **words)
        self._remember()

    def power_on(self, *arguments: Any, **words: Any) -> None:
        super().power_on(*arguments, **words)
        self._remember()

    # -- live migration

    def live_migration(self, context: Any, instance: Any, dest: str, post_method: Any, recover_method: Any, *more: Any) -> None:
        block_migration, migrate_data = (*more, None, None)[:2]
        woken, why = self.ends[instance.uuid] = (threading.Event(), [])
        until = time.monotonic() + migration_s()
        woken.wait(max(0.0, until - time.monotonic()))
        self.ends.pop(instance.uuid, None)
        if "abort" in why:
            recover_method(context, instance, dest, migrate_data, migration_status="cancelled")
        else:
            post_method(context, instance, dest, block_migration, migrate_data)

    def live_migration_force_complete(self, instance: Any) -> None:
        self._end(instance.uuid, "force")

    def live_migration_abort(self, instance: Any) -> None:
        self._end(instance.uuid, "abort")

    def _end(self, server: str, why: str) -> None:
        if server in self.ends:
            woken, reasons = self.ends[server]
            reasons.append(why)
            woken.set()

    def post_live_migration(self, context: Any, instance: Any, block_device_info: Any, *_: Any, **__: Any) -> None:
        self.destroy(context, instance, network_info=None, block_device_info=block_device_info)


fake.BedDriver = BedDriver

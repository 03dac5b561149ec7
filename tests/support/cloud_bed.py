"""Real OpenStack for tests, under a name nobody else has, taken down whatever happens.

Most files share one: the fixtures ``cloud`` and ``real_cloud`` of tests/integration/conftest.py. For one of its own:

@pytest.fixture(scope="module")
def cloud():
    with a_cloud(computes=3) as cloud:
        yield cloud
"""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from foreshape_cloudbed import Cloud, RealCloud, environment
from foreshape_cloudbed.users import NoValidHost, Users
from foreshape_lab import Missing

from foreshape_controller.cloud import session
from foreshape_controller.cloud.call import Ways
from foreshape_controller.cloud.patience import Patience
from foreshape_controller.cloud.session import Access
from foreshape_controller.errors import NoRoom

KEPT = "kept"
"""What the names of beds begin with that outlive a file (tests/conftest.py knows it)."""


def bed_name(begin: str = "c") -> str:
    return f"{begin}{os.getpid():x}{secrets.token_hex(2)}"


@contextmanager
def a_cloud(
    computes: int = 20, *, apart: int = 0, nova: Mapping[str, Mapping[str, object]] | None = None, name: str = ""
) -> Iterator[Cloud]:
    """A control plane, and hosts without a hypervisor. Skips, saying why, where it cannot be made; under CI that is a failure."""
    try:
        environment.ensure()
    except Missing as e:
        pytest.skip(str(e))
    with Cloud(name or bed_name(), computes, apart=apart, nova=nova or {}) as cloud:
        yield cloud


@contextmanager
def a_real_cloud(hosts: int = 2, name: str = "") -> Iterator[RealCloud]:
    """A control plane, and real hypervisors between which Nova live-migrates."""
    try:
        environment.ensure_real()
    except Missing as e:
        pytest.skip(str(e))
    with RealCloud(name or bed_name(), hosts) as cloud:
        yield cloud


class CloudHands:
    """A bed for CloudContract, and for whoever tests against the doors: the product's own doors, and users beside them."""

    patience_s = 60.0

    def __init__(self, cloud: Cloud, patience: Patience | None = None) -> None:
        self.bed, self.hosts = cloud, cloud.hosts
        self.users = Users(cloud.access("admin"), cloud.image)
        access = Access(timeout_s=90.0, options=cloud.access("foreshape"))
        self.cloud = session.connect(access, Ways(patience or Patience(tries=3, first_s=0.2)))

    def boot(self, host: str = "", *, vcpus: int = 2, ram: int = 1024) -> str:
        try:
            return self.users.boot(host, vcpus=vcpus, ram=ram)
        except NoValidHost as e:
            raise NoRoom(str(e)) from e

    def delete(self, server: str) -> None:
        self.users.delete(server)

    def migration_takes(self, seconds: float) -> None:
        self.bed.migration_takes(seconds)

    def audit_delete(self) -> None:
        self.bed.manage("placement", "audit", "--delete")

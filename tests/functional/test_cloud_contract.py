"""The contract of a cloud, on the emulated one: the oldest, the middle and the newest Nova that we say we work with."""

import time
from collections.abc import Iterator

import pytest

from cloud_contract import CloudContract
from cloud_emulator import Emulator, running
from emulated_problem import Problem
from foreshape_controller.cloud.call import Ways
from foreshape_controller.cloud.patience import Patience
from foreshape_controller.cloud.session import Access, Cloud, connect
from foreshape_controller.errors import NoRoom

pytestmark = pytest.mark.functional


class EmulatedBed:
    """Two empty hosts of 16 CPUs, sold four times over."""

    hosts = ("node01", "node02")
    patience_s = 10.0

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        for host in self.hosts:
            emulator.add_host(host)
        self.cloud: Cloud = connect(Access(timeout_s=5.0, options=emulator.options()), Ways(Patience(tries=3, first_s=0.01)))

    def boot(self, host: str = "", *, vcpus: int = 2, ram: int = 1024) -> str:
        try:
            return self.emulator.boot(host, vcpus=vcpus, ram=ram)
        except Problem as e:
            raise NoRoom(e.text) from e

    def delete(self, server: str) -> None:
        with self.emulator.lock:
            self.emulator.nova.delete(server)

    def migration_takes(self, seconds: float) -> None:
        self.emulator.nova.migration_s = seconds

    def audit_delete(self) -> None:
        with self.emulator.lock:
            self.emulator.nova.audit_delete()


class TestOnTheEmulator(CloudContract):
    @pytest.fixture(params=["2.93", "2.100", "2.104"])
    def bed(self, request: pytest.FixtureRequest) -> Iterator[EmulatedBed]:
        with running(Emulator(newest=request.param, now=time.time)) as emulator:
            yield EmulatedBed(emulator)

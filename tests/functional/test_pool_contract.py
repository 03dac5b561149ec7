"""The contract of a cloud with pools, on the emulated one; and what only it can show: quotas, and an image that is deactivated."""

from collections.abc import Iterator

import pytest

from cloud_emulator import Emulator, running
from foreshape_controller.cloud.call import Ways
from foreshape_controller.cloud.patience import Patience
from foreshape_controller.cloud.session import Access, connect
from foreshape_controller.errors import Gone, Permanent
from pool_contract import PoolBed, PoolContract, PortBed, PortContract

pytestmark = pytest.mark.functional


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with running(Emulator()) as cloud:
        cloud.add_host("node01")
        cloud.glance.add("cirros")
        yield cloud


@pytest.fixture
def made(emulator: Emulator) -> PoolBed:
    access = Access(timeout_s=5.0, options=emulator.options())
    return PoolBed(connect(access, Ways(Patience(tries=2, first_s=0.01))), "cirros", "m1.small", 10.0)


class TestOnTheEmulator(PoolContract):
    @pytest.fixture
    def bed(self, made: PoolBed) -> PoolBed:
        return made

    def test_a_quota_is_permanent_and_names_itself(self, bed: PoolBed, emulator: Emulator) -> None:
        emulator.nova.boots.quota = 0
        with pytest.raises(Permanent, match="quota"):
            bed.cloud.nova.create(self._new(bed, "x"))

    def test_the_newest_image_of_a_name_is_meant_and_a_deactivated_one_is_not(self, bed: PoolBed, emulator: Emulator) -> None:
        newer = emulator.glance.add("cirros")
        assert bed.cloud.glance.image("cirros").id == newer
        emulator.glance.images[0]["status"] = "deactivated"
        assert bed.cloud.glance.image("cirros").id != newer
        with pytest.raises(Gone):
            bed.cloud.glance.image(newer)


class TestPortsOnTheEmulator(PortContract):
    @pytest.fixture
    def bed(self, made: PoolBed, emulator: Emulator) -> PortBed:
        return PortBed(made.cloud.neutron, lambda: emulator.neutron.add_network(addresses=5))

"""The contract of a cloud with pools, on the emulated one; and what only it can show: ports, quotas."""

from collections.abc import Iterator

import pytest

from cloud_emulator import Emulator, running
from foreshape_controller.cloud.call import Ways
from foreshape_controller.cloud.patience import Patience
from foreshape_controller.cloud.session import Access, connect
from foreshape_controller.errors import Conflict, Gone, Permanent
from pool_contract import PoolBed, PoolContract

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

    def test_ports_are_made_found_by_name_and_deleted(self, bed: PoolBed, emulator: Emulator) -> None:
        network = emulator.neutron.add_network(addresses=1)
        port = bed.cloud.neutron.create_port(network, "a-name")
        assert bed.cloud.neutron.ports("a-name") == (port,)
        assert len(port.addresses) == 1
        with pytest.raises(Conflict):
            bed.cloud.neutron.create_port(network, "another")
        with pytest.raises(Gone):
            bed.cloud.neutron.create_port("no-such-network", "another")
        assert bed.cloud.neutron.delete_port(port.id)
        assert not bed.cloud.neutron.delete_port(port.id)

    def test_the_newest_image_of_a_name_is_meant_and_a_deactivated_one_is_not(self, bed: PoolBed, emulator: Emulator) -> None:
        newer = emulator.glance.add("cirros")
        assert bed.cloud.glance.image("cirros").id == newer
        emulator.glance.images[0]["status"] = "deactivated"
        assert bed.cloud.glance.image("cirros").id != newer
        with pytest.raises(Gone):
            bed.cloud.glance.image(newer)

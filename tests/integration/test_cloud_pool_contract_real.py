"""The contract of a cloud with pools, on a real Keystone, Glance and Nova with hosts that have no hypervisor."""

from collections.abc import Iterator

import pytest

from cloud_bed import CloudHands, a_cloud
from pool_contract import PoolBed, PoolContract

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def made() -> Iterator[PoolBed]:
    with a_cloud(computes=1) as cloud:
        hands = CloudHands(cloud)
        image = hands.users.link.image.get_image(hands.users.image)
        flavor = hands.users.link.compute.get_flavor(hands.users.flavor(1, 512))
        yield PoolBed(hands.cloud, str(image.name), str(flavor.name))


class TestOnTheRealServices(PoolContract):
    @pytest.fixture
    def bed(self, made: PoolBed) -> PoolBed:
        return made

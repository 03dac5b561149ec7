"""The contracts of a cloud and of one with pools, on a real Keystone, Placement, Glance and Nova; what passes on the emulated one must
pass here.
"""

from collections.abc import Iterator

import pytest
from foreshape_cloudbed import Cloud

from cloud_bed import CloudHands
from cloud_contract import CloudContract
from pool_contract import PoolBed, PoolContract

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def hands(cloud: Cloud) -> CloudHands:
    return CloudHands(cloud)


class TestOnTheRealServices(CloudContract):
    @pytest.fixture
    def bed(self, hands: CloudHands) -> Iterator[CloudHands]:
        yield hands
        hands.users.clear()


class TestPoolsOnTheRealServices(PoolContract):
    """On hosts that have no hypervisor."""

    @pytest.fixture
    def bed(self, hands: CloudHands) -> PoolBed:
        image = hands.users.link.image.get_image(hands.users.image)
        flavor = hands.users.link.compute.get_flavor(hands.users.flavor(1, 512))
        return PoolBed(hands.cloud, str(image.name), str(flavor.name))

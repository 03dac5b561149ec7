"""The contract of a cloud, on a real Keystone, Placement and Nova; what passes on the emulated one must pass here."""

from collections.abc import Iterator

import pytest
from foreshape_cloudbed import Cloud

from cloud_bed import CloudHands, a_cloud
from cloud_contract import CloudContract

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with a_cloud(computes=2) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def hands(cloud: Cloud) -> CloudHands:
    return CloudHands(cloud)


class TestOnTheRealServices(CloudContract):
    @pytest.fixture
    def bed(self, hands: CloudHands) -> Iterator[CloudHands]:
        yield hands
        hands.users.clear()

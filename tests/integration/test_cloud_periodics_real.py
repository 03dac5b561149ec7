"""What nova-compute puts right by itself, and what it leaves alone; here its housekeeping comes every few seconds instead of minutes."""

from collections.abc import Iterator
from typing import Any

import pytest
from foreshape_cloudbed import Cloud

from cloud_bed import CloudHands
from foreshape_controller.model.cloud import LOCKED_OUT, RESERVATION
from lab_support import eventually
from shared_bed import reconfigured

pytestmark = pytest.mark.integration

OFTEN = {"DEFAULT": {"update_resources_interval": 3}, "compute": {"resource_provider_association_refresh": 3}}
MICROVERSION = "1.39"
CONSUMER = "00000000-0000-4000-8000-000000000001"


@pytest.fixture
def hands(cloud: Cloud) -> Iterator[CloudHands]:
    with reconfigured(cloud, OFTEN, "computes"):
        yield CloudHands(cloud)


def test_a_reservation_outlives_what_nova_compute_writes_over(hands: CloudHands) -> None:
    placement, me = hands.cloud.placement, hands.cloud.keystone.me()
    provider = next(p.uuid for p in placement.providers().values() if p.name == hands.hosts[0])
    placement.put_allocation(
        CONSUMER, {provider: {"VCPU": 2, "MEMORY_MB": 64}}, generation=None, type=RESERVATION, project=me.project, user=me.user
    )
    assert placement.add_trait(provider, LOCKED_OUT)
    set_aside(hands, provider, 1)
    eventually(lambda: inventory(hands, provider)["reserved"] == 0, "nova-compute's own inventory", 120)
    eventually(lambda: LOCKED_OUT not in placement.traits(provider)[0], "nova-compute's own traits", 120)
    held = placement.allocation(CONSUMER)
    assert (held.type, held.held[provider]["VCPU"]) == (RESERVATION, 2)


def inventory(hands: CloudHands, provider: str) -> dict[str, Any]:
    said = hands.users.link.placement.get(f"/resource_providers/{provider}/inventories/VCPU", microversion=MICROVERSION)
    found: dict[str, Any] = said.json()
    return found


def set_aside(hands: CloudHands, provider: str, vcpus: int) -> None:
    """As a tool would that reserves by the host's inventory."""

    def written() -> bool:
        body = {**inventory(hands, provider), "reserved": vcpus}
        path = f"/resource_providers/{provider}/inventories/VCPU"
        return bool(hands.users.link.placement.put(path, json=body, microversion=MICROVERSION).status_code == 200)

    eventually(written, "the inventory being written between nova-compute's own writes", 30)

"""What pools rely on in a cloud, as one suite for the emulated and the real one: our own servers and images.

Subclass ``PoolContract`` and give it a fixture ``bed`` that yields a ``PoolBed``; it has room for two servers of its flavor.
"""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from foreshape_controller.cloud.neutron import Neutron
from foreshape_controller.cloud.nova import NewServer
from foreshape_controller.cloud.session import Cloud
from foreshape_controller.errors import Conflict, Gone, NoRoom, Permanent
from foreshape_controller.model.pool import SHADOW_KEY


@dataclass
class PoolBed:
    """A cloud, and what a pool in it is made of."""

    cloud: Cloud
    image: str
    """Name of an active one."""
    flavor: str
    """Name."""
    patience_s: float = 60.0


class PoolContract:
    """Needs the fixture ``bed``."""

    def test_an_image_is_found_by_its_name_and_by_its_id(self, bed: PoolBed) -> None:
        found = bed.cloud.glance.image(bed.image)
        assert found.name == bed.image
        assert bed.cloud.glance.image(found.id) == found

    @pytest.mark.parametrize("wanted", ["no-such-image", "00000000-0000-4000-8000-00000000dead"])
    def test_an_image_that_is_not_there_is_gone(self, bed: PoolBed, wanted: str) -> None:
        with pytest.raises(Gone):
            bed.cloud.glance.image(wanted)

    def test_a_flavor_is_found_by_its_name_and_by_its_id(self, bed: PoolBed) -> None:
        ident, contents = bed.cloud.nova.flavor(bed.flavor)
        assert contents.name == bed.flavor
        assert contents.vcpus > 0
        assert bed.cloud.nova.flavor(ident) == (ident, contents)
        with pytest.raises(Gone):
            bed.cloud.nova.flavor("no-such-flavor")

    def test_a_server_is_booted_found_tagged_renamed_and_deleted(self, bed: PoolBed) -> None:
        nova, name = bed.cloud.nova, f"foreshape-contract.{uuid.uuid4().hex[:8]}"
        server = nova.create(self._new(bed, name))
        try:
            (found,) = nova.named(name)
            assert (found.id, found.metadata) == (server, {SHADOW_KEY: "s1"})
            assert found.project == bed.cloud.keystone.me().project
            assert nova.named(name.replace(".", "x")) == []
            _until(bed, lambda: nova.server(server).status == "ACTIVE", "the server to run")
            nova.tag(server, {"another": "1"})
            nova.rename(server, f"{name}-claimed")
            seen = nova.server(server)
            assert seen.metadata == {SHADOW_KEY: "s1", "another": "1"}
            assert seen.name == f"{name}-claimed"
            assert nova.named(name) == []
        finally:
            nova.delete(server)
        _until(bed, lambda: _gone(bed, server), "the server to be gone")
        assert not nova.delete(server)
        with pytest.raises(Gone):
            nova.tag(server, {"a": "b"})
        with pytest.raises(Gone):
            nova.rename(server, "x")

    def test_a_server_of_what_is_not_there_is_refused_at_once(self, bed: PoolBed) -> None:
        new = self._new(bed, "foreshape-contract-none")
        for wrong in ({"image": str(uuid.uuid4())}, {"flavor": str(uuid.uuid4())}):
            with pytest.raises(Permanent) as refused:
                bed.cloud.nova.create(NewServer(**{"name": new.name, "image": new.image, "flavor": new.flavor, **wrong}))
            assert not isinstance(refused.value, NoRoom)

    def test_ports_of_a_name_that_nobody_uses_are_none(self, bed: PoolBed) -> None:
        assert bed.cloud.neutron.ports("foreshape-no-such-port") == ()

    def _new(self, bed: PoolBed, name: str) -> NewServer:
        image, flavor = bed.cloud.glance.image(bed.image).id, bed.cloud.nova.flavor(bed.flavor)[0]
        return NewServer(name, image, flavor, metadata={SHADOW_KEY: "s1"})


@dataclass
class PortBed:
    """Neutron, and a way to make a network with five free addresses."""

    neutron: Neutron
    network: Callable[[], str]


class PortContract:
    """Needs the fixture ``bed``."""

    def test_a_port_is_made_with_an_address_found_by_its_name_and_deleted(self, bed: PortBed) -> None:
        network, name = bed.network(), f"foreshape-{uuid.uuid4().hex[:8]}"
        port = bed.neutron.create_port(network, name)
        assert (port.network, len(port.addresses)) == (network, 1)
        assert bed.neutron.ports(name) == (port,)
        assert bed.neutron.ports(f"{name}-another") == ()
        assert bed.neutron.delete_port(port.id)
        assert not bed.neutron.delete_port(port.id)
        assert bed.neutron.ports(name) == ()

    def test_a_network_without_a_free_address_is_a_conflict(self, bed: PortBed) -> None:
        network = bed.network()
        ports = [bed.neutron.create_port(network, "foreshape-fill") for _ in range(5)]
        with pytest.raises(Conflict):
            bed.neutron.create_port(network, "foreshape-fill")
        assert len({a for p in ports for a in p.addresses}) == 5
        for port in ports:
            bed.neutron.delete_port(port.id)

    def test_a_port_on_no_network_is_refused(self, bed: PortBed) -> None:
        with pytest.raises(Gone):
            bed.neutron.create_port(str(uuid.uuid4()), "foreshape-nowhere")


def _gone(bed: PoolBed, server: str) -> bool:
    try:
        bed.cloud.nova.server(server)
    except Gone:
        return True
    return False


def _until(bed: PoolBed, holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + bed.patience_s
    while not holds():
        assert time.monotonic() < end, f"waited {bed.patience_s} s for {what}"
        time.sleep(0.05)

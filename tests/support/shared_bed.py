"""One cloud for all files of a process: booting it costs more than most files' tests. Each file finds it as if it were new."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Generic, TypeVar

from foreshape_cloudbed import Cloud, RealCloud, configs
from foreshape_cloudbed.infrastructure import sql
from foreshape_cloudbed.users import Users
from foreshape_lab.shell import try_run

AnyCloud = TypeVar("AnyCloud", bound=Cloud)


class Lender(Generic[AnyCloud]):
    """Keeps one cloud up between those who use it, one after the other. What cannot be tidied up is taken down: the next one is new."""

    def __init__(self, make: Callable[[], AbstractContextManager[AnyCloud]]) -> None:
        self._make, self._kept = make, ExitStack()
        self._cloud: AnyCloud | None = None

    @contextmanager
    def lend(self) -> Iterator[AnyCloud]:
        if self._cloud is None:
            self._cloud = self._kept.enter_context(self._make())
        try:
            yield self._cloud
        finally:
            try:
                tidy(self._cloud)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        self._cloud = None
        self._kept.close()


def tidy(cloud: Cloud) -> None:
    """No product, every part up, no server, no room taken, no host closed. Names in Keystone, images and flavors stay."""
    if isinstance(cloud, RealCloud):
        nothing_of_the_product(cloud)
    for name, part in cloud.parts.items():
        if not part.running:
            cloud.start(name)
    users = Users(cloud.access("admin"), cloud.image)
    users.clear()
    if isinstance(cloud, RealCloud):
        no_guests(cloud)
    for service in users.link.compute.services(binary="nova-compute"):
        if service.status == "disabled":
            users.link.compute.enable_service(service)
    sql(
        cloud.places,
        "use placement; delete from allocations; delete from consumers; delete from resource_provider_traits where trait_id in"
        " (select id from traits where name = 'COMPUTE_STATUS_DISABLED' or name like 'CUSTOM\\_%')",
    )
    cloud.places.migration_seconds.unlink(missing_ok=True)


def nothing_of_the_product(cloud: RealCloud) -> None:
    """And libvirtd answers on every host."""
    cloud.end_product()
    for host in cloud.lab.hosts:
        if not try_run(["virsh", "-q", "-c", host.uri, "uri"]):
            host.start_libvirtd()


def no_guests(cloud: RealCloud) -> None:
    """Also none of those that Nova lost sight of."""
    for host in cloud.lab.hosts:
        for name in host.virsh("list", "--all", "--name").split():
            try_run(["virsh", "-q", "-c", host.uri, "destroy", name])
            host.virsh("undefine", name)


@contextmanager
def reconfigured(cloud: Cloud, nova: Mapping[str, Mapping[str, object]], *parts: str) -> Iterator[None]:
    """Inside, these parts run with other options in nova.conf; ratios that they or others wrote are then what they were."""
    ratios = [row.split() for row in sql(cloud.places, f"select {', '.join(RATIO)} from placement.inventories").splitlines()]
    again(cloud, nova, *parts)
    try:
        yield
    finally:
        for name in parts:
            cloud.kill(name)
        provider, resource, ratio = RATIO
        sql(
            cloud.places,
            "".join(f"update placement.inventories set {ratio} = {r} where {provider} = {p} and {resource} = {c};" for p, c, r in ratios),
        )
        again(cloud, cloud.nova, *parts)


RATIO = ("resource_provider_id", "resource_class_id", "allocation_ratio")


def again(cloud: Cloud, nova: Mapping[str, Mapping[str, object]], *parts: str) -> None:
    """These parts start anew, with these options."""
    for name in parts:
        cloud.kill(name)
    configs.write(cloud.places, nova)
    for name in parts:
        cloud.start(name)

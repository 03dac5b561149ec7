"""Clouds that files of one process share, and which of them go to the same process."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from foreshape_cloudbed import Cloud, RealCloud

SHARED = {"one_control_plane": "control plane", "one_real_cloud": "real cloud"}
"""Fixture -> name of the group of its tests."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With --dist loadgroup: a file's tests stay together, and so do those of all files that share a cloud."""
    for item in items:
        shared = next((name for fixture, name in SHARED.items() if fixture in getattr(item, "fixturenames", ())), "")
        item.add_marker(pytest.mark.xdist_group(shared or item.path.stem))


@pytest.fixture(scope="session")
def one_control_plane() -> Iterator[Any]:
    from cloud_bed import KEPT, a_cloud, bed_name  # noqa: PLC0415  OpenStack's client: most runs do not need it
    from shared_bed import Lender  # noqa: PLC0415

    lender = Lender(lambda: a_cloud(3, name=bed_name(KEPT)))
    yield lender
    lender.close()


@pytest.fixture(scope="session")
def one_real_cloud() -> Iterator[Any]:
    from cloud_bed import KEPT, a_real_cloud, bed_name  # noqa: PLC0415  as above
    from shared_bed import Lender  # noqa: PLC0415

    lender = Lender(lambda: a_real_cloud(name=bed_name(KEPT)))
    yield lender
    lender.close()


@pytest.fixture(scope="module")
def cloud(one_control_plane: Any) -> "Iterator[Cloud]":
    """A control plane with three hosts that have no hypervisor, as if it were new; other files use it before and after."""
    with one_control_plane.lend() as cloud:
        yield cloud


@pytest.fixture(scope="module")
def real_cloud(one_real_cloud: Any) -> "Iterator[RealCloud]":
    """Two real hypervisors below a control plane; no product runs on it yet."""
    with one_real_cloud.lend() as cloud:
        yield cloud

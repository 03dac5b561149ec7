"""Amounts that levers can do."""

import numpy as np
import pytest

from decide_support import BALLOON, HOTPLUG, QUOTA
from foreshape_controller.decide import reach
from foreshape_wire.reading import Capability, LeverName
from size_support import levers_of

pytestmark = pytest.mark.unit

VIRTIO = Capability(lever=LeverName.MEM_VIRTIO, lowest=4096.0, highest=8192.0, granule=128.0)
SHORT_QUOTA = Capability(lever=LeverName.CPU_QUOTA, lowest=0.1, highest=2.0, granule=0.01)


@pytest.mark.parametrize(
    ("levers", "amount", "up", "down"),
    [
        ((QUOTA,), 1.23, 1.25, 1.2),
        ((QUOTA,), 1.25, 1.25, 1.25),
        ((QUOTA,), 0.01, 0.1, 0.1),  # below the range: its least
        ((QUOTA,), 9.0, 4.0, 4.0),  # beyond the range: its most
        ((HOTPLUG,), 2.3, 3.0, 2.0),
        ((SHORT_QUOTA, HOTPLUG), 1.52, 1.55, 1.5),  # the quota is finer inside its range
        ((SHORT_QUOTA, HOTPLUG), 2.3, 3.0, 2.0),  # beyond it whole vCPUs are plugged
        ((BALLOON,), 1001.0, 1008.0, 992.0),  # 16 MiB are the smallest useful step
        ((BALLOON, VIRTIO), 4100.0, 4224.0, 4096.0),  # one block of 128 above the base of 4096
    ],
)
def test_the_nearest_amount_that_some_lever_reaches(levers, amount, up, down):
    granule = 0.05 if levers[0].lever.resource == "cpu" else 16.0
    columns = levers_of(levers[0].lever.resource, [levers])
    assert reach.at_least(columns, np.array([amount]), granule).tolist() == [up]
    assert reach.at_most(columns, np.array([amount]), granule).tolist() == [down]

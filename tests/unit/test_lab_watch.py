"""The watch that the claims on real guests rest on: what it makes of virsh's words, and that it never stops unseen."""

import pytest
from foreshape_lab.errors import LabError
from foreshape_lab.watch import Allocation, Watch, allocation

from lab_support import eventually

pytestmark = pytest.mark.unit

STATS = {"vcpu.current": "2", "balloon.current": "196608"}


def table(period: int, quota: int, vcpu_quota: int = -1) -> str:
    words = {"vcpu_period": period, "vcpu_quota": vcpu_quota, "global_period": period, "global_quota": quota}
    return "Scheduler      : posix\n" + "".join(f"{k:15}: {v}\n" for k, v in words.items())


def test_the_tightest_cap_counts() -> None:
    assert allocation(1.0, STATS, table(100000, 150000)) == Allocation(1.0, 2, 1.5, 192.0)
    assert allocation(1.0, STATS, table(100000, 150000, vcpu_quota=50000)) == Allocation(1.0, 2, 1.0, 192.0)
    assert allocation(1.0, STATS, table(100000, -1)) == Allocation(1.0, 2, None, 192.0)


def test_a_guest_that_died_meanwhile_has_no_allocation() -> None:
    assert allocation(1.0, STATS, table(0, 0, 0)) is None
    assert allocation(1.0, STATS, "Scheduler      : Unknown\n") is None


class Odd:
    """A guest whose console cannot be read at all."""

    name, host = "odd", None

    @property
    def console(self) -> object:
        raise RuntimeError("no console")


def test_a_watch_that_stopped_looking_is_an_error_and_no_proof() -> None:
    watch = Watch([Odd()], every_s=0.01)  # type: ignore[list-item]
    watch._look = lambda host: None  # type: ignore[method-assign]
    watch.__enter__()
    eventually(lambda: not watch._thread.is_alive(), "the watch's end", 5)
    with pytest.raises(LabError, match=r"ended early.*no console"):
        watch["odd"]
    with pytest.raises(LabError, match="ended early"):
        watch.__exit__(None, None, None)

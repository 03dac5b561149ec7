"""One unit per amount, said at the border: what a reader of the wire may rely on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshape_wire.quantity import MAX_CORES, MAX_MIB, Cores, Memory, Size

pytestmark = pytest.mark.contract


def test_one_gib_is_1024_mib_is_1048576_kib_is_1073741824_bytes() -> None:
    assert Memory.from_bytes(1073741824) == Memory.from_kib(1048576) == Memory(1024.0)
    assert Memory(1024.0).kib == 1048576
    assert Memory(1024.0).bytes == 1073741824


@given(st.integers(min_value=0, max_value=256 * 2**30))
def test_whole_kib_survive_the_way_to_mib_and_back(kib: int) -> None:
    assert Memory.from_kib(kib).kib == kib


@given(st.integers(min_value=0, max_value=2**48))
def test_whole_bytes_survive_the_way_to_mib_and_back(count: int) -> None:
    assert Memory.from_bytes(count).bytes == count


@pytest.mark.parametrize("amount", [-1.0, -0.001, float("nan"), float("inf"), MAX_CORES * 1.01])
def test_cores_that_cannot_be_are_refused_at_construction(amount: float) -> None:
    with pytest.raises(ValueError, match="cores is not an amount"):
        Cores(amount)


@pytest.mark.parametrize("amount", [-1.0, float("nan"), float("-inf"), MAX_MIB * 1.01])
def test_memory_that_cannot_be_is_refused_at_construction(amount: float) -> None:
    with pytest.raises(ValueError, match="mib is not an amount"):
        Memory(amount)


def test_a_difference_is_never_below_nothing() -> None:
    assert Cores(1.0) - Cores(3.0) == Cores(0.0)
    assert Memory(256.0) - Memory(512.0) == Memory(0.0)
    assert Cores(3.0) - Cores(1.0) == Cores(2.0)


def test_a_size_fits_only_when_both_resources_fit() -> None:
    flavor = Size(cpu=Cores(2.0), memory=Memory(2048.0))
    assert Size(cpu=Cores(2.0), memory=Memory(2048.0)).within(flavor)
    assert not Size(cpu=Cores(2.1), memory=Memory(64.0)).within(flavor)
    assert not Size(cpu=Cores(0.1), memory=Memory(2049.0)).within(flavor)

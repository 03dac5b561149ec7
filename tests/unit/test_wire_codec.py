"""Every value survives the wire, and no bytes at all make the codec raise anything but WireError."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from foreshape_wire.codec import WireError, decode_desired, decode_report, encode
from foreshape_wire.ids import ServerId, clip
from foreshape_wire.order import Desired, Mode
from foreshape_wire.quantity import MAX_CORES, MAX_MIB, Cores, Memory
from foreshape_wire.reading import Capability, DomainState, LeverName
from foreshape_wire.sample import CpuSample, HostReport, MemorySample, VmSample
from wire_support import GOLDEN

pytestmark = pytest.mark.unit

names = st.text(min_size=1, max_size=255).filter(lambda t: max(t) < "\ud800" or max(t) > "\udfff").map(ServerId)
cores = st.floats(min_value=0, max_value=MAX_CORES).map(Cores)
memory = st.floats(min_value=0, max_value=MAX_MIB).map(Memory)
shares = st.floats(min_value=0, max_value=1)
instants = st.floats(min_value=0, max_value=1e11)
cpu_samples = st.builds(
    CpuSample,
    used=cores,
    waiting=cores,
    throttled=cores,
    demand=cores,
    allocation=cores,
    censored=st.booleans(),
    confidence=shares,
    guest_vcpus=st.none() | st.integers(min_value=0, max_value=8192),
)
memory_samples = st.builds(
    MemorySample,
    demand=memory,
    allocation=memory,
    censored=st.booleans(),
    confidence=shares,
    rss=st.none() | memory,
    usable=st.none() | memory,
)
samples = st.builds(
    VmSample,
    server=names,
    state=st.sampled_from(DomainState),
    window_s=st.floats(min_value=0, max_value=86400),
    cpu=st.none() | cpu_samples,
    memory=st.none() | memory_samples,
    note=st.text(st.characters(exclude_categories=["Cs"]), max_size=100),
)
reports = st.builds(
    HostReport,
    version=st.just(1),
    host=names,
    epoch=names,
    sequence=st.integers(min_value=0, max_value=2**63 - 1),
    taken_at=instants,
    samples=st.lists(samples, max_size=4).map(tuple),
)
replies = st.builds(
    Desired,
    version=st.just(1),
    host=names,
    issued_at=instants,
    mode=st.sampled_from(Mode),
    accepted=st.lists(st.integers(min_value=0, max_value=2**63 - 1), max_size=5).map(tuple),
)


@given(reports)
def test_a_report_survives_the_wire(report: HostReport) -> None:
    assert decode_report(encode(report)) == report


@given(replies)
def test_a_reply_survives_the_wire(desired: Desired) -> None:
    assert decode_desired(encode(desired)) == desired


def try_both(data: bytes) -> None:
    """Refused, or taken; and what was taken can be handed on."""
    with suppress(WireError):
        encode(decode_report(data))
    with suppress(WireError):
        encode(decode_desired(data))


@given(st.binary(max_size=300))
@example(b"")
@example(b"null")
@example(b"[]")
@example(b'{"version":1e400}')
@example(b'{"version":1,"x":NaN')
@example(b"\xef\xbb\xbf{}")
@example(b'{"version":1,"host":"\\ud800"}')
def test_no_bytes_raise_anything_but_wire_error(data: bytes) -> None:
    try_both(data)


@given(name=st.sampled_from(sorted(GOLDEN)), data=st.data())
def test_a_message_damaged_anywhere_raises_nothing_but_wire_error(name: str, data: st.DataObject) -> None:
    """Overwrites, cuts out and repeats stretches of a golden message: what a broken proxy or disk would do."""
    message = encode(GOLDEN[name]())
    for _ in range(data.draw(st.integers(min_value=1, max_value=4))):
        start = data.draw(st.integers(min_value=0, max_value=len(message)))
        end = data.draw(st.integers(min_value=start, max_value=min(len(message), start + 20)))
        message = (
            message[:start]
            + data.draw(st.sampled_from([b"", b"NaN", b"-1", b'"', b"\xff", b"{", b"]", b"1e999", message[start:end] * 2]))
            + message[end:]
        )
    try_both(message)


def test_every_amount_of_a_sample_names_its_unit_by_its_type() -> None:
    """A bare float may only be a share, a rate or a duration, and those say so in their name or type."""
    bare = {"confidence", "window_s", "swap_in_kib_s", "major_faults_s"}
    for kind in (CpuSample, MemorySample, VmSample):
        floats = {f.name for f in msgspec.structs.fields(kind) if "float" in str(f.type)}
        assert floats <= bare, kind


@pytest.mark.parametrize("lever", LeverName)
def test_a_lever_moves_the_resource_that_its_name_begins_with(lever: LeverName) -> None:
    kind, _, how = lever.value.partition(".")
    unit = "iops" if how == "iops" else "kib_s"
    assert lever.resource == ({"cpu": "cpu", "mem": "memory"}.get(kind) or f"{kind}_{unit}")
    assert lever.throttles == (kind in {"disk", "net"})


def test_a_capability_without_a_reason_is_usable() -> None:
    assert Capability(lever=LeverName.CPU_QUOTA, lowest=0.1, highest=2.0).usable
    assert not Capability(lever=LeverName.CPU_QUOTA, reason="no cgroup").usable


def test_modes_are_ranked_so_that_the_lowest_wins() -> None:
    assert min([Mode.ACT, Mode.OBSERVE, Mode.ADVISE], key=lambda m: m.rank) is Mode.OBSERVE
    assert min([Mode.ACT, Mode.ADVISE], key=lambda m: m.rank) is Mode.ADVISE


def test_a_foreign_error_of_any_length_fits_into_an_outcome() -> None:
    assert clip("short") == "short"
    assert len(clip("x" * 100_000)) == 4096
    assert clip("x" * 100_000).endswith("…")


def test_messages_cannot_be_changed_once_made() -> None:
    for make in GOLDEN.values():
        with pytest.raises(AttributeError):
            make().host = "other"

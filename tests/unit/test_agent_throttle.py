"""Hard caps on devices, as formulas: together never more than the cap, nowhere looser than before, and always a way back."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshape_agent import device_xml
from foreshape_agent.throttle import Held, capped, change, of, said, same, together
from foreshape_wire.ids import CauseId, ServerId
from foreshape_wire.reading import DeviceLimit
from long_support import LONG

pytestmark = pytest.mark.unit

IOPS, NET = "disk_iops", "net_kib_s"


def disk(device: str = "vda", total: float = 0.0, read: float = 0.0, write: float = 0.0, **more: int) -> DeviceLimit:
    return DeviceLimit(device=device, resource=IOPS, total=total, inward=read, outward=write, bursts=tuple(sorted(more.items())))


def nic(device: str = "vnet0", inward: float = 0.0, outward: float = 0.0) -> DeviceLimit:
    return DeviceLimit(device=device, resource=NET, inward=inward, outward=outward)


def held(was: tuple[DeviceLimit, ...], *ours: DeviceLimit) -> Held:
    return Held(cause=CauseId("cap-1"), server=ServerId("vm"), resource=IOPS, amount=100, reason="r", instance="1", was=was, ours=ours)


# -- one device ----------------------------------------------------------------------------------------------


def test_a_free_disk_gets_its_share() -> None:
    assert capped(disk(), 100) == disk(total=100)


def test_what_is_stricter_is_left_alone_with_its_bursts() -> None:
    strict = disk(total=50, total_iops_sec_max=80)
    assert capped(strict, 100) is strict
    assert capped(disk(read=30, write=40), 100) == disk(read=30, write=40)


def test_what_is_looser_is_lowered_and_may_not_burst() -> None:
    assert capped(disk(total=500, total_iops_sec_max=900), 100) == disk(total=100)


def test_separate_limits_stay_separate_and_add_up_to_the_share() -> None:
    assert capped(disk(read=300, write=100), 100) == disk(read=75, write=25)
    assert capped(disk(read=300), 100) == disk(read=50, write=50)
    assert capped(disk(write=20), 100) == disk(read=80, write=20)


def test_a_line_carries_the_share_each_way() -> None:
    assert capped(nic(), 100) == nic(inward=100, outward=100)
    assert capped(nic(inward=30), 100) == nic(inward=30, outward=100)


amount = st.floats(10, 1e6)
maybe = st.just(0.0) | st.floats(1, 1e6)


@given(total=maybe, read=maybe, write=maybe, share=amount, split=st.booleans())
@settings(max_examples=min(LONG, 1000))
def test_a_capped_disk_never_does_more_than_its_share_nor_more_than_before(
    *, total: float, read: float, write: float, share: float, split: bool
) -> None:
    before = disk(read=read, write=write) if split else disk(total=total)
    after = capped(before, share)
    most = after.total or (after.inward + after.outward)
    assert 0 < most <= share * (1 + 1e-9)
    for was, now in ((before.total, after.total), (before.inward, after.inward), (before.outward, after.outward)):
        assert not was or 0 < now <= was * (1 + 1e-9)
    assert same(capped(after, share), after)  # idempotent


# -- all devices of a server ---------------------------------------------------------------------------------


def test_devices_share_a_cap_in_equal_parts() -> None:
    todo = change(None, (disk("vda"), disk("vdb", total=20)), 100).todo
    assert todo == (disk("vda", total=50),)  # vdb's own 20 are stricter than its 50


def test_what_was_there_comes_back_when_the_cap_is_over() -> None:
    before = disk(total=500, total_iops_sec_max=900)
    assert change(held((before,), disk(total=100)), (disk(total=100),), None).todo == (before,)


def test_what_somebody_else_set_meanwhile_is_theirs() -> None:
    mine = held((disk(),), disk(total=100))
    assert change(mine, (disk(total=30),), None).todo == ()  # they set 30: it stays
    assert change(mine, (disk(total=30),), 100).todo == ()  # and is stricter
    loose = change(mine, (disk(total=800),), 100)
    assert (loose.base, loose.todo) == ((disk(total=800),), (disk(total=100),))  # they set 800: that is what comes back


def test_words_say_what_each_device_may_do() -> None:
    limits = (disk("vda", total=50), disk("vdb", read=20, write=30), disk("vdc"))
    assert said(limits, IOPS) == "vda 50, vdb 20 in, 30 out, vdc without limit"
    assert together(limits, IOPS) == 0.0  # one of them is free
    assert together(limits[:2], IOPS) == 100.0
    assert said((), NET) == "no device"


limit = st.builds(lambda t, r, w, split: disk(read=r, write=w) if split else disk(total=t), maybe, maybe, maybe, st.booleans())


@given(
    before=st.lists(limit, min_size=1, max_size=4),
    caps=st.lists(amount, min_size=1, max_size=4),
    cut=st.lists(st.integers(0, 4), min_size=4, max_size=4),
)
@settings(max_examples=min(LONG, 1000))
def test_whatever_prefix_of_whatever_cap_was_done_the_end_is_the_beginning(
    before: list[DeviceLimit], caps: list[float], cut: list[int]
) -> None:
    """Caps come one after the other, each interrupted after some devices; what is remembered is enough to undo them all."""
    start = tuple(
        DeviceLimit(device=f"vd{i}", resource=IOPS, total=x.total, inward=x.inward, outward=x.outward) for i, x in enumerate(before)
    )
    now, mine = list(start), None
    for cap, done in zip(caps, cut, strict=False):
        todo = change(mine, now, cap)
        known = tuple(n for n in now if mine is not None and any(same(n, o) for o in mine.ours))
        mine = held(todo.base, *todo.goal, *known)  # written before the first device is touched
        for goal in todo.todo[:done]:
            now[int(goal.device[2:])] = goal
    for goal in change(mine, now, None).todo:
        now[int(goal.device[2:])] = goal
    assert all(same(n, s) for n, s in zip(now, start, strict=True))


# -- libvirt's words -----------------------------------------------------------------------------------------

DOMAIN = ET.fromstring("""
<domain><devices>
  <disk type='file' device='disk'><target dev='vda'/>
    <iotune><total_iops_sec>500</total_iops_sec><total_iops_sec_max>900</total_iops_sec_max>
      <total_iops_sec_max_length>1</total_iops_sec_max_length><read_bytes_sec>1048576</read_bytes_sec></iotune></disk>
  <disk type='file' device='cdrom'><target dev='sda'/></disk>
  <disk type='block'><target dev='vdb'/></disk>
  <interface type='bridge'><mac address='52:54:00:00:00:01'/><target dev='vnet3'/>
    <bandwidth><inbound average='1024' peak='4096'/></bandwidth></interface>
</devices></domain>""")


def test_limits_are_read_from_the_live_xml_in_our_units() -> None:
    found = device_xml.limits(DOMAIN)
    assert [(x.device, x.resource) for x in found] == [
        ("vda", "disk_iops"),
        ("vda", "disk_kib_s"),
        ("vdb", "disk_iops"),
        ("vdb", "disk_kib_s"),
        ("vnet3", "net_kib_s"),
    ]
    iops, kib, net = found[0], found[1], found[4]
    assert (iops.total, iops.bursts) == (500, (("total_iops_sec_max", 900),))  # a length of 1 s is QEMU's word for none
    assert (kib.total, kib.inward) == (0, 1024)  # 1048576 / 1024
    assert net.inward == 1000  # 1024 x 1000 / 1024
    assert net.bursts == (("inbound.peak", 4096),)
    assert (device_xml.disk_obstacle(DOMAIN), device_xml.net_obstacle(DOMAIN)) == ("", "")


def test_every_word_of_a_family_is_said_so_that_nothing_of_before_stays() -> None:
    assert device_xml.disk_words(disk(total=100)) == {
        "total_iops_sec": 100,
        "read_iops_sec": 0,
        "write_iops_sec": 0,
        "total_iops_sec_max": 0,
        "read_iops_sec_max": 0,
        "write_iops_sec_max": 0,
    }
    assert device_xml.disk_words(disk(total=500, total_iops_sec_max=900))["total_iops_sec_max"] == 900
    kib = DeviceLimit(device="vda", resource="disk_kib_s", inward=512)
    assert device_xml.disk_words(kib)["read_bytes_sec"] == 524288
    assert device_xml.net_words(nic(inward=1000)) == {
        "inbound.average": 1024,
        "outbound.average": 0,
        "inbound.peak": 0,
        "inbound.burst": 0,
        "outbound.peak": 0,
        "outbound.burst": 0,
    }


def test_a_small_limit_never_becomes_none() -> None:
    assert device_xml.disk_words(disk(total=0.3))["total_iops_sec"] == 1


@given(total=st.integers(0, 10**9), read=st.integers(0, 10**9), peak=st.integers(0, 10**9))
def test_libvirts_words_survive_the_way_there_and_back(total: int, read: int, peak: int) -> None:
    words = {"total_bytes_sec": total, "read_bytes_sec": read, "total_bytes_sec_max": peak}
    back = device_xml.disk_words(device_xml.disk_limit("vda", "disk_kib_s", words))
    assert {name: back[name] for name in words} == words
    net = {"inbound.average": total, "outbound.average": read, "inbound.peak": peak}
    back = device_xml.net_words(device_xml.net_limit("vnet0", net))
    assert {name: back[name] for name in net} == net


@pytest.mark.parametrize(
    ("devices", "disks", "net"),
    [
        ("", "it has no disk", "it has no network interface"),
        (
            "<disk type='vhostuser'><target dev='vda'/></disk><interface type='user'><target dev='n0'/></interface>",
            "its disk vda (vhostuser) goes past QEMU",
            "its interface n0 (user) has no device on the host that could be held back",
        ),
        (
            (
                "<disk type='block' device='lun'><target dev='sdb'/></disk><disk type='file'><target dev='vda'/></disk>"
                "<interface type='hostdev'><mac address='52:54:00:00:00:02'/></interface>"
            ),
            "its disk sdb is a device passed through",
            "its interface 52:54:00:00:00:02 (hostdev) has no device on the host that could be held back",
        ),
        (
            (
                "<disk type='file'><target dev='vda'/><iotune><group_name>shared</group_name></iotune></disk>"
                "<interface type='bridge'><target dev='vnet0'/></interface>"
            ),
            "its disk vda shares a throttle group that somebody else made",
            "",
        ),
    ],
)
def test_what_cannot_be_held_back_says_why(devices: str, disks: str, net: str) -> None:
    domain = ET.fromstring(f"<domain><devices>{devices}</devices></domain>")
    assert device_xml.disk_obstacle(domain) == disks
    assert device_xml.net_obstacle(domain) == net


def test_of_one_resource_only() -> None:
    assert [x.device for x in of((disk("a"), nic("b")), NET)] == ["b"]

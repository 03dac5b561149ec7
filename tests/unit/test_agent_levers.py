"""Levers on a hypervisor in memory: a lever says "applied" only when it was seen, and always says what was measured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doors_support import SERVER, FakeClock, FakeDomain, FakeHypervisor
from foreshape_agent.errors import DomainBusy, DomainGone, GuestSilent, HypervisorLost, LeverRejected, LeverUnsafe
from foreshape_agent.levers import ALL
from foreshape_agent.levers.attempt import DEADLINE_S
from foreshape_agent.levers.base import Pull
from foreshape_wire.order import Verdict
from foreshape_wire.reading import RESIZERS, DomainState, LeverName

pytestmark = pytest.mark.unit

LEVERS = {lever.name: lever for lever in ALL}
SETTERS = {
    LeverName.CPU_QUOTA: "set_cpu_quota",
    LeverName.CPU_GUEST: "set_guest_vcpus",
    LeverName.CPU_HOTPLUG: "set_vcpus",
    LeverName.MEM_BALLOON: "set_balloon",
    LeverName.MEM_VIRTIO: "set_virtio_mem",
}
ELASTIC = {"boot_vcpus": 1, "vcpus": 1, "online": 1, "max_vcpus": 4, "virtio_size": 512.0}


def bed(**domain: object) -> tuple[FakeHypervisor, FakeClock]:
    clock = FakeClock()
    door = FakeHypervisor(clock)
    door.add(FakeDomain(**domain))  # type: ignore[arg-type]
    return door, clock


def pull(door: FakeHypervisor, lever: LeverName, target: float) -> Pull:
    return LEVERS[lever].apply(door, door.read_domain(SERVER), target, door.clock)


def test_every_lever_of_the_wire_has_one_implementation() -> None:
    assert sorted(lever.name for lever in ALL) == sorted(RESIZERS)


# -- quota --------------------------------------------------------------------------------------------------


def test_a_quota_is_applied_when_it_is_read_back() -> None:
    door, _ = bed(vcpus=2)
    result = pull(door, LeverName.CPU_QUOTA, 0.25)
    assert (result.verdict, result.code, result.after) == (Verdict.APPLIED, "cap_read_back", 0.25)
    assert "0.25 cores" in result.proof


def test_a_quota_of_all_plugged_vcpus_is_no_cap_at_all() -> None:
    door, _ = bed(vcpus=2, quota=0.5)
    result = pull(door, LeverName.CPU_QUOTA, 2.0)
    assert door.calls == [("set_cpu_quota", SERVER, None)]
    assert (result.verdict, result.after, result.proof) == (Verdict.APPLIED, 2.0, "read back: no cap")


def test_a_quota_that_does_not_take_hold_is_never_called_applied() -> None:
    door, clock = bed(quota_ignored=True)
    started = clock.monotonic()
    result = pull(door, LeverName.CPU_QUOTA, 0.25)
    assert (result.verdict, result.code, result.after) == (Verdict.PENDING, "cap_not_in_force", 2.0)
    assert DEADLINE_S <= clock.monotonic() - started < DEADLINE_S + 1


# -- vCPUs in the guest -------------------------------------------------------------------------------------


def test_the_guest_takes_a_vcpu_off_line_and_brings_it_back() -> None:
    door, _ = bed(vcpus=2)
    down, up = pull(door, LeverName.CPU_GUEST, 1), pull(door, LeverName.CPU_GUEST, 2)
    assert [(p.verdict, p.after, p.proof) for p in (down, up)] == [
        (Verdict.APPLIED, 1.0, "the guest reports 1 vCPUs on line"),
        (Verdict.APPLIED, 2.0, "the guest reports 2 vCPUs on line"),
    ]


def test_a_guest_that_nods_and_does_nothing_leaves_the_change_pending() -> None:
    door, _ = bed(vcpus=2, agent_obeys=False)
    result = pull(door, LeverName.CPU_GUEST, 1)
    assert (result.verdict, result.code, result.after) == (Verdict.PENDING, "guest_vcpus_short", 2.0)
    assert "the guest reports 2" in result.reason


def test_without_an_agent_the_guest_lever_is_not_even_tried() -> None:
    door, _ = bed(agent=False)
    result = pull(door, LeverName.CPU_GUEST, 1)
    assert (result.verdict, result.code) == (Verdict.REFUSED, "lever_unusable")
    assert "agent" in result.reason
    assert door.calls == []


# -- plugging -----------------------------------------------------------------------------------------------


def test_a_plugged_vcpu_counts_when_the_guest_has_it_on_line() -> None:
    door, _ = bed(**ELASTIC)
    result = pull(door, LeverName.CPU_HOTPLUG, 2)
    assert (result.verdict, result.code, result.after) == (Verdict.APPLIED, "vcpus", 2.0)
    assert result.proof == "plugged, and the guest reports 2 vCPUs on line"


def test_a_guest_that_leaves_a_plugged_vcpu_off_line_is_told_to_use_it() -> None:
    door, _ = bed(**ELASTIC, onlines_plugged=False)
    result = pull(door, LeverName.CPU_HOTPLUG, 2)
    assert [call for call, *_ in door.calls] == ["set_vcpus", "set_guest_vcpus"]
    assert result.verdict is Verdict.APPLIED


def test_without_an_agent_a_plugged_vcpu_is_proven_by_having_run() -> None:
    door, _ = bed(**ELASTIC, agent=False)
    assert pull(door, LeverName.CPU_HOTPLUG, 2).proof == "plugged, and each vCPU has run"


def test_a_plugged_vcpu_that_never_runs_is_pending() -> None:
    door, _ = bed(**ELASTIC, agent=False, onlines_plugged=False)
    result = pull(door, LeverName.CPU_HOTPLUG, 2)
    assert (result.verdict, result.code) == (Verdict.PENDING, "plug_pending")


def test_an_unplug_that_times_out_is_pending_never_applied() -> None:
    door, _ = bed(**(ELASTIC | {"vcpus": 3, "online": 3}), unplug_works=False)
    result = pull(door, LeverName.CPU_HOTPLUG, 1)
    assert (result.verdict, result.code, result.after) == (Verdict.PENDING, "unplug_pending", 3.0)
    assert "3 plugged" in result.reason


def test_an_unplug_known_to_harm_is_refused_with_its_own_word() -> None:
    door, _ = bed(**(ELASTIC | {"vcpus": 2, "online": 2}))
    door.trouble["set_vcpus"] = LeverUnsafe("unplug_unsafe_on_tcg", "QEMU without KVM leaks what is unplugged")
    result = pull(door, LeverName.CPU_HOTPLUG, 1)
    assert (result.verdict, result.code, result.after) == (Verdict.REFUSED, "unplug_unsafe_on_tcg", 2.0)


# -- memory -------------------------------------------------------------------------------------------------


def test_a_balloon_is_watched_until_it_has_arrived() -> None:
    door, clock = bed(base_mib=512, balloon_mib_per_s=256)
    started = clock.monotonic()
    result = pull(door, LeverName.MEM_BALLOON, 384)
    assert (result.verdict, result.code) == (Verdict.APPLIED, "balloon_measured")
    assert result.after == pytest.approx(384, abs=0.01 * 384)  # 1 % of the target
    assert clock.monotonic() - started >= (512 - 384 - 4) / 256  # it moves 256 MiB a second


def test_a_balloon_that_stops_short_is_pending_with_what_was_measured() -> None:
    door, _ = bed(base_mib=512, used_mib=300)
    result = pull(door, LeverName.MEM_BALLOON, 128)
    assert (result.verdict, result.code, result.after) == (Verdict.PENDING, "balloon_short", 300.0)
    assert "asked for 128 MiB, the balloon leaves 300 MiB" in result.reason


def test_the_balloon_is_measured_without_what_virtio_mem_plugged() -> None:
    door, _ = bed(base_mib=256, balloon_mib=256, balloon_target=256, virtio_size=512, virtio_mib=100, virtio_target=100)
    assert pull(door, LeverName.MEM_BALLOON, 192).after == pytest.approx(192, abs=2)


def test_a_domain_without_a_balloon_says_so() -> None:
    door, _ = bed(balloon=False)
    assert pull(door, LeverName.MEM_BALLOON, 256).reason == "no balloon device"


def test_virtio_mem_rounds_up_to_whole_blocks() -> None:
    door, _ = bed(virtio_size=512)
    result = pull(door, LeverName.MEM_VIRTIO, 127)  # blocks of 2 MiB
    assert (result.verdict, result.after) == (Verdict.APPLIED, 128.0)


def test_virtio_mem_in_use_cannot_be_unplugged_and_stays_pending() -> None:
    door, _ = bed(virtio_size=512, virtio_mib=512, virtio_target=512, virtio_stuck_at=300)
    result = pull(door, LeverName.MEM_VIRTIO, 0)
    assert (result.verdict, result.code, result.after) == (Verdict.PENDING, "virtio_mem_pending", 300.0)


# -- whatever goes wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize("lever", RESIZERS)
@pytest.mark.parametrize(
    ("trouble", "code", "retry"),
    [
        (DomainBusy("a backup holds it"), "domain_busy", True),
        (DomainGone("destroyed"), "domain_gone", False),
        (GuestSilent("no answer"), "guest_silent", True),
        (LeverRejected("no"), "rejected", False),
    ],
)
def test_trouble_is_a_failed_pull_never_an_exception(lever: LeverName, trouble: Exception, code: str, retry: bool) -> None:
    door, _ = bed(**ELASTIC)
    door.trouble[SETTERS[lever]] = trouble
    result = pull(door, lever, 1)
    assert (result.verdict, result.code, result.retry, result.reason) == (Verdict.FAILED, code, retry, str(trouble))


@pytest.mark.parametrize("lever", RESIZERS)
def test_a_lost_hypervisor_comes_through(lever: LeverName) -> None:
    door, _ = bed(**ELASTIC)
    domain = door.read_domain(SERVER)
    door.lost = True
    with pytest.raises(HypervisorLost):
        LEVERS[lever].apply(door, domain, 1, door.clock)


@pytest.mark.parametrize("state", [DomainState.PAUSED, DomainState.MIGRATING, DomainState.BUSY, DomainState.CRASHED])
@pytest.mark.parametrize("lever", RESIZERS)
def test_a_domain_that_is_not_running_is_left_alone(lever: LeverName, state: DomainState) -> None:
    door, _ = bed(**ELASTIC, state=state)
    result = pull(door, lever, 1)
    assert (result.verdict, result.code) == (Verdict.REFUSED, "lever_unusable")
    assert door.calls == []


@given(
    target=st.floats(64, 512),
    start=st.floats(64, 512),
    used=st.floats(0, 600),
    speed=st.floats(1, 5000),
)
def test_a_balloon_is_applied_exactly_when_the_measurement_is_close(target: float, start: float, used: float, speed: float) -> None:
    door, _ = bed(base_mib=512, balloon_mib=start, balloon_target=start, used_mib=used, balloon_mib_per_s=speed)
    result = pull(door, LeverName.MEM_BALLOON, target)
    close = abs(result.after - target) <= max(2.0, 0.01 * target)
    assert (result.verdict is Verdict.APPLIED) == close
    assert result.verdict in (Verdict.APPLIED, Verdict.PENDING)


@given(target=st.floats(0.05, 4), before=st.none() | st.floats(0.05, 2))
def test_after_an_applied_quota_the_domain_may_use_what_was_asked(target: float, before: float | None) -> None:
    door, _ = bed(vcpus=2, max_vcpus=4, quota=before)
    assert pull(door, LeverName.CPU_QUOTA, target).verdict is Verdict.APPLIED
    left = door.domains[SERVER].quota
    assert left is None if target >= 2 else left == pytest.approx(target)

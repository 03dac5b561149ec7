"""Intents and outcomes: levers combined, proof demanded, one final answer each, whatever dies in between."""

from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace

from core_support import VM, Bed, a_reading, bed
from doors_support import FakeDomain
from foreshape_agent.choose import NoWay, Step, steps
from foreshape_agent.errors import DomainBusy, LeverRejected
from foreshape_wire.ids import PlanId, ServerId
from foreshape_wire.order import OPTED_OUT, Outcome, Verdict
from foreshape_wire.quantity import Cores, Memory
from foreshape_wire.reading import Capability, CpuReading, LeverName

pytestmark = pytest.mark.unit

OTHER = ServerId("00000000-0000-4000-8000-0000000000bb")
FINAL = {Verdict.APPLIED, Verdict.FAILED, Verdict.REFUSED}


def final(b: Bed, order: str, resource: str) -> Outcome:
    """The one final outcome of an order's resource."""
    found = [o for o in b.controller.outcomes() if (o.order, o.resource) == (order, resource) and o.verdict in FINAL]
    assert len(found) == 1, found
    return found[0]


def ready(*domains: FakeDomain, **options: object) -> Bed:
    """A bed that has seen its domains twice: rates are known."""
    b = bed(*domains, **options)
    b.run(2)
    return b


# -- choosing levers ---------------------------------------------------------------------------------------------

ALL_LEVERS = (
    Capability(lever=LeverName.CPU_QUOTA, lowest=0.05, highest=4, granule=0.01),
    Capability(lever=LeverName.CPU_GUEST, lowest=1, highest=1, granule=1),
    Capability(lever=LeverName.CPU_HOTPLUG, lowest=1, highest=4, granule=1),
    Capability(lever=LeverName.MEM_BALLOON, lowest=64, highest=512, granule=1),
    Capability(lever=LeverName.MEM_VIRTIO, lowest=0, highest=512, granule=2),
)


def way(
    target: float, *, current: int = 1, quota: float | None = None, online: int | None = None, without: tuple[LeverName, ...] = ()
) -> object:
    cpu = CpuReading(
        run_ns=0, vcpus=(), current=current, maximum=4, guest_online=None, quota=None if quota is None else Cores(quota), throttled_ns=0
    )
    levers = tuple(replace(c, reason="not here") if c.lever in without else c for c in ALL_LEVERS)
    return steps(replace(a_reading(), cpu=cpu, capabilities=levers), "cpu", target, online)


def test_a_fine_shrink_is_a_quota() -> None:
    assert way(0.5, current=2) == (Step(LeverName.CPU_QUOTA, 0.5),)


def test_growth_beyond_the_plugged_vcpus_lifts_every_cap_above() -> None:
    assert way(2.0, current=1, quota=0.5) == (Step(LeverName.CPU_HOTPLUG, 2), Step(LeverName.CPU_QUOTA, 2.0))
    assert way(1.5, current=1) == (Step(LeverName.CPU_HOTPLUG, 2), Step(LeverName.CPU_QUOTA, 1.5))


def test_vcpus_that_the_guest_has_off_are_brought_on_line() -> None:
    assert way(2.0, current=2, online=1) == (Step(LeverName.CPU_GUEST, 2),)
    assert way(2.0, current=2, online=1, quota=1.0) == (Step(LeverName.CPU_GUEST, 2), Step(LeverName.CPU_QUOTA, 2.0))


def test_without_a_quota_whole_vcpus_go_off_line() -> None:
    assert way(1.5, current=4, without=(LeverName.CPU_QUOTA,)) == (Step(LeverName.CPU_GUEST, 2),)
    assert way(1.0, current=4, without=(LeverName.CPU_QUOTA, LeverName.CPU_GUEST)) == (Step(LeverName.CPU_HOTPLUG, 1),)


def test_no_way_says_why() -> None:
    assert way(2.0, current=1, without=(LeverName.CPU_HOTPLUG,)) == NoWay("not here")
    assert way(5.0, current=4) == NoWay("5 vCPUs wanted, 4 can be plugged")


def test_nothing_to_do_is_no_step() -> None:
    assert way(2.0, current=2) == ()
    assert way(0.5, current=2, quota=0.5) == ()


def memory_way(target: float, has: float, plugged: float = 0.0) -> object:
    reading = a_reading()
    assert reading.memory is not None
    memory = replace(
        reading.memory, current=Memory(has), maximum=Memory(512), virtio_current=Memory(plugged), virtio_requested=Memory(plugged)
    )
    return steps(replace(reading, memory=memory, capabilities=ALL_LEVERS), "memory", target, None)


def test_memory_up_to_the_start_is_the_balloons_and_beyond_it_virtio_mems() -> None:
    assert memory_way(300, 512) == (Step(LeverName.MEM_BALLOON, 300),)
    assert memory_way(700, 400) == (Step(LeverName.MEM_BALLOON, 512), Step(LeverName.MEM_VIRTIO, 188))
    assert memory_way(701, 512) == (Step(LeverName.MEM_VIRTIO, 190),)  # whole blocks of 2 MiB
    assert memory_way(400, 712, plugged=200) == (Step(LeverName.MEM_VIRTIO, 0), Step(LeverName.MEM_BALLOON, 400))
    assert memory_way(2000, 512) == NoWay("1488 MiB wanted beside the base memory, 512 can be plugged")


# -- carrying out ------------------------------------------------------------------------------------------------


def test_an_order_for_both_is_answered_for_each_with_its_proof() -> None:
    b = ready()
    b.controller.order("o", cpu=1.0, mib=300)
    b.run(2)
    cpu, memory = final(b, "o", "cpu"), final(b, "o", "memory")
    assert (cpu.verdict, cpu.before, cpu.after, cpu.lever) == (Verdict.APPLIED, 2.0, 1.0, LeverName.CPU_QUOTA)
    assert (memory.verdict, memory.before, memory.after, memory.lever) == (Verdict.APPLIED, 512.0, 300.0, LeverName.MEM_BALLOON)
    assert cpu.proof
    assert memory.proof


def test_a_repeated_order_is_carried_out_once() -> None:
    b = ready()
    b.controller.order("o", cpu=1.0, mib=300)
    b.run(5)
    assert len(b.hypervisor.calls) == 2
    assert len(b.controller.outcomes()) == 2


def test_growing_a_small_guest_plugs_and_uncaps() -> None:
    b = ready(FakeDomain(server=VM, boot_vcpus=1, vcpus=1, online=1, max_vcpus=4, quota=0.5, entitlement=(1, 512), demand_cores=0.1))
    b.controller.order("o", cpu=2.0)
    b.run(2)
    assert (final(b, "o", "cpu").verdict, final(b, "o", "cpu").after) == (Verdict.APPLIED, 2.0)
    assert b.called("set_vcpus") == [2]
    assert b.called("set_cpu_quota") == [None]


def test_a_cap_that_is_ignored_is_never_called_done() -> None:
    b = ready(FakeDomain(server=VM, quota_ignored=True))
    b.controller.order("o", cpu=1.0)
    b.run(2)
    assert [o.verdict for o in b.controller.outcomes()] == [Verdict.PENDING]
    b.run(8)
    assert final(b, "o", "cpu").verdict is Verdict.FAILED
    assert final(b, "o", "cpu").after == 2.0


def test_a_balloon_that_stops_short_fails_with_both_numbers_and_lets_go() -> None:
    stubborn = FakeDomain(server=VM, used_mib=100, balloon_mib_per_s=0.5)  # 60 s bring 30 MiB
    b = ready(stubborn)
    b.controller.order("o", mib=300)
    b.run(2)
    assert [o.verdict for o in b.controller.outcomes()] == [Verdict.PENDING]
    b.run(9)
    outcome = final(b, "o", "memory")
    assert (outcome.verdict, outcome.code, outcome.retry) == (Verdict.FAILED, "balloon_short", True)
    assert "of 300 MiB" in outcome.reason
    assert "taken back" in outcome.reason
    assert stubborn.balloon_target == 512.0


def test_what_comes_late_is_settled_by_a_later_reading() -> None:
    b = ready(FakeDomain(server=VM, balloon_mib_per_s=10))  # 212 MiB take 21 s
    b.controller.order("o", mib=300)
    b.run(5)
    assert [o.verdict for o in b.controller.outcomes()] == [Verdict.PENDING, Verdict.APPLIED]
    assert b.called("set_balloon") == [Memory(300)]


def test_while_one_order_is_not_settled_another_for_the_same_vm_waits() -> None:
    b = ready(FakeDomain(server=VM, balloon_mib_per_s=5))
    b.controller.order("slow", mib=300)
    b.run()
    b.controller.order("next", cpu=1.0)
    assert "orders waiting 1" in b.run()
    assert b.called("set_cpu_quota") == []
    b.run(6)
    assert final(b, "slow", "memory").verdict is Verdict.APPLIED
    assert final(b, "next", "cpu").verdict is Verdict.APPLIED


def test_a_newer_order_for_the_same_resource_ends_the_older_one() -> None:
    b = ready(FakeDomain(server=VM, balloon_mib_per_s=5))
    b.controller.order("old", mib=300)
    b.run()
    b.controller.order("new", mib=400)
    b.run(8)
    assert (final(b, "old", "memory").verdict, final(b, "old", "memory").code) == (Verdict.FAILED, "superseded")
    assert final(b, "new", "memory").verdict is Verdict.APPLIED


def test_of_two_that_are_given_back_in_one_cycle_only_that_is_for_which_the_host_has_memory() -> None:
    """8192 MiB are available, 512 stay: 7680 to spare. Each asks for 5000 more."""
    ids = (VM, ServerId("vm-2"))
    b = ready(*(FakeDomain(server=s, base_mib=6000.0, balloon_mib=1000.0, balloon_target=1000.0, entitlement=(2, 6000)) for s in ids))
    b.controller.orders = [replace(b.controller.order(f"o{s}", mib=6000), server=s, plan=PlanId(OPTED_OUT)) for s in ids]
    b.run(8)
    first, second = (final(b, f"o{s}", "memory") for s in ids)
    assert first.verdict is Verdict.APPLIED
    assert (second.verdict, second.code) == (Verdict.REFUSED, "host_full")
    assert second.reason == "it asks for 5000 MiB more, and the host has 2680 MiB to spare"


def test_no_lever_is_refused_with_the_levers_reason() -> None:
    b = ready(FakeDomain(server=VM, balloon=False))
    b.controller.order("o", mib=600, ceiling=replace(a_reading().ceiling, memory=Memory(9999)))
    b.hypervisor.domains[VM].virtio_size = 0
    b.run(2)
    assert final(b, "o", "memory").code == "above_ceiling"
    b.controller.order("p", mib=500, cpu=None)
    b.run(2)
    assert final(b, "p", "memory").code == "low_confidence"  # no balloon, no numbers, no shrink


def test_a_hypervisor_that_says_no_is_a_failed_outcome() -> None:
    b = ready()
    b.hypervisor.trouble["set_cpu_quota"] = LeverRejected("cgroup is not mounted")
    b.controller.order("o", cpu=1.0)
    b.run(2)
    assert final(b, "o", "cpu").verdict is Verdict.FAILED
    assert "cgroup is not mounted" in final(b, "o", "cpu").reason


def test_a_busy_domain_fails_with_another_try() -> None:
    b = ready()
    b.hypervisor.trouble["set_balloon"] = DomainBusy("cannot acquire state change lock")
    b.controller.order("o", mib=300)
    b.run(2)
    assert (final(b, "o", "memory").verdict, final(b, "o", "memory").retry) == (Verdict.FAILED, True)


def test_one_odd_vm_never_stops_the_others() -> None:
    b = ready(FakeDomain(server=VM), FakeDomain(server=OTHER))
    b.hypervisor.trouble["set_cpu_quota"] = RuntimeError("nobody expected this")
    first = b.controller.order("odd", cpu=1.0)
    second = b.controller.order("plain", cpu=1.0, server=OTHER)
    b.controller.orders = [first, second]
    b.run(2)
    assert (final(b, "odd", "cpu").verdict, final(b, "odd", "cpu").code) == (Verdict.FAILED, "internal_error")
    assert final(b, "plain", "cpu").verdict is Verdict.APPLIED


def test_a_domain_that_vanishes_or_is_restarted_meanwhile_is_said_so() -> None:
    b = ready(FakeDomain(server=VM, balloon_mib_per_s=1), FakeDomain(server=OTHER, balloon_mib_per_s=1))
    b.controller.orders = [b.controller.order("a", mib=300), b.controller.order("b", mib=300, server=OTHER)]
    b.run()
    del b.hypervisor.domains[VM]
    b.hypervisor.domains[OTHER].instance = "2"
    b.run(2)
    assert final(b, "a", "memory").code == "domain_gone"
    assert final(b, "b", "memory").code == "restarted"


def test_time_for_actions_is_bounded_and_the_rest_waits() -> None:
    many = [FakeDomain(server=ServerId(f"vm-{n}"), balloon_mib_per_s=20) for n in range(10)]  # each is watched for 3 s
    b = ready(*many)
    b.controller.orders = [b.controller.order(f"o{n}", mib=400, server=ServerId(f"vm-{n}")) for n in range(10)]
    before = b.clock.monotonic()
    assert "orders waiting 7" in b.run()  # 8 s: three begin
    assert b.clock.monotonic() - before < b.settings.interval_s + b.settings.action_budget_s + 4
    b.run(12)
    assert {final(b, f"o{n}", "memory").verdict for n in range(10)} == {Verdict.APPLIED}


# -- interrupted at every step -----------------------------------------------------------------------------------


class Killed(BaseException):
    """kill -9."""


class Killer:
    """Counts every call into the hypervisor and every write of the spool, and kills before the chosen one."""

    def __init__(self, b: Bed, at: int) -> None:
        self.count, self._at = 0, at
        for name in ("read_domains", "read_domain", "set_cpu_quota", "set_balloon"):
            self._arm(b.hypervisor, name)
        self._arm(b.spool, "_write")
        self._arm(b.controller, "exchange")

    def _arm(self, thing: object, name: str) -> None:
        real = getattr(thing, name)

        def step(*args: object, **kwargs: object) -> object:
            self.count += 1
            if self.count == self._at:
                raise Killed
            return real(*args, **kwargs)

        setattr(thing, name, step)


def disarmed(b: Bed) -> Bed:
    for name in ("read_domains", "read_domain", "set_cpu_quota", "set_balloon"):
        del b.hypervisor.__dict__[name]
    del b.controller.__dict__["exchange"]
    return b.restarted()


@pytest.mark.parametrize("at", range(1, 26))
def test_killed_before_any_step_nothing_is_lost_and_nothing_is_done_twice(at: int, tmp_path: Path) -> None:
    b = bed(path=tmp_path / "spool.sqlite")
    b.run(2)
    b.controller.order("o", cpu=1.0, mib=300)
    Killer(b, at)
    try:
        b.run(2)
    except Killed:
        died = True
    else:
        died = False
    b = disarmed(b)
    b.run(6)
    asked = Counter(repr(call) for call in b.hypervisor.calls)
    for resource, target in (("cpu", 1.0), ("memory", 300.0)):
        outcome = final(b, "o", resource)
        if outcome.verdict is Verdict.APPLIED:
            assert outcome.after == target
        else:
            assert (outcome.code, outcome.retry) == ("interrupted", True)
            assert outcome.after == {"cpu": 2.0, "memory": 512.0}[resource]
    assert asked[repr(("set_cpu_quota", VM, Cores(1.0)))] <= 1
    assert asked[repr(("set_balloon", VM, Memory(300)))] <= 1
    assert b.spool.actions() == ()
    assert b.spool.waiting() == 0
    assert died or at > 15, "the walk is shorter than the test thinks"

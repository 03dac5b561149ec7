"""Hard caps on an agent: begun, held, ended by their own time, undone to what was; cut off, killed and restarted."""

import contextlib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from core_support import VM, Bed, a_reading, bed, size
from doors_support import FakeDomain
from foreshape_agent import admit
from foreshape_agent.config import Settings
from foreshape_agent.errors import DomainBusy, LeverRejected
from foreshape_agent.reflex import decide
from foreshape_wire.ids import CauseId, ServerId
from foreshape_wire.order import Guard, HardCap, Mode, Origin, Outcome, Verdict
from foreshape_wire.quantity import Cores, Memory
from foreshape_wire.reading import DeviceLimit, DomainState
from foreshape_wire.sample import CpuSample, MemorySample, VmSample
from long_support import LONG

pytestmark = pytest.mark.unit

OTHER = ServerId("00000000-0000-4000-8000-0000000000bb")


def guard(*caps: HardCap, server: ServerId = VM, floor: float = 0.2, **terms: object) -> Guard:
    return Guard(server=server, floor=size(floor, 128), entitlement=size(2, 512), caps=caps, **terms)  # type: ignore[arg-type]


def cap(b: Bed, resource: str = "disk_iops", amount: float = 100, lasts: float = 60, name: str = "cap-1") -> HardCap:
    return HardCap(cause=CauseId(name), resource=resource, amount=amount, until=b.controller.now + lasts, reason="it runs away")


def capped(b: Bed, *caps: HardCap) -> None:
    b.controller.guards = [guard(*caps)]


def limit(b: Bed, device: str = "vda", resource: str = "disk_iops", server: ServerId = VM) -> float:
    found = b.hypervisor.domains[server].limits.get((device, resource))
    return 0.0 if found is None else found.total or found.inward


def told(b: Bed) -> list[Outcome]:
    return [o for o in b.controller.outcomes() if o.origin is Origin.CAP]


def disks(*names: str, **fields: object) -> FakeDomain:
    return FakeDomain(server=VM, disks=names or ("vda",), **fields)  # type: ignore[arg-type]


# -- disks and network ---------------------------------------------------------------------------------------


def test_a_cap_is_applied_proven_and_told_with_its_cause() -> None:
    b = bed(disks("vda", "vdb"))
    capped(b, cap(b))
    b.run(3)
    assert (limit(b, "vda"), limit(b, "vdb")) == (50, 50)  # equal shares
    assert [(o.cause, o.resource, o.verdict, o.before, o.target, o.after) for o in told(b)] == [
        ("cap-1", "disk_iops", Verdict.APPLIED, 0.0, 100.0, 100.0)
    ]
    assert "vda 50, vdb 50" in told(b)[0].proof


def test_held_it_costs_no_more_calls() -> None:
    b = bed(disks())
    capped(b, cap(b, lasts=600))
    b.run(10)
    assert len(b.called("set_disk_limit")) == 1


def test_it_ends_by_itself_also_while_the_controller_is_silent() -> None:
    b = bed(disks())
    capped(b, cap(b, lasts=60))
    b.run(2)
    b.controller.down = True
    b.run(2)
    assert limit(b) == 100  # cut off, and held
    b.run(5)
    assert limit(b) == 0
    b.controller.down = False
    b.run(2)
    assert [o.code for o in told(b)] == ["limits_read_back", "limits_read_back"]
    assert told(b)[1].reason.startswith("the cap is over")


def test_it_ends_by_itself_after_a_restart_without_a_controller(tmp_path: Path) -> None:
    b = bed(disks(), path=tmp_path / "spool")
    capped(b, cap(b, lasts=60))
    b.run(2)
    b.controller.down = True
    b = b.restarted()
    b.run(2)
    assert limit(b) == 100
    b.run(6)
    assert limit(b) == 0


def test_lifted_it_goes_with_the_next_reply_and_what_was_there_comes_back() -> None:
    b = bed(disks())
    before = DeviceLimit(device="vda", resource="disk_iops", total=500, bursts=(("total_iops_sec_max", 900),))
    b.hypervisor.domains[VM].limits["vda", "disk_iops"] = before
    capped(b, cap(b))
    b.run(2)
    assert limit(b) == 100
    capped(b)
    b.run(2)
    assert b.hypervisor.domains[VM].limits["vda", "disk_iops"] == before
    assert b.spool.held() == ()


def test_what_somebody_else_set_stricter_is_left_alone_and_said_once() -> None:
    b = bed(disks())
    b.hypervisor.domains[VM].limits["vda", "disk_iops"] = DeviceLimit(device="vda", resource="disk_iops", total=40)
    capped(b, cap(b, lasts=600))
    b.run(4)
    assert b.called("set_disk_limit") == []
    assert [(o.verdict, o.code, o.after) for o in told(b)] == [(Verdict.APPLIED, "stricter_already", 40.0)]
    capped(b)
    b.run(2)
    assert limit(b) == 40


def test_another_amount_replaces_it_and_the_way_back_is_kept() -> None:
    b = bed(disks())
    for amount in (200, 100, 300):
        capped(b, cap(b, amount=amount, name=f"cap-{amount}"))
        b.run(2)
        assert limit(b) == amount
    capped(b)
    b.run(2)
    assert limit(b) == 0


def test_a_domain_started_anew_is_capped_again() -> None:
    b = bed(disks())
    capped(b, cap(b, lasts=600))
    b.run(2)
    b.hypervisor.domains[VM].reboot()
    assert limit(b) == 0
    b.run(2)
    assert limit(b) == 100
    capped(b)
    b.run(2)
    assert limit(b) == 0


def test_a_disk_that_is_plugged_later_shares_the_cap() -> None:
    b = bed(disks())
    capped(b, cap(b, lasts=600))
    b.run(2)
    b.hypervisor.domains[VM].disks = ("vda", "vdb")
    b.run(2)
    assert (limit(b, "vda"), limit(b, "vdb")) == (50, 50)


def test_a_network_without_a_device_on_the_host_says_so_once() -> None:
    b = bed(FakeDomain(server=VM, nics=("n0",), no_tap=True))
    capped(b, cap(b, "net_kib_s", 512, lasts=600))
    b.run(4)
    assert [(o.verdict, o.code) for o in told(b)] == [(Verdict.REFUSED, "no_lever")]
    assert "user-mode" in told(b)[0].reason


def test_a_network_is_capped_each_way() -> None:
    b = bed(FakeDomain(server=VM, nics=("vnet0",)))
    capped(b, cap(b, "net_kib_s", 512))
    b.run(2)
    assert b.called("set_net_limit") == [DeviceLimit(device="vnet0", resource="net_kib_s", inward=512, outward=512)]


def test_a_limit_that_is_never_in_force_is_never_called_applied() -> None:
    b = bed(disks(limits_ignored=True))
    capped(b, cap(b, lasts=600))
    b.run(3)
    assert {o.verdict for o in told(b)} == {Verdict.PENDING}


@pytest.mark.parametrize(("busy", "end"), [(1, "; taken back"), (9, "; not taken back: a snapshot holds it")])
def test_a_cap_that_failed_half_way_is_taken_back_also_when_the_domain_is_busy_for_a_while(busy: int, end: str) -> None:
    b = bed(disks("vda", "vdb"))
    capped(b, cap(b, lasts=600))
    real, answers = b.hypervisor.set_disk_limit, iter([None, LeverRejected("no"), *[DomainBusy("a snapshot holds it")] * busy])

    def set_disk_limit(server: ServerId, limit: DeviceLimit) -> None:
        if error := next(answers, None):
            raise error
        real(server, limit)

    b.hypervisor.set_disk_limit = set_disk_limit  # type: ignore[method-assign]
    b.run(2)
    assert (told(b)[0].verdict, told(b)[0].reason) == (Verdict.FAILED, f"no{end}")
    assert limit(b, "vda") == (0 if busy == 1 else 50)


@pytest.mark.parametrize("state", [DomainState.PAUSED, DomainState.MIGRATING, DomainState.BUSY])
def test_a_domain_that_is_held_by_others_is_left_alone_until_it_runs(state: DomainState) -> None:
    b = bed(disks(state=state))
    capped(b, cap(b, lasts=600))
    b.run(2)
    assert b.called("set_disk_limit") == []
    b.hypervisor.domains[VM].state = DomainState.RUNNING
    b.run()
    assert limit(b) == 100


def test_outside_mode_act_no_cap_begins_and_one_that_holds_stays_as_it_is_to_its_end() -> None:
    b = bed(disks(demand_cores=2.0))
    b.controller.mode = Mode.ADVISE
    capped(b, cap(b, lasts=100), cap(b, "cpu", 0.5, 100))
    b.run(3)
    assert b.hypervisor.calls == []
    b.controller.mode = Mode.ACT
    b.run()
    assert (limit(b), b.hypervisor.domains[VM].quota) == (100, 0.5)
    b.controller.mode = Mode.OBSERVE  # a stop lets nobody loose
    b.run(3)
    assert (limit(b), b.hypervisor.domains[VM].quota) == (100, 0.5)
    b.run(4)
    assert (limit(b), b.hypervisor.domains[VM].quota) == (0, None)


def test_a_stop_of_this_server_alone_freezes_its_caps_and_a_lift_still_ends_them() -> None:
    b = bed(disks(demand_cores=2.0))
    caps = cap(b, lasts=600), cap(b, "cpu", 0.5, 600)
    capped(b, *caps)
    b.run(2)
    frozen = [replace(c, begins=False) for c in caps]
    capped(b, *frozen, replace(cap(b, "disk_kib_s", 500, 600), begins=False))
    b.hypervisor.domains[VM].limits.clear()  # somebody opened it: nobody may act, so it is left
    b.run(3)
    assert (limit(b), limit(b, resource="disk_kib_s")) == (0, 0)
    assert b.hypervisor.domains[VM].quota == 0.5
    capped(b)
    b.run(2)
    assert b.hypervisor.domains[VM].quota is None
    assert b.spool.held() == ()


def test_a_domain_that_moved_here_with_our_limit_is_freed_when_the_cap_ends() -> None:
    b = bed(FakeDomain(server=OTHER))
    b.run(2)
    moved = b.hypervisor.add(disks(state=DomainState.MIGRATING))
    moved.limits["vda", "disk_iops"] = DeviceLimit(device="vda", resource="disk_iops", total=100)
    b.controller.guards = [guard(cap(b, lasts=45)), guard(server=OTHER)]
    b.run(2)
    moved.state = DomainState.RUNNING
    b.run(2)
    assert limit(b) == 100
    b.run(3)
    assert limit(b) == 0


def test_an_operators_own_limit_of_the_same_size_is_his() -> None:
    b = bed(disks())
    b.controller.guards = [guard()]
    b.run(2)  # it was here before the cap
    b.hypervisor.domains[VM].limits["vda", "disk_iops"] = DeviceLimit(device="vda", resource="disk_iops", total=100)
    capped(b, cap(b, lasts=25))
    b.run(5)
    assert limit(b) == 100


def test_one_odd_vm_never_stops_the_others() -> None:
    b = bed(disks(), FakeDomain(server=OTHER, disks=("vda",)))
    b.hypervisor.trouble["set_disk_limit"] = RuntimeError("nobody expected this")
    b.controller.guards = [guard(cap(b, lasts=600)), guard(cap(b, lasts=600), server=OTHER)]
    b.run(2)
    assert sorted([limit(b), limit(b, server=OTHER)]) == [0, 100]
    b.run(4)  # tried again after half a minute
    assert (limit(b), limit(b, server=OTHER)) == (100, 100)


# -- CPU -----------------------------------------------------------------------------------------------------


def busy(**fields: object) -> FakeDomain:
    return FakeDomain(server=VM, demand_cores=2.0, entitlement=(2, 512), **fields)  # type: ignore[arg-type]


def test_a_busy_guest_is_held_at_its_cap_and_freed_at_its_end() -> None:
    b = bed(busy())
    capped(b, cap(b, "cpu", 0.5, lasts=65))
    b.run(6)
    assert b.hypervisor.domains[VM].quota == 0.5
    assert b.called("set_cpu_quota") == [Cores(0.5)]  # and no reflex gave it back meanwhile
    b.run(2)
    assert b.hypervisor.domains[VM].quota is None
    assert [(o.cause, o.verdict, o.after) for o in told(b)] == [("cap-1", Verdict.APPLIED, 0.5), ("cap-1", Verdict.APPLIED, 2.0)]


def test_a_guest_that_had_less_than_its_cap_is_not_grown_by_its_end() -> None:
    b = bed(FakeDomain(server=VM, quota=0.5, demand_cores=0.1, entitlement=(2, 512)))
    capped(b, cap(b, "cpu", 1.0, lasts=35))
    b.run(6)
    assert b.hypervisor.calls == []
    assert b.spool.held() == ()


def test_no_cap_goes_below_the_floor_also_when_cut_off_and_started_anew(tmp_path: Path) -> None:
    b = bed(busy(), path=tmp_path / "spool", static_after_s=20)
    b.controller.guards = [guard(cap(b, "cpu", 0.1, lasts=2000), floor=0.7)]
    b.run()
    b.controller.down = True
    b = b.restarted()
    b.hypervisor.domains[VM].reboot()  # what was set is gone: everything is done anew, with nobody to ask
    b.run(6)
    assert b.hypervisor.domains[VM].quota == 0.7


def test_an_order_below_the_guards_floor_is_refused_whatever_the_order_says_itself() -> None:
    b = bed(FakeDomain(server=VM, demand_cores=0.1))
    b.controller.guards = [guard(floor=0.7)]
    b.run(2)
    b.controller.order("low", cpu=0.5, floor=size(0.1, 96))
    b.run(2)
    assert [o.code for o in b.controller.outcomes() if o.order == "low"] == ["below_floor"]


def test_fail_to_static_leaves_a_cap_in_force_until_it_ends() -> None:
    b = bed(busy(), static_after_s=20)
    capped(b, cap(b, "cpu", 0.5, lasts=105))
    b.run(2)
    b.controller.down = True
    b.run(7)
    assert b.cycle._safe  # it returned everything to what was sold …
    assert b.hypervisor.domains[VM].quota == 0.5  # … up to the cap
    b.run(3)
    assert b.hypervisor.domains[VM].quota is None


def test_an_order_above_a_cap_is_refused_and_one_down_to_it_needs_no_idle_cpu() -> None:
    b = bed(busy())
    b.run(2)
    capped(b, cap(b, "cpu", 0.5, lasts=600))
    b.run(2)
    b.controller.order("up", cpu=1.5)
    b.run(2)
    refused = next(o for o in b.controller.outcomes() if o.order == "up")
    assert (refused.verdict, refused.code) == (Verdict.REFUSED, "above_cap")
    assert "cap-1: it runs away" in refused.reason


def test_memory_is_never_given_above_its_cap() -> None:
    b = bed(FakeDomain(server=VM, used_mib=270, balloon_mib=300, balloon_target=300))  # 0 MiB usable: pressure
    capped(b, cap(b, "memory", 350, lasts=600))
    b.run(4)
    assert b.called("set_balloon") == [Memory(350)]  # and not the 512 of the entitlement


# -- growth beyond what was sold -----------------------------------------------------------------------------


def grown(**options: object) -> Bed:
    b = bed(FakeDomain(server=VM, boot_vcpus=1, vcpus=1, online=1, max_vcpus=4, virtio_size=512, demand_cores=0.1), **options)
    b.controller.guards = [Guard(server=VM, floor=size(0.2, 128), entitlement=size(1, 512))]
    b.run(2)
    b.controller.order("o", cpu=2.0, mib=700)
    b.run(3)
    assert (b.hypervisor.domains[VM].vcpus, b.hypervisor.domains[VM].virtio_mib) == (2, 188)
    return b


def test_restore_takes_back_what_was_lent_and_lifts_every_cap() -> None:
    b = grown()
    vm = b.hypervisor.domains[VM]
    vm.disks = ("vda",)
    b.controller.guards = [Guard(server=VM, floor=size(0.2, 128), entitlement=size(1, 512), caps=(cap(b, lasts=600),))]
    b.run(2)
    assert limit(b) == 100
    b.cycle.restore("the agent is stopped")
    assert (vm.quota, vm.virtio_target, limit(b)) == (1.0, 0.0, 0.0)
    assert b.spool.held() == ()


def test_lent_memory_that_is_in_use_stays() -> None:
    b = grown()
    b.hypervisor.domains[VM].used_mib = 600
    b.run(2)
    b.cycle.restore("the agent is stopped")
    assert b.hypervisor.domains[VM].virtio_target == 188
    b.run()
    assert [o.code for o in b.controller.outcomes() if o.origin is Origin.STATIC and o.resource == "memory"] == ["below_working_set"]


def test_cut_off_it_takes_back_what_was_lent_and_keeps_the_floors() -> None:
    b = grown(static_after_s=20)
    b.controller.down = True
    b.run(5)
    vm = b.hypervisor.domains[VM]
    assert (vm.quota, vm.virtio_target) == (1.0, 0.0)
    assert b.spool.lent() == ()


def test_what_an_operator_enlarged_himself_is_left_to_him() -> None:
    b = bed(FakeDomain(server=VM, boot_vcpus=1, vcpus=3, online=3, max_vcpus=4, entitlement=(1, 512)))
    b.controller.guards = [Guard(server=VM, floor=size(0.2, 128), entitlement=size(1, 512))]
    b.run(2)
    b.cycle.restore("the agent is stopped")
    assert b.hypervisor.calls == []


# -- the tier's terms ----------------------------------------------------------------------------------------

SETTINGS = Settings()


def starved(has: float) -> VmSample:
    cpu = CpuSample(
        used=Cores(has),
        waiting=Cores(0),
        throttled=Cores(0),
        demand=Cores(has),
        allocation=Cores(has),
        censored=True,
        confidence=1.0,
    )
    return VmSample(server=VM, state=DomainState.RUNNING, window_s=5.0, cpu=cpu)


def given_to(g: Guard | None, has: float = 1.0) -> float:
    (give,) = decide(starved(has), None, size(8, 512), SETTINGS, g)
    return give.target


def test_a_guards_terms_tune_the_reflex_and_without_them_the_agents_own_hold() -> None:
    assert given_to(None) == 1.5  # reflex_growth of agent.conf
    assert given_to(guard()) == 1.5
    assert given_to(guard(reflex_growth=2.0)) == 2.0
    assert given_to(guard(reflex_growth=1.25, reflex_headroom=3.0)) == 3.0
    assert given_to(guard(reflex_growth=0.0, reflex_headroom=0.0)) == 1.05  # nobody can tune it into giving nothing


def test_a_tiers_margin_protects_more_than_the_agents_own() -> None:
    sample = VmSample(
        server=VM,
        state=DomainState.RUNNING,
        window_s=5.0,
        memory=MemorySample(demand=Memory(1000), allocation=Memory(2048), censored=False, confidence=0.95),
    )
    plain = {"domain": a_reading(), "sample": sample, "allocation": 2048.0, "now": 0.0, "mode": Mode.ACT, "safe_mode": ""}

    def refused(target: float, g: Guard | None) -> bool:
        return admit.unused("memory", target, admit.Scene(guard=g, **plain), SETTINGS) is not None  # type: ignore[arg-type]

    assert not refused(1100, None)  # 1000 + max(64, 10 % of it)
    assert refused(1100, guard(memory_margin_share=0.3))
    assert not refused(1300, guard(memory_margin_share=0.3))
    assert refused(1090, guard(memory_margin_share=0.01))  # never less than the agent's own


# -- interrupted at every step -------------------------------------------------------------------------------


class Killed(BaseException):
    """kill -9."""


CALLS = ("read_domains", "read_domain", "set_cpu_quota", "set_disk_limit")


class Killer:
    """Counts every call into the hypervisor and every write of the spool, and kills before the chosen one."""

    def __init__(self, b: Bed, at: int) -> None:
        self.count, self._at = 0, at
        for thing, names in ((b.hypervisor, CALLS), (b.spool, ("_write",)), (b.controller, ("exchange",))):
            for name in names:
                self._arm(thing, name)

    def _arm(self, thing: object, name: str) -> None:
        real = getattr(thing, name)

        def step(*args: object, **kwargs: object) -> object:
            self.count += 1
            if self.count == self._at:
                raise Killed
            return real(*args, **kwargs)

        setattr(thing, name, step)


def killed_at(b: Bed, at: int, cycles: int) -> Bed:
    """Run, and be killed before the step; a new process goes on."""
    Killer(b, at)
    with contextlib.suppress(Killed):
        b.run(cycles)
    for name in CALLS:
        b.hypervisor.__dict__.pop(name, None)
    b.controller.__dict__.pop("exchange", None)
    return b.restarted()


@pytest.mark.parametrize("at", range(1, 26))
def test_killed_before_any_step_of_beginning_or_ending_everything_is_as_it_was(at: int, tmp_path: Path) -> None:
    b = bed(disks("vda", "vdb", demand_cores=2.0), path=tmp_path / "spool")
    before = DeviceLimit(device="vdb", resource="disk_iops", total=400)
    b.hypervisor.domains[VM].limits["vdb", "disk_iops"] = before
    capped(b)
    b.run(2)
    capped(b, cap(b, lasts=3000), cap(b, "cpu", 0.5, 3000))
    b = killed_at(b, at, 2)
    b.run(5)
    assert (limit(b, "vda"), limit(b, "vdb"), b.hypervisor.domains[VM].quota) == (50, 50, 0.5)
    capped(b)
    b = killed_at(b, at, 2)
    b.run(8)
    assert (limit(b, "vda"), limit(b, "vdb"), b.hypervisor.domains[VM].quota) == (0, 400, None)
    assert b.spool.held() == ()
    assert b.spool.actions() == ()
    asked = Counter(name for name, *_ in b.hypervisor.calls)
    assert asked["set_disk_limit"] <= 8  # two each way, and at most as many again after the kills


def happens(b: Bed, vm: FakeDomain, what: str, amount: float) -> None:
    if what == "cap":
        capped(b, cap(b, amount=amount, lasts=45))
    elif what == "lift":
        capped(b)
    elif what in {"down", "up"}:
        b.controller.down = what == "down"
    elif what in {"stop", "act"}:
        b.controller.mode = Mode.OBSERVE if what == "stop" else Mode.ACT
    elif what == "reboot":
        vm.reboot()
    elif what in {"busy", "free"}:
        vm.state = DomainState.BUSY if what == "busy" else DomainState.RUNNING


event = st.sampled_from(["cap", "cap", "lift", "down", "up", "restart", "reboot", "stop", "act", "busy", "free", "time"])


@given(events=st.lists(st.tuples(event, st.sampled_from([40, 100, 250, 600])), max_size=14), own=st.sampled_from([0, 80, 300]))
@settings(max_examples=min(LONG // 4, 400), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_whatever_happens_no_cap_outlives_its_end_and_none_loosens_what_was_set(
    events: list[tuple[str, int]], own: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """``own``: what the operator set himself before; a restart of the domain forgets it, as libvirt does."""
    b = bed(disks(), path=tmp_path_factory.mktemp("caps") / "spool")
    vm = b.hypervisor.domains[VM]
    if own:
        vm.limits["vda", "disk_iops"] = DeviceLimit(device="vda", resource="disk_iops", total=own)
    capped(b)
    b.run(2)
    for what, amount in events:
        b, own = b.restarted() if what == "restart" else b, 0 if what == "reboot" else own
        happens(b, vm, what, amount)
        b.run()
        assert not own or 0 < limit(b) <= own
    vm.state = DomainState.RUNNING
    b.run(6)  # longer than any cap lasts: nobody has to be asked
    assert limit(b) == own
    assert b.spool.held() == ()

"""The libvirt door and the levers on real guests: every effect is seen by the guest itself, or measured on the host."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from foreshape_lab import Guest, GuestSpec, Host, LabError, hot_add, nova_like
from foreshape_lab.domain_xml import domain_xml
from foreshape_lab.image import image
from foreshape_lab.processes import wait_until

from foreshape_agent.errors import DomainBusy, DomainGone, HypervisorLost
from foreshape_agent.host import SystemClock
from foreshape_agent.hypervisor import LibvirtHypervisor
from foreshape_agent.levers import ALL
from foreshape_agent.levers.base import Pull
from foreshape_ceiling.ceiling import Ceiling, with_ceiling
from foreshape_wire.ids import ServerId
from foreshape_wire.order import Verdict
from foreshape_wire.quantity import Cores, Memory
from foreshape_wire.reading import DomainReading, DomainState, LeverName
from lab_support import Resets, a_bed, eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

LEVERS = {lever.name: lever for lever in ALL}
CLOCK = SystemClock()
INSIDE = Path(__file__).parents[1] / "support/doors_inside.py"
SEES_S = 15.0
"""A busy machine: the guest says what it sees once a second."""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with a_bed(hosts=1) as bed:
        yield bed.hosts[0]


@pytest.fixture(scope="module")
def door(host: Host) -> Iterator[LibvirtHypervisor]:
    door = LibvirtHypervisor(host.uri, CLOCK)
    yield door
    door.close()


@pytest.fixture(scope="module")
def elastic(host: Host) -> Guest:
    """1 of 2 vCPUs, 160 MiB and 128 more to plug; always wants a whole core."""
    return host.start(hot_add("elastic", cpu="1", memory=160, sold=(1.0, 160))).wait_for_agent()


@pytest.fixture(scope="module")
def nova(host: Host) -> Guest:
    """As Nova makes them: 2 vCPUs, 192 MiB, nothing to add; nobody asks its balloon for numbers."""
    return host.start(nova_like("nova", memory=192, stats_period_s=0)).wait_for_agent()


def server(guest: Guest) -> ServerId:
    return ServerId(guest.uuid)


def pull(door: LibvirtHypervisor, guest: Guest, lever: LeverName, target: float) -> Pull:
    return LEVERS[lever].apply(door, door.read_domain(server(guest), ask_guest=True), target, CLOCK)


def bulk(door: LibvirtHypervisor, guest: Guest) -> DomainReading:
    return {r.identity.server: r for r in door.read_domains()}[server(guest)]


def inside(host: Host, *words: str) -> dict[str, Any]:
    """What the doors see from where an agent runs."""
    answer: dict[str, Any] = json.loads(host.run_in([sys.executable, INSIDE, *words]).splitlines()[-1])
    return answer


def seen_in_guest(guest: Guest, what: str, true: Callable[[Any], bool]) -> None:
    guest.console.wait_for(true, what, SEES_S, since=CLOCK.now() - 0.5)


# -- who they are -------------------------------------------------------------------------------------------


def test_a_nova_guest_says_whose_it_is_and_what_was_sold(door: LibvirtHypervisor, nova: Guest) -> None:
    reading = bulk(door, nova)
    assert (reading.identity.flavor, reading.identity.display_name) == ("lab.small", "nova")
    assert len(reading.identity.project) == 32
    assert (reading.entitlement.cpu.cores, reading.entitlement.memory.mib) == (2.0, 192.0)
    assert reading.ceiling == reading.entitlement
    assert "started with all 2" in reading.capability(LeverName.CPU_HOTPLUG).reason
    assert "no virtio-mem" in reading.capability(LeverName.MEM_VIRTIO).reason


def test_every_lever_of_an_elastic_guest_has_a_range(door: LibvirtHypervisor, elastic: Guest) -> None:
    reading = bulk(door, elastic)
    assert [c.reason for c in reading.capabilities] == [""] * 5
    virtio = reading.capability(LeverName.MEM_VIRTIO)
    assert (virtio.lowest, virtio.highest, virtio.granule) == (160, 160 + 128, 2)
    assert (reading.ceiling.cpu.cores, reading.ceiling.memory.mib) == (2.0, 288.0)


# -- CPU ----------------------------------------------------------------------------------------------------


def test_a_capped_guest_uses_what_the_cap_leaves_and_the_kernel_counts_what_it_held_back(host: Host, elastic: Guest) -> None:
    seen_in_guest(elastic, "work for a core", lambda s: s.want >= 0.9)
    capped = inside(host, "cap", elastic.name, "0.25", "6")
    assert capped["pull"]["verdict"] == "applied"
    assert 0.1 < capped["used"] < 0.31
    # It wants one core and has a quarter: the cap holds it back, except while other work on this machine does.
    assert capped["throttled_s"] > 0.2
    assert "-" in capped["instance"]  # the process was found, and with it its start
    freed = inside(host, "cap", elastic.name, "none", "3")
    # Nothing holds it back now but other work on this machine, for which it waits runnable.
    assert freed["used"] + freed["waiting"] > 0.7
    assert freed["throttled_s"] < 0.2


def test_where_the_process_cannot_be_seen_the_reading_says_so(door: LibvirtHypervisor, elastic: Guest) -> None:
    reading = bulk(door, elastic)  # from outside the host, its process ids mean others
    assert reading.cpu is not None
    assert reading.cpu.throttled_ns is None
    assert reading.note.startswith("throttled time unknown")


def test_the_guest_takes_a_vcpu_off_line_and_on_again(door: LibvirtHypervisor, nova: Guest) -> None:
    down = pull(door, nova, LeverName.CPU_GUEST, 1)
    assert (down.verdict, down.after) == (Verdict.APPLIED, 1.0)
    seen_in_guest(nova, "one CPU", lambda s: s.cpus == 1)
    reading = bulk(door, nova)
    assert reading.cpu is not None
    assert (reading.cpu.guest_online, reading.cpu.current) == (1, 2)
    up = pull(door, nova, LeverName.CPU_GUEST, 2)
    assert (up.verdict, up.after) == (Verdict.APPLIED, 2.0)
    seen_in_guest(nova, "two CPUs", lambda s: s.cpus == 2)


def test_a_plugged_vcpu_is_seen_by_the_guest_and_never_unplugged_under_tcg(door: LibvirtHypervisor, elastic: Guest) -> None:
    plugged = pull(door, elastic, LeverName.CPU_HOTPLUG, 2)
    assert (plugged.verdict, plugged.after) == (Verdict.APPLIED, 2.0), plugged
    seen_in_guest(elastic, "two CPUs", lambda s: s.cpus == 2)
    back = pull(door, elastic, LeverName.CPU_HOTPLUG, 1)
    assert (back.verdict, back.code, back.after) == (Verdict.REFUSED, "unplug_unsafe_on_tcg", 2.0)
    reading = bulk(door, elastic)
    assert reading.capability(LeverName.CPU_HOTPLUG).lowest == 2
    assert reading.entitlement.cpu.cores == 1.0  # what was sold did not grow with it


def test_more_vcpus_than_there_are_slots_is_a_failed_pull_with_libvirts_words(door: LibvirtHypervisor, elastic: Guest) -> None:
    result = pull(door, elastic, LeverName.CPU_HOTPLUG, 7)
    assert (result.verdict, result.code) == (Verdict.FAILED, "rejected")
    assert "vcpu" in result.reason.lower()


# -- memory -------------------------------------------------------------------------------------------------


def test_a_balloon_takes_memory_and_gives_it_back(door: LibvirtHypervisor, nova: Guest) -> None:
    whole = nova.console.latest.memory_total
    down = pull(door, nova, LeverName.MEM_BALLOON, 144)
    assert (down.verdict, down.code) == (Verdict.APPLIED, "balloon_measured")
    assert down.after == pytest.approx(144, abs=2)
    seen_in_guest(nova, "48 MiB less", lambda s: s.memory_total == pytest.approx(whole - 48, abs=3))
    up = pull(door, nova, LeverName.MEM_BALLOON, 192)
    assert up.after == pytest.approx(192, abs=2)
    seen_in_guest(nova, "all of it again", lambda s: s.memory_total == pytest.approx(whole, abs=3))


def test_frozen_numbers_begin_to_move_when_the_balloon_asks(door: LibvirtHypervisor, nova: Guest) -> None:
    before = bulk(door, nova)
    assert before.memory is not None
    assert not before.memory.stats_period_s
    door.set_stats_period(server(nova), 1)

    def fresh() -> bool:
        memory = bulk(door, nova).memory
        return memory is not None and memory.stats_period_s == 1 and (memory.guest_updated_at or 0) >= before.read_at

    wait_until(fresh, "the guest's own numbers", SEES_S)


def test_virtio_mem_plugs_and_unplugs(door: LibvirtHypervisor, elastic: Guest) -> None:
    whole = elastic.console.latest.memory_total
    up = pull(door, elastic, LeverName.MEM_VIRTIO, 128)
    assert (up.verdict, up.after) == (Verdict.APPLIED, 128.0), up
    seen_in_guest(elastic, "128 MiB more", lambda s: s.memory_total == pytest.approx(whole + 128, abs=3))

    def counted() -> bool:
        memory = bulk(door, elastic).memory
        return memory is not None and memory.current.mib == pytest.approx(160 + 128, abs=1)

    wait_until(counted, "the bulk call counting what is plugged", SEES_S)
    down = pull(door, elastic, LeverName.MEM_VIRTIO, 0)
    if down.verdict is Verdict.PENDING:  # the guest moves its pages in its own time
        wait_until(lambda: LEVERS[LeverName.MEM_VIRTIO].reached(door.read_domain(server(elastic)), 0), "unplugged memory", SEES_S)
    assert down.verdict in (Verdict.APPLIED, Verdict.PENDING)


def test_a_restarted_agent_finds_the_same_entitlement_after_a_resize(
    host: Host, door: LibvirtHypervisor, nova: Guest, elastic: Guest
) -> None:
    pull(door, nova, LeverName.MEM_BALLOON, 160)
    other = LibvirtHypervisor(host.uri, CLOCK)
    try:
        sizes = {r.identity.name: (r.entitlement.cpu.cores, r.entitlement.memory.mib) for r in other.read_domains()}
        assert sizes == {"nova": (2.0, 192.0), "elastic": (1.0, 160.0)}
    finally:
        other.close()
        pull(door, nova, LeverName.MEM_BALLOON, 192)


# -- what goes wrong ----------------------------------------------------------------------------------------


def test_a_paused_domain_is_data_and_its_levers_rest(host: Host, door: LibvirtHypervisor, nova: Guest) -> None:
    host.virsh("suspend", nova.name)
    try:
        reading = bulk(door, nova)
        assert (reading.state, reading.note) == (DomainState.PAUSED, "domain is paused")
        assert pull(door, nova, LeverName.MEM_BALLOON, 160).code == "lever_unusable"
    finally:
        host.virsh("resume", nova.name)
    assert bulk(door, nova).state is DomainState.RUNNING


def test_a_guest_agent_that_hangs_holds_up_nobody_and_is_left_alone(host: Host, door: LibvirtHypervisor, nova: Guest) -> None:
    asleep = "P=$(pidof qemu-ga); sleep 0.3; kill -STOP $P; sleep 12; kill -CONT $P"
    command = {"execute": "guest-exec", "arguments": {"path": "/bin/sh", "arg": ["-c", asleep]}}
    host.virsh("qemu-agent-command", nova.name, json.dumps(command))

    def left_alone() -> bool:
        started = CLOCK.monotonic()
        reading = door.read_domain(server(nova), ask_guest=True)
        assert CLOCK.monotonic() - started < 4
        return "did not answer" in reading.capability(LeverName.CPU_GUEST).reason

    wait_until(left_alone, "the agent falling silent", 8)
    started = CLOCK.monotonic()
    assert pull(door, nova, LeverName.CPU_GUEST, 1).code == "lever_unusable"  # not asked again so soon
    assert CLOCK.monotonic() - started < 1
    nova.wait_for_agent()


def test_a_qemu_that_hangs_is_busy_and_the_others_are_read(host: Host, door: LibvirtHypervisor, nova: Guest, elastic: Guest) -> None:
    signal = "kill -{} $(cat /run/libvirt/qemu/nova.pid)"
    host.run_in(["sh", "-c", signal.format("STOP")])
    try:
        started = CLOCK.monotonic()
        states = {r.identity.name: r.state for r in door.read_domains()}
        assert CLOCK.monotonic() - started < 8  # one wait of 3 s; after it the hung domain is passed over
        assert states == {"nova": DomainState.BUSY, "elastic": DomainState.RUNNING}
        started = CLOCK.monotonic()
        assert bulk(door, nova).note.startswith("another job holds the domain")
        assert pull(door, nova, LeverName.CPU_QUOTA, 0.5).code == "lever_unusable"
        with pytest.raises(DomainBusy):
            door.set_balloon(server(nova), Memory(160))
        assert CLOCK.monotonic() - started < 2
    finally:
        host.run_in(["sh", "-c", signal.format("CONT")])
    wait_until(lambda: bulk(door, nova).state is DomainState.RUNNING, "the guest going on", SEES_S)


def test_libvirt_killed_and_started_again_is_lost_then_found_by_the_same_door(host: Host, door: LibvirtHypervisor, elastic: Guest) -> None:
    before = bulk(door, elastic)
    host.kill_libvirtd()
    with pytest.raises(HypervisorLost):
        door.read_domains()
    with pytest.raises(HypervisorLost, match="cannot be reached"):
        door.read_domains()
    with pytest.raises(HypervisorLost, match="next try"):
        door.set_cpu_quota(server(elastic), Cores(0.5))
    host.start_libvirtd()

    def found() -> bool:
        try:
            return bulk(door, elastic).instance == before.instance  # the guest never stopped
        except HypervisorLost:
            return False

    wait_until(found, "libvirt again", 30)
    assert pull(door, elastic, LeverName.CPU_QUOTA, 0.5).verdict is Verdict.APPLIED
    assert pull(door, elastic, LeverName.CPU_QUOTA, 2).verdict is Verdict.APPLIED


def test_a_libvirt_that_hangs_is_lost_in_seconds_and_found_when_it_goes_on(host: Host, door: LibvirtHypervisor, elastic: Guest) -> None:
    signal = "kill -{} $(cat /run/libvirt/libvirtd.pid)"
    host.run_in(["sh", "-c", signal.format("STOP")])
    try:
        started = CLOCK.monotonic()
        with pytest.raises(HypervisorLost):
            door.read_domains()
        assert CLOCK.monotonic() - started < 10
    finally:
        host.run_in(["sh", "-c", signal.format("CONT")])

    def found() -> bool:
        try:
            return bulk(door, elastic).state is DomainState.RUNNING
        except HypervisorLost:
            return False

    wait_until(found, "libvirt going on", 30)


def test_a_guest_killed_between_two_cycles_is_absent_and_its_orders_find_it_gone_or_off(
    door: LibvirtHypervisor, elastic: Guest, nova: Guest
) -> None:
    reading = bulk(door, elastic)
    elastic.kill()
    result = LEVERS[LeverName.MEM_BALLOON].apply(door, reading, 128, CLOCK)
    assert result.verdict in (Verdict.FAILED, Verdict.PENDING)
    assert result.verdict is not Verdict.APPLIED

    def off() -> bool:
        return bulk(door, elastic).state is DomainState.SHUTOFF

    wait_until(off, "the killed guest being off", SEES_S)
    assert bulk(door, nova).state is DomainState.RUNNING  # the other one is not disturbed
    elastic.remove()
    assert server(elastic) not in {r.identity.server for r in door.read_domains()}
    with pytest.raises(DomainGone):
        door.read_domain(server(elastic))


def test_a_guest_without_balloon_and_agent_gives_its_reasons(host: Host, door: LibvirtHypervisor) -> None:
    bare = host.start(hot_add("bare", memory=160, lean=True, balloon=False, plug=0, most_vcpus=0, sold=None))
    try:
        reading = bulk(door, bare)
        assert reading.state is DomainState.RUNNING
        assert reading.memory is not None
        assert (reading.memory.usable, reading.memory.stats_period_s) == (None, None)
        assert reading.capability(LeverName.MEM_BALLOON).reason == "it has no balloon device"
        assert reading.capability(LeverName.CPU_GUEST).reason == "it has no guest agent channel"
        assert pull(door, bare, LeverName.CPU_QUOTA, 0.5).verdict is Verdict.APPLIED
        assert pull(door, bare, LeverName.MEM_BALLOON, 100).code == "lever_unusable"
        assert (reading.entitlement.cpu.cores, reading.entitlement.memory.mib) == (1.0, 160.0)
    finally:
        bare.remove()


def as_nova_defines_it(host: Host, spec: GuestSpec, ceiling: Ceiling) -> Guest:
    """Off, defined anew, started: a boot by Nova, and a hard reboot too."""
    guest = Guest(host, spec)
    guest.remove()
    file = host.folder / f"{spec.name}.xml"
    file.write_text(with_ceiling(domain_xml(spec, image()), ceiling))
    host.virsh("define", str(file))
    return guest.start()


def test_a_guest_of_novas_with_a_ceiling_outgrows_its_flavor_until_it_is_rebooted_hard(host: Host, door: LibvirtHypervisor) -> None:
    """Flavor: 1 vCPU, 160 MiB. What docs/hot-add.md promises, and what it warns of."""
    spec, ceiling = nova_like("ceiled", vcpus=1, memory=160, nic=False), Ceiling(2, 288)
    guest = as_nova_defines_it(host, spec, ceiling)
    try:
        reading = bulk(door, guest)
        assert (reading.entitlement.cpu.cores, reading.entitlement.memory.mib) == (1.0, 160.0)
        assert (reading.ceiling.cpu.cores, reading.ceiling.memory.mib) == (2.0, 288.0)
        flavors = guest.console.latest.memory_total
        assert pull(door, guest, LeverName.CPU_HOTPLUG, 2).verdict is Verdict.APPLIED
        assert pull(door, guest, LeverName.MEM_VIRTIO, 128).verdict is Verdict.APPLIED
        seen_in_guest(guest, "2 CPUs and 128 MiB more", lambda s: s.cpus == 2 and s.memory_total == pytest.approx(flavors + 128, abs=3))
        as_nova_defines_it(host, spec, ceiling)
        seen_in_guest(guest, "its flavor again", lambda s: s.cpus == 1 and s.memory_total == pytest.approx(flavors, abs=3))
        assert {c.lever for c in bulk(door, guest).capabilities if c.usable} >= {LeverName.CPU_HOTPLUG, LeverName.MEM_VIRTIO}
        as_nova_defines_it(host, spec, Ceiling())  # by a nova-compute without it
        without = bulk(door, guest)
        assert all("docs/hot-add.md" in without.capability(c).reason for c in (LeverName.CPU_HOTPLUG, LeverName.MEM_VIRTIO))
    finally:
        guest.remove()


def test_a_migrating_domain_is_data_and_nobody_resizes_it() -> None:
    with a_bed(hosts=2) as bed:
        source, target = bed.hosts
        guest = source.start(nova_like("traveller", memory=192, mem="60")).wait_for_agent()
        door = LibvirtHypervisor(source.uri, CLOCK)
        assert bulk(door, guest).state is DomainState.RUNNING
        words = f"virsh -q -c {source.uri} migrate --live --p2p --bandwidth 1 {guest.name} qemu+tcp://{target.name}/system".split()
        with subprocess.Popen(words, stderr=subprocess.PIPE) as migration:  # 1 MiB/s: it will not end by itself
            try:
                # A job leaves a trace in libvirt's status file; every third cycle looks for it.
                wait_until(lambda: bulk(door, guest).state is DomainState.MIGRATING, "the migration being seen", 30)
                reading = bulk(door, guest)
                assert reading.note == "domain is migrating"
                assert reading.cpu is not None
                started = CLOCK.monotonic()
                with pytest.raises(DomainBusy):
                    door.set_balloon(server(guest), Memory(160))
                assert CLOCK.monotonic() - started < 2  # libvirt alone would wait half a minute for the job
                assert pull(door, guest, LeverName.CPU_QUOTA, 0.5).code == "lever_unusable"
            finally:
                source.virsh("domjobabort", guest.name)
                migration.communicate(timeout=30)
        wait_until(lambda: bulk(door, guest).state is DomainState.RUNNING, "the migration being over", 30)
        assert pull(door, guest, LeverName.CPU_QUOTA, 0.5).verdict is Verdict.APPLIED
        door.close()


def test_the_beds_tell_a_guest_that_restarts_itself_from_one_that_somebody_restarts(host: Host) -> None:
    """Other tests forgive the one, after which they look again, and never the other."""
    guest = host.define(nova_like("restarted", memory=160))
    file = host.folder / "restarted.xml"
    file.write_text(file.read_text().replace("<on_reboot>destroy", "<on_reboot>restart"))  # as Nova has it
    host.virsh("define", str(file))
    guest.start().wait_for_agent()
    with Resets([host]) as resets:

        def somebody() -> list[tuple[bool, str]]:
            """Until it is heard: who listens may not be there yet."""
            if not resets.of(guest.name):
                host.virsh("reset", guest.name)
            return resets.of(guest.name)

        assert not eventually(somebody, "somebody's doing", 30, every_s=2)[0][0]
        guest.wait_for_agent()
        before = len(resets.of(guest.name))  # its firmware may have gone on to restart it
        with suppress(LabError):  # gone before it can say that it goes
            guest.run_in("reboot -f", timeout_s=5)
        own = eventually(lambda: resets.of(guest.name)[before:], "its own doing", 30)
        assert all(itself for itself, _ in own)
    guest.remove()

"""What is remembered of one running instance of a domain, so that a cycle does not have to ask again."""

import os
from pathlib import Path
from typing import Any

import msgspec

from foreshape_agent import abilities, cgroup, domain_stats
from foreshape_agent.domain_xml import Card
from foreshape_wire.reading import Capability, DomainReading, DomainState

GUEST_WORD_S = 300.0
"""A guest's word on its vCPUs is believed for so long: its own reboot or operator may change them, and no event tells."""

BOOT_S = 180.0
"""So long after it was first seen, a guest's agent is expected to connect at any moment."""

ARRIVAL_ASKS = 4
"""Times that it is asked how a guest came here: libvirt closes the job on the target a moment after the guest runs there."""


class Instance:
    """One domain from its start to its end. Knows no libvirt: the door fills it in."""

    def __init__(self, libvirt_id: int, text: str, card: Card, config: Card | None, run_dir: Path | None) -> None:
        self.libvirt_id, self.text, self.card = libvirt_id, text, card
        self.stale, self.met_at = False, float("-inf")
        self.job: DomainState | None = None
        self.stopped_s: float | None = None
        self.arrival_asks = ARRIVAL_ASKS
        """How many times more."""
        self.quota_trouble = ""
        self.guest_online: int | None = None
        self.guest_rest_until = float("-inf")
        self._guest_heard_at, self._guest_trouble, self._guest_rest = 0.0, "", 0.0
        self._pid: int | None = None
        self._status_file = "" if run_dir is None else str(run_dir / f"{card.identity.name}.xml")
        self._looked_when = 0
        self._group: Path | None = None
        self._stat_files: tuple[str, ...] = ()
        self._throttled_ns: int | None = None
        self._was_capped = False
        self._note = ""
        boot, born = self._find_process(run_dir)
        self.boot_vcpus = boot or (config.vcpus if config else card.vcpus)
        self._born = born
        self.name = f"{libvirt_id}-{born}" if born else str(libvirt_id)
        self.entitlement = abilities.entitlement(card, config, self.boot_vcpus)
        self.ceiling = abilities.ceiling(card, self.entitlement)
        self._shown: tuple[tuple[DomainState, str], tuple[tuple[Capability, ...], tuple[Capability, ...]]] | None = None

    def _find_process(self, run_dir: Path | None) -> tuple[int | None, str]:
        """QEMU's process tells what libvirt does not; where it cannot be seen, a note says what is missing."""
        identity = self.card.identity
        if self.libvirt_id < 0:
            return None, ""
        if run_dir is None:
            self._note = "throttled time unknown: the hypervisor is on another machine"
            return None, ""
        boot, born = None, ""
        try:
            pid = self._pid = cgroup.qemu_pid(run_dir, identity.name, identity.server)
            boot, born = cgroup.boot_vcpus(pid), cgroup.started_at(pid)
            self._group = cgroup.cpu_group(pid)
            self._stat_files = self._find_stat_files(self._group)
        except (cgroup.Unreadable, OSError) as e:
            self._note = f"throttled time unknown: {e}"
        return boot, born

    def _find_stat_files(self, group: Path) -> tuple[str, ...]:
        """Where the flavor caps each vCPU, it is the vCPUs' own groups that are held back."""
        children = sorted(group.glob("vcpu*/cpu.stat")) if self.card.vcpu_quota is not None else []
        return tuple(str(path) for path in (group / "cpu.stat", *children))

    # -- what changes ---------------------------------------------------------------------------------------

    def learn(self, text: str, card: Card) -> None:
        """The XML has changed."""
        if card.agent != "connected":
            self.guest_online = None
        self.text, self.card, self._shown = text, card, None
        self.ceiling = abilities.ceiling(card, self.entitlement)
        if self._group is not None:
            self._stat_files = self._find_stat_files(self._group)

    def heard(self, online: int | None, now: float) -> None:
        """The guest's agent has answered."""
        self.guest_online, self._guest_heard_at, self._guest_rest = online, now, 0.0
        self._guest_trouble, self._shown = "", None

    def silent(self, now: float, why: str, rest: tuple[float, float]) -> None:
        """The guest's agent has not answered: leave it alone for a while, longer each time."""
        self._guest_rest = min(rest[1], 2 * self._guest_rest) if self._guest_rest else rest[0]
        self.guest_rest_until = now + self._guest_rest
        self.guest_online, self._guest_trouble, self._shown = None, why, None

    def changed(self, stats: dict[str, Any]) -> bool:
        """Whether what is remembered is surely, or at any moment, not so any more."""
        card = self.card
        return (
            self.stale
            or self.job is not None
            or (self.arrival_asks > 0 and domain_stats.state(stats) is DomainState.RUNNING)
            or card.vcpus != stats.get("vcpu.current", card.vcpus)
            or (card.virtio is not None and card.virtio.current != card.virtio.requested)
        )

    def hinted(self, now: float) -> bool:
        """Whether libvirt has rewritten its status file: it does when a domain's XML or job changes.

        A hint for 2 µs, no promise: the door's slow turn is what is relied on.
        """
        booting = self.card.agent == "disconnected" and now < self.met_at + BOOT_S
        return booting or self._written_at() != self._looked_when

    def looking(self) -> None:
        """The door is about to look: what is written from here on will be noticed."""
        self.stale, self._looked_when = False, self._written_at()

    def _written_at(self) -> int:
        """When libvirt last wrote the status file; 0 where it cannot be seen."""
        if not self._status_file:
            return 0
        try:
            return os.stat(self._status_file).st_mtime_ns  # noqa: PTH116  for every domain every cycle: Path costs more than the call
        except OSError:
            return 0

    # -- what is read ---------------------------------------------------------------------------------------

    def state(self, stats: dict[str, Any]) -> DomainState:
        plain = domain_stats.state(stats)
        return self.job if self.job is not None and plain is DomainState.RUNNING else plain

    def lives(self) -> bool:
        """Whether its process is still the one it was: ids are used again after a restart of libvirt."""
        if self._pid is None or not self._born:
            return True
        try:
            return cgroup.started_at(self._pid) == self._born
        except OSError:
            return False

    def by_kernel(self) -> Card:
        """The card with the cap that is really in force, where the kernel can be asked."""
        if self._group is None:
            return self.card
        try:
            cap = cgroup.cap(self._group)
        except (OSError, ValueError):
            return self.card
        return msgspec.structs.replace(self.card, quota=None if cap is None else cap.cores)

    def reading(
        self, stats: dict[str, Any], at: tuple[float, float], card: Card | None = None, actual_kib: int | None = None
    ) -> DomainReading:
        """The numbers of one instant beside what is remembered."""
        card, state = card or self.card, self.state(stats)
        if self.guest_online is not None and at[1] - self._guest_heard_at > GUEST_WORD_S:
            self.guest_online = None
        capabilities, throttles = self._capabilities(state)
        return DomainReading(
            identity=card.identity,
            state=state,
            read_at=at[0],
            monotonic_s=at[1],
            entitlement=self.entitlement,
            ceiling=self.ceiling,
            cpu=domain_stats.cpu(stats, card, self.guest_online, self._throttled()),
            memory=domain_stats.memory(stats, card, actual_kib),
            io=domain_stats.io(stats),
            capabilities=capabilities,
            instance=self.name,
            note=self._notes(state),
            throttles=throttles,
            limits=card.limits,
            stopped_s=self.stopped_s,
        )

    def _throttled(self) -> int | None:
        """Grows under a cap only: without one it is read once more, and then remembered."""
        capped = self.card.quota is not None or self.card.vcpu_quota is not None
        if not self._stat_files or (self._throttled_ns is not None and not capped and not self._was_capped):
            return self._throttled_ns
        self._was_capped = capped
        try:
            self._throttled_ns = sum([cgroup.throttled_ns(path) for path in self._stat_files])
        except (OSError, cgroup.Unreadable):
            self._throttled_ns = None
        return self._throttled_ns

    def _capabilities(self, state: DomainState) -> tuple[tuple[Capability, ...], tuple[Capability, ...]]:
        """Of the levers that resize, and of those that only hold back."""
        key = (state, self._guest_trouble)
        if self._shown is None or self._shown[0] != key:
            moment = abilities.Moment(
                state=state, boot_vcpus=self.boot_vcpus, quota_trouble=self.quota_trouble, agent_trouble=self._guest_trouble
            )
            self._shown = (key, (abilities.capabilities(self.card, moment), abilities.throttles(self.card, moment)))
        return self._shown[1]

    def _notes(self, state: DomainState) -> str:
        if state is DomainState.RUNNING:
            return self._note
        if state is DomainState.BUSY:
            return "another job holds the domain: only what needs no lock was read"
        return f"domain is {state.value}"

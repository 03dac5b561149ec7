"""The libvirt door: one bulk call a cycle, what rarely changes remembered, every libvirt error turned into one of ours.

What costs: the bulk call asks QEMU (balloon, block) and takes about 3 ms a domain on the daemon's side, 0.1 ms here. So
a domain's XML, its migration job and its cgroup are read once per instance and looked at again in turn, a few domains
a cycle; whatever acts on a domain looks first.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import libvirt

from foreshape_agent import device_xml, domain_stats, domain_xml
from foreshape_agent.errors import AgentError, DomainBusy, DomainGone, GuestSilent, HypervisorLost, LeverRejected, LeverUnsafe
from foreshape_agent.instance import Instance
from foreshape_agent.levers.base import Clock
from foreshape_agent.patience import Late, Patience
from foreshape_wire.ids import ServerId
from foreshape_wire.quantity import Cores, Memory
from foreshape_wire.reading import DeviceLimit, DomainReading, DomainState

GROUPS = (
    libvirt.VIR_DOMAIN_STATS_STATE
    | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_VCPU
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
    | libvirt.VIR_DOMAIN_STATS_BLOCK
)
STATE_AND_BALLOON = libvirt.VIR_DOMAIN_STATS_STATE | libvirt.VIR_DOMAIN_STATS_BALLOON
NOWAIT = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
"""A domain whose job lock is held answers with what needs no lock, and holds up nobody."""

COMPLETED = libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED
"""The last job that ended; kept, for others want to read it too."""

LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE
PERIOD_US = 100_000
LEAST_QUOTA_US = 1000
"""The kernel refuses less."""

HINT_TURNS, TURNS = 3, 60
"""Every domain is checked for a hint of change once in 3 cycles, and looked at without any once in 60: about ten minutes."""

ANSWER_S, ANSWER_EACH_S = 3.0, 0.02
"""A bulk call takes about 3 ms a domain; one that takes longer than this waits for a QEMU that hangs."""

CHANGE_S = 8.0
"""A change takes milliseconds; libvirt itself gives an unplug 5 s. What is late may still come."""

GUEST_WAIT_S = 2.0
"""libvirt itself gives a guest agent 5 s. Its time-out is not shortened: it is the domain's, and Nova's snapshots use it."""

GUEST_REST_S = (60.0, 3600.0)
"""An agent that does not answer is left alone for so long, doubling each time."""

RECONNECT_S = (1.0, 30.0)

# An application that does not set a handler gets every libvirt error on its stderr.
libvirt.registerErrorHandler(lambda _context, _error: None, None)


class LibvirtHypervisor:
    """Implements levers.base.Hypervisor on one libvirt connection. For one thread; between calls only what hangs still waits."""

    def __init__(self, uri: str, clock: Clock) -> None:
        self._uri, self._clock = uri, clock
        self._run_dir = _run_dir(uri)
        self._conn: Any = None
        self._why_lost = "not connected yet"
        self._retry_at, self._retry_in = 0.0, RECONNECT_S[0]
        self._known: dict[str, Instance] = {}
        self._cycle = 0
        self._patience, self._guests = Patience(most=4), Patience(most=1)

    def close(self) -> None:
        """Let go of the connection and the thread."""
        self._patience.close()
        self._guests.close()
        self._disconnect("closed")

    # -- readings -------------------------------------------------------------------------------------------

    def read_domains(self) -> tuple[DomainReading, ...]:
        rows = self._bulk()
        at = self._clock.now(), self._clock.monotonic()
        self._cycle += 1
        readings: dict[str, DomainReading | None] = {}
        for number, (domain, stats) in enumerate(rows, self._cycle):
            uuid = domain.UUIDString()
            readings[uuid] = self._row(uuid, domain, stats, at, number)
        for gone in self._known.keys() - readings.keys():
            del self._known[gone]
        return tuple([r for r in readings.values() if r is not None])

    def _bulk(self) -> list[Any]:
        """The one call. A QEMU that hangs holds it up; a second call finds that domain's job lock held and passes it over."""
        try:
            return self._all_stats()
        except DomainBusy:
            pass
        try:
            return self._all_stats()
        except DomainBusy as e:
            raise HypervisorLost(f"libvirt does not answer: {e}") from e

    def _all_stats(self) -> list[Any]:
        with self._talk() as conn:
            rows: list[Any] = self._wait(lambda: conn.getAllDomainStats(GROUPS, NOWAIT))
        return rows

    def _wait(self, call: Callable[[], Any], patience_s: float = 0.0) -> Any:
        """The call's answer, or DomainBusy: libvirt waits for a hung QEMU, and for some guest agents, without end."""
        patience_s = patience_s or ANSWER_S + ANSWER_EACH_S * len(self._known)
        try:
            return self._patience.wait_for(call, patience_s)
        except Late as e:
            self._abandon()
            raise DomainBusy(f"no answer within {patience_s:.1f} s: a QEMU, or libvirt itself, hangs") from e

    def read_domain(self, server: ServerId, *, ask_guest: bool = False) -> DomainReading:
        with self._talk() as conn:
            domain = conn.lookupByUUIDString(server)
            rows = self._wait(lambda: conn.domainListGetStats([domain], GROUPS, NOWAIT))
        if not rows:
            raise DomainGone(f"no domain {server}")
        stats, at = rows[0][1], (self._clock.now(), self._clock.monotonic())
        instance = self._look(server, domain, stats)
        state = instance.state(stats)
        # The bulk number lags up to a second behind the balloon; asking QEMU needs the job lock, so only where it is free.
        actual = self._actual(domain) if state is DomainState.RUNNING else None
        if ask_guest and state is DomainState.RUNNING:
            self._ask(instance, domain)
        return instance.reading(stats, at, instance.by_kernel(), actual)

    def _row(self, uuid: str, domain: Any, stats: dict[str, Any], at: tuple[float, float], number: int) -> DomainReading | None:
        """One domain of the bulk call; None when it vanished meanwhile. One odd domain never stops the others."""
        known = self._known.get(uuid)
        try:
            if known is None or known.libvirt_id != domain.ID() or self._due(known, stats, at[1], number):
                known = self._look(uuid, domain, stats)
            return known.reading(stats, at)
        except HypervisorLost:
            raise
        except (AgentError, ValueError):  # gone, or with numbers that cannot be
            return None

    def _due(self, known: Instance, stats: dict[str, Any], now: float, number: int) -> bool:
        """Whether to look at a domain's XML and job in this cycle: it has changed, or it is its turn."""
        return known.changed(stats) or (number % HINT_TURNS == 0 and (number % TURNS == 0 or known.hinted(now)))

    def _look(self, uuid: str, domain: Any, stats: dict[str, Any]) -> Instance:
        """Read a domain's XML and job anew; a new instance is examined once. Raises DomainGone."""
        with self._talk():
            libvirt_id, known = domain.ID(), self._known.get(uuid)
            if known is not None:
                known.looking()
            text = domain.XMLDesc()
            try:
                if known is None or known.libvirt_id != libvirt_id:
                    known = self._meet(domain, text, libvirt_id)
                    known.looking()
                elif known.text != text:
                    known.learn(text, domain_xml.parse(text))
            except domain_xml.NotADomain as e:
                raise LeverRejected(str(e)) from e
            running = domain_stats.state(stats) is DomainState.RUNNING
            known.job = self._job(domain) if running else None
            if running and known.job is None and known.arrival_asks > 0:
                known.stopped_s = self._stopped(domain)
                known.arrival_asks = known.arrival_asks - 1 if known.stopped_s is None else 0
        if not domain_stats.starting(stats):  # else it is met anew until its process is there
            self._known[uuid] = known
        return known

    def _meet(self, domain: Any, text: str, libvirt_id: int) -> Instance:
        """Everything that holds for as long as this instance runs."""
        card = domain_xml.parse(text)
        config = None
        if card.sold is None and libvirt_id > 0 and domain.isPersistent():
            config = domain_xml.parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
        instance = Instance(libvirt_id, text, card, config, self._run_dir)
        instance.met_at = self._clock.monotonic()
        if libvirt_id > 0:
            try:
                domain.schedulerParametersFlags(LIVE)
            except libvirt.libvirtError as e:
                instance.quota_trouble = f"its CPU cannot be capped here: {e}"
        return instance

    def _job(self, domain: Any) -> DomainState | None:
        try:
            job = domain.jobStats()
        except libvirt.libvirtError as e:
            self._raise_if_lost(e)
            return None  # the destination of a migration tells none; its state does
        if not job.get("type"):
            return None
        moving = (libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN, libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT)
        return DomainState.MIGRATING if job.get("operation") in moving else DomainState.BUSY

    def _stopped(self, domain: Any) -> float | None:
        """Seconds for which the migration that brought it here stopped its guest: libvirt tells it on the target, not after post-copy."""
        try:
            job = domain.jobStats(COMPLETED)
        except libvirt.libvirtError as e:
            self._raise_if_lost(e)
            return None
        return domain_stats.stopped_s(job)

    def _actual(self, domain: Any) -> int | None:
        try:
            actual = domain.memoryStats().get("actual")
        except libvirt.libvirtError as e:
            self._raise_if_lost(e)
            return None
        return None if actual is None else int(actual)

    # -- the guest's word -----------------------------------------------------------------------------------

    def _ask(self, instance: Instance, domain: Any) -> None:
        """Ask the guest's agent which vCPUs it has on line, and wait a short while. A dead agent holds up nobody.

        While a question is still open no other guest is asked: libvirt gives it up after 5 s.
        """
        now = self._clock.monotonic()
        if instance.card.agent != "connected" or now < instance.guest_rest_until or self._guests.exhausted:
            return
        try:
            instance.heard(self._guests.wait_for(lambda: _guest_online(domain), GUEST_WAIT_S), now)
        except Late:
            self._abandon()
            instance.silent(now, f"the guest agent did not answer within {GUEST_WAIT_S:g} s", GUEST_REST_S)
        except libvirt.libvirtError as e:
            self._raise_if_lost(e)
            instance.silent(now, f"the guest agent does not answer: {e}", GUEST_REST_S)

    # -- setters --------------------------------------------------------------------------------------------

    def set_cpu_quota(self, server: ServerId, cap: Cores | None) -> None:
        # global_quota caps the domain as a whole: a single busy vCPU may still use a whole core within it.
        quota = -1 if cap is None else max(LEAST_QUOTA_US, round(cap.cores * PERIOD_US))
        words = {"global_quota": quota} if cap is None else {"global_period": PERIOD_US, "global_quota": quota}
        with self._act(server) as (domain, _):
            self._wait(lambda: domain.setSchedulerParametersFlags(words, LIVE), CHANGE_S)

    def set_guest_vcpus(self, server: ServerId, count: int) -> None:
        with self._act(server) as (domain, instance):
            instance.guest_online = None
            self._wait(lambda: domain.setVcpusFlags(count, libvirt.VIR_DOMAIN_VCPU_GUEST), CHANGE_S)

    def set_vcpus(self, server: ServerId, count: int) -> None:
        with self._act(server) as (domain, instance):
            if instance.card.emulated and count < instance.card.vcpus:
                raise LeverUnsafe(
                    "unplug_unsafe_on_tcg", "without KVM, QEMU leaks an unplugged vCPU and the domain can never be migrated again"
                )
            instance.guest_online = None
            try:
                self._wait(lambda: domain.setVcpusFlags(count, LIVE), CHANGE_S)
            except libvirt.libvirtError as e:
                # An unplug that the guest has not finished in 5 s is still asked for: later readings tell.
                if e.get_error_code() != libvirt.VIR_ERR_OPERATION_TIMEOUT:
                    raise

    def set_balloon(self, server: ServerId, memory: Memory) -> None:
        with self._act(server) as (domain, _):
            self._wait(lambda: domain.setMemoryFlags(memory.kib, LIVE), CHANGE_S)

    def set_virtio_mem(self, server: ServerId, memory: Memory) -> None:
        with self._act(server) as (domain, instance):
            try:
                device = domain_xml.request_virtio(instance.text, memory.kib)
            except domain_xml.NotADomain as e:
                raise LeverRejected(str(e)) from e
            self._wait(lambda: domain.updateDeviceFlags(device, LIVE), CHANGE_S)

    def set_disk_limit(self, server: ServerId, limit: DeviceLimit) -> None:
        """QEMU itself is asked afterwards: libvirt's XML only tells what libvirt was told."""
        words = device_xml.disk_words(limit)
        with self._act(server) as (domain, _):
            self._wait(lambda: domain.setBlockIoTune(limit.device, words, LIVE), CHANGE_S)
            told = self._wait(lambda: domain.blockIoTune(limit.device, LIVE), CHANGE_S)
            wrong = {name: told.get(name) for name, value in words.items() if name.endswith("_sec") and told.get(name) != value}
            if wrong:
                raise LeverRejected(f"disk {limit.device}: asked for {words}, QEMU says {wrong}")

    def set_net_limit(self, server: ServerId, limit: DeviceLimit) -> None:
        with self._act(server) as (domain, _):
            self._wait(lambda: domain.setInterfaceParameters(limit.device, device_xml.net_words(limit), LIVE), CHANGE_S)

    def set_stats_period(self, server: ServerId, seconds: int) -> None:
        with self._act(server) as (domain, _):
            self._wait(lambda: domain.setMemoryStatsPeriod(seconds, LIVE), CHANGE_S)

    @contextmanager
    def _act(self, server: ServerId) -> Iterator[tuple[Any, Instance]]:
        """A domain that may be changed now. libvirt would wait 30 s for a held job lock; we look first and say busy."""
        with self._talk() as conn:
            domain = conn.lookupByUUIDString(server)
            rows = self._wait(lambda: conn.domainListGetStats([domain], STATE_AND_BALLOON, NOWAIT))
            if not rows:
                raise DomainGone(f"no domain {server}")
            instance = self._look(server, domain, rows[0][1])
            state = instance.state(rows[0][1])
            if state in (DomainState.BUSY, DomainState.MIGRATING):
                raise DomainBusy(f"{instance.card.identity.name} is {state.value}")
            instance.stale = True  # whatever comes of it, the next reading looks again
            yield domain, instance

    # -- connection and errors ------------------------------------------------------------------------------

    @contextmanager
    def _talk(self) -> Iterator[Any]:
        """The connection, opened when needed; libvirt's errors leave as ours."""
        conn = self._conn or self._connect()
        try:
            yield conn
        except libvirt.libvirtError as e:
            self._raise_if_lost(e)
            raise _own(e) from e

    def _connect(self) -> Any:
        now = self._clock.monotonic()
        if now < self._retry_at:
            raise HypervisorLost(f"{self._why_lost}; the next try is in {self._retry_at - now:.0f} s")
        try:
            self._conn = self._wait(lambda: libvirt.open(self._uri))
        except (libvirt.libvirtError, DomainBusy) as e:
            self._retry_at, self._retry_in = now + self._retry_in, min(2 * self._retry_in, RECONNECT_S[1])
            self._why_lost = f"libvirt at {self._uri} cannot be reached: {e}"
            raise HypervisorLost(self._why_lost) from e
        self._retry_in = RECONNECT_S[0]
        self._known = {uuid: known for uuid, known in self._known.items() if known.lives()}
        for known in self._known.values():
            known.stale = True  # anything may have happened while nobody looked
        return self._conn

    def _raise_if_lost(self, error: libvirt.libvirtError) -> None:
        if self._conn is not None and self._conn.isAlive() == 1:
            return
        self._disconnect(f"libvirt at {self._uri} is gone: {error}")
        raise HypervisorLost(self._why_lost) from error

    def _abandon(self) -> None:
        """Leave the connection to the call that hangs on it, and go on with another.

        libvirt's client (seen with 9.0) can lose the wake-up of a second thread on one connection: its call then waits
        for the first thread's answer. So no two calls ever share one.
        """
        self._conn = None

    def _disconnect(self, why: str) -> None:
        conn, self._conn, self._why_lost = self._conn, None, why
        if conn is not None:
            try:
                conn.close()
            except libvirt.libvirtError:
                return  # it was gone already


def _guest_online(domain: Any) -> int | None:
    """How many vCPUs the guest has on line; its agent answers with a list like ``0-1,3``."""
    ranges = [part.split("-") for part in str(domain.guestVcpus().get("online", "")).split(",") if part]
    return sum(int(r[-1]) - int(r[0]) + 1 for r in ranges) or None


def _own(error: libvirt.libvirtError) -> AgentError:
    code, text = error.get_error_code(), str(error)
    if code == libvirt.VIR_ERR_NO_DOMAIN:
        return DomainGone(text)
    if code in (libvirt.VIR_ERR_AGENT_UNRESPONSIVE, libvirt.VIR_ERR_AGENT_UNSYNCED):
        return GuestSilent(text)
    if code in (libvirt.VIR_ERR_OPERATION_TIMEOUT, libvirt.VIR_ERR_RESOURCE_BUSY):
        return DomainBusy(text)
    return LeverRejected(text)


def _run_dir(uri: str) -> Path | None:
    """Where this libvirt keeps its pid files; None for a libvirt on another machine, whose files are not ours."""
    parts = urlsplit(uri)
    if parts.netloc or not parts.scheme.startswith("qemu") or parts.path != "/system":
        return None
    socket = parse_qs(parts.query).get("socket", ["/run/libvirt/libvirt-sock"])[0]
    return Path(socket).parent / "qemu"

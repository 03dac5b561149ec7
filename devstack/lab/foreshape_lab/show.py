"""`make lab`: the whole product on real hypervisors and real guests for three minutes, then what each guest got and saw."""

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from foreshape_lab import judge
from foreshape_lab.bed import Bed
from foreshape_lab.domain_xml import GuestSpec, hot_add, nova_like
from foreshape_lab.guest import Guest
from foreshape_lab.judge import Step
from foreshape_lab.programs import Agent, Controller
from foreshape_lab.watch import Record, Watch

LASTS_S = 180
IN_TIME_S = 15.0
IDLE_CPU, IDLE_MEM = 0.1, 16
FLOOR_SHARE_CPU, FLOOR_CORES, FLOOR_SHARE_MEMORY, FLOOR_MIB = 0.2, 0.2, 0.5, 112
"""The floors of the lab's tier (programs.TIERS)."""


@dataclass(frozen=True)
class Part:
    """One guest's part: its kind in words, and when it wants more. Times in seconds from the beginning."""

    host: int
    spec: GuestSpec
    kind: str
    cpu: Step | None = None
    memory: Step | None = None

    @property
    def floors(self) -> tuple[float, float]:
        cores, mib = self.spec.entitlement
        return max(FLOOR_SHARE_CPU * cores, min(FLOOR_CORES, cores)), max(FLOOR_SHARE_MEMORY * mib, min(FLOOR_MIB, mib))


PARTS = (
    Part(1, hot_add("web"), "hot-add: 1 core sold, 2 can be had", cpu=Step(65, 105, 1.3)),
    Part(1, nova_like("db"), "Nova flavor: 2 cores, 256 MiB", memory=Step(70, 110, 140)),
    Part(1, nova_like("plain", balloon=False, agent=False), "no balloon, no guest agent"),
    Part(2, hot_add("cache"), "hot-add: 192 MiB sold, 320 can be had", memory=Step(75, 115, 130)),
    Part(2, nova_like("batch", agent=False), "Nova flavor, no guest agent", cpu=Step(110, 135, 0.9)),
    Part(2, nova_like("mute", stats_period_s=0), "Nova flavor, balloon never asked"),
)


@dataclass
class Verdict:
    """What is claimed of one guest, and whether it holds."""

    claims: list[tuple[bool, str]] = field(default_factory=list)

    def claim(self, holds: bool, words: str) -> None:
        self.claims.append((holds, words))

    @property
    def holds(self) -> bool:
        return all(held for held, _ in self.claims)

    def __str__(self) -> str:
        return "; ".join(words if held else f"NOT SO: {words}" for held, words in self.claims)


def pattern(idle: float, step: Step | None) -> str:
    """The load daemon's words for: idle, then the step, then idle."""
    return f"{idle}" if step is None else f"{idle}@{step.at:g},{step.high}@{step.until - step.at:g},{idle}"


def shifted(step: Step, began: float) -> Step:
    return Step(step.at + began, step.until + began, step.high)


def main() -> int:
    print("Foreshape on real hypervisors: 2 hosts (libvirt, QEMU without KVM), 6 Linux guests, 2 agents, 1 controller over HTTPS.")
    print("Time is compressed 300-fold: what takes 5 minutes in a cloud takes 1 second here; the rules and programs are the same.\n")
    with ExitStack() as stack:
        bed = stack.enter_context(Bed("show", hosts=2))
        guests = boot(bed)
        controller = Controller(bed).start()
        stack.callback(controller.stop)
        for host in bed.hosts:
            agent = Agent(host, controller).enrol().start()
            stack.callback(agent.kill)
            agent.wait_for_report()
        began, watch = play(guests)
        verdicts = [verdict(part, watch[part.spec.name], began) for part in PARTS]
        report(controller, watch, verdicts, began)
    return 0 if all(v.holds for v in verdicts) else 1


def boot(bed: Bed) -> list[Guest]:
    print("booting 6 guests", flush=True)
    idle = {"cpu": str(IDLE_CPU), "mem": str(IDLE_MEM)}
    guests = bed.start_all([(bed.hosts[p.host - 1], p.spec.but(**idle)) for p in PARTS])
    for guest in guests:
        if guest.spec.agent:
            guest.wait_for_agent()
    return guests


def play(guests: Sequence[Guest]) -> tuple[float, Watch]:
    """Three minutes: every guest follows its pattern, everything is watched."""
    with Watch(guests, every_s=1.0) as watch:
        for part, guest in zip(PARTS, guests, strict=True):
            guest.load(cpu=pattern(IDLE_CPU, part.cpu), mem=pattern(IDLE_MEM, part.memory))
        began = time.time()
        while (passed := time.time() - began) < LASTS_S:
            progress(watch, passed)
            time.sleep(1 if sys.stdout.isatty() else 10)
    print()
    return began, watch


def progress(watch: Watch, passed: float) -> None:
    """One line: what each guest has now, in cores and MiB."""
    now = [(name, r.allocations[-1]) for name, r in watch.records.items() if r.allocations]
    line = f"{passed:4.0f}/{LASTS_S} s  " + "  ".join(f"{name} {a.cpu:.2f}c {a.memory:.0f}M" for name, a in now)
    print(f"\r{line:<118}" if sys.stdout.isatty() else line, end="" if sys.stdout.isatty() else "\n", flush=True)


def verdict(part: Part, record: Record, began: float) -> Verdict:
    """Everything that is claimed of one guest."""
    says = Verdict()
    cpu = record.cpu_given()
    memory = [(a.at, a.memory) for a in record.allocations]
    if part.cpu:
        claim_cpu(says, shifted(part.cpu, began), record)
    if part.memory:
        claim_memory(says, shifted(part.memory, began), record)
    broken = judge.breaches(cpu, part.floors[0]) + judge.breaches(memory, part.floors[1])
    says.claim(bool(cpu) and broken == 0, f"floor broken in {broken} of {len(cpu)} looks")
    killed = record.seen[-1].oom_kills
    says.claim(killed == 0, f"{killed} killed for lack of memory")
    return says


def claim_cpu(says: Verdict, step: Step, record: Record) -> None:
    waited = judge.seconds_until(record.cpu_given(), step.at, 0.98 * step.high, step.until)
    says.claim(waited is not None and waited <= IN_TIME_S, f"CPU there {_after(waited)} the rise")
    back = judge.seconds_until_less([(a.at, a.cpu) for a in record.allocations], step)
    says.claim(back is not None, f"CPU given back {_after(back)} the fall")


def claim_memory(says: Verdict, step: Step, record: Record) -> None:
    waited = judge.memory_served(record.seen, step)
    says.claim(waited is not None and waited <= IN_TIME_S, f"memory held {_after(waited)} the rise")
    back = judge.seconds_until_less([(a.at, a.memory) for a in record.allocations], step)
    says.claim(back is not None, f"memory given back {_after(back)} the fall")


def _after(seconds: float | None) -> str:
    if seconds is None:
        return "never after"
    return f"{seconds:.0f} s after" if seconds > 0 else "before"


def report(controller: Controller, watch: Watch, verdicts: Sequence[Verdict], began: float) -> None:
    amounts = "".join(f"{words:>12}" for words in ("CPU wanted", "CPU given", "MiB wanted", "MiB given"))
    print(f"\n{'guest':7}{amounts}  {'orders':22}guest saw: vCPUs, MiB total, CPU got")
    for part, says in zip(PARTS, verdicts, strict=True):
        record = watch[part.spec.name]
        print(row(part, record, told(controller, part.spec.uuid), began))
        print(f"       {part.kind}. {'ok' if says.holds else 'FAILED'}: {says}")
    good = sum(v.holds for v in verdicts)
    print(f"\n{good} of {len(verdicts)} guests: all claims hold.", "" if good == len(verdicts) else "The lab FAILED.")


def row(part: Part, record: Record, orders: str, began: float) -> str:
    said = [s for s in record.seen if s.at >= began]
    cells = [
        _span([s.want for s in said], 2),
        _span([a for at, a in record.cpu_given() if at >= began], 2),
        _span([float(s.memory_want) for s in said], 0),
        _span([a.memory for a in record.allocations if a.at >= began], 0),
    ]
    share = (
        judge.fed_share(said, shifted(part.cpu, began), IN_TIME_S) if part.cpu else judge.fed_share(said, Step(began, time.time(), 0), 0)
    )
    saw = f"{_span([float(s.cpus) for s in said], 0)}, {_span([float(s.memory_total) for s in said], 0)}, {share:.0%} of wanted"
    return f"{part.spec.name:7}{cells[0]:>12}{cells[1]:>12}{cells[2]:>12}{cells[3]:>12}  {orders:22}{saw:38}"


def _span(values: Sequence[float], digits: int) -> str:
    least, most = judge.spread(values)
    return f"{least:.{digits}f}" if least == most else f"{least:.{digits}f}..{most:.{digits}f}"


def told(controller: Controller, server: str) -> str:
    """Orders and local answers of one guest, from the controller's journal."""
    orders = {r["status"]: r["n"] for r in controller.rows("select status, count(*) n from orders where server = ? group by 1", server)}
    local = controller.rows("select count(*) n from outcomes where server = ? and origin = 'reflex'", server)[0]["n"]
    applied = orders.pop("applied", 0)
    return f"{applied} ok, {sum(orders.values())} not, {local} local"

"""Two guests with the same recurring load, one under a controller that looks ahead, one under a controller that does not.

Times are compressed: a bin of 2 s stands for five minutes, so that "the next half-hour" is 12 s. Each guest's load
recurs every 36 s by the guest's own clock; a "day" of 288 bins holds it 16 times. The guests rise in turn, half a
period apart, so that a machine of two cores can serve whichever is busy.
"""

import math
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import msgspec
from foreshape_lab import Agent, Bed, Controller, Guest, GuestSpec, Host, Record, Turn, Variant, Watch, nova_like
from foreshape_lab.judge import Ahead, ahead

from foreshape_agent.link import HttpLink, TokenStore, Trust
from foreshape_controller.model.plan import Choice, Decision
from foreshape_wire.codec import WIRE_VERSION, encode
from foreshape_wire.ids import ServerId
from foreshape_wire.order import Outcome
from foreshape_wire.quantity import NO_CORES, Cores, Memory
from foreshape_wire.reading import DomainState
from foreshape_wire.sample import CpuSample, HostReport, MemorySample, VmSample
from lab_support import a_bed, eventually

STEP_S = 2
DAY_BINS = 288
PERIOD_S, BUSY_S = 36.0, 6.0
QUIET_CORES, BUSY_CORES = 0.05, 0.8
"""What the guest's own programs want."""
SEEN_QUIET, SEEN_BUSY = 0.17, 1.1
"""What that costs on this bed as agents measure it: kernel, QEMU and two emulated vCPUs included."""
QUIET_MIB = 16
SMALL_CORES, ENOUGH_CORES = 0.5, BUSY_CORES

LIVE = bool(os.environ.get("FORESHAPE_AHEAD_LIVE"))
EARLIER_DAYS, LEARNED_S = (0, 1.2 * DAY_BINS * STEP_S) if LIVE else (3, 0.0)
"""Days that the controllers are told of before the guests' own agents begin; or else how long the guests make their own past."""

# Memory stays as it is: a balloon that takes it costs these guests more CPU than their quiet size has.
TIERS = """\
default: standard
granules: {cpu: 0.05, memory: 8.0}
tiers:
  standard:
    cpu: {quantile: 0.9, floor_share: 0.1, floor_least: 0.3, hold_s: 1, shrink_step_share: 0.9, young_s: 12, shrink_band: 0.1}
    memory: {quantile: 0.9, floor_share: 1.0}
"""


DECISION, OUTCOME = msgspec.json.Decoder(Decision), msgspec.json.Decoder(Outcome)


@dataclass(frozen=True)
class Schedule:
    """Busy for the first BUSY_S of every PERIOD_S, counted from ``shift_s`` after the epoch."""

    shift_s: float

    def phase(self, at: float) -> float:
        return (at - self.shift_s) % PERIOD_S

    def busy(self, at: float) -> bool:
        return self.phase(at) < BUSY_S

    def words(self, now: float) -> str:
        """The load daemon's words for this schedule, entered at its present phase and repeated for ever."""
        phase = self.phase(now)
        if phase < BUSY_S:
            steps = [(BUSY_CORES, BUSY_S - phase), (QUIET_CORES, PERIOD_S - BUSY_S), (BUSY_CORES, phase)]
        else:
            steps = [(QUIET_CORES, PERIOD_S - phase), (BUSY_CORES, BUSY_S), (QUIET_CORES, phase - BUSY_S)]
        return ",".join(f"{value:g}@{seconds:.2f}" for value, seconds in steps) + "*"


@dataclass
class Arm:
    """One guest, alone on its host, with its own agent and controller."""

    forecast: str
    schedule: Schedule
    host: Host
    guest: Guest
    controller: Controller
    agent: Agent
    watch: Watch | None = field(default=None, repr=False)

    @property
    def record(self) -> Record:
        assert self.watch is not None
        return self.watch[self.guest.name]

    def rises(self, since: float = 0.0) -> list[Turn]:
        """When the guest itself began to be busy."""
        self.guest.console.poll()
        return [t for t in self.guest.console.turns if t.at > since and t.want >= BUSY_CORES]

    def recurrences(self, since: float) -> list[Ahead]:
        """What the guest could use of the CPU around each rise that is over, from the end of the load before to its own."""
        looks = self.record.cpu_given()
        over = [t.at for t in self.rises(since) if looks[-1][0] > t.at + BUSY_S]
        return [ahead(looks, (at - PERIOD_S + BUSY_S, at, at + BUSY_S), SMALL_CORES, ENOUGH_CORES) for at in over]

    def small_at(self) -> float:
        """When it first had no more than a quiet guest needs; 0 when it never had."""
        return next((at for at, cores in self.record.cpu_given() if cores <= SMALL_CORES), 0.0)

    def reflexes(self, rise: float) -> int:
        """How often the agent itself gave CPU back under pressure while the load lasted."""
        mine = "origin = 'reflex' and verdict = 'applied' and resource = 'cpu'"
        rows = self.controller.rows(f"select count(*) n from outcomes where {mine} and at between ? and ?", rise, rise + BUSY_S)
        count: int = rows[0]["n"]
        return count

    def early_growth(self, rise: float) -> list[float]:
        """When it was decided to raise the CPU, in the quiet time before a rise."""
        rows = self.controller.rows(
            "select at, data from decisions where acting and at between ? and ? order by at", rise - PERIOD_S + BUSY_S, rise
        )
        decided = [(r["at"], DECISION.decode(zlib.decompress(r["data"]))) for r in rows]
        return [at for at, d in decided if d.cpu.choice is Choice.GROW]

    def proven_growth(self, rise: float) -> list[Outcome]:
        """Orders that raised the CPU to enough in that time, as the agent proved them carried out."""
        query = "select data from outcomes where origin = 'order' and verdict = 'applied' and resource = 'cpu' and at between ? and ?"
        told = [OUTCOME.decode(r["data"]) for r in self.controller.rows(query, rise - PERIOD_S + BUSY_S, rise)]
        return [o for o in told if o.after >= ENOUGH_CORES > o.before and o.proof]

    def changed_by_forecast(self) -> int:
        changed: int = self.controller.ask("summary")["decisions_changed_by_forecast"]
        return changed


@contextmanager
def two_arms(forecasts: Sequence[str] = ("auto", "off")) -> Iterator[list[Arm]]:
    """Everything runs, is watched, and has a past; the first arm looks ahead as its name says, and so on."""
    with a_bed(hosts=len(forecasts)) as bed, ExitStack() as stack:
        arms = [arm(bed, n, forecast, len(forecasts)) for n, forecast in enumerate(forecasts)]
        stack.callback(lambda: [program.kill() for a in arms for program in (a.agent, a.controller)])
        with ThreadPoolExecutor(len(arms)) as pool:
            list(pool.map(begin, arms))
        watch = stack.enter_context(Watch([a.guest for a in arms]))
        for a in arms:
            a.watch = watch
            eventually(lambda a=a: a.record.allocations, f"a first look at {a.guest.name}", 30)
        yield arms


def arm(bed: Bed, number: int, forecast: str, arms: int) -> Arm:
    host = bed.hosts[number]
    variant = Variant(f"controller-{forecast}", 8470 + number, options(forecast), TIERS)
    controller = Controller(bed, variant=variant)
    schedule = Schedule(number * PERIOD_S / arms)
    return Arm(forecast, schedule, host, Guest(host, spec(forecast)), controller, Agent(host, controller, static_after_s=120))


def spec(forecast: str) -> GuestSpec:
    """As Nova makes them: 2 vCPUs and 256 MiB, all on line at first."""
    return nova_like(f"with-{forecast}", cpu=str(QUIET_CORES), mem=str(QUIET_MIB))


def options(forecast: str) -> dict[str, dict[str, object]]:
    return {
        "store": {"synchronous": "normal"},
        "history": {"step_s": STEP_S},
        "journal": {"raised_floor_s": 8},
        "plan": {"forecast": forecast, "interval_s": 1, "forecast_every_s": 1, "history_bins": 4 * DAY_BINS},
    }


def begin(a: Arm) -> None:
    """Boot, past, load, agent; in this order, so that the guest's first recurrence is one of many to its controller."""
    a.controller.start()
    a.guest.define().start().wait_for_agent(90)
    now = time.time()
    a.guest.load(cpu=a.schedule.words(now))
    if EARLIER_DAYS:
        tell_earlier_days(a, now)
    a.agent.enrol().start().wait_for_report()


# -- the past ----------------------------------------------------------------------------------------------------------


def tell_earlier_days(a: Arm, until: float) -> int:
    """Reports of the days before, one for each bin, as this host's agent would have sent them; how many."""
    link = enrolled(a)
    seen = a.guest.console.latest
    in_use_mib = seen.memory_total - seen.memory_available
    first = math.floor(until / STEP_S) - EARLIER_DAYS * DAY_BINS
    ends = [(first + n + 1) * STEP_S - 0.1 for n in range(EARLIER_DAYS * DAY_BINS)]
    for number, at in enumerate(ends):
        link.exchange(encode(report(a, number, at, in_use_mib)))
    link.close()
    return len(ends)


def enrolled(a: Arm) -> HttpLink:
    tokens = TokenStore(a.controller.folder / "past-token")
    link = HttpLink(a.controller.url, tokens, host=a.host.name, trust=Trust(str(a.controller.ca)))
    link.enrol(a.controller.ask("agent", "enroll", a.host.name)["join_token"])
    return link


def report(a: Arm, number: int, at: float, in_use_mib: float) -> HostReport:
    cores = SEEN_BUSY if a.schedule.busy(at - 0.5) else SEEN_QUIET
    cpu = CpuSample(
        used=Cores(cores),
        waiting=NO_CORES,
        throttled=NO_CORES,
        demand=Cores(cores),
        allocation=Cores(2.0),
        censored=False,
        confidence=1.0,
        guest_vcpus=2,
    )
    memory = MemorySample(demand=Memory(in_use_mib), allocation=Memory(256.0), censored=False, confidence=0.95)
    vm = VmSample(server=ServerId(a.guest.uuid), state=DomainState.RUNNING, window_s=1.0, cpu=cpu, memory=memory)
    return HostReport(version=WIRE_VERSION, host=a.host.name, epoch="earlier-days", sequence=number, taken_at=at, samples=(vm,))

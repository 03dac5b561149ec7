"""Both programs on a simulated cloud, in lockstep: time passes only between the steps, so that every run is the same run.

One step is one cycle of every agent, a look for pressure half-way, and a plan when it is due. The agents enrol with join
tokens, as an operator would let them; every message is encoded, taken by the controller's intake and answered.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from foreshape_agent.config import Settings as AgentSettings
from foreshape_agent.cycle import Cycle, Doors
from foreshape_agent.spool import Spool
from foreshape_controller import config
from foreshape_controller.main import Program, build
from foreshape_controller.sim.hypervisor import SimHypervisor
from foreshape_controller.sim.world import World
from foreshape_demo.door import SimDoor
from foreshape_demo.link import DirectLink
from foreshape_wire.ids import HostName
from foreshape_wire.order import Mode

HOUR = 3600.0
SLOW_S = 3 * HOUR
"""Between two forecasts of what nobody is sized by: the demo's time runs 2,000 times as fast as the controller was made for."""


@dataclass(frozen=True)
class Pace:
    """Simulated seconds between things."""

    cycle_s: float = 60.0
    plan_s: float = 300.0
    tidy_s: float = 7200.0
    static_after_s: float = 1800.0
    stale_after_s: float = 900.0
    order_ttl_s: float = 1200.0


WARM_UP = Pace(cycle_s=300.0, plan_s=1800.0)
"""While nothing may shrink (the first six hours of history), measuring is all there is to do."""

BRISK = Pace(cycle_s=150.0, plan_s=600.0)
"""Two samples a bin, and a plan every second bin."""


@dataclass
class Node:
    """One simulated host's agent."""

    host: HostName
    door: SimDoor
    spool: Spool
    link: DirectLink
    cycle: Cycle
    said: str = ""
    """Its last canonical sentence."""


@dataclass
class Bed:
    """World, controller and agents; ``step`` lets one cycle pass."""

    world: World
    folder: Path
    pace: Pace = field(default_factory=Pace)
    mode: Mode = Mode.ACT
    tiers_file: str = ""
    """Empty: the built-in tiers."""
    reclaim: config.ReclaimSettings = field(default_factory=config.ReclaimSettings)
    controller: Program | None = None
    nodes: dict[HostName, Node] = field(default_factory=dict)
    plans: int = 0
    _next_cycle: float = 0.0
    _next_plan: float = 0.0
    _next_tidy: float = 0.0

    def __post_init__(self) -> None:
        start = self.now
        self._next_cycle, self._next_plan, self._next_tidy = start, start + self.pace.plan_s, start + self.pace.tidy_s
        self.start_controller()
        assert self.controller is not None
        self.controller.store.modes.set("cloud", self.mode, "set by the demo: the product's own default is advise", start)
        for host in self.world.hosts:
            self.enrol(host)

    @property
    def now(self) -> float:
        return self.world.clock.now()

    # -- the programs ----------------------------------------------------------------------------------------

    def settings(self) -> config.Settings:
        """The controller's configuration, paced for simulated time."""
        base = config.Settings()
        return replace(
            base,
            store=replace(base.store, url=f"sqlite:///{self.folder / 'controller.db'}", synchronous="normal"),
            plan=replace(
                base.plan,
                interval_s=self.pace.plan_s,
                forecast_every_s=self.pace.plan_s,
                slow_forecast_every_s=SLOW_S,
                stale_after_s=self.pace.stale_after_s,
                order_ttl_s=self.pace.order_ttl_s,
                tiers_file=self.tiers_file,
                segments_file="",
            ),
            reclaim=self.reclaim,
            api=replace(base.api, admin_token_file=str(self.folder / "admin-token")),
            simulated=True,
        )

    def start_controller(self) -> None:
        """Start it, or start it again on the same database."""
        self.controller = build(self.settings(), clock=self.world.clock.now)
        for node in self.nodes.values():
            node.link.controller = self.controller

    def kill_controller(self) -> None:
        """It is gone from one moment to the next: nothing is said to anybody."""
        program, self.controller = self.controller, None
        for node in self.nodes.values():
            node.link.controller = None
        if program is not None:
            program.store.close()  # only the file handles: what was acknowledged is on disk

    def enrol(self, host: HostName) -> None:
        """What an operator does for a new host, and its agent's first start."""
        assert self.controller is not None
        agents = self.controller.store.agents
        join = agents.join_token(host, self.now, HOUR)
        link = DirectLink(self.controller, agents.enrol(host, join, self.now), self.world.clock)
        self.start_agent(host, link)

    def start_agent(self, host: HostName, link: DirectLink) -> None:
        """Start an agent, or start it again over the same spool."""
        settings = AgentSettings(
            host=host,
            interval_s=self.pace.cycle_s,
            pressure_interval_s=self.pace.cycle_s / 2,
            static_after_s=self.pace.static_after_s,
            stats_period_s=10,
            action_deadline_s=2 * self.pace.cycle_s,
            clock_slack_s=2 * self.pace.cycle_s,
        )
        door = SimDoor(SimHypervisor(self.world, host))
        spool = Spool(self.folder / f"{host}.spool")
        doors = Doors(hypervisor=door, read_host=door.read_host, spool=spool, link=link, clock=self.world.clock)
        self.nodes[host] = Node(host, door, spool, link, Cycle(doors, settings))

    def restart_agent(self, host: HostName) -> None:
        """Kill -9 and start: memory is lost, the spool is not."""
        node = self.nodes[host]
        node.spool.close()
        self.start_agent(host, node.link)

    # -- time ------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One cycle of every agent, and what the controller does meanwhile."""
        self.world.clock.advance_to(self._next_cycle)
        for node in self.nodes.values():
            node.said = node.cycle.run_once()
        self._control()
        self.world.clock.advance_to(self._next_cycle + self.pace.cycle_s / 2)
        for node in self.nodes.values():
            node.cycle.peek()
        self.world.advance()
        self._next_cycle += self.pace.cycle_s * max(1, round((self.now - self._next_cycle) / self.pace.cycle_s))

    def run(self, seconds: float) -> Iterator[float]:
        """Steps until so much simulated time has passed; yields the time after each."""
        until = self._next_cycle + seconds
        while self._next_cycle < until:
            self.step()
            yield self.now

    def step_clock(self, seconds: float) -> None:
        """The machines' wall clock is set; monotonic time, and the bed's own steps, go on."""
        self.world.step_wall_clock(seconds)
        self._next_cycle += seconds
        self._next_plan += seconds
        self._next_tidy += seconds

    def set_pace(self, pace: Pace) -> None:
        """Go on at another pace; a plan that would now be due sooner comes sooner."""
        if pace != self.pace:
            self.pace = pace
            self._next_plan = min(self._next_plan, self.now + pace.plan_s)

    def _control(self) -> None:
        if self.controller is None:
            return
        self.controller.optout.run_once(self.now)
        if self.reclaim.enabled:
            self.controller.reclaim.run_once(self.now)
        if self.now >= self._next_plan:
            self._next_plan += self.pace.plan_s
            self.plans += 1
            self.controller.plan_loop.run_once(self.now)
            self.controller.feedback.run_once(self.now)
            self.controller.optout.run_once(self.now)
            if self.controller.requests is not None:
                self.controller.requests.run_once(self.now)
        if self.now >= self._next_tidy:
            self._next_tidy += self.pace.tidy_s
            self.controller.store.journal.expire(self.now)
            self.controller.tidy()
            if self.controller.pricing is not None:
                self.controller.pricing.loop.run_once(self.now)

    def close(self) -> None:
        for node in self.nodes.values():
            node.spool.close()
        if self.controller is not None:
            self.controller.store.close()

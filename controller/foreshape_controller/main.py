"""The controller's composition root: the only place that knows every part, and the only one that starts anything."""

import argparse
import gc
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from foreshape_controller import assemble, log, tls
from foreshape_controller.api import Services, create_app, limit_workers
from foreshape_controller.api.identity import Identity, Tokens
from foreshape_controller.api.policy import Policy as AccessPolicy
from foreshape_controller.api.services import Seats
from foreshape_controller.config import PlanSettings as PlanOptions
from foreshape_controller.config import Settings, load
from foreshape_controller.decide.segments import Segments, load_segments
from foreshape_controller.errors import ConfigError, ControllerError
from foreshape_controller.listening import Patient, allow_many
from foreshape_controller.loops import asking
from foreshape_controller.loops.apart import door_of
from foreshape_controller.loops.away import Lookout, lookout_of
from foreshape_controller.loops.clouded import Clouded
from foreshape_controller.loops.cloudwork import CloudWork
from foreshape_controller.loops.counting import Counting
from foreshape_controller.loops.downgrade import Downgrade
from foreshape_controller.loops.feedback import Feedback, FeedbackSettings, adapting, feedback_rule
from foreshape_controller.loops.foresight import Foresight
from foreshape_controller.loops.guard import Guard, GuardTerms
from foreshape_controller.loops.guarding import Guarding
from foreshape_controller.loops.intake import Intake
from foreshape_controller.loops.leads import LeadTimes
from foreshape_controller.loops.learn import Learn
from foreshape_controller.loops.looking import Terms
from foreshape_controller.loops.optout import EVERY_S as OPTOUT_EVERY_S
from foreshape_controller.loops.optout import OptOut
from foreshape_controller.loops.plan import PlanLoop, PlanSettings, Sources
from foreshape_controller.loops.policy import Policy
from foreshape_controller.loops.pricing import Pricing
from foreshape_controller.loops.pulse import Pulse
from foreshape_controller.loops.reclaim import ReclaimLoop
from foreshape_controller.loops.requests import RequestWork
from foreshape_controller.loops.shortage import Shortage
from foreshape_controller.loops.sight import sight
from foreshape_controller.loops.tidying import tidy
from foreshape_controller.loops.warm import Warm
from foreshape_controller.loops.webhooks import EVERY_S as WEBHOOKS_EVERY_S
from foreshape_controller.loops.webhooks import Webhooks
from foreshape_controller.model.anomaly import left_habits
from foreshape_controller.model.choice import Terms as TenantTerms
from foreshape_controller.notify import notify, watchdog_s
from foreshape_controller.store import Store
from foreshape_controller.token_file import token_file
from foreshape_wire.order import Mode

if TYPE_CHECKING:
    from foreshape_controller.cloud.session import Cloud

EXPIRE_EVERY_S = 10.0
GUARD_EVERY_S = 60.0
HABIT_S = 86400.0
"""What lasts for longer than a day is a habit, and no anomaly."""
MANY = 1_000_000
KEPT_S = 75
"""An agent's connection outlives several of its reports: a new one for each would cost TLS its handshake every time."""
SWITCH_S = 0.0005
"""How long a thread that computes may keep the others waiting: one request takes some fifty turns."""
RUNS_END_S = 20.0
"""So long a stop waits for what computes: all of it survives being cut off (``kill -9``), but not every restart has to find out."""
CLOUD_ENDS_S = 5.0
"""So long a stop waits for answers of OpenStack."""
LATE_S = 3600
"""A loop that could not run in time still runs, once, up to this late."""

_log = log.get_logger("main")


@dataclass(frozen=True)
class Program:
    """The controller, put together and not started: the demo and tests drive it by hand."""

    settings: Settings
    store: Store
    intake: Intake
    lookout: Lookout
    reclaim: ReclaimLoop
    optout: OptOut
    plan_loop: PlanLoop
    app: Any
    """ASGI application."""
    admin_token: str
    clock: Callable[[], float]
    policy: Policy
    feedback: Feedback
    guard: Guard
    learn: Learn | None = None
    cloud: CloudWork | None = None
    """None: no OpenStack is configured."""
    pulse: Pulse = field(default_factory=Pulse)
    pricing: Pricing | None = None
    requests: RequestWork | None = None
    """None: ``[requests] enabled`` is false."""
    webhooks: Webhooks | None = None

    def look_ahead(self) -> None:
        """Make the forecasts that are due; a plan that is made meanwhile takes the newest that are there."""
        self.lookout.look_ahead(self.clock())

    @property
    def foresight(self) -> Foresight:
        """The newest forecasts."""
        return self.lookout.sight.foresight

    def tidy(self) -> None:
        """Pack closed bins; delete what is older than its retention."""
        now = self.clock()
        tidy(self.store, self.settings, now)
        if self.cloud:
            self.cloud.joining.refresh()


def build(settings: Settings, clock: Callable[[], float] = time.time, door: "Cloud | None" = None, tokens: Tokens | None = None) -> Program:
    """Put the controller together; ``door``: a cloud that is connected already; ``tokens``: in place of its Keystone's.

    Raises ConfigError, Unavailable.
    """
    segments = _segments(settings.plan.segments_file)
    token = token_file(settings.api.admin_token_file, "[api] admin_token_file") or secrets.token_urlsafe(32)
    store = Store.open(
        settings.store.url,
        step_s=settings.history.step_s,
        default_mode=Mode(settings.plan.default_mode),
        synchronous=settings.store.synchronous,
        busy_s=settings.store.busy_s,
        clock_skew_s=settings.agents.clock_skew_s,
        raised_floor_s=settings.journal.raised_floor_s,
    )
    store.modes.terms = TenantTerms(Mode(settings.plan.tenants_default), Mode(settings.plan.tenants_may))
    rule = feedback_rule(settings.feedback)
    policy = Policy(settings.plan.tiers_file, store.policies, clock, adapting(store.tier_factors, rule), segments.segments)
    feedback = Feedback(store, policy, FeedbackSettings(rule, settings.plan.forecast != "off"))
    warm = Warm(store.pools)
    guarding = Guarding(store, policy.current, segments, store.profiles.names, warm.caps)
    intake = Intake(store, settings, guarding.guards)
    learn = Learn.of(settings, store, policy)
    seen = sight(store, settings, segments, learn.look if learn else None, learn.marking if learn else None)
    guard = Guard(store, GuardTerms.of(settings))
    door = door or (assemble.connect(settings) if settings.cloud.enabled else None)
    cloud = assemble.build(settings, store, clock, door, policy.current, segments)
    clouded, downgrade = Clouded(store.migrating.moves, cloud), Downgrade(store.journal)
    sources = Sources(
        tiers=policy.current,
        halts=clouded.halts(guard.halts),
        brakes=clouded.brakes(guard.brakes),
        notes=policy.notes,
        headroom=store.headroom.all,
        caps=guarding.caps,
        leads=LeadTimes(store.levers, settings.history.step_s),
        anomalous=lambda now: left_habits(store.anomalies.list(going=True, limit=MANY), now - HABIT_S),
        last_shrunk=store.levers.shrunk,
        under_way=lambda now: store.spending.under_way(now, settings.plan.order_ttl_s),
        agreed=lambda now: warm.floors(store.reclaims.floors(now), now),
        shadows=warm.shadows,
        missed=downgrade,
    )
    pulse, counting = Pulse(clock), Counting()
    shortage = Shortage(store, settings.plan.order_ttl_s, clouded.needs)
    plan_loop = PlanLoop(
        store,
        seen.foresight,
        sources,
        PlanSettings(**{f.name: getattr(settings.plan, f.name) for f in fields(PlanSettings)}),
        listeners=(guarding, shortage, downgrade.add_up, seen.telling, counting),
    )
    optout = OptOut(store, guarding.bounds, guard.halts, settings.plan.order_ttl_s)
    reclaim = ReclaimLoop(store, sources.tiers, seen.calendar, sources.leads, _reclaiming(settings, segments, warm))
    pricing = Pricing.of(settings, store, policy, segments, clock)
    requests = asking.requests(settings, store, cloud, policy.current, pricing, clock) if settings.requests.enabled else None
    webhooks = asking.webhooks(settings, store) if settings.requests.enabled else None
    app = create_app(
        Services(
            requests=requests,
            webhooks=webhooks,
            settings=settings,
            pricing=pricing,
            pulse=pulse,
            counting=counting,
            foresight=seen.foresight,
            metrics_token=token_file(settings.api.metrics_token_file, "[api] metrics_token_file"),
            store=store,
            intake=intake,
            door=door_of(settings, store, intake.answer),
            identity=_identity(settings, token, tokens or assemble.tokens(settings, door, clock)),
            clock=clock,
            policy=policy,
            guarding=guarding,
            guard=guard,
            optout=optout,
            learn=learn,
            segments=segments,
            cloud=cloud,
            headroom_token=token_file(settings.sell.headroom_token_file, "[sell] headroom_token_file"),
            seats=Seats(settings.api.workers),
        )
    )
    return Program(
        settings,
        store,
        intake,
        lookout_of(settings, store, seen, segments),
        reclaim,
        optout,
        plan_loop,
        app,
        token,
        clock,
        policy,
        feedback,
        guard,
        learn,
        cloud,
        pulse,
        pricing,
        requests,
        webhooks,
    )


def _identity(settings: Settings, admin_token: str, tokens: Tokens | None) -> Identity:
    return Identity(admin_token, AccessPolicy(settings.identity.policy_file), tokens, settings.identity)


def _reclaiming(settings: Settings, segments: Segments, warm: Warm) -> Terms:
    return Terms(settings.reclaim, segments, settings.plan.interval_s, settings.plan.stale_after_s, warm.shadows)


def main(argv: Sequence[str] | None = None) -> int:
    """``foreshape-controller --config-file F``. Exit status: 0 stopped, 1 cannot run now, 2 configuration."""
    args = _arguments(argv)
    try:
        settings = load(args.config_file)
        log.configure(settings.log.level, settings.log.format)
        pair = tls.prepare(settings.api)
        program = build(settings)
    except ConfigError as e:
        print(f"foreshape-controller: {e}", file=sys.stderr)
        return 2
    except ControllerError as e:
        print(f"foreshape-controller: {e}", file=sys.stderr)
        return 1
    status = _serve(program, pair)
    _leave(status)
    return status


def _leave(status: int) -> None:
    """End also where threads still wait for an OpenStack that hangs: as with kill -9, which everything they do survives.

    Python itself would wait for those of pools, daemons or not.
    """
    if threading.active_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="foreshape-controller", description="Foreshape's central program.")
    parser.add_argument("--config-file", default="/etc/foreshape/controller.conf", help="configuration (default: %(default)s)")
    parser.add_argument("--version", action="version", version=version("foreshape"))
    return parser.parse_args(argv)


def _segments(path: str) -> Segments:
    """None at the default place is none at all: installations older than segments have no such file."""
    default = next(f.default for f in fields(PlanOptions) if f.name == "segments_file")
    if not path or (path == default and not Path(path).exists()):
        return load_segments("")
    try:
        return load_segments(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"[plan] segments_file: {path}: {e}; leave it empty for no segments") from e


class _Server(uvicorn.Server):
    """Tells systemd and the log when requests are really taken."""

    def __init__(self, config: uvicorn.Config, program: Program, pair: tls.Pair | None) -> None:
        super().__init__(config)
        self._program, self._pair = program, pair

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.should_exit:
            return
        if (door := self._program.app.state.services.door) is not None:
            await door.begin()
        address = self.servers[0].sockets[0].getsockname()
        url = f"{'https' if self._pair else 'http'}://{_host(address[0])}:{address[1]}"
        fingerprint = {"certificate_sha256": self._pair.fingerprint, "ca_file": str(self._pair.cert)} if self._pair else {}
        _log.info("listening", url=url, mode=self._program.store.modes.effective("").value, **fingerprint)
        notify("READY=1")

    async def shutdown(self, sockets: Any = None) -> None:
        self._program.store.bus.close()  # streams end by themselves: nobody has to wait for them
        await super().shutdown(sockets)
        if (door := self._program.app.state.services.door) is not None:
            await door.close()


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _serve(program: Program, pair: tls.Pair | None) -> int:
    """Run until a signal comes; uvicorn takes SIGTERM and SIGINT and lets requests under way end."""
    api = program.settings.api
    config = uvicorn.Config(
        program.app,
        host=api.bind,
        port=api.port,
        ssl_certfile=pair.cert if pair else None,
        ssl_keyfile=str(pair.key) if pair else None,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEPT_S,
        http=Patient,
        ws="none",
        proxy_headers=bool(api.proxies),
        forwarded_allow_ips=list(api.proxies),
        timeout_graceful_shutdown=10,
    )
    limit_workers(api.workers)
    gc.freeze()  # what was imported stays: 190,000 objects that the collector need not go through, with everybody waiting
    program.plan_loop.first_stays = True
    sys.setswitchinterval(SWITCH_S)
    allow_many()
    server, loops = _Server(config, program, pair), _loops(program)
    _take_signals(server, program)
    loops.start()
    try:
        server.run()
    except SystemExit:
        pass  # uvicorn has logged why it could not start (the port is taken, the certificate cannot be read)
    finally:
        notify("STOPPING=1")
        program.lookout.stop()
        loops.stop()
        if program.learn:
            program.learn.stop()
        program.store.close()
        _log.info("stopped")
    return 0 if server.started else 1


def _take_signals(server: uvicorn.Server, program: Program) -> None:
    """While uvicorn serves it takes SIGTERM and SIGINT itself; before and after, these do: otherwise the store would not be closed."""

    def stop(*_: object) -> None:
        server.should_exit = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, lambda *_: _hung_up(program))


def _hung_up(program: Program) -> None:
    """Only a mark is set: nothing is read inside a signal."""
    program.policy.expect()
    _log.warning("SIGHUP", does="tiers are read again before the next plan", hint="everything else is read at the start only: restart")


class _Loops(BackgroundScheduler):  # type: ignore[misc]
    """The scheduler, and how it ends."""

    def __init__(self, pools: Mapping[str, ThreadPoolExecutor]) -> None:
        super().__init__(executors=dict(pools), timezone=UTC)
        self._pools = pools
        self.stopping = False
        """Runs that wait for their turn do not begin."""

    def stop(self) -> None:
        """No run begins any more; those that are under way are waited for, who waits for OpenStack a little only."""
        self.stopping = True
        self.shutdown(wait=False)
        if not self._end([name for name in self._pools if name != "cloud"], RUNS_END_S):
            _log.warning("a run still computes", does="stops all the same: what was not written yet is done anew after the next start")
        if not self._end(["cloud"], CLOUD_ENDS_S):
            _log.warning("OpenStack gives no answer", does="stops all the same: what was asked of it is looked up at the next start")

    def _end(self, names: Sequence[str], within_s: float) -> bool:
        """Whether the runs in these pools ended in time."""
        waits = [threading.Thread(target=self._pools[name].shutdown, daemon=True) for name in names]
        until = time.monotonic() + within_s
        for wait in waits:
            wait.start()
        for wait in waits:
            wait.join(max(0.0, until - time.monotonic()))
        return not any(wait.is_alive() for wait in waits)


def _loops(program: Program) -> _Loops:
    """Everything that happens by the clock. A run that fails is logged, and the next one comes."""
    s = program.settings
    cloud = tuple(program.cloud.jobs()) if program.cloud else ()
    # An OpenStack that hangs keeps threads for minutes: neither plans nor the watchdog wait for one of those.
    # What computes for long is done one after the other: more of it at once is slower for everybody, and for the plan first.
    executors = {"long": ThreadPoolExecutor(1)}
    executors |= {"default": ThreadPoolExecutor(4), "cloud": ThreadPoolExecutor(max(1, len(cloud))), "requests": ThreadPoolExecutor(2)}
    loops = _Loops(executors)

    def every(seconds: float, name: str, work: Callable[[], object], executor: str = "default") -> None:
        program.pulse.expect(name, seconds)
        loops.add_job(
            lambda: None if loops.stopping else program.pulse.run(name, work),
            "interval",
            seconds=seconds,
            id=name,
            name=f"the loop {name}",
            executor=executor,
            max_instances=1,
            coalesce=True,
            misfire_grace_time=LATE_S,
            next_run_time=datetime.now(UTC),
        )

    every(s.plan.interval_s, "forecast", program.look_ahead, "long")
    every(s.plan.interval_s, "plan", lambda: program.plan_loop.run_once(program.clock(), look_ahead=False))
    every(s.plan.forecast_every_s, "events", lambda: program.lookout.measure(program.clock()), "long")
    every(s.reclaim.interval_s, "reclaim", lambda: program.reclaim.run_once(program.clock()), "long")
    every(OPTOUT_EVERY_S, "optout", lambda: program.optout.run_once(program.clock()))
    every(s.feedback.interval_s, "feedback", lambda: program.feedback.run_once(program.clock()), "long")
    if (pricing := program.pricing) is not None:
        every(s.pricing.interval_s, "metering", lambda: pricing.loop.run_once(program.clock()), "long")
    if program.requests and program.webhooks:
        requests, webhooks = program.requests, program.webhooks
        every(s.requests.interval_s, "requests", lambda: requests.run_once(program.clock()), "requests")
        every(WEBHOOKS_EVERY_S, "webhooks", lambda: webhooks.run_once(program.clock()), "requests")
    every(GUARD_EVERY_S, "guard", lambda: program.guard.run_once(program.clock()))
    every(EXPIRE_EVERY_S, "expire", lambda: program.store.journal.expire(program.clock()))
    every(s.history.compact_every_s, "tidy", program.tidy, "long")
    if (learn := program.learn) is not None:
        every(s.learn.interval_s, "learn", lambda: learn.run_once(program.clock()))
    for name, seconds, work in cloud:
        every(seconds, name, partial(_timed, work, program), "cloud")
    beat = watchdog_s()
    if beat is not None:
        every(beat, "watchdog", lambda: _beat(program))
    return loops


def _timed(work: Callable[[float], object], program: Program) -> None:
    work(program.clock())


def _beat(program: Program) -> None:
    program.store.ping()
    notify("WATCHDOG=1")

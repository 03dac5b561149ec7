"""The controller's composition root: the only place that knows every part, and the only one that starts anything."""

import argparse
import secrets
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import uvicorn
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from foreshape_controller import assemble, log, tls
from foreshape_controller.api import Services, create_app, limit_workers
from foreshape_controller.api.services import Seats
from foreshape_controller.config import PlanSettings as PlanOptions
from foreshape_controller.config import Settings, load
from foreshape_controller.decide.feedback import FeedbackRule
from foreshape_controller.decide.segments import Segments, load_segments
from foreshape_controller.errors import ConfigError, ControllerError
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.forecast.reactive import Reactive
from foreshape_controller.loops.aftermath import Aftermath
from foreshape_controller.loops.calendar import Calendar
from foreshape_controller.loops.cloudwork import CloudWork
from foreshape_controller.loops.downgrade import Downgrade
from foreshape_controller.loops.feedback import Feedback, FeedbackSettings, adapting
from foreshape_controller.loops.foresight import Foresight, ForesightSettings
from foreshape_controller.loops.guard import Guard, GuardTerms
from foreshape_controller.loops.guarding import Guarding
from foreshape_controller.loops.intake import Intake
from foreshape_controller.loops.joining import braked
from foreshape_controller.loops.leads import LeadTimes
from foreshape_controller.loops.learn import Learn
from foreshape_controller.loops.looking import Terms
from foreshape_controller.loops.migrate import leased
from foreshape_controller.loops.notice import Notice
from foreshape_controller.loops.plan import PlanLoop, PlanSettings, Sources
from foreshape_controller.loops.policy import Policy
from foreshape_controller.loops.reclaim import ReclaimLoop
from foreshape_controller.loops.scene import Hooks
from foreshape_controller.loops.shortage import Shortage
from foreshape_controller.loops.warm import Warm
from foreshape_controller.model.anomaly import left_habits
from foreshape_controller.model.forecast import Predictor
from foreshape_controller.notify import notify, watchdog_s
from foreshape_controller.store import Store
from foreshape_wire.order import Mode

if TYPE_CHECKING:
    from foreshape_controller.cloud.session import Cloud

EXPIRE_EVERY_S = 10.0
GUARD_EVERY_S = 60.0
FORECAST_KEPT_S = 86400.0
"""A forecast's own day is over by then."""
HABIT_S = 86400.0
"""What lasts for longer than a day is a habit, and no anomaly."""
MANY = 1_000_000
LATE_S = 3600
"""A loop that could not run in time still runs, once, up to this late."""

_log = log.get_logger("main")
_Part = TypeVar("_Part", PlanSettings, ForesightSettings)


@dataclass(frozen=True)
class Program:
    """The controller, put together and not started: the demo and tests drive it by hand."""

    settings: Settings
    store: Store
    intake: Intake
    foresight: Foresight
    aftermath: Aftermath
    reclaim: ReclaimLoop
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

    def look_ahead(self) -> None:
        """Make the forecasts that are due; a plan that is made meanwhile takes the newest that are there."""
        now = self.clock()
        self.foresight.run_once(now, self.store.inventory.view(now))

    def tidy(self) -> None:
        """Pack closed bins; delete what is older than its retention."""
        s, now = self.settings, self.clock()
        self.store.history.compact(now, s.history.retention_days * 86400.0)
        self.store.cloud_servers.tidy(now - s.history.retention_days * 86400.0)
        if self.cloud:
            self.cloud.joining.refresh()
        self.store.forecasts.tidy(now - FORECAST_KEPT_S)
        self.store.anomalies.tidy(now - s.history.retention_days * 86400.0)
        self.store.profiles.tidy(now - s.history.retention_days * 86400.0)
        self.store.caps.tidy(now - s.journal.acting_retention_days * 86400.0)
        self.store.reclaims.tidy(now - s.reclaim.kept_days * 86400.0)
        self.store.notices.tidy(now - s.reclaim.kept_days * 86400.0)
        self.store.marks.tidy(now - s.feedback.kept_days * 86400.0)
        self.store.pools.tidy(now - s.pools.kept_days * 86400.0)
        self.store.sales.tidy(now - s.journal.acting_retention_days * 86400.0)
        self.store.migrating.tidy(now - s.journal.acting_retention_days * 86400.0)
        self.store.needs.tidy(now - s.journal.acting_retention_days * 86400.0)
        self.store.reservations.tidy(now - s.journal.acting_retention_days * 86400.0)
        self.store.transfers.tidy(now - s.journal.acting_retention_days * 86400.0)
        self.store.journal.tidy(now, s.journal.hold_retention_h * 3600.0, s.journal.acting_retention_days * 86400.0)


def build(settings: Settings, clock: Callable[[], float] = time.time, door: "Cloud | None" = None) -> Program:
    """Put the controller together; ``door``: a cloud that is connected already. Raises ConfigError, Unavailable."""
    segments = _segments(settings.plan.segments_file)
    token = _token(settings.api.admin_token_file, "[api] admin_token_file") or secrets.token_urlsafe(32)
    store = Store.open(
        settings.store.url,
        step_s=settings.history.step_s,
        default_mode=Mode(settings.plan.default_mode),
        synchronous=settings.store.synchronous,
        busy_s=settings.store.busy_s,
        clock_skew_s=settings.agents.clock_skew_s,
        raised_floor_s=settings.journal.raised_floor_s,
    )
    rule = _feedback_rule(settings)
    policy = Policy(settings.plan.tiers_file, store.policies, clock, adapting(store.tier_factors, rule), segments.segments)
    feedback = Feedback(store, policy, FeedbackSettings(rule, settings.plan.forecast != "off"))
    guarding = Guarding(store, policy.current, segments, store.profiles.names)
    intake = Intake(store, settings, guarding.guards)
    learn = Learn.of(settings, store, policy)
    look = learn.look if learn else partial(_predictor, settings.plan.forecast)
    calendar = Calendar(store.events)
    aftermath = Aftermath(calendar, store.events, store.history, look, settings.plan.history_bins)
    notice = Notice(store.anomalies, store.profiles, store.history, settings.plan.alarms_per_month)
    hooks = Hooks(observers=(notice.observe,))
    if settings.plan.forecast != "off":
        hooks = Hooks(preparers=(calendar.prepare,), adjusters=(calendar.adjust, notice.adjust), observers=(notice.observe,))
    hooks = replace(hooks, observers=(*hooks.observers, learn.marking)) if learn and learn.marking else hooks
    foresight = Foresight(store, look, _of_plan(settings, ForesightSettings), segments=segments, classes=store.profiles.names, hooks=hooks)
    guard = Guard(store, GuardTerms.of(settings))
    cloud = assemble.build(settings, store, clock, door, policy.current)
    downgrade, warm = Downgrade(store.journal), Warm(store.pools)
    sources = Sources(
        tiers=policy.current,
        halts=lambda view, now: {**guard.halts(view, now), **leased(store.migrating.moves.open())},
        brakes=braked(guard.brakes, cloud.watch) if cloud else guard.brakes,
        notes=policy.notes,
        headroom=store.headroom.all,
        caps=lambda view, now: warm.caps(guarding.caps(view, now), now),
        leads=LeadTimes(store.levers, settings.history.step_s),
        anomalous=lambda now: left_habits(store.anomalies.list(going=True, limit=MANY), now - HABIT_S),
        last_shrunk=store.levers.shrunk,
        under_way=lambda now: store.spending.under_way(now, settings.plan.order_ttl_s),
        agreed=lambda now: warm.floors(store.reclaims.floors(now), now),
        shadows=warm.shadows,
        missed=downgrade,
    )
    shortage = Shortage(store, settings.plan.order_ttl_s, cloud.selling.needs if cloud else lambda _: ())
    plan_loop = PlanLoop(store, foresight, sources, _of_plan(settings, PlanSettings), listeners=(guarding, shortage, downgrade.add_up))
    reclaim = ReclaimLoop(store, sources.tiers, calendar, sources.leads, _reclaiming(settings, segments, warm))
    app = create_app(
        Services(
            settings=settings,
            store=store,
            intake=intake,
            admin_token=token,
            clock=clock,
            policy=policy,
            guarding=guarding,
            guard=guard,
            learn=learn,
            segments=segments,
            cloud=cloud,
            headroom_token=_token(settings.sell.headroom_token_file, "[sell] headroom_token_file"),
            seats=Seats(settings.api.workers),
        )
    )
    return Program(
        settings, store, intake, foresight, aftermath, reclaim, plan_loop, app, token, clock, policy, feedback, guard, learn, cloud
    )


def _reclaiming(settings: Settings, segments: Segments, warm: Warm) -> Terms:
    return Terms(settings.reclaim, segments, settings.plan.interval_s, settings.plan.stale_after_s, warm.shadows)


def _feedback_rule(settings: Settings) -> FeedbackRule | None:
    """How tiers learn; None: they do not."""
    f = settings.feedback
    return FeedbackRule((f.headroom_low, f.headroom_high), (f.hold_low, f.hold_high)) if f.adapt else None


def _of_plan(settings: Settings, cls: type[_Part]) -> _Part:
    """What ``[plan]`` says, in the words of the part that it is for."""
    return cls(**{f.name: getattr(settings.plan, f.name) for f in fields(cls)})


def _predictor(forecast: str) -> Predictor:
    """Who looks ahead, as ``[plan] forecast`` says."""
    return Reactive() if forecast == "off" else Baseline()


def _token(path: str, option: str) -> str:
    """A token that is made at the first start, readable by this user only; none where there is no path. Raises ConfigError."""
    if not path:
        return ""
    file = Path(path)
    try:
        if not file.exists():
            tls.write_private(file, f"{secrets.token_urlsafe(32)}\n".encode())
            _log.info("token made", file=str(file), option=option)
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{option}: {file}: {e}") from e
    if len(token) < 16:
        raise ConfigError(f"{option}: {file} holds no token of 16 characters or more: delete it, and another is made")
    return token


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
    return _serve(program, pair)


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
        address = self.servers[0].sockets[0].getsockname()
        url = f"{'https' if self._pair else 'http'}://{_host(address[0])}:{address[1]}"
        fingerprint = {"certificate_sha256": self._pair.fingerprint, "ca_file": str(self._pair.cert)} if self._pair else {}
        _log.info("listening", url=url, mode=self._program.store.modes.effective("").value, **fingerprint)
        notify("READY=1")


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
        timeout_graceful_shutdown=10,
    )
    limit_workers(api.workers)
    server, loops = _Server(config, program, pair), _loops(program)
    _take_signals(server, program)
    loops.start()
    try:
        server.run()
    except SystemExit:
        pass  # uvicorn has logged why it could not start (the port is taken, the certificate cannot be read)
    finally:
        notify("STOPPING=1")
        loops.shutdown(wait=True)
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


def _loops(program: Program) -> BackgroundScheduler:
    """Everything that happens by the clock. A run that fails is logged, and the next one comes."""
    s = program.settings
    cloud = tuple(program.cloud.jobs()) if program.cloud else ()
    # An OpenStack that hangs keeps threads for minutes: neither plans nor the watchdog wait for one of those.
    executors = {"default": ThreadPoolExecutor(4), "cloud": ThreadPoolExecutor(max(1, len(cloud)))}
    loops = BackgroundScheduler(executors=executors, timezone=UTC)

    def every(seconds: float, name: str, work: Callable[[], object], executor: str = "default") -> None:
        loops.add_job(
            _guarded(name, work),
            "interval",
            seconds=seconds,
            id=name,
            executor=executor,
            max_instances=1,
            coalesce=True,
            misfire_grace_time=LATE_S,
            next_run_time=datetime.now(UTC),
        )

    every(s.plan.interval_s, "forecast", program.look_ahead)
    every(s.plan.interval_s, "plan", lambda: program.plan_loop.run_once(program.clock(), look_ahead=False))
    every(s.plan.forecast_every_s, "events", lambda: program.aftermath.run_once(program.clock()))
    every(s.reclaim.interval_s, "reclaim", lambda: program.reclaim.run_once(program.clock()))
    every(s.feedback.interval_s, "feedback", lambda: program.feedback.run_once(program.clock()))
    every(GUARD_EVERY_S, "guard", lambda: program.guard.run_once(program.clock()))
    every(EXPIRE_EVERY_S, "expire", lambda: program.store.journal.expire(program.clock()))
    every(s.history.compact_every_s, "tidy", program.tidy)
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


def _guarded(name: str, work: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        try:
            work()
        except ControllerError as e:
            _log.error("loop failed", loop=name, code=e.code, reason=str(e))
        except Exception as e:  # noqa: BLE001  one bad run must not end the loop; the log has everything
            _log.error("loop failed", loop=name, exc_info=e)

    return run

"""The controller's options: each declared once, with default, unit and reason; read once, passed on as frozen values.

``etc/foreshape/controller.conf`` is rendered from these declarations (``sample()``), and a contract test compares.
Settings can also be built in code: ``Settings(history=HistorySettings(step_s=10))``.
"""

import difflib
import math
import re
import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from oslo_config import cfg

from foreshape_controller.config_cloud import CloudSettings, MigrationSettings, PoolSettings, ReservationSettings, SellSettings
from foreshape_controller.config_tenants import IdentitySettings, PricingSettings, RequestSettings
from foreshape_controller.errors import ConfigError
from foreshape_controller.option import option

TOLD_S = 120.0
"""What an agent did in time it tells with its next report; so long after an order's end that is waited for."""


@dataclass(frozen=True)
class StoreSettings:
    """Where state and history live."""

    url: str = option(
        "sqlite:////var/lib/foreshape/controller.db",
        "SQLAlchemy URL",
        "Database of the controller. SQLite: the folder must exist and be writable; sqlite:// keeps everything in memory (tests). "
        "PostgreSQL: postgresql+psycopg://USER@HOST/NAME (pip install 'foreshape[postgresql]'); its password in ~/.pgpass.",
    )
    synchronous: str = option(
        "full",
        "full | normal",
        "When the database forces a commit to disk. full: a report is acknowledged only when it survives a power cut. "
        "normal: it survives kill -9 of the controller, but the last seconds may go with the machine.",
        choices=("full", "normal"),
    )
    busy_s: float = option(5.0, "seconds", "How long a writer waits for another process's lock before it answers 503.", min=0.1, max=60)


@dataclass(frozen=True)
class HistorySettings:
    """Demand over time."""

    step_s: int = option(
        300, "seconds", "Width of a bin. Fixed when the database is made; only test beds on compressed time change it.", min=1, max=3600
    )
    retention_days: float = option(
        90.0, "days", "Closed bins older than this are deleted. Forecasts look back four weeks at most.", min=1, max=3650
    )
    compact_every_s: float = option(
        900.0, "seconds", "How often closed bins are packed into day chunks and outdated rows are deleted.", min=1, max=86400
    )


@dataclass(frozen=True)
class JournalSettings:
    """Plans, decisions, orders, outcomes."""

    hold_retention_h: float = option(
        24.0,
        "hours",
        "Whole plans are kept this long, decisions that changed nothing in them: some 90 bytes for each server in each plan.",
        min=1,
        max=8760,
    )
    acting_retention_days: float = option(
        180.0, "days", "Decisions that led to an order, orders and outcomes are kept this long.", min=1, max=3650
    )
    raised_floor_s: float = option(
        86400.0, "seconds", "How long a server keeps the memory that its agent gave back under pressure.", min=1, max=2592000
    )


@dataclass(frozen=True)
class PlanSettings:
    """The decision cycle."""

    interval_s: float = option(60.0, "seconds", "Time between two plans.", min=1, max=3600)
    order_ttl_s: float = option(
        300.0, "seconds", "An order not carried out by then is void: the agent refuses it, the journal expires it.", min=5, max=86400
    )
    stale_after_s: float = option(
        60.0, "seconds", "A host or server whose newest sample is older is stale: it is never shrunk.", min=5, max=86400
    )
    forecast: str = option(
        "auto",
        "auto | baseline | off",
        "Who looks ahead. auto: the promoted model where it has won, the baseline elsewhere. baseline: quantiles and errors of the "
        "past, no model. off: nobody; servers are sized by what the last half-hour used.",
        choices=("auto", "baseline", "off"),
    )
    history_bins: int = option(2016, "bins", "How far back the forecaster looks: 2016 bins of 5 minutes are 7 days.", min=12, max=20160)
    forecast_every_s: float = option(300.0, "seconds", "A forecast is made anew when the newest one is older than this.", min=1, max=86400)
    slow_forecast_every_s: float = option(
        1800.0,
        "seconds",
        "The same for what nobody is sized by: disk and network, sums of projects, segments and zones, counts of servers.",
        min=1,
        max=86400,
    )
    forecast_batch: int = option(
        250, "series", "Series that are forecast at once. More are a little faster and need more memory: 1 MiB each.", min=10, max=100000
    )
    forecast_apart_from: int = option(
        2000,
        "servers",
        "From so many servers on, forecasts are made by a process of their own, so that nobody who asks something waits for them. "
        " It needs some 300 MiB more. 0: never.",
        min=0,
        max=1000000,
    )
    alarms_per_month: float = option(
        1.0,
        "alarms per series and 30 days",
        "False alarms that the thresholds of anomalies are set for. Less finds less and later.",
        min=0.01,
        max=30,
    )
    cpu_ratio: float = option(
        4.0, "cores per CPU", "Cores that may be allocated per CPU of a host, all its servers together.", min=0.1, max=64
    )
    memory_reserved_mib: float = option(512.0, "MiB", "Memory of each host that no server gets.", min=0, max=1048576)
    host_risk: float = option(
        0.01,
        "share",
        "Chance with which the demand on a host may exceed what it has, by the host's own forecast. Above it growth of lower tiers "
        "waits, and a migration is asked for.",
        min=0.01,
        max=0.5,
    )
    migration_mib_s: float = option(
        100.0, "MiB per second", "How fast a migration copies memory: what deadlines of migrations are reckoned by.", min=1, max=100000
    )
    tiers_file: str = option("/etc/foreshape/tiers.yaml", "path", "SLA tiers: quantiles, floors, weights. Empty: the built-in tiers.")
    segments_file: str = option(
        "/etc/foreshape/segments.yaml",
        "path",
        "Segments and zones: groups of servers that are forecast as a whole. Empty, or no file at this place: no segment, one zone.",
    )
    default_mode: str = option(
        "advise",
        "observe | advise | act",
        "Mode of the cloud until somebody sets one (foreshape mode set). observe measures, advise decides and tells, act resizes.",
        choices=("observe", "advise", "act"),
    )
    tenants_default: str = option(
        "act",
        "observe | advise | act",
        "How far a tenant lets Foreshape go who chose nothing. observe: he has to opt in ('foreshape optin'). The lowest of this, "
        "of what he chooses and of the operators' modes is in force.",
        choices=("observe", "advise", "act"),
    )
    tenants_may: str = option(
        "act",
        "observe | advise | act",
        "The highest mode that tenants may choose. Opting out ('foreshape optout') always works.",
        choices=("observe", "advise", "act"),
    )


@dataclass(frozen=True)
class SafetySettings:
    """Budgets, circuit breaker, second controllers. Growth under pressure and give-backs are never held by a budget."""

    orders_per_minute: int = option(500, "orders", "Most orders a minute over all hosts; the rest waits.", min=1, max=100000)
    host_orders_per_minute: int = option(20, "orders", "Most orders a minute on one host.", min=1, max=10000)
    fleet_share_per_hour: float = option(
        0.3, "share", "Of all servers, that may be shrunk within an hour. Ten may be, however few there are.", min=0, max=1
    )
    shrink_cores_per_minute: float = option(500.0, "cores", "Most that is taken a minute, over all hosts.", min=0.1, max=1e9)
    shrink_mib_per_minute: float = option(524288.0, "MiB", "Most memory that is taken a minute.", min=1, max=1e12)
    grow_cores_per_minute: float = option(2000.0, "cores", "Most that is given ahead of need a minute.", min=0.1, max=1e9)
    grow_mib_per_minute: float = option(2097152.0, "MiB", "Most memory that is given ahead of need a minute.", min=1, max=1e12)
    breaker_window_s: float = option(1800.0, "seconds", "How far back outcomes count for the circuit breaker.", min=60, max=86400)
    server_failures: int = option(3, "orders", "So many failed or untold in a row halt a server.", min=1, max=100)
    host_failures: int = option(
        6, "orders", "So many failed or untold halt a host, where they are host_failure_share of its orders.", min=1, max=10000
    )
    host_failure_share: float = option(0.5, "share", "Of a host's orders.", min=0.01, max=1)
    cloud_failures: int = option(
        20, "orders", "So many on three hosts or more halt the cloud, where they are the share below.", min=1, max=100000
    )
    cloud_failure_share: float = option(0.3, "share", "Of all orders.", min=0.01, max=1)
    halt_s: float = option(
        300.0, "seconds", "How long the first halt lasts; each one after a failed trial lasts twice as long.", min=10, max=86400
    )
    halt_most_s: float = option(21600.0, "seconds", "How long a halt lasts at most.", min=10, max=604800)
    foreign_servers: int = option(
        3, "servers", "So many on a host changed by somebody else within an hour halt the host.", min=1, max=10000
    )
    outage_hosts_share: float = option(
        0.2, "share", "Of hosts silent: shrinks stop in the whole cloud. Fewer than three hosts never do.", min=0.01, max=1
    )
    outage_demand_share: float = option(
        0.4, "share", "A fall of all measured demand by this much within five minutes: shrinks stop in the whole cloud.", min=0.05, max=1
    )


@dataclass(frozen=True)
class AgentsSettings:
    """Agents and their tokens."""

    join_ttl_s: float = option(3600.0, "seconds", "A join token that is not used by then is void.", min=60, max=604800)
    token_rotation_days: float = option(
        30.0,
        "days",
        "An agent's token older than this is replaced; the old one holds until the new one is used. 0: never.",
        min=0,
        max=3650,
    )
    clock_skew_s: float = option(
        600.0,
        "seconds",
        "Samples dated further in the future are taken as of their receipt, and the host is marked as having a wrong clock.",
        min=1,
        max=86400,
    )


@dataclass(frozen=True)
class LearnSettings:
    """Learning from this deployment's own history: models, their training, and how their forecasts did."""

    enabled: bool = option(
        True,
        "true | false",
        "Score forecasts, train models, put the better one in office. false: the baseline forecasts, nothing is scored.",
    )
    models_dir: str = option(
        "/var/lib/foreshape/models", "path", "Folder of models; made when the first one is. It needs room for some 10 MB a model."
    )
    promote: str = option(
        "auto",
        "auto | manual",
        "auto: a model that wins on held-back days takes over. manual: it waits for 'foreshape model promote ID'.",
        choices=("auto", "manual"),
    )
    train_at: str = option("02:00", "HH:MM, UTC", "When the nightly training begins. Empty: only when it is asked for, or needed.")
    train_series: int = option(500, "servers", "Servers that a training learns from; of more, a sample.", min=10, max=30000)
    history_days: float = option(60.0, "days", "How far back a training looks.", min=3, max=3650)
    cpu_minutes: float = option(
        5.0, "CPU minutes", "What a training may use; it stops earlier when it no longer gets better.", min=0.01, max=1440
    )
    threads: int = option(1, "threads", "Threads of the training process, which runs at the lowest priority.", min=1, max=64)
    encoder: str = option("mlp", "mlp | tcn | lstm", "Kind of net.", choices=("mlp", "tcn", "lstm"))
    seed: int = option(0, "number", "Seed of the training: the same history and seed give the same model.", min=0, max=2147483647)
    keep_models: int = option(
        5, "models", "Newest models that are kept; the one in office and the one before it stay in any case.", min=2, max=100
    )
    interval_s: float = option(
        60.0, "seconds", "How often forecasts whose future is over are scored, and the training is looked after.", min=1, max=3600
    )
    archive_series: int = option(
        2000,
        "servers",
        "Servers whose forecasts are kept until they can be scored; of more, a sample that changes daily.",
        min=10,
        max=30000,
    )
    archive_whole_bins: int = option(
        72, "bins", "Whole forecasts are kept this often (72: every 6 hours), half-hour peaks every 6 bins.", min=6, max=288
    )
    scores_days: float = option(60.0, "days", "Scores older than this are deleted.", min=1, max=3650)
    judge_days: float = option(7.0, "days", "A model in office is judged by its forecasts of so many days.", min=1, max=60)
    headroom: bool = option(True, "true | false", "Learn for each server how much room above its forecast it needs.")
    headroom_target: float = option(
        0.1,
        "share",
        "Share of half-hours in which a server's peak may exceed the size it was meant to have; never more than its tier's quantile "
        "leaves open. What the size then still falls short of is answered within a plan: see violation_target in tiers.yaml.",
        min=0.0001,
        max=0.2,
    )
    headroom_rate: float = option(
        0.2, "factor per violation", "How fast the room follows; 0.5 adds half a spread for one violation.", min=0.001, max=2
    )
    headroom_low: float = option(
        0.5, "factor", "Least room: this part of the distance from the median to the tier's quantile.", min=0, max=1
    )
    headroom_high: float = option(3.0, "factor", "Most room.", min=1, max=20)
    headroom_memory_narrows: bool = option(
        False, "true | false", "Let the room of memory also fall below the tier's quantile. Measured: it does not help."
    )


@dataclass(frozen=True)
class ReclaimSettings:
    """Idle and over-sized servers are always shown. Floors go down only if enabled, in mode act, in tiers with may_reclaim."""

    enabled: bool = option(
        False, "true | false", "Lower floors. false: what is found stays advice, and floors that were lowered are given back."
    )
    interval_s: float = option(60.0, "seconds", "How often servers that are being reclaimed are looked after.", min=1, max=3600)
    find_every_s: float = option(3600.0, "seconds", "How often history is looked through.", min=1, max=604800)
    days: float = option(7.0, "days", "How far back; younger servers are left alone. A day is 288 bins.", min=0.01, max=60)
    covered: float = option(0.8, "share", "Least part of these days that measurements spoke for.", min=0.1, max=1)
    idle_share: float = option(0.05, "share of the entitlement", "Idle: never uses more.", min=0, max=1)
    oversized_share: float = option(0.3, "share of the entitlement", "Over-sized: never uses more.", min=0, max=1)
    margin: float = option(0.3, "share", "Room above the largest that was used or is forecast, which stays.", min=0, max=10)
    least_cpu: float = option(0.05, "cores", "No floor goes below this.", min=0.001, max=64)
    least_memory: float = option(128.0, "MiB", "No floor goes below this.", min=16, max=1048576)
    worth_share: float = option(0.2, "share of the floor", "A floor that would sink by less stays.", min=0.01, max=1)
    notice_s: float = option(259200.0, "seconds", "Time between the notice to the owner and the first step.", min=0, max=7776000)
    step_share: float = option(0.2, "share of the floor", "What one step takes at most.", min=0.001, max=1)
    step_s: float = option(21600.0, "seconds", "Least time between two steps.", min=1, max=2592000)
    ahead_days: float = option(
        7.0, "days", "A server is left alone when an event that raises its demand begins within this time.", min=0, max=365
    )
    rest_days: float = option(7.0, "days", "A server that was given back is left alone for this long.", min=0, max=365)
    objection_days: float = option(90.0, "days", "An owner's objection counts for this long.", min=0.01, max=3650)
    kept_days: float = option(90.0, "days", "Notices and reclaims that are over are kept this long.", min=1, max=3650)


@dataclass(frozen=True)
class FeedbackSettings:
    """What came of decisions, and tiers that learn of it. Half-hours are judged in any case."""

    adapt: bool = option(True, "true | false", "Once a day let headroom and hold time of each tier follow its violation_target.")
    interval_s: float = option(60.0, "seconds", "How often half-hours that are over are looked for.", min=1, max=3600)
    headroom_low: float = option(
        0.5, "factor", "A tier's headroom never falls below this part of the file's; memory's never below the whole.", min=0.1, max=1
    )
    headroom_high: float = option(2.0, "factor", "Nor rises above this many times the file's.", min=1, max=4)
    hold_low: float = option(0.5, "factor", "The same of the hold time.", min=0.1, max=1)
    hold_high: float = option(2.0, "factor", "The same of the hold time.", min=1, max=4)
    kept_days: float = option(180.0, "days", "How long it is kept how tiers did.", min=2, max=3650)


@dataclass(frozen=True)
class ApiSettings:
    """The HTTP edge."""

    bind: str = option("127.0.0.1", "address", "Address to listen on. Any other than loopback needs TLS.")
    port: int = option(8470, "TCP port", "Port to listen on. 0: any free one, written to the log.", min=0, max=65535)
    tls: str = option(
        "auto",
        "auto | self-signed | files | off",
        "auto: files if tls_cert is set, off on loopback, refused otherwise. self-signed: a certificate is made at the first start, "
        "beside the admin token; give it to the agents as their CA file. off on another address than loopback needs insecure.",
        choices=("auto", "self-signed", "files", "off"),
    )
    tls_cert: str = option("", "path", "Certificate chain, PEM.")
    tls_key: str = option("", "path", "Private key, PEM, readable by the controller only.")
    tls_names: tuple[str, ...] = option(
        (), "names, comma separated", "Host names and addresses that the self-signed certificate is for, beside this machine's own."
    )
    insecure: bool = option(
        False, "true | false", "Allow plain HTTP on another address than loopback: tokens can be read by anyone on the way."
    )
    admin_token_file: str = option(
        "/var/lib/foreshape/admin-token",
        "path",
        "Bearer token of operators; made, readable by the controller's user only, at the first start.",
    )
    metrics_token_file: str = option(
        "",
        "path",
        "Token by which Prometheus may read /metrics, and nothing else (docs/observability.md). Made at the start. Empty: operators only.",
    )
    metrics_hosts: bool = option(True, "true | false", "Metrics of each host: some 20 series a host.")
    metrics_servers: int = option(
        0, "servers", "Metrics of single servers, so many of the largest: 8 series a server. 0: none.", min=0, max=30000
    )
    streams: int = option(
        200, "count", "Event streams (GET /v1/stream) that are open at once; further ones are answered 503.", min=1, max=10000
    )
    project_streams: int = option(10, "count", "… of one project.", min=1, max=10000)
    reports_apart: bool = option(
        True,
        "true | false",
        "Agents' reports are taken by a process of its own, so that plans and forecasts of large clouds do not keep agents waiting. "
        "false: by the controller's own threads.",
    )
    proxies: tuple[str, ...] = option(
        (),
        "addresses, comma separated",
        "Reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed; of others they are not.",
    )
    workers: int = option(8, "threads", "Requests that are worked on at once; writes to the store are one at a time anyway.", min=1, max=64)


@dataclass(frozen=True)
class LogSettings:
    """What is written where."""

    level: str = option(
        "info", "debug | info | warning | error", "Least severity that is written.", choices=("debug", "info", "warning", "error")
    )
    format: str = option("auto", "auto | json | text", "auto: text on a terminal, JSON elsewhere.", choices=("auto", "json", "text"))


@dataclass(frozen=True)
class Settings:
    """Everything the controller can be told, one part per section of the file."""

    store: StoreSettings = field(default_factory=StoreSettings)
    history: HistorySettings = field(default_factory=HistorySettings)
    journal: JournalSettings = field(default_factory=JournalSettings)
    plan: PlanSettings = field(default_factory=PlanSettings)
    safety: SafetySettings = field(default_factory=SafetySettings)
    agents: AgentsSettings = field(default_factory=AgentsSettings)
    learn: LearnSettings = field(default_factory=LearnSettings)
    reclaim: ReclaimSettings = field(default_factory=ReclaimSettings)
    feedback: FeedbackSettings = field(default_factory=FeedbackSettings)
    cloud: CloudSettings = field(default_factory=CloudSettings)
    reservations: ReservationSettings = field(default_factory=ReservationSettings)
    migrations: MigrationSettings = field(default_factory=MigrationSettings)
    pools: PoolSettings = field(default_factory=PoolSettings)
    sell: SellSettings = field(default_factory=SellSettings)
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    requests: RequestSettings = field(default_factory=RequestSettings)
    pricing: PricingSettings = field(default_factory=PricingSettings)
    api: ApiSettings = field(default_factory=ApiSettings)
    log: LogSettings = field(default_factory=LogSettings)
    simulated: bool = False
    """Set by the demo only: every answer then says that it speaks of simulated hosts."""


_SECTIONS: Mapping[str, type] = types.MappingProxyType(
    {
        "store": StoreSettings,
        "history": HistorySettings,
        "journal": JournalSettings,
        "plan": PlanSettings,
        "safety": SafetySettings,
        "agents": AgentsSettings,
        "learn": LearnSettings,
        "reclaim": ReclaimSettings,
        "feedback": FeedbackSettings,
        "cloud": CloudSettings,
        "reservations": ReservationSettings,
        "migrations": MigrationSettings,
        "pools": PoolSettings,
        "sell": SellSettings,
        "identity": IdentitySettings,
        "requests": RequestSettings,
        "pricing": PricingSettings,
        "api": ApiSettings,
        "log": LogSettings,
    }
)

_LOCATION = re.compile(r" from LocationInfo\(.*?\)(?=,? is not valid|,|$)")
"""oslo.config names the place of a bad value in its own type's words, which help nobody."""


def load(path: str | Path) -> Settings:
    """Read a configuration file. Raises ConfigError naming the option, the value and what is allowed."""
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"no configuration file at {file}: give its path with --config-file")
    _refuse_unknown(file)
    conf = cfg.ConfigOpts()
    for section, cls in _SECTIONS.items():
        conf.register_opts([_declare(f) for f in fields(cls)], group=section)
    try:
        conf([], project="foreshape", default_config_files=[str(file)], default_config_dirs=[])
        return _agreeing(Settings(**{section: _read(conf, section, cls) for section, cls in _SECTIONS.items()}))
    except (cfg.ConfigFileValueError, cfg.ConfigFileParseError, ValueError) as e:
        raise ConfigError(f"{file}: {_LOCATION.sub('', str(e))}") from e


def _agreeing(s: Settings) -> Settings:
    """Raises ValueError where two options together make no sense."""
    least = s.plan.order_ttl_s + TOLD_S
    if s.safety.breaker_window_s < least:
        raise ValueError(
            f"[safety] breaker_window_s = {s.safety.breaker_window_s:g} is shorter than an order may take to fail ([plan] order_ttl_s and "
            f"{TOLD_S:g} s in which an agent tells of it): no failure would count; set it to {least:g} or more"
        )
    return s


def sample() -> str:
    """The text of ``etc/foreshape/controller.conf``: every option, commented, at its default."""
    parts = ["# Foreshape controller. Every option stands here at its default, commented; uncomment to change.\n"]
    for section, cls in _SECTIONS.items():
        parts.append(f"\n[{section}]\n# {(cls.__doc__ or '').strip()}\n")
        parts.extend(_sample_option(f) for f in fields(cls))
    return "".join(parts)


def _read(conf: cfg.ConfigOpts, section: str, cls: type) -> Any:
    values = {f.name: _value(conf, section, f) for f in fields(cls)}
    return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


def _value(conf: cfg.ConfigOpts, section: str, f: "Field[Any]") -> Any:
    """Raises ValueError naming section, option, and what is possible: names like interval_s stand in several sections."""
    possible = f"[{section}] {f.name} takes {f.metadata['unit']}{_bounds(f)}"
    try:
        value = getattr(conf[section], f.name)
    except (cfg.ConfigFileValueError, ValueError) as e:
        raise ValueError(f"{possible}. {_LOCATION.sub('', str(e))}") from e
    if isinstance(value, float) and not math.isfinite(value):  # oslo.config compares, and every comparison with NaN is false
        raise ValueError(f"{possible}. {value} is not an amount")
    return value


def _declare(f: "Field[Any]") -> cfg.Opt:
    limits = {k: f.metadata[k] for k in ("min", "max", "choices") if k in f.metadata}
    kinds: dict[Any, type[cfg.Opt]] = {
        int: cfg.IntOpt,
        float: cfg.FloatOpt,
        bool: cfg.BoolOpt,
        str: cfg.StrOpt,
        tuple[str, ...]: cfg.ListOpt,
    }
    return kinds[f.type](f.name, default=f.default, help=f.metadata["help"], **limits)


def _sample_option(f: "Field[Any]") -> str:
    limits, bounds = f.metadata, _bounds(f)
    head = "".join(f"# {line}\n" for line in textwrap.wrap(limits["help"], 116))
    return f"\n{head}# Unit: {limits['unit']}{bounds}\n#{f.name} = {_text(f.default)}".rstrip() + "\n"


def _bounds(f: "Field[Any]") -> str:
    return f", {f.metadata['min']:g} to {f.metadata['max']:g}" if "min" in f.metadata else ""


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _used(file: Path) -> Iterator[tuple[str, str]]:
    sections: dict[str, dict[str, Sequence[str]]] = {}
    try:
        cfg.ConfigParser(str(file), sections).parse()
    except (cfg.ParseError, UnicodeDecodeError, OSError) as e:
        raise ConfigError(f"{file}: {e}") from e
    for section, options in sections.items():
        if section not in _SECTIONS and not options:
            yield section, ""
        yield from ((section, name) for name in options)


def _refuse_unknown(file: Path) -> None:
    for section, name in _used(file):
        if section not in _SECTIONS:
            raise ConfigError(f"{file}: unknown section [{section}]{_nearest(section, _SECTIONS)}")
        known = [f.name for f in fields(_SECTIONS[section])]
        if name not in known:
            raise ConfigError(f"{file}: unknown option {name!r} in [{section}]{_nearest(name, known)}")


def _nearest(name: str, known: "Sequence[str] | Mapping[str, type]") -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f": did you mean {close[0]!r}?" if close else f"; known are {', '.join(sorted(known))}"

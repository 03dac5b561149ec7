"""What the API answers operators: flat, named with units, ready for a table. The CLI reads the same shapes as JSON."""

import msgspec

from foreshape_controller.model.plan import Decision
from foreshape_wire.order import Order, Outcome
from foreshape_wire.reading import Capability


class HostAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/hosts`` and ``/v1/hosts/{name}``."""

    name: str
    cpus: int
    memory_mib: float
    memory_available_mib: float
    cpu_used_cores: float
    servers: int
    cpu_allocated_cores: float
    cpu_entitled_cores: float
    memory_allocated_mib: float
    memory_entitled_mib: float
    last_report_s_ago: float
    fresh: bool
    mode: str
    safe_mode: str
    agent_version: str
    backlog_gap: str = ""
    """Time of samples that the agent's spool had to thin, if any."""


class ServerAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/servers`` and ``/v1/servers/{id or name}``."""

    id: str
    name: str
    host: str
    project: str
    flavor: str
    tier: str
    mode: str
    state: str
    cpu_demand_cores: float | None
    cpu_allocated_cores: float
    cpu_entitled_cores: float
    cpu_ceiling_cores: float
    memory_demand_mib: float | None
    memory_allocated_mib: float
    memory_entitled_mib: float
    memory_ceiling_mib: float
    guest_vcpus: int | None
    last_sample_s_ago: float
    levers: tuple[Capability, ...]


class Fan(msgspec.Struct, kw_only=True):
    """Quantiles of one resource ahead of time; levels as in ``levels``."""

    resource: str
    unit: str
    source: str
    reason: str
    age_s: float
    step_s: int
    levels: tuple[float, ...]
    peak30m: tuple[float, ...]
    peak24h: tuple[float, ...]
    steps: tuple[tuple[float, ...], ...]
    half_hours: tuple[tuple[float, ...], ...]


class ForecastAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/servers/{id or name}/forecast``."""

    server: str
    name: str
    origin: float
    fans: tuple[Fan, ...]


class OrderAnswer(msgspec.Struct, kw_only=True):
    """An order and what came of it so far."""

    order: Order
    status: str
    """``open``, ``applied``, ``refused``, ``failed``, ``expired``, ``superseded``."""
    outcomes: tuple[Outcome, ...]


class WhyAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/servers/{id or name}/why[?at=SEC]``: the decision in force, newest first, and what it led to."""

    server: str
    name: str
    sentences: tuple[str, ...]
    decisions: tuple[Decision, ...]
    orders: tuple[OrderAnswer, ...]
    local_actions: tuple[Outcome, ...]
    """What the agent did by itself (reflex, fail to static)."""


class PlanAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/plan``: the newest plan."""

    plan: str
    at: float
    notes: tuple[str, ...]
    decisions: tuple[Decision, ...]


class ModeAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/mode`` and ``PUT /v1/mode``; scope is ``cloud``, ``host:NAME``, ``project:ID`` or ``server:ID``."""

    scope: str
    mode: str
    since: float
    reason: str


class SummaryAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/summary``: the fleet in one row."""

    hosts: int
    hosts_fresh: int
    servers: int
    cpu_demand_cores: float
    cpu_allocated_cores: float
    cpu_entitled_cores: float
    memory_demand_mib: float
    memory_allocated_mib: float
    memory_entitled_mib: float
    decisions: int
    orders: int
    orders_applied: int
    orders_refused: int
    orders_failed: int
    reflexes: int
    decisions_changed_by_forecast: int
    simulated: bool


class JoinAnswer(msgspec.Struct, kw_only=True):
    """``POST /v1/agents/{host}/join``: a one-time token for one host's agent."""

    host: str
    join_token: str
    expires_at: float


class EnrolRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """``POST /v1/agents/enrol``."""

    host: str
    join_token: str


class EnrolAnswer(msgspec.Struct, kw_only=True):
    """The agent's own token; shown once, stored hashed."""

    host: str
    token: str


class Problem(msgspec.Struct, kw_only=True):
    """Every error of the API (RFC 9457): ``code`` is stable, ``detail`` says what to do."""

    code: str
    title: str
    status: int
    detail: str

"""What the API answers operators: flat, named with units, ready for a table. The CLI reads the same shapes as JSON."""

import msgspec

from foreshape_controller.model.plan import Decision
from foreshape_controller.model.tier import Price, ResourceRules
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
    halts: tuple[str, ...] = ()
    """What is halted there, its servers included, and why."""
    cloud: str = ""
    """What Nova says of it; empty: no cloud is configured."""


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
    project_name: str = ""
    zone: str = ""
    """Nova's; empty: no cloud is configured."""
    held: str = ""
    """Why nothing is changed on it because of what the cloud says; empty: nothing forbids it."""


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


class SeriesForecastAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/forecasts/{series}``: of a host, project, segment or zone (``host:NAME`` …); ``servers`` are its members now."""

    series: str
    kind: str
    name: str
    servers: int
    origin: float
    fans: tuple[Fan, ...]


class SegmentAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/segments`` and ``/{name}``: what each segment's servers want, have and were sold together, and what is expected of them."""

    name: str
    servers: int
    hosts: int
    cpu: "SegmentAmounts"
    """Cores."""
    memory: "SegmentAmounts"
    """MiB."""
    origin: float | None
    """When it was forecast; null: not yet."""
    members: tuple[str, ...] | None = None
    """Ids of its servers; null in lists."""


class SegmentAmounts(msgspec.Struct, kw_only=True):
    """One resource of one segment."""

    demand: float
    allocated: float
    floor: float
    """Sum of the floors in force."""
    entitled: float
    capacity: float
    """Its part of what its hosts may hand out, by what was sold there."""
    room: float
    """All that its hosts may hand out."""
    slack: float | None
    """Part of what it has that it does not want now, 0..1; null where it has nothing."""
    ahead: float | None
    """Median of the next 30 minutes."""
    peak24h_q95: float | None


class SegmentReportAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/segments/report?since_s=SECONDS``: who gave and who got on hosts that were short."""

    since: float
    until: float
    transfers: tuple["TransferAnswer", ...]
    """The largest first."""
    balances: tuple["BalanceAnswer", ...]


class TransferAnswer(msgspec.Struct, kw_only=True):
    """What one segment gave another, or one tier where servers are in no segment."""

    giver: str
    taker: str
    resource: str
    unit: str
    amount: float
    """What plans took for the other, added up."""
    times: int
    hosts: int
    last_at: float


class BalanceAnswer(msgspec.Struct, kw_only=True):
    """What one of them gave and got altogether."""

    party: str
    resource: str
    unit: str
    gave: float
    got: float


class OrderAnswer(msgspec.Struct, kw_only=True):
    """An order and what came of it so far."""

    order: Order
    status: str
    """``open``, ``applied``, ``refused``, ``failed``, ``expired``, ``superseded``, ``unseen``, ``withdrawn``."""
    outcomes: tuple[Outcome, ...]


class AfterwardAnswer(msgspec.Struct, kw_only=True):
    """A decision's half-hour held against what was predicted of one resource. Cores or MiB; None: not known."""

    resource: str
    since: float
    until: float
    over: bool
    predicted: float | None
    """The half-hour's peak at the tier's quantile, headroom included."""
    median: float | None
    came: float | None
    """The largest demand measured."""
    had: float | None
    """Mean allocation."""
    bins: int
    short_bins: int
    """Bins of five minutes that needed more than there was, or ran into their cap."""
    verdict: str = ""
    """``short``, ``needed`` (a growth that came true), ``not_needed``, ``enough``; empty while it is not known."""
    sentence: str = ""


class WorthAnswer(msgspec.Struct, kw_only=True):
    """What one resource of a decision costs, in the operator's unit of money per hour, by its tier's price of today."""

    resource: str
    entitlement: float
    before_per_hour: float
    """What its customer pays: what was sold, and burst above it."""
    after_per_hour: float
    change_per_hour: float
    """What the change brings: capacity that can be sold again, burst that is paid for; negative: capacity taken up."""
    sentence: str


class WhyAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/servers/{id or name}/why[?at=TIME]``: the decision in force, newest first, and what it led to."""

    server: str
    name: str
    sentences: tuple[str, ...]
    decisions: tuple[Decision, ...]
    orders: tuple[OrderAnswer, ...]
    local_actions: tuple[Outcome, ...]
    """What the agent did by itself (reflex, fail to static)."""
    afterwards: tuple[AfterwardAnswer, ...] = ()
    """What came after the first of the decisions."""
    worth: tuple[WorthAnswer, ...] = ()
    """Its price; nothing where the tier has none."""
    circumstances: tuple[str, ...] = ()
    """Sentences: caps, halts and reclamation in force then."""


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


class StopAnswer(msgspec.Struct, kw_only=True):
    """``POST /v1/stop``: nothing is ordered in the scope from now on."""

    scope: str
    mode: str
    since: float
    reason: str
    withdrawn: int
    """Open orders that no agent is handed any more."""
    with_agents: int
    """Of those: an agent has them already and may carry them out."""


class HaltAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/halts``: where less is ordered now."""

    scope: str
    """``cloud``, ``host:NAME``, ``server:ID``."""
    kind: str
    """``failures``, ``foreign`` or ``outage``."""
    state: str
    """``open``: halted; ``half_open``: one order is tried."""
    since: float
    until: float
    trips: int
    """How often it was halted without a good trial in between."""
    reason: str


class ModelEvent(msgspec.Struct, kw_only=True):
    """A line of the log of promotions."""

    at: float
    event: str
    """``promoted``, ``rolled back``, ``waits``, ``lost``, ``fell back``, ``training failed``."""
    model: str
    reason: str


class VerdictAnswer(msgspec.Struct, kw_only=True):
    """What the last days say of the model in office, for one kind of series."""

    resource: str
    stratum: str
    head: str
    action: str
    """``fine``, ``retrain`` or ``fall back``."""
    reasons: tuple[str, ...]


class LearningAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/learning``."""

    off: str = ""
    """Why nothing is taught; empty when learning is on."""
    model: str
    """Who forecasts now: a model's id, or ``baseline``."""
    trouble: str = ""
    """Why the model that was put in office does not forecast; empty when it does."""
    training: bool = False
    training_model: str = ""
    training_share: float = 0.0
    training_phase: str = ""
    last_training: str = "none"
    last_training_at: float | None = None
    last_training_reason: str = ""
    next_training_at: float | None = None
    waiting_forecasts: int = 0
    """Rows of the archive whose future is not over."""
    verdicts: tuple[VerdictAnswer, ...] = ()
    events: tuple[ModelEvent, ...] = ()
    """The newest first."""


class ModelAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/models`` and ``/v1/models/{id}``."""

    id: str
    state: str
    """``champion``, ``previous``, ``challenger``, ``damaged``; the baseline that a champion stands before is ``behind it``."""
    reason: str = ""
    made_at: float | None = None
    code_version: str = ""
    data_from: float | None = None
    data_until: float | None = None
    taught_until: float | None = None
    """End of the days that weights were fitted on; the rest was held back."""
    series: dict[str, int] = {}
    seed: int | None = None
    encoder: str = ""
    cpu_seconds: float | None = None
    ratios: dict[str, float] = {}
    """By ``resource head``: error over the baseline's, on the held-back days."""
    note: str = ""


class AccuracyAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/learning/accuracy``: how forecasts did, for one kind of series. Shares are 0..1; None: unknown."""

    resource: str
    stratum: str
    head: str
    """``steps`` (30 minutes, by 5), ``half_hours`` (a day), ``peak30m``, ``peak24h``."""
    predictor: str
    windows: int
    values: int
    wql: float | None
    baseline_wql: float | None
    """The baseline's on the same windows; None where it was in office itself."""
    ratio: float | None
    inside80: float | None
    inside90: float | None
    inside98: float | None
    below99: float | None
    """Share of amounts not above the 99 % quantile."""


class SummaryAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/summary``: the fleet in one row."""

    hosts: int
    hosts_fresh: int
    servers: int
    servers_unmeasured: int = 0
    """Without a CPU or memory sample: they add nothing to the demand, and all that they have to the allocation."""
    cpu_demand_cores: float
    cpu_allocated_cores: float
    cpu_entitled_cores: float
    memory_demand_mib: float
    memory_allocated_mib: float
    memory_entitled_mib: float
    decisions: int
    """This and the counts below: since the database was made."""
    orders: int
    orders_applied: int
    orders_refused: int
    orders_failed: int
    reflexes: int
    decisions_changed_by_forecast: int
    ahead_unused_core_h: float = 0.0
    """Held for forecast peaks after their time, although they did not come."""
    ahead_unused_mib_h: float = 0.0
    simulated: bool
    changed_share_24h: float | None = None
    """Share of the last day's decisions, per resource, that the forecast changed; None: none is judged yet."""
    alarm: str = ""
    """Why somebody should look: forecasts are on, and change nothing."""
    halts: tuple[str, ...] = ()
    """What is halted now, and why."""
    cloud: str = ""
    """The configured OpenStack in one line; empty: none is."""


class TierAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/tiers/{name}``: what a tier promises, and how many servers are in it."""

    name: str
    servers: int
    weight: float
    criticality: float
    throttle_order: int
    migrate_order: int
    violation_target: float
    may_shrink: bool
    may_reclaim: bool
    dead_band: float
    cpu: ResourceRules
    memory: ResourceRules
    price: Price
    learned: dict[str, str] = {}
    """By resource: what feedback made of headroom and hold time, and why. Only where one tier is asked for."""


class PolicyAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/tiers`` and ``POST /v1/tiers/reload``: the policy in force."""

    file: str
    """Empty: the built-in tiers."""
    hash: str
    """SHA-256 of the text in force."""
    since: float
    default: str
    problems: tuple[str, ...]
    """Why the file's newest text is not in force; empty when it is."""
    warnings: tuple[str, ...]
    tiers: tuple[TierAnswer, ...]
    assign: tuple[dict[str, str | float], ...]
    """The rules that assign servers, in their order."""


class JoinAnswer(msgspec.Struct, kw_only=True):
    """``POST /v1/agents/{host}/join``: a one-time token for one host's agent."""

    host: str
    join_token: str
    expires_at: float


class AgentAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/agents`` and ``/v1/agents/{host}``."""

    host: str
    state: str
    """invited, enrolled, reporting, late, silent or revoked."""
    version: str
    """Empty: it has never reported."""
    last_report_s_ago: float | None
    token_issued: float | None
    """None: it has none."""
    token_age_s: float | None
    token_next: float | None = None
    """When a new token was handed out that it has not used yet."""
    join_until: float | None = None
    """Until when a join token holds that nobody has used yet."""
    wrong: str = ""
    """Empty: nothing."""
    to_do: str = ""


class EnrolRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """``POST /v1/agents/enrol``."""

    host: str
    join_token: str


class EnrolAnswer(msgspec.Struct, kw_only=True):
    """The agent's own token; shown once, stored hashed."""

    host: str
    token: str


class CandidateAnswer(msgspec.Struct, kw_only=True):
    """A server that could be moved away."""

    server: str
    name: str
    tier: str
    relief: float
    """What its host would have back, cores or MiB."""
    seconds: float
    """How long its migration is expected to take."""


class NeedAnswer(msgspec.Struct, kw_only=True):
    """A host that no sharing can serve: so much has to leave it."""

    host: str
    resource: str
    amount: float
    """Cores or MiB."""
    since: float
    starts: float
    """When the shortage begins."""
    deadline: float
    """When a migration has to begin."""
    probability: float
    """That the host's demand exceeds what it has, by its own forecast."""
    reason: str
    candidates: tuple[CandidateAnswer, ...]
    closed_at: float | None = None
    closed_why: str = ""


class Problem(msgspec.Struct, kw_only=True):
    """Every error of the API (RFC 9457): ``code`` is stable, ``detail`` says what to do."""

    code: str
    title: str
    status: int
    detail: str

"""What is asked of migrations, proposals and drains over HTTP, and what is answered. Instants are epoch seconds."""

import msgspec


class Answer(msgspec.Struct, kw_only=True):
    """One line of ``GET /v1/migrations``: a proposal, or a migration."""

    id: str
    kind: str
    """``proposal`` or ``migration``."""
    state: str
    server: str
    name: str
    source: str
    target: str
    goal: str
    reason: str
    by: str
    created: float
    deadline: float | None
    worth: float
    predicted_s: float
    downtime_s: float
    took_s: float | None
    """By Nova's record; None: it has not arrived, or Nova's record has no times."""
    stopped_s: float | None
    """Measured downtime; None: it has not arrived, or nobody measured it."""
    said: str
    ended: float | None


class HappeningAnswer(msgspec.Struct, kw_only=True):
    """One line of a migration's history."""

    at: float
    what: str
    state: str
    text: str


class ShowAnswer(Answer, kw_only=True):
    """``GET /v1/migrations/{id}``."""

    project: str
    cause: str
    reservation: str
    nova_id: str
    link: str
    copied_mib: float
    limit_s: float
    history: tuple[HappeningAnswer, ...]


class KeptAnswer(msgspec.Struct, kw_only=True):
    """What a plan looked at and did not move."""

    name: str
    reason: str


class PlanAnswer(msgspec.Struct, kw_only=True):
    """``POST /v1/migrations/plan``: what would be proposed; nothing is written."""

    moves: tuple[Answer, ...]
    kept: tuple[KeptAnswer, ...]
    notes: tuple[str, ...] = ()


class PlanRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to plan for. ``propose``: keep the moves as proposals."""

    goal: str = "need"
    host: str = ""
    """Of a drain: which."""
    flavor: str = ""
    """Of consolidating: the one to make room for, as its name; empty: the largest that is in use."""
    propose: bool = False


class ProposeRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One move that somebody wants. Without a target the emptiest possible one is taken."""

    server: str
    target: str = ""
    reason: str
    by: str = ""
    approve: bool = False


class ApproveRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which proposals are to be carried out. ``all``: every open one."""

    ids: list[str] = []
    all: bool = False
    by: str = ""


class CancelRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Why a migration or a proposal is not wanted any more."""

    reason: str = ""


class DrainRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """``POST /v1/hosts/{host}/drain``."""

    reason: str
    by: str = ""
    until: float | None = None
    for_s: float | None = None
    """Instead of ``until``: empty in so many seconds."""
    approve: bool = False
    disable: bool = False


class DrainAnswer(msgspec.Struct, kw_only=True):
    """A drain and how far it is."""

    id: str
    host: str
    reason: str
    by: str
    since: float
    until: float | None
    approved: bool
    disabled: bool
    state: str
    """``proposed`` (nothing leaves it before somebody approves), ``emptying``, ``empty``, ``ended``."""
    total: int
    left: int
    """Servers that are on it now."""
    moving: int
    proposed: int
    kept: tuple[KeptAnswer, ...]
    empty_at: float | None
    ended: float | None
    ended_why: str

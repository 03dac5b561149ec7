"""A decision told to a person at three in the morning. Pure: values in, sentences out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from foreshape_controller.model.answers import OrderAnswer
from foreshape_controller.model.forecast import NO_FORECAST
from foreshape_controller.model.plan import Choice, Decision, PeakRange, Sizing
from foreshape_controller.model.told import amount
from foreshape_wire.order import Mode, Order, Origin, Outcome

NAMES = {"cpu": "CPU", "memory": "Memory"}
_ENDINGS = {
    "open": "is open: the agent has it with its next report, or is at it",
    "applied": "was carried out",
    "refused": "was refused by the agent",
    "failed": "failed",
    "expired": "was not carried out in time and is void",
    "superseded": "was replaced by a newer order",
    "unseen": "was replaced, or ran out, before its agent asked for orders",
    "withdrawn": "was withdrawn: somebody stopped Foreshape there",
}
_LOCAL = {
    Origin.REFLEX: "gave back at once under pressure",
    Origin.STATIC: "went back to what was sold",
    Origin.ORDER: "acted",
    Origin.CAP: "held a hard cap",
}


@dataclass(frozen=True)
class Around:
    """Sentences from elsewhere: what was in force, what the change is worth, what came afterwards."""

    circumstances: tuple[str, ...] = ()
    worth: tuple[str, ...] = ()
    afterwards: tuple[str, ...] = ()


def sentences(
    name: str, decision: Decision | None, orders: Sequence[OrderAnswer], local: Sequence[Outcome] = (), around: Around | None = None
) -> tuple[str, ...]:
    """The decision in force, what it led to, what came after it, and what the agent did by itself since."""
    beside = around or Around()
    if decision is None:
        return (f"Nothing was decided about {name} yet: it needs a report with its card, and the next plan.", *_locals(local))
    mine = [a for a in orders if a.order.cause == decision.cause]
    earlier = [a for a in orders if a.order.cause != decision.cause][:1]
    return (
        f"{clock(decision.at)}: {name} on {decision.host}, tier {decision.tier}, mode {decision.mode.value} (cause {decision.cause}).",
        *_resource(decision.cpu),
        *_resource(decision.memory),
        *beside.circumstances,
        *beside.worth,
        *_consequence(decision, mine),
        *beside.afterwards,
        *(f"Before that: {line}" for a in earlier for line in _order(a)),
        *_locals([o for o in local if not mine or o.at >= mine[0].order.issued_at][:3]),
    )


def clock(at: float) -> str:
    """An instant as people write it, UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _resource(s: Sizing) -> Iterator[str]:
    have, target = amount(s.resource, s.allocation), amount(s.resource, s.target)
    move = f"stays at {have}" if s.choice is Choice.HOLD else f"{s.choice.value}s from {have} to {target}"
    yield f"{NAMES[s.resource]} {move}: {s.reason} [{s.code}]."
    if s.peak is not None:
        yield _forecast(s.resource, s.peak)
    failed = [f"{g.name} ({g.detail})" for g in s.gates if not g.passed and g.name != s.code]  # the code's own reason was said
    if failed:
        yield f"  What stood against a change: {', '.join(failed)}."
    if s.changed_by_forecast and s.reactive_target is not None:
        yield f"  Without a forecast the same rules would have chosen {amount(s.resource, s.reactive_target)}."


def _forecast(resource: str, p: PeakRange) -> str:
    """The reason why this link of the forecast chain spoke is the forecaster's own sentence."""
    if p.source == NO_FORECAST:
        return f"  Nobody looked ahead, [plan] forecast is off: {amount(resource, p.wanted)}, {p.reason}."
    factor = f" (room above the median × {p.headroom:.2f})" if abs(p.headroom - 1) > 5e-3 else ""
    window = f" of the next {p.half_hours + 1} half-hours (a change takes that long)" if p.half_hours else ""
    return (
        f"  Forecast: peak{window} of {amount(resource, p.median)} (median), "
        f"{amount(resource, p.wanted)} to be safe at {p.quantile:.0%}{factor}; "
        f"by {p.source} from {_age(p.age_s)} of history: {p.reason}."
    )


def _consequence(decision: Decision, orders: Sequence[OrderAnswer]) -> Iterator[str]:
    changes = Choice.HOLD not in (decision.cpu.choice, decision.memory.choice) or decision.cpu.choice is not decision.memory.choice
    if orders:
        for answer in orders:
            yield from _order(answer)
    elif not changes:
        yield "Nothing had to be ordered."
    elif decision.mode is not Mode.ACT:
        let = f"'foreshape mode set act --scope server:{decision.server}' lets it act, where cloud, host and project do"
        yield f"Nothing was ordered, because the mode is {decision.mode.value}: {let}."
    else:
        yield "No order of it is in the journal: the plan's budget was used up, or its time is over."


def _order(answer: OrderAnswer) -> Iterator[str]:
    order = answer.order
    yield f"Order {order.order} of {clock(order.issued_at)} ({_asked(order)}) {_ENDINGS.get(answer.status, answer.status)}."
    for o in answer.outcomes:
        yield f"  {_outcome(o)}"


def _asked(order: Order) -> str:
    asked = []
    if order.cpu is not None:
        asked.append(amount("cpu", order.cpu.cores))
    if order.memory is not None:
        asked.append(amount("memory", order.memory.mib))
    return ", ".join(asked) or "nothing"


def _outcome(o: Outcome) -> str:
    proof = f" Proof: {o.proof}." if o.proof else ""
    by = f" by {o.lever.value}" if o.lever else ""
    return (
        f"{clock(o.at)}: {o.resource} {o.verdict.value}{by}, {amount(o.resource, o.before)} → {amount(o.resource, o.after)} "
        f"in {o.took_s:.1f} s: {o.reason} [{o.code}].{proof}"
    )


def _locals(local: Sequence[Outcome]) -> Iterator[str]:
    for o in local:
        yield f"The agent itself {_LOCAL[o.origin]}. {_outcome(o)}"


def _age(seconds: float) -> str:
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.0f} hours" if seconds < 2 * 86400 else f"{seconds / 86400:.0f} days"

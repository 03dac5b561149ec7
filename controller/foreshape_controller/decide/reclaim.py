"""How a floor is lowered and given back: a state machine for one resource of one server. Pure.

                objection                          objection: says no before anything was taken
      ┌──────────────────────────► objected ◄───────────┐
      │                               ▲  │ over         │
      │                               │  ▼              │
    found ──notice──► noticed ────────┼─ gone ◄─ all    │
      ▲                  │ notice_s   │  (it left, or   │
      │ withdrawn        ▼ is over    │   is not idle)  │
      └───────────── shrinking ──► reclaimed            │
                         │ demand, objection, │         │
                         │ opt-out, doubt     │         │
                         └──► giving_back ◄───┘ ────────┤ the guest has it
                                                        ▼
                                                    given_back ──rest──► gone

The floor in force is the tier's in every state but ``shrinking`` and ``reclaimed``. It goes down only after the owner was told and
``notice_s`` have passed, by at most ``step_share`` of itself each ``step_s``, on fresh data, never below the goal that the notice
named nor below what is in use with its margin. It goes up at once. A row is written before it has an effect (``loops/reclaim.py``),
so that whatever is interrupted goes on from what was written.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from foreshape_controller.decide.idle import say, sentence
from foreshape_controller.model.reclaim import LOWERED, Finding, Notice, Reclaim, State
from foreshape_controller.model.server import Server
from foreshape_controller.model.tier import Tier

EPSILON = 1e-9

NEXT: Mapping[State, tuple[State, ...]] = {
    State.FOUND: (State.NOTICED, State.OBJECTED, State.GONE),
    State.NOTICED: (State.SHRINKING, State.RECLAIMED, State.FOUND, State.OBJECTED, State.GONE),
    State.SHRINKING: (State.RECLAIMED, State.GIVING_BACK, State.GONE),
    State.RECLAIMED: (State.GIVING_BACK, State.GONE),
    State.GIVING_BACK: (State.GIVEN_BACK, State.OBJECTED, State.GONE),
    State.GIVEN_BACK: (State.OBJECTED, State.GONE),
    State.OBJECTED: (State.GONE,),
    State.GONE: (State.FOUND, State.OBJECTED),
}
"""Where each state may lead; a step may also stay where it is."""


@dataclass(frozen=True)
class Rule:
    """How fast, and how long things last."""

    notice_s: float = 3 * 86400.0
    step_share: float = 0.2
    step_s: float = 6 * 3600.0
    worth_share: float = 0.2
    """A floor that would sink by less than this part of itself stays."""
    rest_s: float = 7 * 86400.0
    """After a give-back."""
    objection_s: float = 90 * 86400.0
    """After that an objection no longer counts."""


@dataclass(frozen=True)
class Facts:
    """What is known of one resource of one server now. Amounts in cores or MiB."""

    present: bool = True
    fresh: bool = True
    """It and its host were heard lately."""
    may: str = ""
    """Why it may not be acted on; empty: it may."""
    tier_floor: float = 0.0
    least_now: float = 0.0
    """In use now, with the margin: no step goes below it."""
    back: str = ""
    """A sentence when its demand came back."""
    looked: bool = False
    """Whether history was looked at in this round."""
    finding: Finding | None = None
    """What that look found."""
    not_found: str = ""
    """Why that look did not find it."""
    had_at: float | None = None
    """When the guest had its tier's floor, since it is being given back."""
    waits: bool = False
    """Nothing may be ordered for it: its mode forbids it."""
    stated_s: float = 0.0
    """How long a give-back takes, as measured on others."""
    stated_how: str = ""


def opened(row: Reclaim, facts: Facts, rule: Rule, now: float) -> Reclaim:
    """A finding as a row: new, or in place of one that is gone. ``row`` names the server and carries the cause."""
    assert facts.finding is not None
    fresh = Reclaim(
        server=row.server,
        resource=row.resource,
        state=State.FOUND,
        at=now,
        why=sentence(row.resource, facts.finding),
        cause=row.cause,
        name=row.name,
        project=row.project,
        tier=row.tier,
    )
    return _refreshed(fresh, facts, rule)


def advance(row: Reclaim, facts: Facts, rule: Rule, now: float) -> Reclaim:
    """The row after one look at the world: at most one transition. The same row when nothing happens."""
    if not facts.present and row.state is not State.GONE:
        return _at_tier(row, State.GONE, "the server is gone", now)
    return _HANDLERS[row.state](row, facts, rule, now)


def unfound(server: Server, resource: str, tier: Tier, cause: str, now: float) -> Reclaim:
    """A row of which nothing is known yet."""
    floor = tier_floor(server, tier, resource)
    return Reclaim(
        server=server.id,
        resource=resource,
        state=State.GONE,
        at=now,
        why="",
        cause=cause,
        name=server.name,
        project=server.project,
        tier=tier.name,
        tier_floor=floor,
        floor=floor,
        goal=floor,
    )


def objected(row: Reclaim, reason: str, now: float) -> Reclaim:
    """The owner says no: at once the tier's floor again, and nothing more until the objection is over."""
    row = msgspec.structs.replace(row, objection=reason)
    if row.state in LOWERED:
        return _giving_back(row, f"its owner objects: {reason}", now)
    if row.state is State.GIVING_BACK:
        return row
    return _at_tier(row, State.OBJECTED, f"its owner objects: {reason}", now)


def allowed(row: Reclaim, now: float) -> Reclaim:
    """The objection is withdrawn: it may be found again."""
    row = msgspec.structs.replace(row, objection="")
    return _at_tier(row, State.GONE, "the objection was withdrawn", now) if row.state is State.OBJECTED else row


def tier_floor(server: Server, tier: Tier, resource: str) -> float:
    """What its tier guarantees, as far as it can be reached."""
    cpu = resource == "cpu"
    rules = tier.cpu if cpu else tier.memory
    sold = server.entitlement.cpu.cores if cpu else server.entitlement.memory.mib
    most = server.ceiling.cpu.cores if cpu else server.ceiling.memory.mib
    return min(most, max(rules.floor_share * sold, min(rules.floor_least, sold)))


def floor_in_force(row: Reclaim) -> float | None:
    """What counts instead of the tier's floor; None where the tier's does."""
    return row.floor if row.state in LOWERED else None


def broken(row: Reclaim) -> str:
    """What is wrong with a row; empty for every row that this module makes."""
    lowered = row.state in LOWERED
    rules = (
        (row.floor <= row.tier_floor + EPSILON, "its floor is above the tier's"),
        (lowered or abs(row.floor - row.tier_floor) <= EPSILON, f"its floor is below the tier's in state {row.state}"),
        (not lowered or row.floor >= row.goal - EPSILON, "its floor is below what the notice named"),
        (not lowered or row.begins_at is not None, "it shrinks without a notice"),
        (row.state is not State.RECLAIMED or abs(row.floor - row.goal) <= EPSILON, "it is reclaimed and not at its goal"),
        (not row.objection or row.state in (State.OBJECTED, State.GIVING_BACK, State.GONE), f"objected, and in state {row.state}"),
        (row.state is not State.GIVEN_BACK or row.measured_s is not None, "given back without a measured time"),
    )
    return "; ".join(text for holds, text in rules if not holds)


# -- one handler a state ------------------------------------------------------------------------------------------------


def _found(row: Reclaim, facts: Facts, rule: Rule, now: float) -> Reclaim:
    if facts.looked and facts.finding is None:
        return _at_tier(row, State.GONE, facts.not_found, now)
    row = _refreshed(row, facts, rule)
    if not facts.looked or row.hindrance:  # only a fresh finding is announced
        return row
    begins = now + rule.notice_s
    told = {"begins_at": begins, "stated_s": facts.stated_s, "stated_how": facts.stated_how, "stepped_at": None}
    return _to(row, State.NOTICED, "its owner was told", now, **told, back_since=None, measured_s=None)


def _noticed(row: Reclaim, facts: Facts, rule: Rule, now: float) -> Reclaim:
    if facts.may:
        return _at_tier(row, State.FOUND, f"withdrawn: {facts.may}", now)
    if facts.back or (facts.looked and facts.finding is None):
        return _at_tier(row, State.GONE, facts.back or facts.not_found, now)
    row = _still(row, facts)
    if not _worth(row, rule):
        return _at_tier(row, State.FOUND, "withdrawn: it would no longer save enough", now)
    if now < (row.begins_at or 0.0) or not facts.fresh:
        return row
    return _stepped(row, rule, now)


def _shrinking(row: Reclaim, facts: Facts, rule: Rule, now: float) -> Reclaim:
    why = _must_give_back(row, facts, rule)
    if why:
        return _giving_back(row, why, now)
    row = _still(row, facts)
    if row.floor < row.goal:  # the newest look wants more than is left
        return _to(row, State.RECLAIMED, f"it needs {say(row.resource, row.goal)}: less than that is not taken", now, floor=row.goal)
    if not facts.fresh or now - (row.stepped_at or 0.0) < rule.step_s:
        return row
    return _stepped(row, rule, now)


def _reclaimed(row: Reclaim, facts: Facts, rule: Rule, now: float) -> Reclaim:
    why = _must_give_back(row, facts, rule)
    if why:
        return _giving_back(row, why, now)
    row = _still(row, facts)
    return msgspec.structs.replace(row, floor=row.goal)


def _back(row: Reclaim, facts: Facts, rule: Rule, now: float) -> Reclaim:  # noqa: ARG001  one signature for all
    row = msgspec.structs.replace(row, tier_floor=facts.tier_floor, floor=facts.tier_floor)
    if facts.had_at is None or row.back_since is None:
        return msgspec.structs.replace(row, back_since=now) if facts.waits else row  # people's time is not the levers'
    took = max(0.0, facts.had_at - row.back_since)
    stated = f", {row.stated_s:.0f} s stated" if row.stated_s is not None else ""
    after = State.OBJECTED if row.objection else State.GIVEN_BACK
    return _to(row, after, f"it had {say(row.resource, row.tier_floor)} again after {took:.0f} s{stated}", now, measured_s=took)


def _rests(row: Reclaim, facts: Facts, rule: Rule, now: float) -> Reclaim:  # noqa: ARG001
    return _at_tier(row, State.GONE, "it was left alone long enough", now) if now - row.at >= rule.rest_s else row


def _stands(row: Reclaim, facts: Facts, rule: Rule, now: float) -> Reclaim:  # noqa: ARG001
    if now - row.at < rule.objection_s:
        return row
    return msgspec.structs.replace(_at_tier(row, State.GONE, "the objection is over", now), objection="")


def _gone(row: Reclaim, facts: Facts, rule: Rule, now: float) -> Reclaim:
    return opened(row, facts, rule, now) if facts.present and facts.finding is not None else row


_HANDLERS: Mapping[State, Callable[[Reclaim, Facts, Rule, float], Reclaim]] = {
    State.FOUND: _found,
    State.NOTICED: _noticed,
    State.SHRINKING: _shrinking,
    State.RECLAIMED: _reclaimed,
    State.GIVING_BACK: _back,
    State.GIVEN_BACK: _rests,
    State.OBJECTED: _stands,
    State.GONE: _gone,
}


# -- steps --------------------------------------------------------------------------------------------------------------


def _must_give_back(row: Reclaim, facts: Facts, rule: Rule) -> str:
    """Why the tier's floor has to come back; empty: it need not. In doubt it does."""
    if facts.back or facts.may:
        return facts.back or facts.may
    if facts.looked and facts.finding is None:
        return facts.not_found
    held = _still(row, facts)
    if not _worth(held, rule):
        return f"it would no longer save enough: {say(row.resource, held.goal)} of {say(row.resource, held.tier_floor)} are needed"
    return ""


def _still(row: Reclaim, facts: Facts) -> Reclaim:
    """The row with the newest figures. The goal follows what is needed upwards; what the owner was told as the lowest is never undercut."""
    goal = max(row.goal, facts.finding.goal if facts.finding else 0.0, facts.least_now)
    lowered = row.state in LOWERED
    floor = min(row.floor, facts.tier_floor) if lowered else facts.tier_floor
    return msgspec.structs.replace(row, goal=goal, tier_floor=facts.tier_floor, floor=floor, finding=facts.finding or row.finding)


def _refreshed(row: Reclaim, facts: Facts, rule: Rule) -> Reclaim:
    """Advice follows the newest look."""
    found = facts.finding or row.finding
    goal = min(found.goal if found else facts.tier_floor, facts.tier_floor)
    row = msgspec.structs.replace(row, finding=found, goal=goal, tier_floor=facts.tier_floor, floor=facts.tier_floor)
    little = "" if _worth(row, rule) else f"its floor of {say(row.resource, row.tier_floor)} is about as low as its use allows"
    return msgspec.structs.replace(row, hindrance=facts.may or little)


def _worth(row: Reclaim, rule: Rule) -> bool:
    return row.tier_floor > 0 and row.tier_floor - row.goal >= rule.worth_share * row.tier_floor


def _stepped(row: Reclaim, rule: Rule, now: float) -> Reclaim:
    """One step down."""
    floor = max(row.goal, row.floor * (1 - rule.step_share))
    at_goal = floor <= row.goal + EPSILON
    why = f"its floor is {say(row.resource, floor)}, {say(row.resource, row.tier_floor - floor)} below its tier's"
    return _to(row, State.RECLAIMED if at_goal else State.SHRINKING, why, now, floor=floor, stepped_at=now)


def _giving_back(row: Reclaim, why: str, now: float) -> Reclaim:
    return _to(row, State.GIVING_BACK, why, now, floor=row.tier_floor, back_since=now, measured_s=None)


def _at_tier(row: Reclaim, state: State, why: str, now: float) -> Reclaim:
    return _to(row, state, why, now, floor=row.tier_floor)


def _to(row: Reclaim, state: State, why: str, now: float, **changes: object) -> Reclaim:
    at = row.at if state is row.state else now
    return msgspec.structs.replace(row, state=state, at=at, why=why, **changes)


# -- what owners are told -----------------------------------------------------------------------------------------------


def notice(before: Reclaim, after: Reclaim, now: float) -> Notice | None:
    """What a transition has to say to the owner; None: nothing."""
    moved = (before.state, after.state)
    if moved == (State.FOUND, State.NOTICED):
        return _notice(after, "reclaim", _announced(after), now)
    if before.state is State.NOTICED and after.state in (State.FOUND, State.GONE):
        return _notice(after, "reclaim_withdrawn", f"{_what(after)} is not reclaimed after all: {after.why}.", now)
    if before.state is State.GIVING_BACK and after.state in (State.GIVEN_BACK, State.OBJECTED):
        return _notice(after, "reclaim_back", f"{_what(after)} was given back: {after.why}.", now)
    return None


def _announced(row: Reclaim) -> str:
    begins = datetime.fromtimestamp(row.begins_at or 0.0, UTC).strftime("%Y-%m-%d %H:%M UTC")
    found = sentence(row.resource, row.finding) if row.finding else ""
    return (
        f"{_what(row)} is {found}. Its guaranteed {say(row.resource, row.tier_floor)} will be lowered to {say(row.resource, row.goal)} in "
        f"steps from {begins} on. It is given back at once when the demand comes back, and the guest has it after about "
        f"{row.stated_s or 0.0:.0f} s ({row.stated_how}). To object: foreshape reclaim object {row.server} --reason TEXT"
    )


def _what(row: Reclaim) -> str:
    return f"The {'CPU' if row.resource == 'cpu' else 'memory'} of {row.name or row.server}"


def _notice(row: Reclaim, kind: str, text: str, now: float) -> Notice:
    return Notice(
        at=now,
        project=row.project,
        server=row.server,
        name=row.name,
        kind=kind,
        text=text,
        resource=row.resource,
        cause=row.cause,
        begins_at=row.begins_at if kind == "reclaim" else None,
    )

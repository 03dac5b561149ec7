"""What a tenant is told of a decision: all that concerns his own server, nothing that speaks of its host's load or of others. Pure.

What may be told is listed, not what may not: a code that is new here is told in general words until somebody has thought about it.
"""

import re
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache

import msgspec

from foreshape_controller.model import cloud_word
from foreshape_controller.model.answers import OrderAnswer
from foreshape_controller.model.decision import Decision, Gate, Sizing
from foreshape_wire.ids import HostName
from foreshape_wire.order import Outcome

Words = Callable[[str], str]
"""Takes others' names out of a text."""

HOST = HostName("its host")
"""In sentences."""
OWN = frozenset(
    {
        "no_lever",
        "no_forecast",
        "odd_data",
        "at_target",
        "at_ceiling",
        "dead_band",
        "below_floor",
        "peak_above",
        "peak_below",
        "forecast_missed",
        "capped",
        "observed_high",
        "hold_time",
        "lever",
        "ceiling",
        "tier_keeps",
        "young",
        "unobserved",
        "censored",
        "low_confidence",
        "anomalous",
        "forecast_old",
        "step_time",
        "working_set",
        "step",
        cloud_word.TASK,
        cloud_word.STATE,
        cloud_word.LOCKED,
    }
)
"""Codes whose sentences speak of the server alone."""
GENERAL: Mapping[str, str] = {
    "host_full": "wants to grow, but its host has no room for more now",
    "host_short": "its host has no room for all of what it should have",
    "host_capacity": "what fits on its host",
    "throttled": "its host is short, and everybody there gets a fair share",
    "share": "its fair share of its host",
    "host_risk": "its host may run short: higher tiers come first",
    cloud_word.MOVING: "Nova moves it to another host",
    cloud_word.ELSEWHERE: "the cloud and what is measured do not agree yet where it runs",
    cloud_word.EVACUATED: "its host is out of service: it may be running elsewhere soon",
    cloud_word.NOT_IN_NOVA: "the cloud has said nothing of it yet",
}
STOPPED = "nothing is changed on it for now"


def sentence(code: str, said: str, words: Words) -> str:
    """Of a reason code."""
    return words(said) if code in OWN else GENERAL.get(code, STOPPED)


def decision(told: Decision, host: str, words: Words) -> Decision:
    """``host``: what the tenant calls it."""
    return msgspec.structs.replace(told, host=HostName(host), cpu=sizing(told.cpu, words), memory=sizing(told.memory, words))


def sizing(told: Sizing, words: Words) -> Sizing:
    """One resource."""
    peak = told.peak and msgspec.structs.replace(told.peak, reason=words(told.peak.reason))
    gates = tuple(Gate(name=g.name, passed=g.passed, detail=sentence(g.name, g.detail, words)) for g in told.gates)
    return msgspec.structs.replace(told, reason=sentence(told.code, told.reason, words), peak=peak, gates=gates)


def order(told: OrderAnswer, words: Words) -> OrderAnswer:
    """Its reason is its decision's, which is told in full there."""
    bare = msgspec.structs.replace(told.order, reason="")
    return OrderAnswer(order=bare, status=told.status, outcomes=tuple(outcome(o, words) for o in told.outcomes))


def outcome(told: Outcome, words: Words) -> Outcome:
    """What its agent did to it."""
    return msgspec.structs.replace(told, reason=words(told.reason), proof=words(told.proof))


def without(hosts: Collection[str], segments: Collection[str], events: Collection[str]) -> Words:
    """Hosts wherever they are named, segments and events as our own sentences name them."""
    rules = (
        (r"event '({})'", events, "an event of the cloud's"),
        (r"segment:({})(?![\w-])", segments, "a segment"),
        (r"(?:host:)?(?<![\w.-])({})(?![\w-])", hosts, "a host"),
    )
    found = [(_pattern(rule, frozenset(names)), instead) for rule, names, instead in rules if names]

    def words(text: str) -> str:
        for named, instead in found:
            text = named.sub(instead, text)
        return text

    return words


@lru_cache(maxsize=64)
def _pattern(rule: str, names: frozenset[str]) -> re.Pattern[str]:
    """The longest first: one name may begin another. A thousand hosts are the same from one answer to the next."""
    return re.compile(rule.format("|".join(map(re.escape, sorted(names, key=len, reverse=True)))))

"""Which hard cap is in force for whom: the smallest, while it lasts, and never below what was promised."""

from math import inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from decide_support import server
from foreshape_controller.decide.caps import LEAST, MOST_S, compose, effective, in_force, notes, scopes, strictest
from foreshape_controller.errors import Invalid
from foreshape_controller.model.cap import UNITS, Cap, CapRequest
from foreshape_wire.order import Mode
from foreshape_wire.reading import Capability, LeverName
from long_support import LONG

pytestmark = pytest.mark.unit

NOW = 1_000_000.0


def a_cap(
    amount: float = 1.0, scope: str = "server:vm", resource: str = "cpu", since: float = 0, until: float = 2 * NOW, **more: object
) -> Cap:
    name = str(more.pop("id", f"cap-{scope}-{resource}-{amount:g}"))
    return Cap(id=name, scope=scope, resource=resource, amount=amount, since=since, until=until, reason="r", **more)  # type: ignore[arg-type]


def request(**changes: object) -> CapRequest:
    body: dict[str, object] = {"scope": "server:vm", "amounts": {"cpu": 1.0}, "reason": "it runs away", "for_s": 60.0}
    return CapRequest(**(body | changes))  # type: ignore[arg-type]


def ids(kind: str) -> str:
    return f"{kind}-1"


# -- asking for one ----------------------------------------------------------------------------------------------------


def test_a_request_makes_one_cap_for_each_amount() -> None:
    first, second = compose(request(amounts={"cpu": 1, "disk_iops": 200}, by="ops"), ids, NOW)
    assert (first.resource, first.amount, first.since, first.until, first.by) == ("cpu", 1.0, NOW, NOW + 60, "ops")
    assert (second.resource, second.amount) == ("disk_iops", 200.0)


def test_it_may_end_at_a_time() -> None:
    assert compose(request(for_s=None, until=NOW + 5), ids, NOW)[0].until == NOW + 5


@pytest.mark.parametrize("amount", [nan, inf, -inf, -1.0, 0.0, 1e300])
@pytest.mark.parametrize("resource", UNITS)
def test_no_amount_that_is_none(resource: str, amount: float) -> None:
    with pytest.raises(Invalid, match="are possible"):
        compose(request(amounts={resource: amount}), ids, NOW)


@pytest.mark.parametrize("resource", UNITS)
def test_the_least_is_possible_and_less_is_not(resource: str) -> None:
    assert compose(request(amounts={resource: LEAST[resource]}), ids, NOW)[0].amount == LEAST[resource]
    with pytest.raises(Invalid):
        compose(request(amounts={resource: LEAST[resource] * 0.99}), ids, NOW)


@pytest.mark.parametrize("left", [nan, inf, -1.0, 0.0, MOST_S * 1.0001])
def test_no_end_that_is_none(left: float) -> None:
    for when in ({"for_s": left}, {"for_s": None, "until": NOW + left}):
        with pytest.raises(Invalid, match="would last"):
            compose(request(**when), ids, NOW)


@pytest.mark.parametrize("scope", ["", "cloud", "server", "server:", "server: vm", "zone:a", "project:a\nb", "host:" + "x" * 400])
def test_no_scope_that_is_none(scope: str) -> None:
    with pytest.raises(Invalid, match="scope"):
        compose(request(scope=scope), ids, NOW)


# -- who is capped -----------------------------------------------------------------------------------------------------

VM = replace(server("vm"), project="p1")
GROUPS = {"vm": ("host:h1", "project:p1", "zone:nova", "segment:web")}


def test_the_scopes_of_a_server() -> None:
    assert list(scopes(VM, GROUPS)) == ["server:vm", f"host:{VM.host}", "project:p1", "segment:web"]
    assert list(scopes(replace(VM, project=""), {})) == ["server:vm", f"host:{VM.host}"]


def test_expired_lifted_and_future_caps_never_count() -> None:
    caps = [a_cap(0.1, until=NOW), a_cap(0.2, lifted_at=NOW - 1), a_cap(0.3, since=NOW + 1), a_cap(2.0)]
    assert in_force(caps, NOW) == (caps[3],)
    assert strictest(caps, [VM], GROUPS, NOW) == {"cpu": {"vm": caps[3]}}
    assert strictest(caps[:3], [VM], GROUPS, NOW) == {}


def test_of_equal_ones_the_one_that_lasts_longest_is_named() -> None:
    short, long = a_cap(1.0, until=NOW + 5, id="a"), a_cap(1.0, scope="project:p1", until=NOW + 9, id="b")
    assert strictest([short, long], [VM], GROUPS, NOW)["cpu"]["vm"] == long


SCOPES = ("server:vm", "server:other", "project:p1", "project:p2", f"host:{VM.host}", "segment:web", "segment:db")
one = st.tuples(
    st.integers(1, 20), st.integers(0, 6), st.booleans(), st.integers(-2, 2), st.integers(-2, 2), st.sampled_from([None, -1, 1])
)
"""Amount, scope, CPU or not, begins, ends, lifted: the times around now."""


def built(drawn: list[tuple[int, int, bool, int, int, int | None]]) -> list[Cap]:
    return [
        a_cap(
            amount,
            SCOPES[scope],
            "cpu" if cpu else "disk_iops",
            NOW + begins,
            NOW + ends,
            lifted_at=None if lifted is None else NOW + lifted,
            id=f"cap-{number}",
        )
        for number, (amount, scope, cpu, begins, ends, lifted) in enumerate(drawn)
    ]


some_caps = st.lists(one, max_size=12).map(built)


@given(caps=some_caps)
@settings(max_examples=min(LONG, 1000))
def test_the_strictest_is_the_least_of_all_that_count_whatever_their_order(caps: list[Cap]) -> None:
    mine = set(scopes(VM, GROUPS))
    found = strictest(caps, [VM], GROUPS, NOW)
    for resource in ("cpu", "disk_iops"):
        counting = [c.amount for c in caps if c.scope in mine and c.resource == resource and c.state(NOW) == "in force" and c.since <= NOW]
        chosen = found.get(resource, {}).get("vm")
        assert (None if chosen is None else chosen.amount) == min(counting, default=None)
    assert strictest(caps[::-1], [VM], GROUPS, NOW) == found


@given(caps=some_caps, extra=some_caps)
@settings(max_examples=min(LONG, 1000))
def test_another_cap_never_loosens_anything(caps: list[Cap], extra: list[Cap]) -> None:
    before, after = strictest(caps, [VM], GROUPS, NOW), strictest(caps + extra, [VM], GROUPS, NOW)
    for resource, by_server in before.items():
        assert after[resource]["vm"].amount <= by_server["vm"].amount


@given(cap=st.floats(0.05, 100), floor=st.floats(0, 100))
def test_no_cap_goes_below_the_floor_nor_above_itself_without_one(cap: float, floor: float) -> None:
    amount = effective(a_cap(cap), floor)
    assert amount >= floor
    assert amount in {cap, floor}


# -- what it means -----------------------------------------------------------------------------------------------------


def said(cap: Cap, strict: Cap | None = None, floor: float = 0.0, **changes: object) -> tuple[str, ...]:
    return notes(cap, strict or cap, replace(VM, **({"mode": Mode.ACT} | changes)), floor)


def test_a_plain_cap_needs_no_word() -> None:
    assert said(a_cap()) == ()


def test_what_keeps_a_cap_from_being_what_was_asked_for_is_said() -> None:
    assert said(a_cap(1.0), floor=1.5) == ("its floor is 1.5 cores: no cap goes below what was promised",)
    assert said(a_cap(2.0), a_cap(1.0, scope="project:p1")) == ("cap-project:p1-cpu-1 on project:p1 is stricter: 1 cores",)
    assert said(a_cap(), mode=Mode.OBSERVE) == (
        "mode observe: it does not begin until the mode is act; where it holds already it stays to its end",
    )
    assert said(a_cap(512, resource="memory")) == ("taken step by step, and never what the guest has in use",)


def test_what_each_device_gets_is_said() -> None:
    def throttle(count: int) -> tuple[Capability, ...]:
        return tuple(Capability(lever=lever, lowest=count, highest=1e6) for lever in (LeverName.DISK_IOPS, LeverName.NET_BANDWIDTH))

    assert said(a_cap(90, resource="disk_iops"), throttles=throttle(3)) == ("each of its 3 disks gets an equal share: 30 requests/s",)
    assert said(a_cap(90, resource="disk_iops"), throttles=throttle(1)) == ("90 requests/s",)
    assert said(a_cap(90, resource="net_kib_s"), throttles=throttle(1)) == ("90 KiB/s each way",)

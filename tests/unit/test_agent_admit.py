"""Orders judged: every refusal has its code, and no order breaks the floor, the working set or the ceiling."""

from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import force_setattr, replace

from core_support import a_reading, an_order, size
from foreshape_agent.admit import Admitted, Refused, Scene, Timeline, admit, follow, least_memory
from foreshape_agent.config import Settings
from foreshape_wire.ids import PlanId, ServerId
from foreshape_wire.order import OPTED_OUT, Guard, Mode, Order, Share
from foreshape_wire.quantity import Cores, Memory
from foreshape_wire.reading import DomainReading, DomainState
from foreshape_wire.sample import CpuSample, MemorySample, VmSample

pytestmark = pytest.mark.unit

NOW = 1_700_000_000.0
SETTINGS = Settings()  # margin: the larger of 64 MiB and 10 %


def a_sample(demand_mib: float = 200.0, confidence: float = 0.95, censored: bool = False) -> VmSample:
    return VmSample(
        server=ServerId("vm"),
        state=DomainState.RUNNING,
        window_s=10.0,
        cpu=CpuSample(
            used=Cores(0.5), waiting=Cores(0), throttled=Cores(0), demand=Cores(0.5), allocation=Cores(2), censored=censored, confidence=1.0
        ),
        memory=MemorySample(demand=Memory(demand_mib), allocation=Memory(512), censored=False, confidence=confidence),
    )


def big(state: DomainState = DomainState.RUNNING) -> DomainReading:
    return replace(a_reading(), ceiling=size(4, 1024), state=state)


def scene(**fields: object) -> Scene:
    plain: dict[str, object] = {
        "domain": big(),
        "sample": a_sample(),
        "allocation": 512.0,
        "now": NOW,
        "mode": Mode.ACT,
        "safe_mode": "",
        "guard": None,
    }
    return Scene(**(plain | fields))  # type: ignore[arg-type]


def refusal(order: Order, resource: str = "memory", **fields: object) -> str:
    answer = admit(order, resource, scene(**fields), SETTINGS)
    assert isinstance(answer, Refused), answer
    assert answer.reason
    return answer.code


def test_a_sound_order_is_admitted() -> None:
    assert admit(an_order(mib=300), "memory", scene(), SETTINGS) == Admitted(300.0)
    assert admit(an_order(cpu=1.0), "cpu", scene(allocation=2.0), SETTINGS) == Admitted(1.0)


def test_an_expired_order_is_stale() -> None:
    assert refusal(an_order(mib=300, now=NOW - 200, ttl=120)) == "stale_order"


def test_an_order_from_the_future_means_that_a_clock_stepped() -> None:
    assert refusal(an_order(mib=300, now=NOW + 3600)) == "stale_order"


def test_an_unknown_domain() -> None:
    assert refusal(an_order(mib=300), domain=None, sample=None) == "unknown_domain"


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (DomainState.BUSY, "domain_busy"),
        (DomainState.MIGRATING, "migrating"),
        (DomainState.PAUSED, "not_running"),
        (DomainState.SHUTOFF, "not_running"),
        (DomainState.CRASHED, "not_running"),
    ],
)
def test_a_domain_that_is_not_simply_running(state: DomainState, code: str) -> None:
    assert refusal(an_order(mib=300), domain=big(state)) == code


def test_safe_mode_and_modes_below_act_refuse_everything() -> None:
    assert refusal(an_order(mib=300), safe_mode="controller silent") == "safe_mode"
    assert refusal(an_order(mib=300), mode=Mode.OBSERVE) == "observe_mode"
    assert refusal(an_order(mib=300), mode=Mode.ADVISE) == "advise_mode"


def given_back(mib: float) -> Order:
    return replace(an_order(mib=mib), plan=PlanId(OPTED_OUT))


@given(has=st.floats(100, 1000), wants=st.floats(100, 1000), sold=st.floats(100, 1000))
def test_in_advise_whose_owner_opted_out_is_given_back_what_was_sold_and_nothing_else(has: float, wants: float, sold: float) -> None:
    guard = Guard(server=ServerId("vm"), floor=size(0.1, 1), entitlement=size(2, sold))
    answer = admit(given_back(wants), "memory", scene(mode=Mode.ADVISE, guard=guard, allocation=has), SETTINGS)
    if has < wants <= sold:
        assert answer == Admitted(wants)
    elif not has < wants <= sold + 1e-6:
        assert isinstance(answer, Refused)
        assert answer.code == "advise_mode"


def test_any_other_order_is_refused_in_advise_and_every_one_in_observe_which_a_stop_is() -> None:
    sold = {"guard": Guard(server=ServerId("vm"), floor=size(0.1, 1), entitlement=size(2, 1000)), "allocation": 300.0}
    assert refusal(an_order(mib=500), mode=Mode.ADVISE, **sold) == "advise_mode"
    assert refusal(an_order(mib=500), mode=Mode.OBSERVE, **sold) == "observe_mode"
    assert refusal(given_back(500), mode=Mode.OBSERVE, **sold) == "observe_mode"
    assert refusal(given_back(500), mode=Mode.ADVISE, **(sold | {"guard": None})) == "advise_mode"


@pytest.mark.parametrize("mode", [Mode.ADVISE, Mode.ACT])
def test_what_is_given_back_is_never_more_memory_than_the_host_has(mode: Mode) -> None:
    sold = {"guard": Guard(server=ServerId("vm"), floor=size(0.1, 1), entitlement=size(2, 1000)), "allocation": 300.0, "mode": mode}
    assert admit(given_back(500), "memory", scene(room=200.0, **sold), SETTINGS) == Admitted(500.0)
    assert refusal(given_back(501), room=200.0, **sold) == "host_full"
    assert refusal(given_back(301), room=-50.0, **sold) == "host_full"
    assert admit(given_back(500), "memory", scene(room=None, **sold), SETTINGS) == Admitted(500.0)


def test_what_gives_back_never_takes() -> None:
    """The guest was given more under pressure since."""
    assert refusal(given_back(300), allocation=512.0) == "has_more"
    assert admit(an_order(mib=300), "memory", scene(allocation=512.0), SETTINGS) == Admitted(300.0)


def test_below_the_orders_floor_or_the_guards() -> None:
    assert refusal(an_order(mib=300, floor=size(0.1, 301))) == "below_floor"
    guard = Guard(server=ServerId("vm"), floor=size(1.5, 400), entitlement=size(2, 512))
    assert refusal(an_order(mib=300), guard=guard) == "below_floor"
    assert refusal(an_order(cpu=1.0), "cpu", allocation=2.0, guard=guard) == "below_floor"


def test_above_the_orders_ceiling_or_what_can_be_reached() -> None:
    assert refusal(an_order(mib=700, ceiling=size(8, 600))) == "above_ceiling"
    assert refusal(an_order(mib=2000)) == "above_ceiling"  # the domain reaches 1024
    assert refusal(an_order(cpu=5.0), "cpu", allocation=2.0) == "above_ceiling"


def test_a_shrink_into_the_working_set_and_its_margin() -> None:
    assert refusal(an_order(mib=263)) == "below_working_set"  # 200 + 64 = 264
    assert admit(an_order(mib=264), "memory", scene(), SETTINGS) == Admitted(264.0)


def test_what_the_guests_kernel_keeps_is_no_room_for_a_shrink() -> None:
    """512 MiB given, 430 usable, 50 in use by its own count: 32 MiB are its kernel's. 82 + 64 = 146."""
    sample = a_sample(50)
    assert sample.memory is not None
    sample = replace(sample, memory=replace(sample.memory, usable=Memory(430)))
    assert refusal(an_order(mib=145), sample=sample) == "below_working_set"
    assert admit(an_order(mib=146), "memory", scene(sample=sample), SETTINGS) == Admitted(146.0)


def test_memory_that_is_hardly_known_is_never_shrunk_but_may_grow() -> None:
    doubtful = a_sample(confidence=0.3)
    assert refusal(an_order(mib=400), sample=doubtful) == "low_confidence"
    assert refusal(an_order(mib=400), sample=None) == "low_confidence"
    assert admit(an_order(mib=600), "memory", scene(sample=doubtful), SETTINGS) == Admitted(600.0)


def test_a_cpu_at_its_limit_or_unmeasured_is_never_shrunk() -> None:
    assert refusal(an_order(cpu=1.0), "cpu", allocation=2.0, sample=a_sample(censored=True)) == "censored"
    assert refusal(an_order(cpu=1.0), "cpu", allocation=2.0, sample=None) == "low_confidence"


def test_on_a_host_that_is_short_a_busy_cpu_may_be_taken_down_to_its_share_and_no_further() -> None:
    floor, sold = size(0.2, 96), size(2, 512)
    short = Guard(server=an_order().server, floor=floor, entitlement=sold, share=Share(amount=Cores(1.0), until=NOW + 60))
    busy = {"allocation": 2.0, "sample": a_sample(censored=True)}
    assert admit(an_order(cpu=1.0), "cpu", scene(guard=short, **busy), SETTINGS) == Admitted(1.0)
    assert refusal(an_order(cpu=0.9), "cpu", guard=short, **busy) == "censored"
    assert refusal(an_order(cpu=1.0), "cpu", guard=short, now=NOW + 61, **busy) in {"censored", "stale_order"}


def test_what_is_no_number_is_refused() -> None:
    odd = Memory(1.0)
    force_setattr(odd, "mib", nan)
    assert refusal(replace(an_order(mib=300), memory=odd)) == "not_a_number"
    assert refusal(an_order(mib=300), "cpu") == "not_a_number"  # it asks nothing of the CPU


amounts = st.floats(0, 2000, allow_nan=False)


@given(target=amounts, floor=amounts, ceiling=amounts, reach=amounts, guard=amounts, demand=amounts, has=amounts, sure=st.floats(0, 1))
def test_an_admitted_memory_target_breaks_no_bound(
    *, target: float, floor: float, ceiling: float, reach: float, guard: float, demand: float, has: float, sure: float
) -> None:
    answer = admit(
        an_order(mib=target, floor=size(0, floor), ceiling=size(8, ceiling)),
        "memory",
        scene(
            domain=replace(a_reading(), ceiling=size(4, reach)),
            sample=a_sample(demand, sure),
            allocation=has,
            guard=Guard(server=ServerId("vm"), floor=size(0, guard), entitlement=size(2, 512)),
        ),
        SETTINGS,
    )
    if isinstance(answer, Admitted):
        assert answer.target == target
        assert target >= max(floor, guard) - 1e-5
        assert target <= min(ceiling, reach) + 1e-5
        assert target >= min(has, demand + max(64.0, 0.1 * demand)) - 1e-5
        assert sure >= SETTINGS.least_confidence or target >= has - 1e-5


def test_margin_is_the_larger_of_the_two() -> None:
    assert least_memory(100, SETTINGS) == 164.0
    assert least_memory(1000, SETTINGS) == 1100.0


def test_the_controllers_clock_is_followed_over_the_agents_own() -> None:
    line, trusted = follow(None, NOW, 100.0, 60.0)
    assert trusted
    assert line.now(130.0) == NOW + 30


def test_a_reply_played_again_is_not_trusted() -> None:
    line = Timeline(NOW, 100.0)
    assert follow(line, NOW, 110.0, 60.0)[1] is False
    assert follow(line, NOW - 3600, 110.0, 60.0)[1] is False


def test_a_controller_whose_clock_went_back_is_followed_from_its_second_reply() -> None:
    line = Timeline(NOW, 100.0)
    line, first = follow(line, NOW - 3590, 110.0, 60.0)
    _, second = follow(line, NOW - 3580, 120.0, 60.0)
    assert (first, second) == (False, True)


def test_a_controller_whose_clock_went_ahead_is_followed_at_once() -> None:
    line, trusted = follow(Timeline(NOW, 100.0), NOW + 3610, 110.0, 60.0)
    assert trusted
    assert line.now(110.0) == NOW + 3610

"""The life of an order: the table, and what holds after every step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshape_controller.store.orders import FINAL, NEXT, Status, begin, close, tell
from foreshape_wire.order import Verdict
from foreshape_wire.quantity import Cores, Memory
from store_support import order

pytestmark = pytest.mark.unit

A, P, R, F = Verdict.APPLIED, Verdict.PENDING, Verdict.REFUSED, Verdict.FAILED


@pytest.mark.parametrize(
    ("cpu", "memory", "status"),
    [
        (A, A, Status.APPLIED),
        (A, P, Status.OPEN),
        (P, P, Status.OPEN),
        (A, R, Status.REFUSED),
        (R, R, Status.REFUSED),
        (A, F, Status.FAILED),
        (R, F, Status.FAILED),
        (P, F, Status.OPEN),  # memory failed, but the CPU's end is not known yet
        (F, F, Status.FAILED),
    ],
)
def test_the_order_ends_when_every_resource_has_ended(cpu, memory, status):
    state = tell(tell(begin(order()), "cpu", cpu), "memory", memory)
    assert state.status is status


def test_an_order_for_one_resource_waits_for_that_one_only():
    state = begin(order(memory=None))
    assert tell(state, "memory", F) == state
    assert tell(state, "cpu", A).status is Status.APPLIED


def test_an_order_that_asks_for_nothing_is_done():
    assert begin(order(cpu=None, memory=None)).status is Status.APPLIED


def test_the_first_final_verdict_stands():
    failed = tell(begin(order()), "cpu", F)
    assert tell(failed, "cpu", A) == failed
    assert tell(failed, "cpu", P) == failed


events = st.one_of(
    st.tuples(st.sampled_from(["cpu", "memory", "disk"]), st.sampled_from(list(Verdict))),
    st.sampled_from([Status.EXPIRED, Status.SUPERSEDED]),
)


@given(st.booleans(), st.booleans(), st.lists(events, max_size=12))
def test_whatever_is_told_the_table_is_kept(cpu, memory, told):
    asked = {r for r, wanted in (("cpu", cpu), ("memory", memory)) if wanted}
    state = begin(order(cpu=Cores(2.0) if cpu else None, memory=Memory(1024.0) if memory else None))
    for event in told:
        before = state
        state = close(state, event) if isinstance(event, Status) else tell(state, *event)
        assert state.status in NEXT[before.status]
        assert set(state.told) == asked
        assert before.status is Status.OPEN or state == before  # closed stays as it was
        answered = all(v in FINAL for v in state.told.values())
        assert (state.status is Status.OPEN) <= (not answered)
        assert (state.status is Status.APPLIED) <= all(v is A for v in state.told.values())
        assert (state.status is Status.FAILED) <= (F in state.told.values())
        assert (state.status is Status.REFUSED) <= (R in state.told.values() and F not in state.told.values())

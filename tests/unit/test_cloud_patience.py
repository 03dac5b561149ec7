"""Waiting for a cloud: between tries, and before each request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshape_controller.cloud.call import Reply, refusal
from foreshape_controller.cloud.patience import Pace, Patience
from foreshape_controller.errors import CloudError, Conflict, Gone, NoRoom, Permanent, Temporary

pytestmark = pytest.mark.unit


@given(st.integers(1, 60), st.floats(0, 1, exclude_max=True), st.floats(0, 300))
def test_a_wait_is_never_shorter_than_asked_nor_longer_than_allowed(tried: int, chance: float, asked: float) -> None:
    patience = Patience(first_s=0.5, most_s=15.0, spread=0.5)
    wait = patience.pause(tried, chance, asked)
    assert asked <= wait <= max(asked, 15.0)
    assert wait >= min(15.0, 0.5 * 2 ** (tried - 1)) / 2


def test_waits_double_up_to_the_longest() -> None:
    patience = Patience(first_s=1.0, most_s=5.0, spread=0.5)
    assert [patience.pause(n, chance=0.0) for n in (1, 2, 3, 4)] == [1.0, 2.0, 4.0, 5.0]
    assert patience.pause(3, chance=0.5) == 3.0  # half of the half that chance may take: 4 - 4 x 0.5 x 0.5


class Clock:
    """Sleeping is what moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@given(st.floats(0.5, 50), st.integers(1, 20), st.lists(st.floats(0, 3), max_size=60))
def test_no_stretch_of_time_sees_more_requests_than_its_share_and_a_burst(per_s: float, burst: int, idle: list[float]) -> None:
    clock = Clock()
    pace = Pace(per_s, burst, lambda: clock.now, clock.sleep)
    sent = []
    for pause in idle:
        clock.sleep(pause)
        pace.wait()
        sent.append(clock.now)
    for i, begin in enumerate(sent):
        for j in range(i, len(sent)):
            assert j - i + 1 <= burst + (sent[j] - begin) * per_s + 1e-6


def test_a_burst_goes_at_once_and_then_one_in_each_gap() -> None:
    clock = Clock()
    pace = Pace(2.0, 3, lambda: clock.now, clock.sleep)
    sent = []
    for _ in range(5):
        pace.wait()
        sent.append(clock.now - 100.0)
    assert sent == pytest.approx([0.0, 0.0, 0.0, 0.5, 1.0])


def placement(status: int, detail: str, code: str = "placement.undefined_code") -> Reply:
    return Reply(status, {"errors": [{"status": status, "detail": detail, "code": code}]})


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (placement(409, "resource provider generation conflict", "placement.concurrent_update"), Conflict),
        (placement(409, "Unable to allocate inventory: ... would exceed the capacity"), NoRoom),
        (placement(409, "would violate inventory constraints"), NoRoom),
        (placement(400, "Allocation for resource provider 'x' that does not exist."), Gone),
        (placement(400, "JSON does not validate"), Permanent),
        (Reply(400, {"badRequest": {"message": "No valid host was found.", "code": 400}}), NoRoom),
        (Reply(409, {"conflictingRequest": {"message": "in task_state migrating", "code": 409}}), Conflict),
        (Reply(404, {"itemNotFound": {"message": "Instance x could not be found.", "code": 404}}), Gone),
        (Reply(403, {"forbidden": {"message": "Policy doesn't allow", "code": 403}}), Permanent),
        (Reply(406, None, "not acceptable"), Permanent),
        (Reply(429, None, "slow down", retry_after=7.0), Temporary),
        (Reply(502, None, "<html>Bad Gateway</html>"), Temporary),
    ],
)
def test_every_refusal_is_of_the_kind_that_says_what_to_do(reply: Reply, kind: type[CloudError]) -> None:
    assert type(refusal("Nova", "GET /x", reply)) is kind


@given(st.integers(300, 599), st.recursive(st.none() | st.text() | st.integers(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_any_answer_at_all_becomes_an_error_in_words(status: int, body: object) -> None:
    error = refusal("Nova", "GET /x", Reply(status, body))
    assert str(error).startswith(f"Nova answered {status} to GET /x: ")


@pytest.mark.parametrize(("status", "maybe"), [(429, False), (503, False), (500, True), (502, True), (504, True)])
def test_what_may_have_been_done_is_said(status: int, maybe: bool) -> None:
    error = refusal("Nova", "POST /x", Reply(status, retry_after=3.0))
    assert isinstance(error, Temporary)
    assert (error.maybe_done, error.delay) == (maybe, 3.0)

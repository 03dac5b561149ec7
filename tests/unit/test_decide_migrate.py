"""The course of one migration: what proves arrival, what is asked for, and that every way ends well."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from foreshape_controller.decide.migrate import ORDER_GRACE_S, may_order, may_resize, step
from foreshape_controller.model.migration import TOUCHES, Do, Event, Happened, Instruction, Migration, Room, State, Wish
from long_support import LONG

pytestmark = pytest.mark.unit

EXAMPLES = max(200, LONG // 3)
"""One example is a whole life: a third of the usual number takes CI as long as the others."""

NEW = Migration(id="m1", server="vm1", source="hv1", target="hv2", reason="hv1 runs short", created=0.0, limit_s=600.0)
START, RESERVED, GO, TICK = (Event(kind=Happened(k)) for k in ("start", "reserved", "go", "tick"))
RELEASED, RESTORED, CANCEL, GONE = (Event(kind=Happened(k)) for k in ("released", "restored", "cancel", "gone"))


def nova(status: str, host: str = "hv1", sound: bool = False) -> Event:
    return Event(kind=Happened.NOVA, status=status, host=host, sound=sound, nova_id="n1")


def agent(host: str = "hv2", at: float = 50.0) -> Event:
    return Event(kind=Happened.AGENT, host=host, at=at)


COMPLETED = nova("completed", "hv2", sound=True)


def run(*events: Event, migration: Migration = NEW, now: float = 10.0) -> tuple[Migration, list[Do]]:
    """The migration after the events, and what the last of them asked for."""
    asked: tuple[Instruction, ...] = ()
    for event in events:
        migration, asked = step(migration, event, now)
    return migration, [i.do for i in asked]


def running(**changed: object) -> Migration:
    return replace(run(START, RESERVED, GO, nova("running"))[0], **changed)


def test_the_way_of_one_that_succeeds():
    seen = [run(*(START, RESERVED, GO, nova("running"), COMPLETED, agent(), RELEASED, RESTORED)[:n]) for n in range(1, 9)]
    assert [(m.state, asked) for m, asked in seen] == [
        (State.QUEUED, [Do.RESERVE]),
        (State.RESERVED, []),
        (State.ORDERED, [Do.ORDER]),
        (State.RUNNING, [Do.WATCH]),
        (State.RUNNING, [Do.WATCH]),
        (State.ARRIVED, [Do.RELEASE, Do.REAPPLY]),
        (State.ARRIVED, [Do.REAPPLY]),
        (State.SETTLED, []),
    ]


def test_completed_and_active_is_not_arrival_before_the_targets_agent_reports_it():
    assert run(COMPLETED, migration=running())[0].state is State.RUNNING
    assert run(COMPLETED, agent("hv1"), migration=running())[0].state is State.RUNNING, "the source's agent proves nothing"
    assert run(COMPLETED, agent(at=9.0), migration=running())[0].state is State.RUNNING, "seen at 9, ordered at 10: an old report"


def test_the_targets_agent_alone_is_not_arrival():
    assert run(agent(), nova("running", "hv2", sound=True), migration=running())[0].state is State.RUNNING


@pytest.mark.parametrize("status", ["cancelled", "failed", "error"])
def test_each_of_novas_words_for_failure_means_that_it_did_not_move(status):
    found, asked = run(nova(status), migration=running())
    assert (found.state, asked) == (State.FAILED, [Do.RELEASE, Do.COMPENSATE])
    assert run(RELEASED, RESTORED, migration=found)[0].state is State.COMPENSATED


def test_a_failure_that_nova_shows_on_the_target_did_move():
    assert run(nova("error", "hv2", sound=True), agent(), migration=running())[0].state is State.ARRIVED


@pytest.mark.parametrize("status", ["queued", "preparing", "running", "post-migrating", "a word of next year"])
def test_an_unknown_status_is_in_progress(status):
    assert run(nova(status), migration=running())[0].state is State.RUNNING


def test_an_order_that_nova_does_not_know_counts_as_on_its_way_for_a_while():
    ordered = run(START, RESERVED, GO)[0]
    assert step(ordered, nova(""), 10.0 + ORDER_GRACE_S - 1)[0].state is State.ORDERED
    assert step(ordered, nova(""), 10.0 + ORDER_GRACE_S)[0].state is State.FAILED
    assert step(ordered, nova("", host=""), 10.0 + 10 * ORDER_GRACE_S)[0].state is State.ORDERED, "nobody says where the server is"


def test_after_a_restart_an_order_is_watched_never_repeated():
    assert run(START, RESERVED, GO, TICK)[1] == [Do.WATCH]


def test_completed_elsewhere_is_believed_once_the_limit_is_over():
    moved_on = nova("completed", "hv7", sound=True)
    assert step(running(), moved_on, 610.0)[0].state is State.RUNNING, "ordered at 10, limit 600: not over at 610"
    late, asked = step(running(), moved_on, 611.0)
    assert late.state is State.FAILED
    assert "hv7" in late.said
    assert asked[0].do is Do.RELEASE


def test_a_cancel_before_the_order_only_gives_the_room_back():
    found, asked = run(START, RESERVED, CANCEL)
    assert (found.state, asked) == (State.ABORTED, [Do.RELEASE]), "the server was never touched"
    assert run(RELEASED, migration=found)[0].state is State.COMPENSATED


def test_room_that_was_asked_for_counts_as_held():
    found, asked = run(START, CANCEL)
    assert (found.state, asked) == (State.ABORTED, [Do.RELEASE])


def test_room_that_appears_after_the_end_is_released_all_the_same():
    ended = run(START, CANCEL, RELEASED)[0]
    late, asked = run(RESERVED, migration=ended)
    assert (late.state, asked) == (State.COMPENSATED, [Do.RELEASE])
    assert run(TICK, migration=late)[1] == [Do.RELEASE], "and asked for until it is done"
    assert run(RELEASED, TICK, migration=late)[1] == []


def test_a_cancel_aborts_where_nova_survives_it():
    found, asked = run(CANCEL, migration=running(may_abort=True))
    assert (found.state, found.wish, asked) == (State.RUNNING, Wish.ABORT, [Do.ABORT, Do.WATCH])
    assert run(nova("failed"), migration=found)[0].state is State.ABORTED


def test_a_cancel_where_nova_does_not_survive_an_abort_lets_it_run_and_says_so():
    found, asked = run(CANCEL, migration=running())
    assert asked == [Do.WATCH]
    assert "does not survive" in found.said


def test_a_cancel_during_the_order_aborts_once_it_runs():
    ordered = replace(run(START, RESERVED, GO)[0], may_abort=True)
    assert run(CANCEL, migration=ordered)[1] == [Do.WATCH]
    assert run(CANCEL, nova("running"), migration=ordered)[1] == [Do.ABORT, Do.WATCH]


@pytest.mark.parametrize("ended", [Event(kind=Happened.REFUSED, text="no room"), CANCEL, GONE])
def test_a_go_that_comes_after_the_end_orders_nothing(ended):
    over = run(START, RESERVED, ended)[0]
    found, asked = run(GO, migration=over)
    assert (found, asked) == (over, []), "the lease was free, but nobody wants it any more"
    assert run(GO, TICK, migration=found)[1] == [Do.RELEASE]


def test_one_that_nova_calls_completed_waits_for_the_agent_and_is_neither_forced_nor_aborted():
    there = run(COMPLETED, migration=running(may_force=True, may_abort=True))[0]
    assert "does not report it yet" in there.said
    late, asked = step(there, TICK, 10.0 + 5 * 600.0)
    assert (late.wish, [i.do for i in asked]) == (Wish.NONE, [Do.WATCH])
    assert run(agent(), migration=late)[0].state is State.ARRIVED


def test_one_that_takes_too_long_is_forced_then_aborted():
    both = running(may_force=True, may_abort=True)
    assert step(both, TICK, 610.0)[0].wish is Wish.NONE
    forced, asked = step(both, TICK, 611.0)
    assert [i.do for i in asked] == [Do.FORCE, Do.WATCH]
    aborted, asked = step(forced, TICK, 10.0 + 2 * 600 + 1)
    assert aborted.wish is Wish.ABORT
    assert asked[0].do is Do.ABORT


def test_one_that_takes_too_long_where_nothing_is_allowed_is_watched_on():
    late, asked = step(running(), TICK, 99_999.0)
    assert (late.state, [i.do for i in asked]) == (State.RUNNING, [Do.WATCH])
    assert "still watched" in late.said


def test_a_deleted_server_is_not_touched_again():
    found, asked = run(GONE, migration=running())
    assert asked == [Do.RELEASE]
    assert run(RELEASED, migration=found)[0].state is State.COMPENSATED


def test_a_resize_and_a_migration_never_meet():
    ordered = run(START, RESERVED, GO)[0]
    assert may_order(NEW, True, []) == "a change of its size is still open"
    assert may_order(replace(NEW, id="m2"), False, [ordered]) == "migration m1 of the same server is ordered"
    assert may_order(replace(NEW, id="m2", server="vm9"), False, [ordered]) == ""
    assert may_order(ordered, False, [ordered]) == "", "it is no obstacle to itself"
    assert "hv2" in may_resize("vm1", [ordered])
    assert may_resize("vm1", [NEW]) == "", "one that only waits leaves the size alone"


EVENTS = st.builds(
    Event,
    kind=st.sampled_from(Happened),
    at=st.sampled_from([0.0, 1e9]),
    host=st.sampled_from(["", "hv1", "hv2", "hv3"]),
    status=st.sampled_from(["", "queued", "running", "completed", "cancelled", "failed", "error", "odd"]),
    sound=st.booleans(),
)
OPEN = st.builds(lambda abort, force: replace(NEW, may_abort=abort, may_force=force), st.booleans(), st.booleans())


@settings(max_examples=EXAMPLES)
@given(OPEN, st.lists(EVENTS, max_size=25), st.sampled_from(["completed", "failed", "cancelled", "error", ""]))
def test_whatever_happens_it_ends_and_orders_once(migration, events, end):
    """Any events in any order, then a world that answers truly: it ends, with one order at most and nothing owed."""
    orders, now = 0, 0.0
    for event in [*events, CANCEL]:
        now += 100
        over = migration.state.over
        migration, asked = step(migration, event, now)
        orders += sum(i.do is Do.ORDER for i in asked)
        assert not (over and any(i.do in TOUCHES for i in asked)), "nothing touches the server after the end"
        assert not over or migration.state.over, "an end is an end"
    for _ in range(6):
        now += 1000
        for answer in [TICK, *_true_answers(step(migration, TICK, now)[1], end, now)]:
            migration, asked = step(migration, answer, now)
            orders += sum(i.do is Do.ORDER for i in asked)
    assert migration.state.over
    assert not migration.room.owed
    assert orders <= 1
    assert (orders == 1) == (migration.ordered_at is not None)


def _true_answers(asked: tuple[Instruction, ...], end: str, now: float) -> list[Event]:
    host = "hv2" if end == "completed" else "hv1"
    told = {
        Do.RESERVE: [RESERVED, GO],
        Do.WATCH: [nova(end, host, sound=True), agent(host, now)],
        Do.RELEASE: [RELEASED],
        Do.REAPPLY: [RESTORED],
        Do.COMPENSATE: [RESTORED],
    }
    return [event for i in asked for event in told.get(i.do, [])]


@dataclass
class World:
    """Placement, Nova and two agents in small: what really is, apart from what the controller believes."""

    reservation: bool = False
    host: str = "hv1"
    status: str = ""
    exists: bool = True
    orders: int = 0
    doing: list[Do] = field(default_factory=list)
    answers: list[Event] = field(default_factory=list)

    def carry_out(self, now: float) -> None:
        """The first instruction: its effect, and its answer underway."""
        if not self.doing:
            return
        do = self.doing.pop(0)
        {Do.RESERVE: self._reserve, Do.RELEASE: self._release, Do.ORDER: self._order}.get(do, lambda: None)()
        if do is Do.ABORT and self.status == "running":
            self.status = "cancelled"
        self.answers += self._said(do, now)

    def _reserve(self) -> None:
        self.reservation = True

    def _release(self) -> None:
        self.reservation = False

    def _order(self) -> None:
        """Nova refuses one for a server that is gone meanwhile."""
        if not self.exists:
            return
        self.orders += 1
        self.reservation, self.status = False, "running"

    def _said(self, do: Do, now: float) -> list[Event]:
        if do is Do.WATCH and not self.exists:
            return [GONE]
        told = {Do.RESERVE: [RESERVED], Do.RELEASE: [RELEASED], Do.REAPPLY: [RESTORED], Do.COMPENSATE: [RESTORED]}
        watched = [nova(self.status, self.host, sound=self.status != "running"), agent(self.host, now)]
        return told.get(do, watched if do is Do.WATCH else [])

    def end(self, status: str) -> None:
        if self.status == "running":
            self.status, self.host = status, "hv2" if status == "completed" else "hv1"

    def crash(self) -> None:
        """The controller dies: what it meant to do and what it was being told is lost; what was done is done."""
        self.doing, self.answers = [], []


STEPS = st.lists(
    st.sampled_from(
        ["do", "do", "do", "tell", "tell", "tell", "go", "go", "tick", "crash", "completed", "failed", "cancel", "gone", "refused"]
    ),
    max_size=40,
)


@settings(max_examples=EXAMPLES)
@given(OPEN, STEPS)
def test_every_interrupted_way_leaves_nothing_behind(migration, steps):
    """Instructions are carried out late, or never since the controller died; at the end nothing is held and no server was moved twice."""
    world, now = World(), 0.0
    migration = _tell(migration, START, world, now)
    for name in [*steps, *["tick", "go", "completed", *["do", "tell"] * 4] * 8]:
        now += 30
        migration = _one(name, migration, world, now)
        assert world.orders <= 1
    if migration.state is State.RESERVED or migration.room is Room.NONE:
        migration = _tell(migration, CANCEL, world, now)
    for name in ["tick", *["do", "tell"] * 4] * 3:
        migration = _one(name, migration, world, now)
    assert migration.state.over
    assert not world.reservation, "the room on the target is given back"
    assert migration.state is not State.SETTLED or world.host == "hv2"


def _one(name: str, migration: Migration, world: World, now: float) -> Migration:
    if name == "do":
        world.carry_out(now)
    elif name in ("completed", "failed"):
        world.end(name)
    elif name == "crash":
        world.crash()
    elif name == "tell":
        return _tell(migration, world.answers.pop(0), world, now) if world.answers else migration
    else:
        world.exists = world.exists and name != "gone"
        return _tell(migration, Event(kind=Happened(name)), world, now)
    return migration


def _tell(migration: Migration, event: Event, world: World, now: float) -> Migration:
    if event.kind is Happened.REFUSED and migration.state is State.ORDERED:
        return migration  # this world's Nova took the order
    migration, asked = step(migration, event, now)
    world.doing += [i.do for i in asked]
    return migration

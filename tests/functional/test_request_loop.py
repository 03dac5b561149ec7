"""Requests on an emulated cloud: held in Placement, started, taken, given back; and continued whoever dies between any two steps."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from foreshape_controller.decide.tiers import BUILT_IN
from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.loops import asking
from foreshape_controller.loops.requests import RequestWork
from foreshape_controller.model.request import Criticality, Request, RequestAsk, RequestState, Webhook
from foreshape_controller.model.reservation import Place
from foreshape_wire.order import Mode
from reserve_support import HOSTS, Killed, World, world

pytestmark = pytest.mark.functional

HOUR = 3600.0
ASK: dict[str, Any] = {"vcpus": 4, "ram": 4096, "for_s": 4 * HOUR}


def work(here: World) -> RequestWork:
    own = replace(here.settings, requests=replace(here.settings.requests, critical_share=0.0))
    return asking.requests(own, here.store, here.work, lambda: BUILT_IN, None, lambda: here.at)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


@pytest.fixture
def advising(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, Mode.ADVISE) as made:
        yield made


def later(here: World, seconds: float) -> None:
    here.later(seconds)
    work(here).run_once(here.at)
    here.look()


def ask(here: World, **said: Any) -> Request:
    return work(here).create(RequestAsk(**{**ASK, **said}), said.pop("project", "shop"), "ann", here.at)


def full(here: World, leave: int = 0) -> None:
    for host in HOSTS:
        here.fill(host, leave)
    here.look()


def test_what_fits_is_held_in_placement_and_started_at_once(here: World) -> None:
    made = ask(here, count=2)
    assert made.state is RequestState.STARTED
    held = [amounts for host in HOSTS for amounts in here.ours(host).values()]
    assert held == [{"VCPU": 4, "MEMORY_MB": 4096}] * 2
    assert made.take_by == here.at + HOUR


def test_who_comes_finds_his_room_given_up_and_the_request_is_fulfilled(here: World) -> None:
    made = ask(here)
    assert work(here).take(made.id, here.at).state is RequestState.FULFILLED
    assert here.ours() == {}
    with pytest.raises(Invalid, match="fulfilled"):
        work(here).take(made.id, here.at)


def test_who_does_not_come_loses_his_room_and_is_told_so(here: World) -> None:
    made = ask(here)
    later(here, HOUR + 1)
    found = here.store.requests.find(made.id)
    assert (found.state, here.ours()) == (RequestState.EXPIRED, {})
    assert "did not come in time" in found.said


@pytest.mark.parametrize("how", ["cancel", "decline"])
def test_a_cancel_frees_exactly_what_was_held(here: World, how: str) -> None:
    other = ask(here, name="stays")
    before = here.ours()
    made = ask(here, count=3, name="goes")
    assert len(here.ours()) == 4
    getattr(work(here), how)(made.id, "", here.at)
    assert here.ours() == before
    assert here.store.requests.find(other.id).state is RequestState.STARTED


def test_without_room_it_waits_and_starts_when_somebody_leaves(here: World) -> None:
    full(here)
    made = ask(here)
    assert (made.state, made.code) == (RequestState.QUEUED, "no_room")
    assert made.next_look > here.at
    gone = next(s for s in here.emulator.nova.servers.values() if s.host == "node02")
    here.emulator.nova.delete(gone.id)
    later(here, 60)
    found = here.store.requests.find(made.id)
    assert (found.state, found.placed[0].host) == (RequestState.STARTED, "node02")


def test_one_for_later_is_held_from_shortly_before_its_start(here: World) -> None:
    made = ask(here, earliest=here.at + 2 * HOUR)
    assert (made.state, here.ours()) == (RequestState.SCHEDULED, {})
    later(here, 2 * HOUR - 200)  # [reservations] lead_s is 300
    assert len(here.ours()) == 1
    later(here, 201)
    assert here.store.requests.find(made.id).state is RequestState.STARTED


def test_while_placement_is_away_one_that_is_due_stays_says_so_and_goes_on_after(here: World) -> None:
    made = ask(here, earliest=here.at + HOUR)
    away = here.fails("placement ", times=10**6)
    later(here, HOUR - 200)
    later(here, 300)
    found = here.store.requests.find(made.id)
    assert (found.state, here.ours()) == (RequestState.ADMITTED, {})
    assert "its room is not held yet" in found.said
    later(here, HOUR)  # nobody who is blind finds another start
    assert here.store.requests.find(made.id).state is RequestState.ADMITTED
    away.times = 0
    later(here, 60)
    found = here.store.requests.find(made.id)
    assert (found.state, found.lost, len(here.ours())) == (RequestState.STARTED, 0, 1)
    assert "its room is held" in found.said


def test_room_that_others_took_before_it_was_held_is_looked_for_elsewhere_after_a_while(here: World) -> None:
    made = ask(here, earliest=here.at + HOUR)
    here.fill(made.placed[0].host)
    later(here, HOUR + 1)
    found = here.store.requests.find(made.id)
    assert (found.state, "its room is not held yet" in found.said) == (RequestState.ADMITTED, True)
    later(here, 901)
    later(here, 1)
    found = here.store.requests.find(made.id)
    assert (found.state, found.lost) == (RequestState.STARTED, 1)
    assert found.placed[0].host != made.placed[0].host


@pytest.mark.parametrize("how", ["take", "cancel"])
def test_what_cannot_be_given_back_at_once_is_said_so_and_given_back_later(here: World, how: str) -> None:
    made = ask(here)
    away = here.fails("placement ", times=10**6)
    found = work(here).take(made.id, here.at) if how == "take" else work(here).cancel(made.id, "", here.at)
    assert found.state.over
    assert "given back as soon as it does" in found.said
    assert len(here.ours()) == 1
    away.times = 0
    later(here, 60)
    assert here.ours() == {}


def test_what_is_promised_is_nobody_elses_even_before_it_is_held(here: World) -> None:
    full(here, leave=4)
    for i in range(3):
        ask(here, earliest=here.at + HOUR, name=f"r{i}")
    urgent = ask(here, criticality=Criticality.CRITICAL, for_s=2 * HOUR)
    assert urgent.start >= here.at + 5 * HOUR


def test_an_operators_reservation_of_later_counts(here: World) -> None:
    full(here, leave=4)
    for host in HOSTS:
        here.reservations.plan(here.wish(host=host, starts=here.at + HOUR, until=here.at + 2 * HOUR), here.at)
    assert ask(here, for_s=0.5 * HOUR, name="short").state is RequestState.STARTED
    assert ask(here, criticality=Criticality.CRITICAL).state is RequestState.QUEUED


def test_in_advise_nothing_is_held_until_an_operator_approves(advising: World) -> None:
    made = ask(advising)
    later(advising, 60)
    found = advising.store.requests.find(made.id)
    assert (found.state, advising.ours()) == (RequestState.PROPOSED, {})
    assert "an operator has to approve" in found.said
    assert work(advising).approve(made.id, "operator:ann", advising.at).state is RequestState.STARTED
    assert len(advising.ours()) == 1
    with pytest.raises(Invalid, match="only what is proposed"):
        work(advising).approve(made.id, "operator:ann", advising.at)


def test_an_approval_of_its_reservation_is_one_of_the_request(advising: World) -> None:
    made = ask(advising)
    (planned,) = advising.reservations.of_owner(made.owner)
    advising.reservations.approve(planned.id, "operator:ann", advising.at)
    later(advising, 10)
    later(advising, 10)
    assert advising.store.requests.find(made.id).state is RequestState.STARTED


def test_a_proposal_that_nobody_approves_is_made_again_and_holds_nothing(advising: World) -> None:
    made = ask(advising)
    later(advising, 1801)
    again = advising.store.requests.find(made.id)
    assert (again.state, again.lost, again.start > made.start) == (RequestState.PROPOSED, 1, True)
    assert len(advising.reservations.of_owner(made.owner)) == 1
    assert advising.ours() == {}


def test_a_cloud_that_is_not_read_promises_nothing_and_says_so(here: World) -> None:
    here.at += 1000
    made = ask(here)
    assert (made.state, made.code) == (RequestState.QUEUED, "unknown")
    assert "last read 1000 s ago" in made.said
    later(here, 1)
    assert here.store.requests.find(made.id).state is RequestState.STARTED


def test_a_host_that_dies_has_its_promises_made_elsewhere(here: World) -> None:
    made = ask(here, earliest=here.at + 2 * HOUR)
    (first,) = made.placed
    (planned,) = here.reservations.of_owner(made.owner)
    here.reservations.release(planned.id, "an operator took it", here.at)
    service = here.cloud.nova.find_service(first.host)
    here.cloud.nova.disable(service.id, "broken")
    later(here, 10)
    later(here, 10)
    found = here.store.requests.find(made.id)
    assert (found.state, found.lost) == (RequestState.SCHEDULED, 1)
    assert found.placed[0].host != first.host


def test_who_was_cancelled_while_the_loop_looked_is_not_given_room_again(here: World) -> None:
    stale = ask(here, earliest=here.at + HOUR)
    work(here).cancel(stale.id, "", here.at)
    work(here)._keeper.keep(stale, here.at)
    assert here.reservations.of_owner(stale.owner) == ()


def test_two_who_keep_the_same_request_hold_its_room_once(here: World) -> None:
    shared = work(here)
    made = ask(here, earliest=here.at + HOUR)
    (planned,) = here.reservations.of_owner(made.owner)
    here.reservations.plan(planned.wish, here.at)  # as somebody did who died right after
    shared.run_once(here.at)
    assert len(here.reservations.of_owner(made.owner)) == 1


def test_many_who_ask_at_once_are_promised_no_more_than_there_is(here: World) -> None:
    full(here, leave=8)
    shared = work(here)
    threads = [
        Thread(target=shared.create, args=(RequestAsk(**ASK, name=f"t{i}"), f"p{i % 3}", "ann", here.at), daemon=True) for i in range(12)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    shared.run_once(here.at)
    assert len(here.ours()) == 6  # two of 4 VCPUs on each of three hosts
    assert sum(r.state is RequestState.STARTED for r in here.store.requests.open()) == 6
    assert len(here.store.requests.open()) == 12


def test_an_accepted_alternative_gives_the_old_room_back(here: World) -> None:
    full(here, leave=2)
    made = ask(here, count=2)
    kinds = [a.kind for a in made.alternatives]
    assert made.state is RequestState.QUEUED
    small = next(i for i, a in enumerate(made.alternatives) if a.kind == "flavor") if "flavor" in kinds else None
    with pytest.raises(Invalid, match="alternative"):
        work(here).accept(made.id, 99, here.at)
    if small is not None:
        assert work(here).accept(made.id, small, here.at).state is not RequestState.CANCELLED


def test_the_same_name_twice_is_refused_and_so_are_too_many(here: World) -> None:
    ask(here, name="build")
    with pytest.raises(Invalid, match="sent twice"):
        ask(here, name="build")
    here.settings = replace(here.settings, requests=replace(here.settings.requests, per_project=2))
    ask(here, name="second")
    with pytest.raises(Invalid, match="at most 2 may be"):
        ask(here, name="third")
    assert ask(here, project="other", name="build").state is RequestState.STARTED


def test_a_flavor_that_nova_does_not_have_is_not_found(here: World) -> None:
    with pytest.raises(NotFound, match="flavor"):
        work(here).create(RequestAsk(flavor="none"), "shop", "ann", here.at)


def test_a_dry_run_keeps_nothing(here: World) -> None:
    seen = work(here).preview(RequestAsk(**ASK), "shop", "ann", here.at)
    assert (seen.id, seen.start) == ("", here.at)
    assert here.store.requests.open() == ()
    assert here.ours() == {}
    assert here.store.requests.clock("shop") == 0.0


# -- who dies between any two steps --------------------------------------------------------------------------------------


class Dying:
    """Counts writes to the store and to Placement, and kills the process before the one that is named."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, here: World) -> None:
        self.left, self.seen = float("inf"), 0
        engine, placement = type(here.store.db), type(here.cloud.placement)
        write = engine.write

        def counted(db: Any, **how: Any) -> Any:
            self.step()
            return write(db, **how)

        monkeypatch.setattr(engine, "write", counted)
        for name in ("put_allocation", "post_allocations", "delete_allocation"):
            self._wrap(monkeypatch, placement, name)

    def _wrap(self, monkeypatch: pytest.MonkeyPatch, cls: type, name: str) -> None:
        plain = getattr(cls, name)

        def counted(door: Any, *args: Any, **kwargs: Any) -> Any:
            self.step()
            return plain(door, *args, **kwargs)

        monkeypatch.setattr(cls, name, counted)

    def step(self) -> None:
        self.seen += 1
        if self.seen > self.left:
            raise Killed


def lives(here: World) -> None:
    """A request comes, starts, and is taken; another is cancelled while it is promised."""
    taken = ask(here, name="taken")
    dropped = ask(here, earliest=here.at + HOUR, name="dropped")
    work(here).cancel(dropped.id, "", here.at)
    work(here).take(taken.id, here.at)


def test_whoever_dies_at_any_step_is_continued_and_nothing_is_held_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with world(tmp_path) as here:
        dying = Dying(monkeypatch, here)
        lives(here)
        steps = dying.seen
        assert steps > 12
        for prefix in range(steps):
            dying.seen, dying.left = 0, prefix
            with pytest.raises(Killed):
                lives(here)
            dying.left = float("inf")
            here.restart()
            later(here, 20)
            later(here, 20)
            _in_order(here, prefix)
            for left in here.store.requests.open():
                work(here).cancel(left.id, "", here.at)
            assert here.ours() == {}
            here.at += 700  # who came is seen by everybody
            here.look()


def _in_order(here: World, prefix: int) -> None:
    """What Placement holds is what the requests are promised; nobody is stuck half-way."""
    started = [r for r in here.store.requests.open() if r.state is RequestState.STARTED]
    assert len(here.ours()) == sum(r.ask.count for r in started), prefix
    for r in here.store.requests.open():
        assert r.state in (RequestState.STARTED, RequestState.SCHEDULED), (prefix, r.state)
        wanted = {(p.host, p.count) for p in r.placed}
        assert {(x.wish.host, x.wish.count) for x in here.reservations.of_owner(r.owner)} == wanted
    for r in here.store.requests.over():
        assert all(s.place is Place.NONE for x in here.reservations.of_owner(r.owner) for s in x.slots)
    for r in (*here.store.requests.open(), *here.store.requests.over()):
        assert here.store.requests.steps(r.id)[0].state == r.state.value


def test_each_step_is_told_to_webhooks_in_the_same_transaction(here: World) -> None:
    here.store.requests.hook(Webhook(id="hook-1", project="shop", url="https://example.org/", created=here.at, secret="s"))
    made = ask(here)
    work(here).take(made.id, here.at)
    told = [d.event for d in sorted(here.store.requests.due(here.at, 50), key=lambda d: d.payload and d.created)]
    assert sorted(told) == sorted(f"request_{s.state}" for s in here.store.requests.steps(made.id))
    assert not any("node0" in d.payload for d in here.store.requests.due(here.at, 50))

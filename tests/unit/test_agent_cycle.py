"""The whole cycle in memory: pressure, silence, replays, clock steps, lost hypervisors; in sentences."""

import pytest

from core_support import HOST, VM, Bed, bed, size
from doors_support import FakeDomain
from foreshape_agent.errors import LinkRefused, ReportRefused
from foreshape_wire.ids import ServerId
from foreshape_wire.order import Guard, Mode, Origin, Outcome, Share, Verdict
from foreshape_wire.quantity import Cores, Memory
from foreshape_wire.reading import DomainState

pytestmark = pytest.mark.unit

OTHER = ServerId("00000000-0000-4000-8000-0000000000bb")


def shrunk(**options: object) -> Bed:
    """A guest that sold 2 cores and 512 MiB, and holds 1 core and 300 MiB by order."""
    b = bed(**options)
    b.run(2)
    b.controller.order("shrink", cpu=1.0, mib=300)
    b.run()
    b.controller.orders = []
    b.run()
    assert (guest(b).quota, guest(b).balloon_mib) == (1.0, 300.0)
    return b


def guest(b: Bed) -> FakeDomain:
    return b.hypervisor.domains[VM]


def by(b: Bed, origin: Origin) -> list[Outcome]:
    return [o for o in b.controller.outcomes() if o.origin is origin]


# -- reports -----------------------------------------------------------------------------------------------------


def test_the_first_report_has_the_cards_and_later_ones_only_when_they_change() -> None:
    b = bed()
    b.run(3)
    assert [r.cards is not None for r in b.controller.reports] == [True, False, False]
    guest(b).quota = 1.0
    b.run()
    assert b.last.cards is not None
    assert b.last.cards[0].allocation == size(1.0, 512)


def test_cards_are_sent_again_when_the_controller_lacks_them() -> None:
    b = bed()
    b.controller.cards_wanted = True
    b.run(3)
    assert all(r.cards is not None for r in b.controller.reports)


def test_reports_are_numbered_without_a_hole_and_forgotten_when_acknowledged() -> None:
    b = bed()
    b.run(5)
    assert [r.sequence for r in b.controller.reports] == [1, 2, 3, 4, 5]
    assert len({r.epoch for r in b.controller.reports}) == 1
    assert b.spool.waiting() == 0


def test_a_peek_in_between_does_not_shorten_what_is_reported() -> None:
    b = bed()
    b.run()
    b.clock.sleep(5)
    b.cycle.peek()
    b.run(every=5)
    assert b.last.samples[0].window_s == 10.0
    assert len(b.controller.reports) == 2


def test_a_domain_that_goes_and_one_that_comes() -> None:
    b = bed()
    b.run(2)
    del b.hypervisor.domains[VM]
    b.hypervisor.add(FakeDomain(server=OTHER))
    b.run()
    assert [(s.server, s.window_s, s.cpu) for s in b.last.samples] == [(OTHER, 0.0, None)]
    b.run()
    assert b.last.samples[0].window_s == 10.0


def test_a_busy_domain_is_data_and_keeps_its_card() -> None:
    b = bed()
    b.run(2)
    guest(b).state = DomainState.BUSY
    b.run()
    assert (b.last.samples[0].state, b.last.samples[0].memory) == (DomainState.BUSY, None)
    assert b.last.cards is not None  # its levers are gone for now
    assert b.last.cards[0].allocation == size(2, 512)


def test_a_missing_stats_period_is_set_once() -> None:
    b = bed(FakeDomain(server=VM, stats_period=None))
    b.run(4)
    assert b.called("set_stats_period") == [5]
    assert b.last.samples[0].memory is not None
    assert b.last.samples[0].memory.confidence >= 0.9


# -- pressure ----------------------------------------------------------------------------------------------------


def test_a_starved_cpu_gets_more_in_the_very_cycle_that_shows_it() -> None:
    b = shrunk()
    guest(b).demand_cores = 2.0
    before = b.clock.monotonic() + 10
    assert "gave back 1" in b.run()
    assert guest(b).quota is None  # 1 used + 1 throttled, times 1.3, up to 2
    assert b.clock.monotonic() - before < 3
    b.run()
    assert [(o.resource, o.verdict) for o in by(b, Origin.REFLEX)] == [("cpu", Verdict.APPLIED)]
    assert by(b, Origin.REFLEX)[0].order == ""


def test_a_peek_answers_pressure_without_a_report() -> None:
    b = shrunk()
    guest(b).demand_cores = 2.0
    b.clock.sleep(5)
    assert b.cycle.peek() == 1
    assert guest(b).quota is None


def test_memory_pressure_is_answered_without_the_controller() -> None:
    b = shrunk()
    b.controller.down = True
    guest(b).used_mib = 255  # 15 of 300 MiB usable: 5 %
    b.run()
    assert guest(b).balloon_mib == 450.0  # 300 × 1.5


def test_pressure_ends_a_shrink_that_is_under_way() -> None:
    b = bed(FakeDomain(server=VM, balloon_mib_per_s=5, used_mib=150))
    b.run(2)
    b.controller.order("o", mib=300)
    b.run(3)
    guest(b).used_mib = guest(b).balloon_mib - 35  # 5 MiB are left
    guest(b).balloon_mib_per_s = 1000
    b.run(2)
    assert guest(b).balloon_mib == 512.0
    assert ("superseded" in [o.code for o in by(b, Origin.ORDER)]) is True


def test_in_advise_only_what_foreshape_took_is_given_back() -> None:
    b = bed(FakeDomain(server=VM, quota=1.0, demand_cores=2.0))  # an operator's own cap
    b.controller.mode = Mode.ADVISE
    b.run(4)
    assert b.hypervisor.calls == []
    b = shrunk()
    b.controller.mode = Mode.ADVISE
    guest(b).demand_cores = 2.0
    b.run()
    assert guest(b).quota is None


def test_the_guards_entitlement_bounds_what_is_given_back() -> None:
    b = shrunk()
    b.controller.guards = [Guard(server=VM, floor=size(0.1, 96), entitlement=size(1.2, 512))]
    b.run()
    guest(b).demand_cores = 2.0
    b.run()
    assert guest(b).quota == 1.2


def test_a_share_of_a_host_that_is_short_bounds_it_too_until_its_time_is_over() -> None:
    b = shrunk()
    share = Share(amount=Cores(1.1), until=b.controller.now + 45)
    b.controller.guards = [Guard(server=VM, floor=size(0.1, 96), entitlement=size(2, 512), share=share)]
    b.run()
    guest(b).demand_cores = 2.0
    b.run(2)
    assert guest(b).quota == 1.1
    b.run(4)
    assert guest(b).quota is None, "nobody renewed it: what was sold comes back under pressure"


def test_a_give_back_that_fails_is_not_tried_every_second() -> None:
    b = shrunk()
    guest(b).demand_cores, guest(b).quota_ignored = 2.0, True
    guest(b).quota = 1.0
    for _ in range(6):
        b.run(every=2)
    assert len(b.called("set_cpu_quota")) == 2  # the order's and one reflex, which is still waited for


# -- silence -----------------------------------------------------------------------------------------------------


def test_a_silent_controller_means_entitlement_after_a_set_time_and_not_before() -> None:
    b = shrunk(static_after_s=60.0)
    b.controller.down = True
    b.run(6)  # 60 s
    assert guest(b).quota == 1.0
    assert "safe mode" in b.run()
    assert (guest(b).quota, guest(b).balloon_mib) == (None, 512.0)


def test_in_safe_mode_what_shrinks_is_given_back_again_and_nothing_else_happens() -> None:
    b = shrunk(static_after_s=60.0)
    b.controller.down = True
    b.run(8)
    calls = len(b.hypervisor.calls)
    b.run(5)
    assert len(b.hypervisor.calls) == calls
    guest(b).balloon_target = guest(b).balloon_mib = 400
    b.run(2)
    assert guest(b).balloon_mib == 512.0


def test_safe_mode_ends_when_the_controller_answers_and_its_order_is_followed_at_once() -> None:
    b = shrunk(static_after_s=60.0)
    b.controller.down = True
    b.run(8)
    b.controller.down = False
    b.controller.order("again", cpu=1.0)
    assert "safe mode" not in b.run()
    assert guest(b).quota == 1.0
    b.run()
    assert {o.origin for o in b.controller.outcomes()} == {Origin.ORDER, Origin.STATIC}
    assert any(r.safe_mode for r in b.controller.reports)


def test_an_agent_that_was_never_answered_since_its_start_returns_what_it_took_before(tmp_path: object) -> None:
    b = shrunk(path=f"{tmp_path}/spool.sqlite", static_after_s=60.0)
    b.controller.down = True
    b = b.restarted()
    b.run(8)
    assert (guest(b).quota, guest(b).balloon_mib) == (None, 512.0)


def test_a_controller_that_refuses_this_agent_counts_as_silent() -> None:
    b = shrunk(static_after_s=60.0)
    b.controller.error = LinkRefused("token unknown")
    b.run(8)
    assert guest(b).quota is None


def test_a_reply_played_over_and_over_counts_as_silence() -> None:
    b = shrunk(static_after_s=60.0)
    b.controller.replay = b.controller.answer()
    b.run(9)
    assert guest(b).quota is None


def test_restore_gives_everything_back() -> None:
    b = shrunk()
    b.cycle.restore("the agent is stopped")
    assert (guest(b).quota, guest(b).balloon_mib) == (None, 512.0)


# -- replies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", [b"", b'{"version": 1, "ho', b"[]", b'{"version": 99}', b"\xff\xfe"])
def test_half_a_reply_changes_nothing_and_the_report_is_sent_again(reply: bytes) -> None:
    b = bed()
    b.controller.replay = reply
    if not reply:
        b.controller.exchange = lambda _report: b""  # type: ignore[method-assign]
    b.run(2)
    assert b.spool.waiting() == 2
    b.controller.replay = None
    b.controller.__dict__.pop("exchange", None)
    b.run(2)
    assert b.spool.waiting() == 0


def test_a_reply_for_another_host_is_no_reply() -> None:
    b = bed()
    b.run()
    b.controller.order("o", cpu=1.0)
    b.controller.replay = b.controller.answer().replace(HOST.encode(), b"hv2")
    b.run(2)
    assert b.hypervisor.calls == []
    assert "another" in b.cycle.trouble or "hv2" in b.cycle.trouble


def test_a_replayed_reply_brings_no_old_order_back() -> None:
    b = bed()
    b.run(2)
    b.controller.order("old", cpu=1.0)
    b.controller.orders, old = [], b.controller.answer().replace(b'"orders":[]', b'"orders":[]')
    b.controller.order("older", cpu=0.7)
    old = b.controller.answer()
    b.controller.order("new", cpu=1.5)
    b.run()
    b.controller.orders, b.controller.replay = [], old
    b.run(3)
    assert b.called("set_cpu_quota") == [Cores(1.5)]


@pytest.mark.parametrize("step", [3600.0, -3600.0])
def test_the_agents_clock_may_step_by_an_hour(step: float) -> None:
    b = bed()
    b.run(2)
    b.clock.step_wall(step)
    b.controller.order("o", cpu=1.0, mib=300)
    b.run(2)
    assert {o.verdict for o in b.controller.outcomes()} == {Verdict.APPLIED}
    assert b.last.samples[0].window_s == pytest.approx(10.0, abs=0.5)  # the balloon was watched for a moment


@pytest.mark.parametrize("step", [3600.0, -3600.0])
def test_the_controllers_clock_may_step_by_an_hour(step: float) -> None:
    b = bed(static_after_s=60.0)
    b.run(2)
    b.controller.ahead_s = step
    b.controller.order("o", cpu=1.0)
    b.run(3)
    assert {o.verdict for o in b.controller.outcomes()} == {Verdict.APPLIED}
    assert b.last.safe_mode == ""


def test_an_order_that_the_controllers_step_made_stale_is_refused() -> None:
    b = bed()
    b.run(2)
    b.controller.order("o", cpu=1.0)
    b.controller.ahead_s = 3600.0
    b.run(2)
    assert [o.code for o in b.controller.outcomes()] == ["stale_order"]
    assert b.hypervisor.calls == []


def test_guards_and_mode_survive_a_restart(tmp_path: object) -> None:
    b = bed(path=f"{tmp_path}/spool.sqlite")
    b.controller.guards = [Guard(server=VM, floor=size(0.5, 200), entitlement=size(2, 512))]
    b.run()
    b = b.restarted()
    assert b.spool.ledger.memo.mode is Mode.ACT
    assert b.spool.ledger.memo.guards[VM].floor == size(0.5, 200)


# -- outages -----------------------------------------------------------------------------------------------------


def test_an_outage_loses_nothing_and_drains_oldest_first_behind_the_fresh_report() -> None:
    b = bed(static_after_s=86400.0)
    b.run(3)
    b.controller.down = True
    b.run(360)  # an hour
    b.controller.down = False
    b.run()
    tail = [r.sequence for r in b.controller.reports[3:]]
    assert tail == [364, *range(4, 34)]  # the fresh one, then the 30 oldest
    b.run(12)
    assert sorted(r.sequence for r in b.controller.reports) == list(range(1, 377))
    assert b.spool.waiting() == 0


def test_a_report_that_is_refused_does_not_stand_in_the_way() -> None:
    b = bed()
    b.run()
    b.controller.error = ReportRefused("422: $.samples[0].note is too long")
    b.run(2)
    assert b.spool.waiting() == 2  # nothing else got through: it may be the controller
    b.controller.error = None
    real = b.controller.exchange

    def picky(report: bytes) -> bytes:
        if b'"sequence":2,' in report:
            raise ReportRefused("422: $.samples[0].note is too long")
        return real(report)

    b.controller.exchange = picky  # type: ignore[method-assign]
    b.run()
    assert [r.sequence for r in b.controller.reports] == [1, 4, 3]
    assert (b.spool.waiting(), b.spool.quarantined()) == (0, 1)


def test_a_lost_hypervisor_makes_its_domains_unknown_not_gone() -> None:
    b = shrunk()
    b.hypervisor.lost = True
    assert "domains unknown" in b.run()
    assert (b.last.samples, b.last.host_sample is not None) == ((), True)
    assert "hypervisor lost" in b.last.note
    assert b.last.cards is None
    b.hypervisor.lost = False
    b.run(2)
    assert b.last.samples[0].window_s == 10.0
    assert b.spool.took(VM, "cpu")  # what was taken is still known


def test_one_domain_with_absurd_numbers_never_stops_the_others() -> None:
    b = bed(FakeDomain(server=VM), FakeDomain(server=OTHER))
    b.run(2)
    guest(b).run_ns = 1e30
    b.run()
    odd, plain = b.last.samples
    assert "not measured" in odd.note
    assert plain.cpu is not None


def test_a_reflex_and_an_order_meet_in_one_cycle_and_the_lease_holds() -> None:
    b = shrunk()
    guest(b).demand_cores = 2.0
    b.controller.order("shrink-more", cpu=0.5)
    b.run(2)
    assert guest(b).quota is None
    assert [o.code for o in by(b, Origin.ORDER) if o.order == "shrink-more"] == ["censored"]


def test_a_shrink_decided_before_pressure_was_answered_is_refused_and_a_later_one_is_not() -> None:
    b = shrunk()
    b.controller.order("decided-before", cpu=0.5)
    guest(b).demand_cores = 2.0
    b.clock.sleep(5)
    assert b.cycle.peek() == 1
    guest(b).demand_cores = 0.1  # the burst is over before the order arrives
    b.run()
    assert guest(b).quota is None
    assert [o.code for o in by(b, Origin.ORDER) if o.order == "decided-before"] == []  # told with the next report
    b.run()
    assert [o.code for o in by(b, Origin.ORDER) if o.order == "decided-before"] == ["pressure_since"]
    b.controller.order("decided-after", cpu=0.5)
    b.run(2)
    assert guest(b).quota == 0.5


def test_an_order_never_leads_below_the_guards_floor_even_if_it_says_so() -> None:
    b = bed()
    b.controller.guards = [Guard(server=VM, floor=size(0.1, 400), entitlement=size(2, 512))]
    b.run(2)
    b.controller.order("o", mib=300)
    b.run(2)
    assert b.called("set_balloon") == []
    assert [o.code for o in b.controller.outcomes()] == ["below_floor"]


def test_growing_above_the_entitlement_is_an_orders_right_up_to_the_ceiling() -> None:
    b = bed(FakeDomain(server=VM, virtio_size=512))
    b.run(2)
    b.controller.order("o", mib=768)
    b.run(2)
    assert b.called("set_virtio_mem") == [Memory(256)]
    assert [(o.verdict, o.after) for o in b.controller.outcomes()] == [(Verdict.APPLIED, 768.0)]

"""The spool on real files: restarts, thinning, full and read-only disks, torn and foreign files."""

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core_support import HOST, VM, bed
from foreshape_agent.choose import Step
from foreshape_agent.records import Action
from foreshape_agent.spool import Spool
from foreshape_wire.codec import WIRE_VERSION, decode_report
from foreshape_wire.ids import CauseId, OrderId
from foreshape_wire.order import Origin, Outcome, Verdict
from foreshape_wire.reading import LeverName
from foreshape_wire.sample import HostReport

pytestmark = pytest.mark.functional


def a_report(spool: Spool, at: float, note: str = "") -> HostReport:
    return HostReport(
        version=WIRE_VERSION,
        host=HOST,
        epoch=spool.epoch,
        sequence=spool.number,
        taken_at=at,
        samples=(),
        outcomes=spool.unsent(),
        note=note,
    )


def an_action(name: str = "o") -> Action:
    return Action(
        order=OrderId(name),
        cause=CauseId(f"c-{name}"),
        server=VM,
        resource="cpu",
        origin=Origin.ORDER,
        before=2.0,
        target=1.0,
        steps=(Step(LeverName.CPU_QUOTA, 1.0),),
        at=1.0,
        reason="test",
    )


def an_outcome(name: str = "o", verdict: Verdict = Verdict.APPLIED) -> Outcome:
    return Outcome(
        order=OrderId(name),
        cause=CauseId(f"c-{name}"),
        server=VM,
        resource="cpu",
        verdict=verdict,
        origin=Origin.ORDER,
        at=1.0,
        before=2.0,
        target=1.0,
        after=1.0,
        code="x",
        reason="y",
    )


def fill(spool: Spool, count: int) -> None:
    for n in range(count):
        spool.append(a_report(spool, 1000.0 + n))


def stored(spool: Spool) -> list[HostReport]:
    return [decode_report(r.message()) for r in spool.backlog(100_000)]


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    fill(spool, 3)
    spool.intend(an_action("open"))
    spool.intend(an_action("done"))
    spool.answer(an_outcome("done"), final=True)
    spool.take(VM, "cpu", 5.0)
    epoch = spool.epoch
    again = Spool(tmp_path / "s")  # the first was never closed: a killed process closes nothing
    assert (again.epoch, again.number) == (epoch, 4)
    assert [r.sequence for r in stored(again)] == [1, 2, 3]
    assert [a.order for a in again.actions()] == ["open"]
    assert [o.order for o in again.unsent()] == ["done"]
    assert again.ledger.settled.keys() == {"done/cpu"}
    assert again.took(VM, "cpu")


def test_numbers_are_never_given_twice_even_when_all_is_acknowledged(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    fill(spool, 3)
    spool.forget(spool.epoch, [1, 2, 3])
    assert Spool(tmp_path / "s").number == 4


def test_an_outcome_rides_in_exactly_one_report(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    spool.answer(an_outcome(), final=True)
    fill(spool, 2)
    assert [len(r.outcomes) for r in stored(spool)] == [1, 0]
    assert spool.unsent() == ()


def test_forgetting_touches_its_own_epoch_only(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    fill(spool, 2)
    spool.forget("another", [1, 2])
    assert spool.waiting() == 2
    spool.forget(spool.epoch, [1])
    assert [r.sequence for r in stored(spool)] == [2]


def test_a_full_spool_thins_its_oldest_half_and_marks_the_gaps(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", max_reports=10)
    fill(spool, 10)
    assert all(r.gap is None for r in stored(spool))
    fill(spool, 1)
    kept = stored(spool)
    assert [r.sequence for r in kept] == [1, 3, 5, 6, 7, 8, 9, 10, 11]  # 2 and 4 of the oldest five went
    gap = kept[0].gap
    assert gap is not None
    assert (gap.since, gap.until, gap.reports) == (1001.0, 1001.0, 1)


def test_no_outcome_is_ever_thinned_away(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", max_reports=10)
    for n in range(100):
        spool.answer(an_outcome(f"o{n}"), final=True)
        spool.append(a_report(spool, 1000.0 + n))
    kept = stored(spool)
    assert len(kept) <= 10
    assert sorted(o.order for r in kept for o in r.outcomes) == sorted(f"o{n}" for n in range(100))


@settings(max_examples=25)
@given(most=st.integers(4, 20), count=st.integers(1, 120))
def test_what_is_missing_is_what_the_gaps_say(most: int, count: int) -> None:
    spool = Spool(":memory:", max_reports=most)
    fill(spool, count)
    kept = stored(spool)
    assert len(kept) <= most
    assert kept[0].sequence == 1
    assert kept[-1].sequence == count
    assert len(kept) + sum(r.gap.reports for r in kept if r.gap) == count


def test_a_full_disk_goes_on_in_memory_says_so_and_recovers_without_loss(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", buffer_reports=50)
    fill(spool, 3)
    assert spool.disk is not None
    limit = spool.disk.connection.execute("PRAGMA page_count").fetchone()[0]
    spool.disk.connection.execute(f"PRAGMA max_page_count = {limit}")
    big = [spool.append(a_report(spool, 2000.0 + n, note="".join(chr(33 + (n * 7 + i * i) % 90) for i in range(4000)))) for n in range(30)]
    assert "in memory" in spool.notice
    assert "full" in spool.notice
    assert spool.waiting() == 33
    assert len({(r.epoch, r.sequence) for r in big}) == 30
    spool.answer(an_outcome(), final=True)
    spool.disk.connection.execute("PRAGMA max_page_count = 100000")
    spool.recover()
    assert spool.notice == ""
    spool.close()
    again = Spool(tmp_path / "s")
    assert again.waiting() == 33
    assert [o.order for o in again.unsent()] == ["o"]


def test_the_buffer_in_memory_is_bounded_and_hands_outcomes_on(tmp_path: Path) -> None:
    spool = Spool(tmp_path, buffer_reports=5)  # a folder is no file: the disk never takes anything
    assert "in memory" in spool.notice
    for n in range(20):
        spool.answer(an_outcome(f"o{n}"), final=True)
        spool.append(a_report(spool, 1000.0 + n))
    kept = stored(spool)
    assert len(kept) == 5
    assert len([o for r in kept for o in r.outcomes]) == 20
    assert kept[0].gap is not None
    assert kept[0].gap.reports == 15


@pytest.mark.parametrize("torn", [b"this is no database at all" * 50, b"SQLite format 3\x00" + b"\x7f" * 4096])
def test_an_unreadable_file_is_kept_aside_and_a_new_epoch_begins(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "s"
    path.write_bytes(torn)
    spool = Spool(path)
    fill(spool, 2)
    assert spool.lost
    assert "unreadable" in spool.notice
    assert (tmp_path / "s.unreadable-1").read_bytes() == torn
    again = Spool(path)
    assert [r.sequence for r in stored(again)] == [1, 2]
    assert again.lost


def test_a_spool_of_a_newer_agent_is_kept_aside(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with sqlite3.connect(path) as c:
        c.execute("PRAGMA user_version = 7")
    assert "version is 7" in Spool(path).notice


def test_a_file_torn_under_a_running_agent_loses_no_intent(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    fill(spool, 200)
    spool.intend(an_action("open"))
    assert spool.disk is not None
    spool.disk.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray((tmp_path / "s").read_bytes())
    data[4096:] = b"\x55" * (len(data) - 4096)
    (tmp_path / "s").write_bytes(data)
    spool.disk.connection.execute("PRAGMA cache_size = 0")
    fill(spool, 3)
    assert [a.order for a in spool.actions()] == ["open"]
    spool.recover()
    again = Spool(tmp_path / "s")
    assert [a.order for a in again.actions()] == ["open"]
    assert "unreadable" in spool.notice


def test_quarantined_reports_are_kept_for_a_person_and_never_sent(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    fill(spool, 3)
    spool.quarantine(spool.backlog(1)[0], "422: bad")
    assert ([r.sequence for r in stored(spool)], spool.waiting(), spool.quarantined()) == ([2, 3], 2, 1)
    with sqlite3.connect(tmp_path / "s") as c:
        assert c.execute("SELECT sequence, poison FROM reports WHERE poison <> ''").fetchall() == [(1, "422: bad")]


def test_a_locked_file_is_waited_out_in_memory(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    fill(spool, 1)
    operator = sqlite3.connect(tmp_path / "s", isolation_level=None)
    operator.execute("BEGIN IMMEDIATE")
    fill(spool, 1)
    assert "locked" in spool.notice
    operator.execute("ROLLBACK")
    spool.recover()
    assert (spool.notice, spool.waiting()) == ("", 2)


def test_a_cycle_on_a_full_disk_still_reports_acts_and_says_what_is_wrong(tmp_path: Path) -> None:
    b = bed(path=tmp_path)  # a folder: nothing can be written
    b.run(2)
    b.controller.order("o", cpu=1.0)
    assert "in memory" in b.run(2)
    assert [o.verdict for o in b.controller.outcomes()] == [Verdict.APPLIED]
    assert "in memory" in b.last.note
    assert b.spool.waiting() == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", place], check=False).returncode == 0
    if not mounted:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_disk_that_others_fill_and_free_again(small_disk: Path) -> None:
    b = bed(path=small_disk / "s", static_after_s=86400.0)
    b.run(3)
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(b"x" * 2**22)
    b.controller.down = True
    assert "in memory" in b.run(60)
    b.controller.down = False
    ballast.unlink()
    assert "in memory" not in b.run(4)
    assert b.spool.waiting() == 0
    assert len({(r.epoch, r.sequence) for r in b.controller.reports}) == 67  # 3 + 60 + 4: none lost
    assert len({r.taken_at for r in b.controller.reports}) == 67

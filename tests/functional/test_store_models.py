"""Who is in office: one pointer, replaced whole; damaged models passed over; every change in the log."""

import errno
import json
import os
from pathlib import Path

import pytest

from foreshape_controller.errors import ModelError, NotFound
from foreshape_controller.forecast.folder import verify
from foreshape_controller.loops.office import InOffice
from foreshape_controller.model.learned import Gate
from foreshape_controller.store import models as module
from foreshape_controller.store.models import BASELINE, Event, Lesson, Models
from learn_support import a_model, load_scripted
from store_support import T0

pytestmark = [pytest.mark.functional, pytest.mark.engines]


@pytest.fixture
def models(tmp_path):
    return Models(tmp_path / "models", verify)


@pytest.fixture
def two(models):
    for name in ("m1", "m2"):
        a_model(models.folder, name, median=1.0 if name == "m1" else 2.0)
    return models


def office_of(models: Models) -> InOffice:
    return InOffice(models, load_scripted)


def cut_in_half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def test_without_any_model_the_baseline_is_in_office(models):
    assert models.office().model == BASELINE
    assert models.ids() == ()
    assert not models.folder.exists()


def test_a_promotion_is_told_to_everybody_who_reads_the_pointer_and_stands_in_the_log(two):
    two.promote("m1", "it won", T0)
    again = Models(two.folder, verify)
    assert (again.office().model, again.office().previous) == ("m1", BASELINE)
    assert [(e.event, e.model, e.reason) for e in again.events()] == [("promoted", "m1", "it won")]


def test_a_rollback_goes_to_the_one_before_and_back_again(two):
    two.promote("m1", "", T0)
    two.promote("m2", "", T0 + 1)
    assert two.roll_back("worse on Mondays", T0 + 2).model == "m1"
    assert two.roll_back("", T0 + 3).model == "m2"
    assert two.roll_back("", T0 + 4, to=BASELINE).model == BASELINE
    assert [e.event for e in two.events()] == ["rolled back"] * 3 + ["promoted"] * 2


def test_with_nothing_before_it_a_rollback_ends_at_the_baseline(two):
    two.promote("m1", "", T0)
    assert two.roll_back("", T0).model == BASELINE
    assert two.roll_back("", T0).model == "m1"


def test_a_rollback_to_who_is_in_office_already_says_so(two):
    with pytest.raises(ModelError, match="in office already"):
        two.roll_back("", T0)


@pytest.mark.parametrize("name", ["m9", "../m1", "m1/", "", ".m1.work", "m1.old"])
def test_a_model_that_is_not_here_cannot_be_promoted(two, name):
    with pytest.raises(NotFound):
        two.promote(name, "", T0)
    assert two.office().model == BASELINE


@pytest.mark.parametrize("file", ["manifest.json", "net.npz", "gate.json", "calibration.json"])
def test_a_model_cut_in_half_is_refused_with_what_is_wrong_and_the_champion_stays(two, file):
    two.promote("m1", "", T0)
    cut_in_half(two.folder / "m2" / file)
    with pytest.raises(ModelError, match=r"damaged|no model"):
        two.promote("m2", "", T0)
    assert two.office().model == "m1"
    assert two.trouble("m2")
    assert not two.trouble("m1")


def test_a_model_of_another_version_is_refused(two):
    path = two.folder / "m2" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(ModelError, match="format 99"):
        two.promote("m2", "", T0)


def test_a_full_disk_at_promotion_leaves_the_champion_and_no_half_written_pointer(two, monkeypatch):
    two.promote("m1", "", T0)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(ModelError, match=r"No space left on device.*m1 stays in office"):
        two.promote("m2", "", T0)
    assert two.office().model == "m1"
    assert {p.name for p in two.folder.iterdir() if p.is_file()} == {"champion", "promotions.jsonl"}


def test_a_pointer_that_is_no_pointer_is_said_and_a_promotion_heals_it(two):
    two.promote("m1", "", T0)
    (two.folder / "champion").write_bytes(b"\x00{")
    with pytest.raises(ModelError, match="foreshape model promote"):
        two.office()
    assert two.promote("m2", "", T0).model == "m2"


def test_the_log_survives_a_line_cut_by_a_crash(two):
    two.note(Event(T0, "lost", "m1", "no clear gain", {"cpu steps": 1.0}))
    with (two.folder / "promotions.jsonl").open("a") as log:
        log.write('{"at": 1, "ev')
    assert [e.event for e in two.events()] == ["lost"]


def test_old_models_go_but_never_the_one_in_office_nor_the_one_before(models):
    for i in range(6):
        os.utime(a_model(models.folder, f"m{i}"), (T0 + i, T0 + i))
    models.promote("m0", "", T0)
    models.promote("m1", "", T0)
    assert set(models.prune(2)) == {"m2", "m3"}
    assert models.ids() == ("m0", "m1", "m4", "m5")


def test_the_newest_training_is_remembered_and_a_damaged_note_of_it_forgotten(models):
    lesson = Lesson("m1", T0, 2, "running", "the night's training")
    models.keep_lesson(lesson)
    assert models.lesson() == lesson
    (models.folder / "lesson.json").write_text("{")
    assert models.lesson() == Lesson()


def test_a_model_that_a_crash_left_under_its_other_name_gets_its_own_back(two):
    (two.folder / "m1").rename(two.folder / "m1.old")
    assert two.ids() == ("m2",)
    two.recover()
    assert two.ids() == ("m1", "m2")


# --- in office ---


def test_a_promoted_model_speaks_at_once_and_a_rolled_back_one_no_more(two):
    office = office_of(two)
    baseline = office.look()
    office.promote("m2", "it won", T0)
    assert office.model == "m2"
    assert office.look() is not baseline
    office.roll_back("", T0)
    assert office.model == BASELINE


def test_what_another_process_changed_is_taken_over(two):
    office = office_of(two)
    assert not office.refresh()
    Models(two.folder, verify).promote("m1", "", T0)
    assert office.refresh()
    assert office.model == "m1"


def test_a_champion_damaged_before_the_start_is_passed_over_for_the_one_before(two):
    office_of(two).promote("m1", "", T0)
    office_of(two).promote("m2", "", T0)
    cut_in_half(two.folder / "m2" / "net.npz")
    office = office_of(two)
    assert office.model == "m1"
    assert "m2 is not used" in office.trouble


def test_with_both_damaged_the_baseline_goes_on(two):
    office_of(two).promote("m1", "", T0)
    office_of(two).promote("m2", "", T0)
    for name in ("m1", "m2"):
        cut_in_half(two.folder / name / "manifest.json")
    office = office_of(two)
    assert office.model == BASELINE
    assert "m2 is not used" in office.trouble


def test_a_champion_damaged_while_it_serves_goes_on_serving(two):
    office = office_of(two)
    office.promote("m1", "", T0)
    cut_in_half(two.folder / "m1" / "net.npz")
    office.refresh()
    assert office.model == "m1"


def test_a_model_that_cannot_be_loaded_is_not_put_in_office(two):
    def no_torch(_: Path) -> None:
        raise ModelError("torch is not installed")

    office = InOffice(two, no_torch)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="torch"):
        office.promote("m1", "", T0)
    assert two.office().model == BASELINE


def test_a_cell_that_stands_back_stays_back_after_a_restart_and_the_rest_still_speaks(two):
    office = office_of(two)
    office.promote("m1", "", T0)
    assert office.stand_back({("cpu", "busy", "peak30m"): "it lost"}, [], T0) == (("cpu", "busy", "peak30m"),)
    for whose in (office, office_of(two)):
        assert whose.model == "m1"
        assert whose.gate.verdict("cpu", "busy", "peak30m").weight == 0
        assert whose.gate.verdict("cpu", "busy", "peak30m").reason == "it lost"
        assert whose.gate.verdict("cpu", "mid", "peak30m").weight == 1
    assert two.events()[0].event == "fell back"


def test_standing_back_twice_is_said_once(two):
    office = office_of(two)
    office.promote("m1", "", T0)
    office.stand_back({("cpu", "busy", "steps"): "it lost"}, [], T0)
    assert office.stand_back({("cpu", "busy", "steps"): "it lost"}, [], T0) == ()


def test_the_baseline_has_nothing_to_stand_back_from(models):
    office = office_of(models)
    assert office.stand_back({("cpu", "busy", "steps"): "it lost"}, [], T0) == ()
    assert office.gate == Gate()

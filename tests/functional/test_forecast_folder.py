"""A model on disk: whole, or refused with a sentence that says what to do."""

import json
import shutil

import msgspec
import pytest

from foreshape_controller.errors import ModelError
from foreshape_controller.forecast import folder
from foreshape_controller.forecast.calibrate import Calibration
from foreshape_controller.forecast.chain import load_champion
from foreshape_controller.model.learned import Cell, Corrections, Gate, Manifest, Score, Verdict

pytestmark = pytest.mark.functional

GATE = Gate((Verdict(resource="cpu", stratum="mid", head="steps", weight=0.5, reason="won by 8 %", days=3),))
CALIBRATION = Calibration(
    Corrections((Cell(voice="model", resource="cpu", stratum="mid", head="steps", shifts=(0.1,) * 13, series=40, values=999),), 7.0)
)


def papers(**words):
    return Manifest(
        **{
            "format": 0,
            "id": "m1",
            "made_at": 1.0,
            "code_version": "0.1",
            "step_s": 300,
            "first": 0,
            "until": 900,
            "taught_until": 600,
            "series": {"cpu": 3},
            "seed": 1,
            "encoder": "mlp",
            "cpu_seconds": 2.5,
            "scores": (Score(resource="cpu", stratum="mid", head="steps", predictor="net", count=1),),
            **words,
        }
    )


@pytest.fixture
def model(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    (work / "net.npz").write_bytes(b"weights " * 100)
    folder.save(work, tmp_path / "models" / "m1", papers(), GATE, CALIBRATION)
    return tmp_path / "models" / "m1"


def test_what_was_saved_is_read_again(model):
    manifest = folder.verify(model)
    assert (manifest.id, manifest.format, manifest.taught_until, manifest.scores[0].count) == ("m1", folder.FORMAT, 600, 1)
    assert list(manifest.files) == ["net.npz"]
    assert folder.read_gate(model) == GATE
    assert folder.read_calibration(model).corrections == CALIBRATION.corrections
    assert not (model.parent.parent / "work").exists(), "it was moved, not copied"


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_version(model):
    papers = json.loads((model / "manifest.json").read_text())
    (model / "manifest.json").write_text(json.dumps({**papers, "format": 99}))


def odd_gate(model):
    sealed = json.loads((model / "gate.json").read_text())
    sealed["content"]["verdicts"][0]["weight"] = 1.0
    (model / "gate.json").write_text(json.dumps(sealed))


DAMAGES = {
    "weights cut in half": (lambda m: cut(m / "net.npz"), "net.npz is not what was written"),
    "weights gone": (lambda m: (m / "net.npz").unlink(), "net.npz is missing"),
    "manifest cut in half": (lambda m: cut(m / "manifest.json"), "manifest.json is damaged"),
    "manifest empty": (lambda m: (m / "manifest.json").write_bytes(b""), "manifest.json is damaged"),
    "manifest a list": (lambda m: (m / "manifest.json").write_text("[1]"), "manifest.json is damaged"),
    "manifest without papers": (lambda m: (m / "manifest.json").write_text('{"format": 1}'), "manifest.json is damaged"),
    "manifest gone": (lambda m: (m / "manifest.json").unlink(), "holds no model"),
    "another version": (other_version, "of format 99"),
    "gate cut in half": (lambda m: cut(m / "gate.json"), "gate.json is damaged"),
    "gate changed by hand": (odd_gate, "gate.json is not what was written"),
    "gate gone": (lambda m: (m / "gate.json").unlink(), "gate.json is missing"),
    "calibration of bytes": (lambda m: (m / "calibration.json").write_bytes(b"\xff\xfe\x00"), "calibration.json is damaged"),
    "a foreign file": (lambda m: (m / "notes.txt").write_text("hello"), "notes.txt does not belong to it"),
    "no folder at all": (shutil.rmtree, "holds no model"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_damaged_is_refused_with_advice(model, name):
    damage, words = DAMAGES[name]
    damage(model)
    with pytest.raises(ModelError) as refusal:
        load_champion(model)
    assert words in str(refusal.value)
    assert "foreshape train" in str(refusal.value)


def test_a_place_that_is_taken_is_refused_before_anything_is_written(model, tmp_path):
    work = tmp_path / "next"
    work.mkdir()
    with pytest.raises(ModelError, match="exists already"):
        folder.save(work, model, papers(id="m2"), GATE, CALIBRATION)
    assert folder.verify(model).id == "m1"


def test_an_empty_folder_may_be_filled(tmp_path):
    work, out = tmp_path / "work", tmp_path / "out"
    work.mkdir()
    out.mkdir()
    folder.save(work, out, papers(), GATE, CALIBRATION)
    assert folder.verify(out).id == "m1"


def test_a_disk_that_takes_nothing_leaves_nothing(tmp_path):
    """The place lies inside a file: nothing can be made there."""
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="the champion goes on"):
        folder.save(work, tmp_path / "file" / "m1", papers(), GATE, CALIBRATION)


def test_gate_and_calibration_may_be_changed_in_use(model):
    fallen = Gate((msgspec.structs.replace(GATE.verdicts[0], weight=0.0, reason="lost its coverage"),))
    folder.rewrite(model, fallen, Calibration(Corrections()))
    assert folder.verify(model).id == "m1"
    assert folder.read_gate(model) == fallen
    assert folder.read_calibration(model).corrections == Corrections()


def test_what_a_killed_writer_left_does_not_matter(model):
    (model / ".gate.json").write_bytes(b'{"sha2')
    assert folder.verify(model).id == "m1"


def test_a_damaged_model_is_not_rewritten(model):
    cut(model / "net.npz")
    with pytest.raises(ModelError):
        folder.rewrite(model, Gate(), Calibration(Corrections()))
    assert folder.read_gate(model) == GATE

"""A small model is really taught, examined, written down and used; what cannot be taught is refused in a sentence."""

from dataclasses import replace

import numpy as np
import pytest

from decide_support import history
from foreshape_controller.errors import ModelError
from foreshape_controller.forecast import folder, school
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.forecast.chain import Chain, load_champion
from foreshape_controller.forecast.gate import MARGIN
from foreshape_controller.forecast.school import Lesson, masked, split, teach
from foreshape_controller.model.forecast import HEADS
from foreshape_controller.model.history import BINS_PER_DAY
from learned_support import draws

pytestmark = pytest.mark.functional

DAYS = 7


def rhythm(series=14, days=DAYS, resource="cpu", seed=1):
    """Servers with a shared daily and a own hourly rhythm, some noise, some gaps."""
    rng = np.random.default_rng(seed)
    t = np.arange(days * BINS_PER_DAY)
    phase, size = rng.uniform(0, 12, (series, 1)), rng.gamma(2, 1, (series, 1))
    rows = size * (1.5 + np.sin(2 * np.pi * t / BINS_PER_DAY) + 0.4 * np.sin(2 * np.pi * (t + phase) / 12))
    rows = np.maximum(rows + rng.normal(0, 0.05, rows.shape), 0)
    rows[rng.random(rows.shape) < 0.05] = np.nan
    return history(rows, resource=resource, entitlement=16.0)


def tiny(torch_net, **words):
    settings = torch_net.TrainSettings(steps=12, batch=32, width=16, blocks=1, seed=3)
    return Lesson(settings=settings, origins_per_day=2, **words)


@pytest.fixture(scope="module")
def torch_net():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    net = pytest.importorskip("foreshape_controller.forecast.net")
    torch.set_num_threads(1)
    return net


@pytest.fixture(scope="module")
def taught(torch_net, tmp_path_factory):
    """One model of CPU and disk, taught once, and what was told meanwhile."""
    out, told = tmp_path_factory.mktemp("models") / "m1", []
    histories = {"cpu": rhythm(), "disk": replace(rhythm(resource="disk", seed=2), entitlement=np.full(14, np.nan, np.float32))}
    manifest = teach(histories, out, tiny(torch_net), told.append)
    return out, manifest, told, histories


def test_the_papers_say_what_was_done(taught):
    out, manifest, told, histories = taught
    until = histories["cpu"].until
    assert folder.verify(out) == manifest
    assert (manifest.id, manifest.encoder, manifest.seed) == ("m1", "mlp", 3)
    assert manifest.series == {"cpu": 14, "disk": 14}
    assert (manifest.first, manifest.until) == (histories["cpu"].start, until)
    assert manifest.taught_until == until - 3 * 86400, "a quarter of seven days is less than the three that are needed"
    assert {s.predictor for s in manifest.scores} == {"net", "baseline", "naive", "model"}
    assert {s.resource for s in manifest.scores} == {"cpu", "disk"}
    phases = list(dict.fromkeys(p.phase for p in told))
    assert phases == ["grown", "young", "examination", "written"]
    assert [p.phase for p in told].index("examination") < max(i for i, p in enumerate(told) if p.phase == "grown"), "it goes on learning"
    assert not list(out.parent.glob(".*")), "nothing is left beside it"


def test_what_was_examined_is_kept_beside_what_serves(taught):
    examined, serving = load_champion(taught[0], examined=True), load_champion(taught[0])
    history = taught[3]["cpu"]
    before, now = (c.net.predict(history, history.until) for c in (examined, serving))
    assert np.isfinite(before.steps).all()
    assert not np.array_equal(before.steps, now.steps), "it went on learning with the held-back days"


def test_every_verdict_has_a_reason_and_only_winners_have_weight(taught):
    for v in folder.read_gate(taught[0]).verdicts:
        assert v.reason
        assert v.weight == 0 or v.ratio <= MARGIN


def test_the_champion_speaks_through_the_chain(taught):
    out, _, _, histories = taught
    for past in histories.values():
        said = Chain(Baseline(), load_champion(out)).predict(past, past.until)
        assert set(said.source) <= {"net", "net+baseline", "baseline"}
        for head in HEADS:
            fan = getattr(said, head)
            assert np.isfinite(fan).all()
            assert (fan >= 0).all()
            assert (np.diff(fan, axis=-1) >= 0).all()


def test_the_days_after_the_end_are_not_looked_at(torch_net, tmp_path):
    """Taught up to the sixth day, with a seventh that goes wild and without: the same model, weights and verdicts."""
    usual = rhythm()
    until = usual.start + 6 * 86400
    wild = replace(usual, mean=usual.mean.copy(), max=usual.max.copy())
    for values in (wild.mean, wild.max):
        values[:, 6 * BINS_PER_DAY :] = 999.0
    papers = [teach({"cpu": h}, tmp_path / n, tiny(torch_net, until=until), lambda _: None) for n, h in (("a", usual), ("b", wild))]
    assert papers[0].files == papers[1].files
    assert folder.read_gate(tmp_path / "a") == folder.read_gate(tmp_path / "b")


def test_an_interrupted_lesson_leaves_no_model_and_can_be_taken_up_again(torch_net, tmp_path):
    def interrupt(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        teach({"cpu": rhythm()}, tmp_path / "m1", tiny(torch_net), interrupt)
    assert not (tmp_path / "m1").exists()
    assert teach({"cpu": rhythm()}, tmp_path / "m1", tiny(torch_net), lambda _: None).id == "m1"
    assert folder.verify(tmp_path / "m1").id == "m1"


def short(days):
    return {"cpu": draws(series=20, days=days)}


@pytest.mark.parametrize(
    ("histories", "words"),
    [
        ({}, "nothing to learn from"),
        ({"servers": draws(series=20, days=9, resource="servers")}, "nothing to learn from"),
        (short(4.5), "has 4.5 days"),
        ({"cpu": draws(series=7, days=9)}, "7 series with a day or more"),
        ({"cpu": history(np.full((20, 9 * BINS_PER_DAY), np.nan))}, "0.0 days"),
        ({"cpu": draws(series=20, days=9), "memory": draws(series=20, days=9, resource="memory", step_s=60)}, "different steps"),
    ],
)
def test_too_little_is_refused_in_a_sentence(histories, words, tmp_path):
    with pytest.raises(ModelError) as refusal:
        teach(histories, tmp_path / "m1", Lesson(), lambda _: None)
    assert words in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_a_taken_place_is_refused_before_the_work(tmp_path):
    (tmp_path / "m1").mkdir()
    (tmp_path / "m1" / "something").write_text("")
    with pytest.raises(ModelError, match="exists already"):
        teach(short(9), tmp_path / "m1", Lesson(), lambda _: None)


def test_a_fortnight_is_held_back_of_a_long_history_and_a_quarter_of_a_short_one():
    """60 days: 14. 20 days: 5. 8 days: the 3 that are needed."""
    for days, held in ((60, 14), (20, 5), (8, 3)):
        times = split(short(days), Lesson())
        assert times.until - times.taught_until == held * 86400


def test_masked_bins_are_gaps_for_the_lesson_only():
    past = draws(series=2, days=1)
    mask = np.zeros(past.mean.shape, bool)
    mask[0, :5] = True
    taught = masked(past, mask)
    assert np.isnan(taught.mean[0, :5]).all()
    assert np.isnan(taught.max[0, :5]).all()
    assert np.isfinite(taught.mean).sum() == taught.mean.size - 5
    assert np.isfinite(past.mean).all()
    assert masked(past, None) is past


def test_the_versions_name_is_known():
    assert school.code_version()

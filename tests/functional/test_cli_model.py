"""``foreshape model …`` and ``foreshape forecast accuracy`` against the controller's real API."""

import csv
import io
import json
import logging
from dataclasses import replace

import pytest
import structlog

from cli_support import Operator, foreshape
from core_support import until
from foreshape_controller.config import LearnSettings
from foreshape_controller.loops import learn as module
from foreshape_controller.loops.apprentice import Apprentice
from foreshape_controller.loops.office import InOffice
from foreshape_controller.main import build
from foreshape_controller.model import answers
from foreshape_controller.store.archive import Key
from foreshape_demo.serve import Serving
from learn_support import a_model, apprentice_command, deployment, learning, load_scripted, told
from store_support import DAY, T0, settings

pytestmark = pytest.mark.functional


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Four servers with eight days of past, two models, and a training that never ends by itself."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: True)
    made = build(learning(tmp_path), clock=lambda: T0)
    deployment(made.store, 4, 8)
    for name in ("20260101-020000", "20260102-020000"):
        a_model(tmp_path / "models", name)
    assert made.learn is not None
    made.learn.office = InOffice(made.learn.office.models, load_scripted)
    made.learn.apprentice = Apprentice(
        apprentice_command(tmp_path, told(kind="progress", share=0.42, phase="grown"), then="time.sleep(60)")
    )
    yield made
    made.learn.stop()
    made.store.close()


@pytest.fixture
def ask(program, tmp_path, capsys):
    with Serving(program, 0) as api:
        yield Operator(capsys, ("--url", api.url, "--token-file", tmp_path / "admin-token"))


def scored(program, *, predictor: str = "20260101-020000") -> None:
    """Scores of busy CPUs and of disks, an hour before T0: error .2 of the champion, .25 of the baseline."""
    below = [100.0 * q for q in (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.985)]
    for resource, stratum in (("cpu", "busy"), ("cpu", "mid"), ("disk", "flow")):
        rows = {}
        for who, error in ((predictor, 0.2), ("baseline", 0.25)):
            sums = {"count": 100, "windows": 100, "truth": 100.0, "pinball": [error * 50] * 13}
            rows[Key(int(T0 - 3600), resource, stratum, "peak24h", who)] = sums | {"below": below, "above": [100 - b for b in below]}
        program.store.archive.settle([], rows)


# --- models ---


def test_the_list_says_who_forecasts_and_what_each_model_is(ask):
    ask("model", "promote", "20260101-020000", "--reason", "a test")
    code, out, _ = ask("model", "list")
    assert code == 0
    assert "20260101-020000 forecasts." in out
    for words in ("champion", "challenger", "previous", "2025-12-26", "a test"):
        assert words in out


def test_the_list_says_how_far_a_training_is(ask, program):
    assert ask("model", "train-now", "--reason", "new hardware")[0] == 0
    program.learn.run_once(T0)
    until(lambda: program.learn.apprentice.progress.share == 0.42, "it is under way")
    assert "training: 42% (grown)" in ask("model", "list")[1]
    code, _, err = ask("model", "train-now")
    assert (code, "under way already" in err) == (1, True)


@pytest.mark.parametrize("words", [("model", "list"), ("model", "show", "20260101-020000"), ("forecast", "accuracy")], ids=" ".join)
@pytest.mark.parametrize("form", ["json", "yaml", "csv", "table"])
def test_every_reading_command_answers_in_every_form(ask, program, words, form):
    scored(program)
    code, out, _ = ask(*words, "-f", form)
    assert code == 0
    if form == "json":
        assert json.loads(out)
    elif form == "csv":
        header, *rows = csv.reader(io.StringIO(out))
        assert rows
        assert all(len(row) == len(header) for row in rows)
    else:
        assert "SIMULATED" not in out
        assert out


def test_json_holds_the_api_s_own_fields_whole(ask):
    shown = json.loads(ask("model", "show", "20260101-020000", "-f", "json")[1])
    assert set(shown) == set(answers.ModelAnswer.__struct_fields__)
    assert (shown["data_until"], shown["taught_until"], shown["series"]) == (T0, T0 - 3 * DAY, {"cpu": 20})


def test_a_promotion_a_rollback_and_a_way_back_to_the_baseline(ask, program):
    for name in ("20260101-020000", "20260102-020000"):
        assert ask("model", "promote", name)[0] == 0
    assert program.learn.office.model == "20260102-020000"
    code, out, _ = ask("model", "rollback", "--reason", "worse on Mondays", "-f", "json")
    assert (code, json.loads(out)["id"], json.loads(out)["state"]) == (0, "20260101-020000", "champion")
    assert ask("model", "rollback", "--to", "baseline")[0] == 0
    assert program.learn.office.model == "baseline"
    assert [e.reason for e in program.learn.office.models.events(2)] == ["an operator asked for it", "worse on Mondays"]


def test_a_damaged_model_is_shown_as_such_and_refused_with_what_is_wrong(ask, program, tmp_path):
    (tmp_path / "models" / "20260102-020000" / "net.npz").write_bytes(b"")
    assert "damaged" in ask("model", "list")[1]
    code, _, err = ask("model", "promote", "20260102-020000")
    assert code == 1
    assert "net.npz is not what was written" in err
    assert program.learn.office.model == "baseline"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("model", "show", "nonesuch"), "foreshape model list"),
        (("model", "promote", "../../etc"), ""),
        (("model", "rollback"), "in office already"),
        (("model", "rollback", "--to", "nonesuch"), "there is no model"),
        (("forecast", "accuracy", "nonesuch"), "there is no server"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, tuple) else "",
)
def test_what_makes_no_sense_ends_with_a_sentence(ask, words, says):
    code, _, err = ask(*words)
    assert code == 1
    assert says in err
    assert "Traceback" not in err


@pytest.mark.parametrize("days", ["0", "-1", "many", "1e9"])
def test_a_number_of_days_that_is_none_is_a_usage_error(ask, days):
    code, _, err = ask("forecast", "accuracy", f"--days={days}")
    assert code == 2
    assert "write a number from 0.01, 3650 at most" in err


# --- accuracy ---


def test_accuracy_stands_beside_the_baseline_s_with_coverage_and_n(ask, program):
    """Error .2 against .25: ratio .8; 98.5 of 100 values under the 99 % level."""
    scored(program)
    rows = json.loads(ask("forecast", "accuracy", "-f", "json")[1])
    busy = next(r for r in rows if r["stratum"] == "busy")
    assert (busy["predictor"], busy["windows"]) == ("20260101-020000", 100)
    assert [busy[k] for k in ("wql", "baseline_wql", "ratio")] == pytest.approx([0.2, 0.25, 0.8])
    assert busy["below99"] == pytest.approx(0.98, abs=0.006)
    assert busy["inside80"] == pytest.approx(0.8, abs=0.01)
    assert "0.800" in ask("forecast", "accuracy")[1]


def test_with_a_server_only_its_own_kind_is_shown(ask, program):
    scored(program)
    rows = json.loads(ask("forecast", "accuracy", "vm-0", "-f", "json")[1])
    assert {r["resource"] for r in rows} == {"cpu", "disk"}
    assert len({r["stratum"] for r in rows if r["resource"] == "cpu"}) == 1


def test_days_that_are_over_are_left_out(ask, program):
    scored(program)
    assert json.loads(ask("forecast", "accuracy", "--days", "0.02", "-f", "json")[1] or "[]") == []


def test_where_learning_is_off_every_command_says_so(tmp_path, capsys):
    made = build(replace(settings(tmp_path), learn=LearnSettings(enabled=False)), clock=lambda: T0)
    with Serving(made, 0) as api:
        access = ["--url", api.url, "--token-file", str(tmp_path / "admin-token")]
        assert foreshape(*access, "model", "list") == 0
        assert "learning is off" in capsys.readouterr().out
        for words in (["model", "train-now"], ["model", "rollback"], ["forecast", "accuracy"]):
            assert foreshape(*access, *words) == 1
            assert "[learn] enabled = true" in capsys.readouterr().err
    made.store.close()

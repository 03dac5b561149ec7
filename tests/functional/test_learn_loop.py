"""The learning loop: forecasts scored when their future is over, room learned, models taught, put in office, judged and sent back."""

import importlib.util
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from litestar.testing import TestClient
from structlog.testing import capture_logs

from core_support import until
from foreshape_controller.decide.learning import Action
from foreshape_controller.decide.tiers import BUILT_IN
from foreshape_controller.errors import ConfigError, ModelError
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.loops import learn as module
from foreshape_controller.loops.apprentice import Apprentice
from foreshape_controller.loops.learn import NO_TORCH, Learn
from foreshape_controller.loops.scene import Scene
from foreshape_controller.main import build
from foreshape_controller.model.forecast import HEADS, Forecast
from foreshape_controller.model.group import Groups
from foreshape_controller.store import Store
from foreshape_controller.store.archive import Key
from foreshape_controller.store.models import BASELINE
from learn_support import a_model, apprentice_command, deployment, flat, learning, load_scripted, told
from store_support import DAY, T0, open_store

pytestmark = [pytest.mark.functional, pytest.mark.usefixtures("every_line")]

HOUR = 3600.0
THEN = int(T0 - 2 * DAY)
"""An origin whose whole future lies in the deployment's past; a midnight, so whole forecasts are archived."""


@pytest.fixture
def store(tmp_path):
    """Six servers with ten days of past, up to T0."""
    opened = open_store(tmp_path / "controller.db")
    deployment(opened, 6, 10)
    yield opened
    opened.close()


@pytest.fixture
def torch_there(monkeypatch):
    """Whether torch is installed here makes no difference to these tests."""
    find = importlib.util.find_spec
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: True if name == "torch" else find(name))


@pytest.fixture
def learn_with(tmp_path, store, torch_there):
    """Makes a learning loop as a start of the controller would; its trainings are ended with the test."""
    made: list[Learn] = []

    def make(*command: str, **options: object) -> Learn:
        learn = Learn.of(learning(tmp_path, **options), store, BUILT_IN, load_scripted)
        assert learn is not None
        if command:
            learn.apprentice = Apprentice(command)
        made.append(learn)
        return learn

    yield make
    for learn in made:
        learn.stop()


def scene(store: Store, resource: str = "cpu", origin: int = THEN) -> Scene:
    view = store.inventory.view(T0)
    history = store.history.read(resource, [s.id for s in view.servers], origin, 2016)
    return Scene(view=view, now=float(origin), history=history, groups=Groups())


def observe(learn: Learn, store: Store, forecast: Forecast | None = None, origin: int = THEN) -> Forecast:
    """A forecast is made and shown to the archive."""
    around = scene(store, origin=origin)
    forecast = forecast or learn.look().predict(around.history, origin)
    assert learn.marking is not None
    learn.marking(forecast, around)
    return forecast


def cpu(scored: list[tuple[Key, object]], predictor: str, head: str) -> float:
    return sum(s["count"] for k, s in scored if (k.predictor, k.head, k.resource) == (predictor, head, "cpu"))  # type: ignore[index]


# --- scoring ---


def test_a_whole_forecast_is_scored_once_its_day_is_over_and_not_before(learn_with, store):
    """Six servers: 6 steps, 288 means, one peak of 30 minutes and one of a day each."""
    learn = learn_with(headroom=False)
    observe(learn, store)
    learn.run_once(THEN + DAY)
    assert store.archive.scored(0, T0) == []
    learn.run_once(THEN + DAY + 600)
    scored = store.archive.scored(0, T0)
    assert [cpu(scored, BASELINE, h) for h in ("steps", "half_hours", "peak30m", "peak24h")] == [36, 6 * 288, 6, 6]
    learn.run_once(THEN + DAY + 1200)
    assert store.archive.scored(0, T0) == scored


def test_what_fell_due_while_the_controller_was_down_is_scored_after_its_start(tmp_path, learn_with, store):
    learn = learn_with(headroom=False)
    for k in range(4):
        observe(learn, store, origin=THEN + k * 1800)
    later = learn_with(headroom=False)
    later.run_once(T0)
    assert store.archive.backlog() == 0
    assert cpu(store.archive.scored(0, T0), BASELINE, "peak30m") == 4 * 6


def test_scores_add_up_to_what_the_judge_says_of_the_same_forecast(learn_with, store):
    from foreshape_controller.forecast.scores import judge  # noqa: PLC0415

    learn = learn_with(headroom=False)
    forecast = observe(learn, store)
    learn.run_once(T0)
    truth = store.history.read("cpu", list(forecast.series), THEN + DAY, 2016)
    expected = {(s.stratum, s.head): s for s in judge(forecast, truth)}
    pairs = {(p.mine.stratum, p.mine.head): p.mine for p in learn.accuracy(0, T0)}
    assert pairs.keys() == expected.keys()
    for key, score in expected.items():
        assert pairs[key].wql == pytest.approx(score.wql, abs=4e-4), "stored to .02 % of each amount, on both sides"
        assert pairs[key].count == score.count


def test_half_hours_between_keep_the_peak_alone_and_the_same_half_hour_is_kept_once(learn_with, store):
    learn = learn_with(headroom=False)
    for origin in (THEN, THEN + 300, THEN + 1500, THEN + 1800, THEN + 1801):
        observe(learn, store, origin=origin)
    learn.run_once(T0)
    scored = store.archive.scored(0, T0)
    assert {k.origin for k, _ in scored} == {THEN, THEN + 1800}
    assert {k.head for k, _ in scored if k.origin == THEN + 1800} == {"peak30m"}


def test_after_a_restart_the_half_hour_that_was_kept_is_not_kept_again(learn_with, store):
    observe(learn_with(headroom=False), store)
    observe(learn_with(headroom=False), store, origin=THEN + 300)
    assert store.archive.backlog() == 1


def test_beside_a_champion_the_baseline_is_scored_on_the_same_windows(tmp_path, learn_with, store):
    learn = learn_with(headroom=False)
    a_model(Path(tmp_path / "models"), "m1", median=2.0)
    learn.office.promote("m1", "it won", THEN - 1)
    observe(learn, store)
    learn.run_once(T0)
    pairs = learn.accuracy(0, T0)
    assert {p.mine.predictor for p in pairs} == {"m1"}
    assert all(p.base is not None and p.base.count == p.mine.count for p in pairs)


def test_of_many_servers_a_sample_is_kept_and_the_room_of_all_is_learned(learn_with, store):
    learn = learn_with(archive_series=3)
    observe(learn, store)
    rows = store.archive.due(T0)
    assert 1 <= sum(len(w.series) for w in rows if w.predictor == BASELINE) < 6
    assert sum(len(w.series) for w in rows if w.predictor == "sizing") == 6


def test_forecasts_of_disk_and_network_and_of_servers_that_went_away_are_no_trouble(learn_with, store):
    learn = learn_with()
    assert learn.marking is not None
    around = scene(store, "disk")
    learn.marking(Baseline().predict(around.history, THEN), around)
    gone = flat(["vm-gone"], THEN + 1800)
    blank = store.history.read("cpu", ["vm-gone"], THEN, 2016)
    learn.marking(gone, replace(around, history=blank))
    learn.run_once(T0)
    assert store.archive.backlog() == 0
    assert {k.stratum for k, _ in store.archive.scored(0, T0)} == {"flow"}


# --- room above the forecast ---


def test_a_server_whose_peak_was_above_what_was_wanted_gets_more_room_and_others_a_little_less(learn_with, store):
    """A median of 0.01 cores wants 0.0145 of everybody: all six peaks are above it: + 0.2·(1 − 0.05). One of 100 cores: none is."""
    learn = learn_with()
    names = [s.id for s in store.inventory.view(T0).servers]
    observe(learn, store, flat(names, THEN, median=0.01))
    learn.run_once(THEN + HOUR)
    assert store.headroom.all("cpu") == pytest.approx(dict.fromkeys(names, 1.19), rel=1e-4)
    observe(learn, store, flat(names, THEN + 1800, median=100.0), origin=THEN + 1800)
    learn.run_once(THEN + 2 * HOUR)
    assert store.headroom.all("cpu") == pytest.approx(dict.fromkeys(names, 1.18), rel=1e-4)


def test_a_half_hour_in_which_an_anomaly_lay_teaches_nothing(learn_with, store):
    learn = learn_with()
    assert learn.marking is not None
    learn.marking.odd = lambda resource, servers, begin, end: np.array([s == "vm-1" for s in servers])
    observe(learn, store, flat([s.id for s in store.inventory.view(T0).servers], THEN, median=0.01))
    learn.run_once(THEN + HOUR)
    assert "vm-1" not in store.headroom.all("cpu")
    assert len(store.headroom.all("cpu")) == 5


def test_a_half_hour_that_was_not_measured_teaches_nothing(learn_with, store):
    """The future after T0 has not been reported."""
    learn = learn_with()
    observe(learn, store, flat(["vm-1"], int(T0) + 1800, median=0.01), origin=int(T0) + 1800)
    learn.run_once(T0 + 2 * HOUR)
    assert store.headroom.all("cpu") == {}
    assert store.archive.backlog() == 0


# --- training ---


DONE = told(kind="done", model="{model}", won=True, reason="0.90 of the error of the one in office", figures={"cpu steps": 0.9})


def makes_a_model(folder: Path, *, last: dict[str, object] | None = DONE, then: str = "") -> tuple[str, ...]:
    """A training that ends with a model in its place, as the real one does."""
    done = "" if last is None else f"tell({last!r})"
    here = Path(__file__).parents[1] / "support"
    found = f"sys.path.insert(0, {str(here)!r})\nfrom learn_support import a_model\n"
    make = "a_model(pathlib.Path(job['models_dir']), job['model'], median=2.0)\n"
    return apprentice_command(folder, then=then + found + make + done)


def train(learn: Learn, now: float = T0) -> None:
    learn.train_now("a test wants it")
    learn.run_once(now)
    heard_out(learn, now)


def heard_out(learn: Learn, now: float) -> None:
    def over() -> bool:
        learn.run_once(now)
        return not learn.apprentice.busy

    until(over, "the training is over and heard", 60)


def test_a_challenger_that_won_is_in_office_without_a_restart(tmp_path, learn_with):
    learn = learn_with(*makes_a_model(tmp_path))
    look = learn.look
    train(learn)
    assert learn.office.model == "20260105-000000"
    assert look() is learn.office.look()
    assert learn.standing().lesson.state == "done"
    assert learn.office.models.events()[0].reason.startswith("won on held-back days: 0.90")


def test_forecasts_then_come_from_the_net_and_after_a_rollback_from_the_baseline(tmp_path, learn_with, store):
    learn = learn_with(*makes_a_model(tmp_path))
    train(learn)
    assert set(observe(learn, store).source) == {"net"}
    learn.office.roll_back("the operator prefers it", T0)
    assert set(observe(learn, store, origin=THEN + 1800).source) == {BASELINE}


def test_where_people_promote_a_winner_waits(tmp_path, learn_with):
    learn = learn_with(*makes_a_model(tmp_path), promote="manual")
    train(learn)
    assert learn.office.model == BASELINE
    assert "foreshape model promote 20260105-000000" in learn.office.models.events()[0].reason
    learn.office.promote("20260105-000000", "looks good", T0)
    assert learn.office.model == "20260105-000000"


def test_a_challenger_that_lost_changes_nothing_and_is_kept_to_look_at(tmp_path, learn_with):
    lost = told(kind="done", model="{model}", won=False, reason="cpu peak24h has 1.200 of the error of the one in office")
    learn = learn_with(*makes_a_model(tmp_path, last=lost))
    train(learn)
    assert learn.office.model == BASELINE
    assert (learn.office.models.events()[0].event, learn.office.models.ids()) == ("lost", ("20260105-000000",))


def test_a_winner_that_was_damaged_on_its_way_is_refused(tmp_path, learn_with):
    cut = "\npathlib.Path(job['models_dir'], job['model'], 'net.npz').write_bytes(b'')\n"
    command = makes_a_model(tmp_path, last=None)
    Path(command[-1]).write_text(Path(command[-1]).read_text() + cut + f"tell({DONE!r})\n")
    learn = learn_with(*command)
    train(learn)
    assert learn.office.model == BASELINE
    assert "damaged" in learn.office.models.trouble("20260105-000000")


def test_a_training_that_fails_says_why_and_the_champion_goes_on(tmp_path, learn_with):
    full = told(kind="failed", code="disk", reason="No space left on device: the champion goes on")
    a_model(tmp_path / "models", "m1")
    learn = learn_with(*apprentice_command(tmp_path, full))
    learn.office.promote("m1", "", T0 - DAY)
    train(learn)
    assert learn.office.model == "m1"
    assert (learn.standing().lesson.state, learn.standing().lesson.reason) == ("failed", "No space left on device: the champion goes on")
    learn.run_once(T0 + 60)
    assert not learn.apprentice.busy


def test_one_that_is_killed_is_taken_up_again_with_the_same_model(tmp_path, learn_with):
    """The first process is killed -9; the second finds its place and ends well."""
    first = tmp_path / "first"
    wait = f"\nif not pathlib.Path({str(first)!r}).exists():\n    pathlib.Path({str(first)!r}).touch()\n    time.sleep(60)\n"
    learn = learn_with(*makes_a_model(tmp_path, then=wait))
    learn.train_now("")
    learn.run_once(T0)
    until(first.exists, "the first works")
    os.kill(learn.apprentice.pid or 0, signal.SIGKILL)
    until(lambda: learn.run_once(T0 + 60) or learn.office.models.lesson().attempts == 2, "it is taken up again")
    heard_out(learn, T0 + 120)
    assert learn.office.model == "20260105-000000"


def test_one_that_always_dies_is_given_up_after_three_times(tmp_path, learn_with):
    learn = learn_with(*apprentice_command(tmp_path, then="raise SystemExit('out of luck')"))
    learn.train_now("")
    until(lambda: learn.run_once(T0) or learn.office.models.lesson().state == "failed", "it is given up", 60)
    assert learn.office.models.lesson().attempts == 3
    assert "out of luck" in learn.standing().lesson.reason


def test_a_training_under_way_when_the_controller_stops_goes_on_after_the_next_start(tmp_path, learn_with):
    learn = learn_with(*apprentice_command(tmp_path, then="time.sleep(60)"))
    learn.train_now("")
    learn.run_once(T0)
    learn.stop()
    again = learn_with(*makes_a_model(tmp_path))
    again.run_once(T0 + HOUR)
    heard_out(again, T0 + HOUR)
    assert again.office.model == "20260105-000000"


def test_models_that_cannot_be_written_keep_the_training_from_beginning(tmp_path, learn_with):
    (tmp_path / "models").write_text("a file where the folder should be")
    learn = learn_with(*apprentice_command(tmp_path))
    learn.train_now("")
    learn.run_once(T0)
    assert not learn.apprentice.busy
    assert learn.office.model == BASELINE


# --- by the clock ---


def test_the_first_night_after_the_start_begins_a_training_and_each_night_one(tmp_path, learn_with):
    learn = learn_with(*apprentice_command(tmp_path, told(kind="failed", reason="too little data")), train_at="02:00")
    learn.run_once(T0 + HOUR)
    assert learn.standing().next_training == T0 + 2 * HOUR
    assert learn.office.models.lesson().state == "none"
    learn.run_once(T0 + 2 * HOUR + 30)
    heard_out(learn, T0 + 2 * HOUR + 60)
    assert learn.office.models.lesson().started == T0 + 2 * HOUR + 30
    assert learn.standing().next_training == T0 + DAY + 2 * HOUR


def test_a_night_that_was_missed_is_made_up_for(tmp_path, learn_with):
    before = learn_with(*apprentice_command(tmp_path, told(kind="failed", reason="too little data")))
    train(before, T0)
    after = learn_with(*apprentice_command(tmp_path, then="time.sleep(60)"))
    after.run_once(T0 + 1.5 * DAY)
    assert after.apprentice.busy


def test_with_no_time_set_only_who_asks_gets_a_training(tmp_path, learn_with):
    learn = learn_with(*apprentice_command(tmp_path), train_at="")
    learn.run_once(T0)
    learn.run_once(T0 + 30 * DAY)
    assert learn.office.models.lesson().state == "none"
    assert learn.standing().next_training is None


def test_a_second_request_while_one_is_taught_is_refused(tmp_path, learn_with):
    learn = learn_with(*apprentice_command(tmp_path, then="time.sleep(60)"))
    learn.train_now("")
    learn.run_once(T0)
    with pytest.raises(ModelError, match="under way"):
        learn.train_now("")


# --- judged while in office ---


def seen(learn: Learn, store: Store, *, mine: float, base: float, below99: float = 0.99, windows: int = 500) -> None:
    """Scores of busy CPUs' half-hour peaks, made an hour before T0: each predictor's error by what was used."""

    def sums(error: float) -> dict[str, object]:
        count = float(windows)
        below = [count * q for q in (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, below99)]
        above = [count - b for b in below]
        return {"count": count, "windows": count, "truth": count, "pinball": [error * count / 2] * 13, "below": below, "above": above}

    rows = {Key(int(T0 - HOUR), "cpu", "busy", "peak30m", who): sums(e) for who, e in ((learn.office.model, mine), (BASELINE, base))}
    store.archive.settle([], rows)  # type: ignore[arg-type]


@pytest.fixture
def in_office(tmp_path, learn_with):
    """A champion that has been in office for ten days, before the loop's first run."""
    a_model(tmp_path / "models", "m1", median=2.0)
    learn = learn_with(*apprentice_command(tmp_path, then="time.sleep(60)"))
    learn.office.promote("m1", "it won", T0 - 10 * DAY)
    learn.run_once(T0 - 2 * HOUR)
    return learn


CELL = ("cpu", "busy", "peak30m")


def test_a_champion_that_does_well_is_left_alone(in_office, store):
    seen(in_office, store, mine=0.9, base=1.0)
    in_office.run_once(T0)
    assert dict(in_office.standing().verdicts)[CELL].action is Action.FINE
    assert in_office.office.gate.verdict(*CELL).weight == 1
    assert not in_office.apprentice.busy


def test_one_that_loses_to_the_baseline_is_not_heard_there_any_more_and_a_training_begins(in_office, store):
    seen(in_office, store, mine=1.3, base=1.0)
    in_office.run_once(T0)
    assert in_office.office.gate.verdict(*CELL).weight == 0
    assert "1.30 of the baseline's" in in_office.office.gate.verdict(*CELL).reason
    assert in_office.office.gate.verdict("cpu", "mid", "peak30m").weight == 1
    assert in_office.apprentice.busy
    assert "drifted" in in_office.office.models.lesson().why


def test_one_that_lost_its_coverage_is_not_heard_there_any_more(in_office, store):
    seen(in_office, store, mine=0.9, base=1.0, below99=0.95)
    in_office.run_once(T0)
    assert in_office.office.gate.verdict(*CELL).weight == 0


def test_after_one_drift_the_next_training_waits_half_a_day(in_office, store):
    seen(in_office, store, mine=1.3, base=1.0)
    in_office.run_once(T0)
    in_office.apprentice.stop()
    until(lambda: in_office.apprentice.result() is not None, "it ended")
    in_office.office.models.keep_lesson(replace(in_office.office.models.lesson(), state="failed"))
    in_office._want("again", T0 + HOUR)
    assert in_office._asked == ""
    in_office._want("again", T0 + 13 * HOUR)
    assert in_office._asked == "again"


def test_few_forecasts_are_no_evidence(in_office, store):
    seen(in_office, store, mine=3.0, base=1.0, windows=50)
    in_office.run_once(T0)
    assert in_office.office.gate.verdict(*CELL).weight == 1


# --- calibration ---


def test_once_a_day_the_calibration_follows_what_forecasts_missed_by(tmp_path, torch_there):
    """Twelve servers, of which the archive holds forecasts of a third of what came: the fans are moved up, and stay so after a restart."""
    store = open_store(tmp_path / "controller.db")
    names = deployment(store, 12, 6)
    learn = Learn.of(learning(tmp_path, headroom=False, train_at=""), store, BUILT_IN, load_scripted)
    assert learn is not None
    around = scene(store, origin=int(T0))
    before = learn.look().predict(around.history, int(T0))
    low = learn.look().predict(around.history, THEN)
    for k in range(4):
        origin = THEN - int(DAY) + k * 21600
        shrunk = {head: getattr(low, head) / 3 for head in HEADS}
        observe(learn, store, replace(low, origin=origin, **shrunk), origin=origin)
    learn.run_once(T0 - DAY - HOUR)
    learn.run_once(T0)
    again = Learn.of(learning(tmp_path), store, BUILT_IN, load_scripted)
    assert again is not None
    for office in (learn.office, again.office):
        after = office.look().predict(around.history, int(T0))
        assert (after.half_hours[:, :, 6] > before.half_hours[:, :, 6]).mean() > 0.9
    assert set(after.series) == set(names)
    store.close()


def test_too_few_servers_move_nothing(learn_with, store):
    """Six are fewer than the ten that a shift has to be seen in."""
    learn = learn_with(headroom=False)
    low = flat([s.id for s in store.inventory.view(T0).servers], THEN, median=0.1)
    observe(learn, store, low)
    learn.run_once(T0 - DAY - HOUR)
    learn.run_once(T0)
    before = Baseline().predict(scene(store).history, THEN)
    assert learn.look().predict(scene(store).history, THEN).steps == pytest.approx(before.steps, abs=1e-5)


# --- without torch, or told not to ---


@pytest.fixture
def logged():
    """What is logged."""
    with capture_logs() as lines:
        yield lines


def test_without_torch_it_says_so_once_and_everything_else_works(tmp_path, store, monkeypatch, logged):
    find = importlib.util.find_spec
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None if name == "torch" else find(name))
    learn = Learn.of(learning(tmp_path, headroom=False), store, BUILT_IN)
    assert learn is not None
    observe(learn, store)
    for hour in (2, 26, 50):
        learn.run_once(T0 + hour * HOUR)
    assert cpu(store.archive.scored(0, T0), BASELINE, "steps") == 36
    assert not learn.apprentice.busy
    with pytest.raises(ModelError, match=r"install foreshape\[learn\]"):
        learn.train_now("")
    assert learn.standing().off == NO_TORCH
    assert ["learning is off" in line["event"] for line in logged].count(True) == 1


def test_told_not_to_learn_it_is_not_there(tmp_path, store):
    assert Learn.of(learning(tmp_path, enabled=False), store, BUILT_IN) is None


def test_a_time_that_is_none_ends_the_start(tmp_path, store):
    with pytest.raises(ConfigError, match="train_at"):
        Learn.of(learning(tmp_path, train_at="2 o'clock"), store, BUILT_IN)


# --- the controller serves meanwhile ---


def test_requests_are_answered_and_plans_made_while_a_training_works(tmp_path, torch_there):
    program = build(learning(tmp_path), clock=lambda: T0)
    assert program.learn is not None
    program.learn.apprentice = Apprentice(
        apprentice_command(tmp_path, told(kind="progress", share=0.42, phase="grown"), then="time.sleep(60)")
    )
    try:
        deployment(program.store, 3, 8)
        admin = {"Authorization": f"Bearer {program.admin_token}"}
        with TestClient(program.app, raise_server_exceptions=False) as client:
            assert client.post("/v1/learning/train", json={"reason": "a test"}, headers=admin).status_code == 202
            program.learn.run_once(T0)
            until(lambda: client.get("/v1/learning", headers=admin).json()["training_share"] == 0.42, "its progress is told")
            assert len(program.plan_loop.run_once(T0).decisions) == 3
            assert len(client.get("/v1/servers", headers=admin).json()) == 3
            assert client.get("/v1/learning", headers=admin).json()["training"] is True
    finally:
        program.learn.stop()
        program.store.close()

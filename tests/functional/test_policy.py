"""The tiers in force: read again when the file changes, kept when it is broken, remembered across restarts; asked and set."""

import os
from pathlib import Path

import pytest
from litestar.testing import TestClient

from decide_support import server
from foreshape_controller.cli.main import main
from foreshape_controller.decide.tiers import load_tiers
from foreshape_controller.errors import ConfigError
from foreshape_controller.loops.policy import Policy
from foreshape_controller.main import build
from store_support import T0, card, open_store, report, sample, settings

pytestmark = pytest.mark.functional

GOOD = "tiers: {standard: {weight: 3}}"
BETTER = "tiers: {standard: {weight: 5}}"
BROKEN = "tiers: {standard: {weight: -1, dead_band: 7}}"


class Clock:
    def __init__(self):
        self.now = T0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store():
    made = open_store()
    yield made
    made.close()


@pytest.fixture
def file(tmp_path):
    return written(tmp_path / "tiers.yaml", GOOD)


def written(path: Path, text: str) -> Path:
    """Replaced as editors do it: another file takes the name, so that it looks changed even within one tick of the clock."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)
    return path


def weight(policy):
    return policy.current().tiers["standard"].weight


def test_a_changed_file_is_in_force_at_the_next_look(file, store, clock):
    policy = Policy(str(file), store.policies, clock)
    first = policy.state()
    clock.now += 60
    written(file, BETTER)
    assert weight(policy) == 5
    assert (first.since, policy.state().since) == (T0, T0 + 60)
    assert policy.state().hash != first.hash


@pytest.mark.parametrize("harm", [lambda f: written(f, BROKEN), lambda f: f.unlink(), lambda f: f.write_bytes(b"\xff\xfe")])
def test_a_broken_file_keeps_the_old_policy_and_says_why(file, store, clock, harm):
    policy = Policy(str(file), store.policies, clock)
    harm(file)
    assert weight(policy) == 3
    assert policy.state().problems
    (note,) = policy.notes()
    assert "is not in force" in note
    written(file, BETTER)
    assert (weight(policy), policy.state().problems, policy.notes()) == (5, (), ())


def test_every_problem_of_the_file_is_kept_for_people_to_see(file, store, clock):
    policy = Policy(str(file), store.policies, clock)
    written(file, BROKEN)
    assert policy.state().problems == (
        "tier standard: weight is -1: it must lie between 0.01 and 1000",
        "tier standard: dead_band is 7: it must lie between 0 and 0.9",
    )


def test_a_restart_with_a_broken_file_goes_on_with_the_last_good_policy(file, store, clock):
    Policy(str(file), store.policies, clock)
    written(file, BROKEN)
    clock.now += 3600
    again = Policy(str(file), store.policies, clock)
    assert (weight(again), again.state().since) == (3, T0)
    assert len(again.state().problems) == 2


def test_the_first_start_with_a_broken_file_is_refused_with_all_problems(file, store, clock):
    written(file, BROKEN)
    with pytest.raises(ConfigError) as refused:
        Policy(str(file), store.policies, clock)
    assert [w for w in ("tiers_file", "weight is -1", "dead_band is 7") if w not in str(refused.value)] == []


def test_a_restart_with_the_same_file_is_no_new_policy(file, store, clock):
    Policy(str(file), store.policies, clock)
    clock.now += 3600
    assert Policy(str(file), store.policies, clock).state().since == T0


def test_a_signal_makes_the_next_look_read_the_file(file, store, clock):
    policy = Policy(str(file), store.policies, clock)
    mark = file.stat()
    file.write_text(BETTER.replace("5", "6"))  # the same length, in place
    os.utime(file, ns=(mark.st_atime_ns, mark.st_mtime_ns))
    assert weight(policy) == 3  # nothing tells that it has changed
    policy.expect()
    assert weight(policy) == 6


def test_feedback_speaks_on_top_of_the_file(file, store, clock):
    policy = Policy(str(file), store.policies, clock, adapt=lambda _tiers: load_tiers(BETTER))
    assert (weight(policy), policy.state().tiers.tiers["standard"].weight) == (5, 3)


def test_a_rule_for_a_segment_that_there_is_not_is_pointed_out(file, store, clock):
    written(file, "assign: [{tier: economy, segment: web}, {tier: economy, segment: wbe}]")
    policy = Policy(str(file), store.policies, clock, segments=("web",))
    assert policy.state().warnings == ("assign, rule 2: there is no segment 'wbe': nobody matches",)


def test_whoever_asks_of_many_servers_gets_the_policy_of_the_last_seconds(file, store, clock):
    policy = Policy(str(file), store.policies, clock)
    assert policy.of(server()).weight == 3
    written(file, BETTER)
    assert policy.of(server()).weight == 3
    clock.now += 10
    assert policy.of(server()).weight == 5


# -- over the API -----------------------------------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path, file, clock):
    (tmp_path / "segments.yaml").write_text("segments: {web: [{name: 'web-*'}]}")
    made = build(settings(tmp_path, tiers_file=str(file), segments_file=str(tmp_path / "segments.yaml")), clock=clock)
    cards = [card(name="web-1", project="p1"), card("vm-2", name="db-1", project="p2")]
    made.store.history.append(report(1, T0, [sample(), sample("vm-2")], cards=cards), T0)
    yield made
    made.store.close()


@pytest.fixture
def api(program):
    with TestClient(program.app) as client:
        client.headers["Authorization"] = f"Bearer {program.admin_token}"
        yield client


def test_the_policy_is_shown_with_its_hash_its_time_and_who_is_in_it(api):
    shown = api.get("/v1/tiers").json()
    assert (shown["since"], len(shown["hash"]), shown["problems"], shown["default"]) == (T0, 64, [], "standard")
    assert {t["name"]: t["servers"] for t in shown["tiers"]} == {"guaranteed": 0, "standard": 2, "economy": 0}
    assert api.get("/v1/tiers/standard").json()["weight"] == 3
    assert api.get("/v1/tiers/silver").status_code == 404


def test_reload_says_what_is_wrong_and_changes_nothing(api, file):
    written(file, BROKEN)
    answer = api.post("/v1/tiers/reload").json()
    assert len(answer["problems"]) == 2
    assert api.get("/v1/tiers/standard").json()["weight"] == 3


def test_a_server_is_shown_in_the_tier_that_is_in_force(api, file):
    written(file, "assign: [{tier: economy, segment: web}, {tier: guaranteed, project: p2}]")
    assert {s["name"]: s["tier"] for s in api.get("/v1/servers").json()} == {"web-1": "economy", "db-1": "guaranteed"}


def test_a_server_is_put_into_a_tier_of_its_own_and_out_of_it(api, file):
    written(file, "assign: [{tier: economy, project: p1}]")
    body = {"tier": "guaranteed", "reason": "end of quarter", "by": "ann"}
    assert api.put("/v1/servers/web-1/tier", json=body).json()["tier"] == "guaranteed"
    assert api.get("/v1/servers/web-1").json()["tier"] == "guaranteed"
    assert api.put("/v1/servers/web-1/tier", json={"tier": ""}).json()["tier"] == "economy"


@pytest.mark.parametrize(("name", "tier", "status"), [("web-1", "silver", 400), ("nobody", "economy", 404)])
def test_no_server_is_put_where_nothing_is(api, name, tier, status):
    assert api.put(f"/v1/servers/{name}/tier", json={"tier": tier}).status_code == status


# -- on the command line ----------------------------------------------------------------------------------------------


def test_a_file_is_checked_without_a_controller(file, capsys):
    assert main(["tier", "check", str(file)]) == 0
    assert "no problem" in capsys.readouterr().out
    written(file, BROKEN)
    assert main(["tier", "check", str(file)]) == 2
    assert capsys.readouterr().out.splitlines() == [
        "problem: tier standard: weight is -1: it must lie between 0.01 and 1000",
        "problem: tier standard: dead_band is 7: it must lie between 0 and 0.9",
    ]


def test_a_file_that_is_not_there_is_an_error(tmp_path, capsys):
    assert main(["tier", "check", str(tmp_path / "none.yaml")]) == 1
    assert "No such file" in capsys.readouterr().err

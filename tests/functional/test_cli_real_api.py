"""The operator's command against the controller's real API, over a simulated cloud of half an hour."""

import json
import logging

import pytest
import structlog

from cli_support import Operator
from foreshape_demo.serve import Serving
from sim_support import Lockstep

pytestmark = pytest.mark.functional


@pytest.fixture(autouse=True)
def quiet(plain_log):
    """The controller logs in this process: no line of its log may stand in what a command printed."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cloud")
    run = Lockstep.impatient(folder, servers=3).run(1800)
    assert run.bed.controller is not None
    with Serving(run.bed.controller, 0) as api:
        yield run, ["--url", api.url, "--token-file", str(folder / "admin-token")]
    run.bed.close()


@pytest.fixture
def ask(cloud, capsys):
    return Operator(capsys, tuple(cloud[1]))


def test_a_host_is_stopped_and_goes_on(ask):
    code, said, _ = ask("stop", "--scope", "host:sim1", "--reason", "being repaired")
    assert (code, "stopped. Go on with: foreshape resume --scope host:sim1" in said) == (0, True)
    assert ask("mode", "get", "--scope", "host:sim1", "-f", "json")[1].count("observe") == 1
    assert ask("resume", "--scope", "host:sim1", "--reason", "done")[0] == 0
    assert ask("resume", "--scope", "host:sim1", "--reason", "done")[0] == 1


def test_a_server_is_put_into_a_tier_and_out_of_it(ask, name):
    code, said, _ = ask("tier", "set", name, "guaranteed", "--reason", "launch", "-f", "json")
    assert (code, json.loads(said)["tier"]) == (0, "guaranteed")
    code, said, _ = ask("tier", "unset", name, "-f", "json")
    assert (code, json.loads(said)["tier"]) == (0, "standard")
    assert ask("tier", "set", name, "silver")[0] == 1
    assert ask("halt", "clear", "cloud", "--reason", "x")[0] == 1, "nothing is halted"


@pytest.fixture
def name(cloud) -> str:
    return cloud[0].bed.world.vms()[0].spec.name


@pytest.mark.parametrize("form", ["json", "table", "yaml", "csv"])
@pytest.mark.parametrize(
    "words",
    [
        ("host", "list"),
        ("host", "show", "sim1"),
        ("server", "list"),
        ("server", "show", "{name}"),
        ("forecast", "show", "{name}"),
        ("forecast", "show", "host:sim1"),
        ("plan", "show"),
        ("why", "{name}"),
        ("mode", "get"),
        ("mode", "list"),
        ("tier", "list"),
        ("tier", "show", "standard"),
        ("tier", "reload"),
        ("halt", "list"),
        ("summary",),
        ("workload", "list"),
        ("workload", "show", "{name}"),
        ("anomaly", "list"),
    ],
    ids=" ".join,
)
def test_every_reading_command_understands_the_real_answers(ask, name, words, form):
    code, out, _ = ask(*(w.format(name=name) for w in words), "-f", form)
    assert code == 0
    assert out
    assert ("SIMULATED" in out) == (form == "table")


@pytest.mark.parametrize("words", [("why", "{name}"), ("forecast", "show", "{name}")], ids=" ".join)
def test_what_is_for_people_by_default_is(ask, name, words):
    code, out, _ = ask(*(w.format(name=name) for w in words))
    assert code == 0
    assert out.startswith("SIMULATED")
    assert name in out


def test_a_host_is_enrolled_and_revoked(ask):
    code, out, _ = ask("agent", "enroll", "hv9", "-f", "json")
    assert code == 0
    assert json.loads(out)["join_token"]
    assert ask("agent", "revoke", "hv9")[0] == 0


def test_a_mode_is_set_and_read_back(ask):
    assert ask("mode", "set", "observe", "--scope", "host:sim1", "--reason", "maintenance")[0] == 0
    code, out, _ = ask("mode", "get", "--scope", "host:sim1", "-f", "json")
    assert code == 0
    assert (json.loads(out)["mode"], json.loads(out)["reason"]) == ("observe", "maintenance")
    ask("mode", "set", "act", "--scope", "host:sim1")


def test_a_wrong_scope_and_an_unknown_server_are_exit_1_in_words(ask):
    for words in (("mode", "get", "--scope", "planet:earth"), ("why", "nobody"), ("host", "show", "nowhere")):
        code, _, err = ask(*words)
        assert code == 1, words
        assert "Traceback" not in err
        assert len(err) > 20


def test_a_wrong_token_is_exit_4(cloud, tmp_path, capsys):
    wrong = tmp_path / "token"
    wrong.write_text("x" * 43)
    code, _, err = Operator(capsys, (*cloud[1][:2], "--token-file", wrong))("summary")
    assert code == 4
    assert str(wrong) in err

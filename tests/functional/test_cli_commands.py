"""The operator's command against an API of canned answers: what it prints, what it asks, how it fails."""

import csv
import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cli_support import foreshape
from foreshape_controller.cli import main as module
from foreshape_controller.config import ApiSettings
from foreshape_controller.model import answers
from sim_support import CannedApi, canned_api, why_answer

pytestmark = pytest.mark.functional

READING = [
    ("host", "list"),
    ("host", "show", "hv1"),
    ("server", "list"),
    ("server", "show", "web-1"),
    ("forecast", "show", "web-1"),
    ("forecast", "show", "segment:web"),
    ("segment", "list"),
    ("plan", "show"),
    ("why", "web-1"),
    ("mode", "get"),
    ("mode", "list"),
    ("mode", "set", "act"),
    ("agent", "enroll", "hv1"),
    ("summary",),
]


@pytest.fixture
def api():
    with canned_api() as made:
        yield made


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "admin-token"
    path.write_text("secret\n")
    return path


def run(api: CannedApi, token: Path, *words: str) -> int:
    return foreshape("--url", api.url, "--token-file", token, *words)


@pytest.mark.parametrize("words", READING, ids=" ".join)
@pytest.mark.parametrize("form", ["json", "yaml", "csv", "table"])
def test_every_command_answers_in_every_form(api, token, capsys, words, form):
    assert run(api, token, *words, "-f", form) == 0
    out = capsys.readouterr().out
    if form == "json":
        assert json.loads(out)
    elif form == "yaml":
        assert yaml.safe_load(out)
    elif form == "csv":
        header, *rows = csv.reader(io.StringIO(out))
        assert rows
        assert all(len(row) == len(header) for row in rows)
    else:
        assert "+--" in out


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_simulated_cloud_says_so_on_every_screen(token, capsys, words):
    with canned_api(simulated=True) as api:
        assert run(api, token, *words) == 0
    assert "SIMULATED" in capsys.readouterr().out


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_real_cloud_does_not(api, token, capsys, words):
    assert run(api, token, *words) == 0
    assert "SIMULATED" not in capsys.readouterr().out


def test_json_holds_the_api_s_own_fields_whole(api, token, capsys):
    run(api, token, "server", "show", "web-1", "-f", "json")
    shown = json.loads(capsys.readouterr().out)
    assert set(shown) == set(answers.ServerAnswer.__struct_fields__)
    assert shown["levers"][0]["highest"] == 4.0


def test_csv_holds_numbers_as_numbers_and_nested_values_as_json(api, token, capsys):
    run(api, token, "server", "show", "web-1", "-f", "csv")
    header, row = csv.reader(io.StringIO(capsys.readouterr().out))
    shown = dict(zip(header, row, strict=True))
    assert shown["cpu_demand_cores"] == "0.5"
    assert json.loads(shown["levers"])[1]["reason"] == "no virtio-mem device"


def test_why_in_json_gives_everything(api, token, capsys):
    run(api, token, "why", "web-1", "-f", "json")
    assert set(json.loads(capsys.readouterr().out)) == set(answers.WhyAnswer.__struct_fields__)


def test_a_column_can_be_chosen_by_the_table_s_name_or_the_api_s(api, token, capsys):
    assert run(api, token, "server", "list", "-f", "json", "-c", "name", "-c", "cpu_demand_cores") == 0
    assert json.loads(capsys.readouterr().out) == [{"name": "web-1", "cpu_demand_cores": 0.5}]


def test_a_column_that_does_not_exist_is_a_usage_error(api, token, capsys):
    assert run(api, token, "server", "list", "-c", "nonsense") == 2
    assert "nonsense" in capsys.readouterr().err


def test_an_empty_list_is_no_error(api, token, capsys):
    api.says("GET", "/v1/servers", [])
    assert run(api, token, "server", "list", "-f", "json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_an_empty_table_says_that_there_is_nothing(api, token, capsys):
    api.says("GET", "/v1/servers", [])
    api.says("GET", "/v1/halts", [])
    assert run(api, token, "server", "list") == 0
    assert run(api, token, "halt", "list") == 0
    assert capsys.readouterr().out == "There are none.\nNothing is halted.\n"
    assert run(api, token, "halt", "list", "-f", "csv") == 0
    assert "halted" not in capsys.readouterr().out


@pytest.mark.parametrize(("form", "shown"), [("table", "red  [31m"), ("value", "red  [31m"), ("json", "red \\u001b[31m")])
def test_what_other_people_wrote_does_not_command_the_terminal(api, token, capsys, form, shown):
    api.says("GET", "/v1/modes", [{"scope": "cloud", "mode": "act", "since": 0.0, "reason": "red \x1b[31m"}])
    assert run(api, token, "mode", "list", "-f", form) == 0
    assert shown in capsys.readouterr().out


def test_the_token_is_sent_and_never_shown(api, token, capsys):
    run(api, token, "host", "list")
    assert {a.authorization for a in api.asked} == {"Bearer secret"}
    shown = capsys.readouterr()
    assert "secret" not in shown.out + shown.err


def test_a_server_s_name_is_one_part_of_the_path(api, token):
    run(api, token, "server", "show", "a/../b c")
    assert api.asked[0].path == "/v1/servers/a%2F..%2Fb%20c"


def test_why_at_a_time_asks_for_that_time(api, token):
    assert run(api, token, "why", "web-1", "--at", "2026-01-05T00:10", "-f", "json") == 0
    assert api.asked[0].query == {"at": "2026-01-05T00:10"}
    assert run(api, token, "why", "web-1", "--at", "2h ago", "-f", "json") == 0
    assert api.asked[1].query == {"at": "2h ago"}


def test_why_takes_a_server_or_a_cause(api, token, capsys):
    api.says("GET", "/v1/why", why_answer())
    assert run(api, token, "why", "--cause", "cause-7f3a-12", "-f", "json") == 0
    assert (api.asked[0].path, api.asked[0].query) == ("/v1/why", {"cause": "cause-7f3a-12"})
    for words in ((), ("web-1", "--cause", "c"), ("--cause", "c", "--at", "1h ago")):
        assert run(api, token, "why", *words) == 2
    assert "one of the two" in capsys.readouterr().err


def test_mode_set_sends_scope_and_reason_and_says_what_follows(api, token, capsys):
    assert run(api, token, "mode", "set", "act", "--scope", "host:hv1", "--reason", "trial") == 0
    assert api.asked[0].body == {"scope": "host:hv1", "mode": "act", "reason": "trial"}
    assert "resizes servers" in capsys.readouterr().out


def test_enrolment_prints_the_token_and_what_to_run(api, token, capsys):
    assert run(api, token, "agent", "enroll", "hv1") == 0
    out = capsys.readouterr().out
    assert "join-abc" in out
    assert "foreshape-agent --config-file /etc/foreshape/agent.conf --enrol join-abc" in out
    assert api.url in out


def test_revoking_says_what_happens_to_the_servers(api, token, capsys):
    assert run(api, token, "agent", "revoke", "hv1") == 0
    assert api.asked[-1].method == "DELETE"
    assert "entitlement" in capsys.readouterr().out


def test_the_forecast_is_a_chart_with_bands(api, token, capsys):
    assert run(api, token, "forecast", "show", "web-1") == 0
    out = capsys.readouterr().out
    assert "▓" in out
    assert "░" in out
    assert "95 %" in out or "95%" in out


def test_the_forecast_in_rows_has_both_peaks_six_steps_and_a_day_of_each_resource(api, token, capsys):
    assert run(api, token, "forecast", "show", "web-1", "-f", "json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 2 * (2 + 6 + 48)
    assert rows[0]["window"] == "peak30m"
    assert rows[0]["q0.95"] == pytest.approx(1.2)  # the twelfth of thirteen levels, a tenth of a core apart


def test_a_group_is_shown_with_its_members_and_with_the_units_of_all_that_is_forecast(api, token, capsys):
    assert run(api, token, "forecast", "show", "segment:web") == 0
    out = capsys.readouterr().out
    assert "segment:web (2 servers now)" in out
    assert [line.split(",")[0] for line in out.splitlines() if ", from baseline" in line] == [
        "cpu (cores)",
        "disk (KiB/s)",
        "servers (servers)",
    ]
    assert "has now" not in out
    assert not [a.path for a in api.asked if "/v1/servers" in a.path], "nobody is asked for a server of that name"


# how it fails


def test_nobody_there_is_exit_3_with_what_to_do(token, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        assert foreshape("--url", url, "--token-file", token, "summary") == 3
    err = capsys.readouterr().err
    assert f"cannot reach the controller at {url}: connection refused" in err
    assert "is foreshape-controller running? set --url" in err


def test_a_wrong_token_is_exit_4(api, token, capsys):
    api.says("GET", "/v1/hosts", answers.Problem(code="unauthenticated", title="Who?", status=401, detail="unknown token"), 401)
    assert run(api, token, "host", "list") == 4
    assert str(token) in capsys.readouterr().err


def test_a_missing_token_file_is_named_when_the_controller_asks_for_it(api, tmp_path, capsys):
    api.says("GET", "/v1/hosts", answers.Problem(code="unauthenticated", title="Who?", status=401, detail="no token"), 401)
    assert run(api, tmp_path / "nowhere", "host", "list") == 4
    assert f"no token file {tmp_path / 'nowhere'}" in capsys.readouterr().err


def test_an_unknown_server_is_exit_1_in_the_controller_s_words(api, token, capsys):
    assert run(api, token, "server", "show", "nobody") == 1
    assert capsys.readouterr().err == "foreshape: there is no /v1/servers/nobody\n"


def test_another_program_s_answer_is_no_traceback(api, token, capsys):
    api.says("GET", "/v1/summary", b"<html>hello</html>")
    assert run(api, token, "summary") == 1
    assert "not as a Foreshape controller" in capsys.readouterr().err


def test_an_answer_of_another_shape_is_no_traceback(api, token, capsys):
    api.says("GET", "/v1/hosts", [{"surprise": 1}])
    assert run(api, token, "host", "list") == 1
    err = capsys.readouterr().err
    assert "the controller's answer lacks 'name': is it another version" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "words",
    [
        ("server", "lst"),
        ("mode", "set", "maybe"),
        ("why",),
        ("why", "a", "--at", "tomorrow"),
        ("demo", "--minutes", "-1"),
        ("host", "list", "-f", "xml"),
    ],
    ids=" ".join,
)
def test_words_that_make_no_sense_are_exit_2(api, token, words):
    assert run(api, token, *words) == 2


@pytest.mark.parametrize("url", ["foo", "ftp://h", "http://", "http://[::1"])
def test_a_url_that_is_none_is_exit_2(token, url, capsys):
    assert foreshape("--url", url, "--token-file", token, "summary") == 2
    assert "--url" in capsys.readouterr().err


def test_a_ca_file_that_is_none_is_exit_2(api, token, tmp_path, capsys):
    assert run(api, token, "--ca-file", str(tmp_path / "none.pem"), "summary") == 2
    assert "--ca-file" in capsys.readouterr().err


def test_plain_http_spoken_to_a_tls_port_or_the_reverse_says_to_check_the_url(api, token, capsys):
    api.url = api.url.replace("http://", "https://")
    assert run(api, token, "summary") == 3
    assert "check http or https" in capsys.readouterr().err


def test_starting_up_imports_neither_http_client_nor_numpy():
    code = "import sys; from foreshape_controller.cli.main import main\ntry: main(['help'])\nexcept SystemExit: pass\n"
    code += "bad = {'httpx', 'numpy', 'sqlalchemy', 'litestar', 'oslo_config', 'pyarrow'} & set(sys.modules)\n"
    code += "sys.exit(f'imported: {bad}' if bad else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"COLUMNS": "120"}, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["vm-1", "host:hv1"])
def test_a_forecast_is_asked_for_where_numpy_is_not_installed(name):
    code = "import sys; from argparse import Namespace; sys.modules['numpy'] = None\n"
    code += f"from foreshape_controller.cli.forecast import _path; print(_path(Namespace(server='{name}')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert name.partition(":")[2] in done.stdout


def test_the_usual_address_and_token_file_are_the_controller_s_defaults():

    # the command must not import the configuration: that would cost it its start-up time
    assert f"http://{ApiSettings().bind}:{ApiSettings().port}" == module.DEFAULT_URL
    assert ApiSettings().admin_token_file == module.DEFAULT_TOKEN_FILE

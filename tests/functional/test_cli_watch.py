"""``--watch``, charts of hosts, completion, and Keystone's token by OS_TOKEN."""

import json
import os
import pty
import subprocess
import sys
import threading

import pytest

from cli_support import foreshape
from foreshape_controller.cli import chart
from sim_support import canned_api

pytestmark = pytest.mark.functional


@pytest.fixture
def api():
    with canned_api() as made:
        yield made


def lines(process, wanted, found):
    """Read on until the text is there so often, then interrupt as Ctrl-C does."""
    text = ""
    while text.count(found) < wanted:
        piece = process.stdout.read(1)
        if not piece:
            break
        text += piece
    return text


def watching(api, *words, env=None):
    command = [sys.executable, "-m", "foreshape_controller.cli.main", "--url", api.url, "--token-file", os.devnull, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})


def test_a_list_is_asked_for_again_and_again_until_ctrl_c(api):
    with watching(api, "host", "list", "--watch", "0.5", "-f", "json") as process:
        threading.Timer(60, process.kill).start()
        text = lines(process, 3, "]\n")
        process.send_signal(2)
        assert process.wait(10) == 0
    asked = [a for a in api.asked if a.path == "/v1/hosts"]
    assert len(asked) >= 3
    assert json.loads(text.split("\n\n")[0])[0]["name"] == "hv1"
    assert "\x1b" not in text


def test_commands_that_change_something_cannot_be_watched(api, capsys):
    assert foreshape("--url", api.url, "stop", "--reason", "x", "--watch", "1") == 2


@pytest.mark.parametrize("pause", ["0", "-1", "often", "nan", "inf"])
def test_a_pause_that_is_none_is_refused(api, capsys, pause):
    assert foreshape("--url", api.url, "host", "list", f"--watch={pause}") == 2
    assert "write a number from 0.5" in capsys.readouterr().err


def test_a_host_is_drawn_to_scale(api, capsys, tmp_path):
    assert foreshape("--url", api.url, "--token-file", tmp_path / "none", "host", "chart", "hv1") == 0
    cpu = next(line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("CPU"))
    assert "3.2 / 1.5 / 4.0 / 16.0 cores" in cpu
    drawn = chart.bar(4, 8, 12, 16)
    assert (drawn.count("█"), drawn.index("│")) == (12, 50)
    assert (drawn.rindex("▓"), drawn.rindex("░")) == (24, 37)


def test_nothing_at_all_can_be_drawn_too():
    assert chart.bar(0, 0, 0, 0).count("│") == 1


def test_os_token_is_keystone_s_and_a_token_file_that_is_named_wins(api, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("OS_TOKEN", "gAAAA")
    monkeypatch.delenv("FORESHAPE_TOKEN_FILE", raising=False)
    assert foreshape("--url", api.url, "host", "list") == 0
    assert (api.asked[-1].authorization, api.asked[-1].keystone) == ("", "gAAAA")
    (tmp_path / "t").write_text("mine")
    assert foreshape("--url", api.url, "--token-file", tmp_path / "t", "host", "list") == 0
    assert (api.asked[-1].authorization, api.asked[-1].keystone) == ("Bearer mine", None)


def test_bash_completes_commands(tmp_path):
    """By the script that ``foreshape complete`` prints; bash-completion's own function is replaced by three lines of its meaning."""
    script = subprocess.run(
        [sys.executable, "-m", "foreshape_controller.cli.main", "complete", "--name", "foreshape"],
        capture_output=True,
        text=True,
        check=True,
    )
    (tmp_path / "foreshape.bash").write_text(script.stdout)
    asked = f"""
      _get_comp_words_by_ref() {{ cur=${{COMP_WORDS[COMP_CWORD]}}; prev=; words=("${{COMP_WORDS[@]}}"); }}
      . {tmp_path}/foreshape.bash
      COMP_WORDS=(foreshape host ch); COMP_CWORD=2; _foreshape; echo "${{COMPREPLY[@]}}"
      COMP_WORDS=(foreshape migr); COMP_CWORD=1; _foreshape; echo "${{COMPREPLY[@]}}"
    """
    said = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said == ["chart", "migration"]


def test_a_terminal_is_cleared_between_two_screens(api):
    master, slave = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "foreshape_controller.cli.main",
        "--url",
        api.url,
        "--token-file",
        os.devnull,
        "host",
        "list",
        "--watch",
    ]
    with subprocess.Popen(command, stdout=slave, stderr=slave) as process:
        threading.Timer(60, process.kill).start()
        seen = b""
        while b"hv1" not in seen:
            seen += os.read(master, 4096)
        process.send_signal(2)
        assert process.wait(10) == 0
    os.close(slave)
    os.close(master)
    assert b"\x1b[2J" in seen

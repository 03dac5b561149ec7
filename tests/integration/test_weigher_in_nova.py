"""The weigher in the real scheduler's code: Nova from PyPI weighs hosts with all of its own weighers and ours."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from foreshape_cloudbed import environment
from foreshape_lab import Missing

from headroom_support import told

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
INSIDE = ROOT / "tests/support/weigher_inside_nova.py"


@pytest.fixture(scope="module")
def python() -> Path:
    """Nova's own."""
    try:
        environment.install()
    except Missing as e:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(e))
    return environment.PYTHON


class Scheduler:
    """Nova's host manager in a process of its own, with a nova.conf."""

    def __init__(self, python: Path, folder: Path) -> None:
        conf = folder / "nova.conf"
        ours = "nova.scheduler.weights.all_weighers, foreshape_weigher.weigher.HeadroomWeigher"
        conf.write_text(f"[filter_scheduler]\nweight_classes = {ours}\n[foreshape]\nheadroom_time_limit = 0.3\n")
        env = {**os.environ, "PYTHONPATH": str(ROOT / "controller"), "PYTHONDONTWRITEBYTECODE": "1"}
        with (folder / "stderr").open("w") as errors:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen([python, INSIDE, conf], stdin=pipe, stdout=pipe, stderr=errors, text=True, env=env)

    def __call__(self, hosts: dict, url: str, *, rounds: int = 1, **options: object) -> dict:
        asked = {"hosts": hosts, "rounds": rounds, "options": {"headroom_url": url, **options}}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(30)


@pytest.fixture(scope="module")
def scheduler(python, tmp_path_factory) -> Iterator[Scheduler]:
    """One for all: it takes seconds to load; what the weigher knows begins anew with each question."""
    made = Scheduler(python, tmp_path_factory.mktemp("nova"))
    yield made
    made.close()


EQUAL = {"a": {}, "b": {}, "c": {}, "d": {}}


def test_the_host_with_most_headroom_comes_first_and_one_that_nobody_knows_in_the_middle(scheduler, tmp_path):
    with told({"a": 0.1, "b": 0.9, "c": 0.4}, token="scheduler") as url:
        file = tmp_path / "token"
        file.write_text("scheduler\n")
        found = scheduler(EQUAL, url, headroom_token_file=str(file))
    assert found["order"] == [["b", "d", "c", "a"]], "d counts as the mean, 0.47"
    assert {"HeadroomWeigher", "RAMWeigher", "CPUWeigher"} <= set(found["weighers"])


def test_a_tenth_of_a_host_weighs_as_much_as_all_of_another_weigher(scheduler):
    hosts = {"a": {"free": 8192}, "b": {"free": 1024}}  # a: 1 by RAM, b: 0
    with told({"a": 0.5, "b": 0.58}) as url:
        assert scheduler(hosts, url)["order"] == [["a", "b"]]
    with told({"a": 0.5, "b": 0.62}) as url:
        assert scheduler(hosts, url)["order"] == [["b", "a"]]


def test_an_aggregate_may_have_a_multiplier_of_its_own(scheduler):
    hosts = {"a": {"aggregate": {"headroom_weight_multiplier": "0"}}, "b": {}}
    with told({"a": 0.9, "b": 0.1}) as url:
        assert scheduler(hosts, url)["order"] == [["b", "a"]]


@pytest.mark.parametrize(
    ("answer", "options"),
    [
        (None, {}),
        ({"body": b"<html>"}, {}),
        ({"body": b'{"at": 1e400, "hosts": {"d": 1}}'}, {}),
        ({"at": 1.0}, {}),
        ({"token": "another"}, {}),
        ({}, {"headroom_token_file": "/nowhere/token"}),
        ({}, {"headroom_ca_file": "/nowhere/ca"}),
        ({"wait_s": 20.0}, {}),
    ],
    ids=["dead", "no JSON", "infinite", "stale", "refused", "no token file", "no CA file", "hangs"],
)
def test_whatever_is_wrong_with_its_source_hosts_are_weighed_as_without_it_and_no_boot_waits_long(scheduler, answer, options):
    hosts = {"a": {"free": 4096}, "b": {"free": 2048}, "c": {"free": 8192}, "d": {"free": 1024}}
    with told({"d": 1.0, "b": 0.5}, **(answer or {})) as url:
        address = url if answer is not None else "http://127.0.0.1:9/v1/headroom"
        address = address.replace("http:", "https:") if "headroom_ca_file" in options else address
        found = scheduler(hosts, address, rounds=5, **options)
    assert found["order"] == [["c", "a", "b", "d"]] * 5, "by RAM alone"
    assert found["seconds"] < 2.0, "five boots, of which one waited 0.3 s at most"
    if answer != {"wait_s": 20.0}:
        assert found["said"][-1].startswith(("headroom cannot be read", "headroom is not weighed"))


def test_its_options_are_listed_for_nova_conf(python):
    code = "from foreshape_weigher.options import list_opts; [(g, o)] = list_opts(); print(g.name, *(x.name for x in o))"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "controller")}
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, env=env, timeout=60)
    assert done.stdout.split()[:3] == ["foreshape", "headroom_url", "headroom_token_file"]

"""The rights of role foreshape: what docs/openstack.md promises stands in etc/policy.d, all of it and nothing else."""

import re
from pathlib import Path

import pytest
import yaml

from foreshape_controller.cloud.rights import ADVICE, TRIES

pytestmark = pytest.mark.contract

REPOSITORY = Path(__file__).parents[2]
FILES = sorted((REPOSITORY / "etc" / "policy.d").glob("*.yaml"))
SERVICES = {"nova": "os_compute_api:", "placement": "placement:", "keystone": "identity:"}


def promised() -> dict[str, set[str]]:
    """Names of policies by table: the first is for reading, the second for acting."""
    text = (REPOSITORY / "docs" / "openstack.md").read_text()
    section = text.split("## The role")[1].split("\n## ")[0]
    read, act = section.split("To act, these are needed")
    name = re.compile(r"`((?:os_compute_api|placement|identity):[^`…]+|context_is_admin)`")
    return {"read": set(name.findall(read)), "act": set(name.findall(act))}


def given(kind: str) -> dict[str, str]:
    rules: dict[str, str] = {}
    for file in FILES:
        if file.stem.endswith(kind):
            rules |= yaml.safe_load(file.read_text())
    return rules


@pytest.mark.parametrize("kind", ["read", "act"])
def test_the_files_give_what_the_guide_promises(kind: str) -> None:
    assert promised()[kind]
    assert set(given(kind)) == promised()[kind]


def test_whatever_the_controller_tries_out_is_given() -> None:
    """``foreshape cloud status --rights`` tells operators what is missing: the files have to give all of it."""
    for kind in ("read", "act"):
        tried = {one.policy for one in TRIES if (one.needed_for == ADVICE) == (kind == "read")}
        assert tried
        assert tried <= set(given(kind))


def test_what_reads_and_what_acts_do_not_overlap() -> None:
    assert set(given("read")) & set(given("act")) == set()


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_each_line_is_of_its_service_and_adds_only_our_role_to_the_default(file: Path) -> None:
    rules = yaml.safe_load(file.read_text())
    service, kind = file.stem.split("-")
    assert kind in {"read", "act"}
    assert all(name.startswith(SERVICES[service]) or (service, kind, name) == ("nova", "act", "context_is_admin") for name in rules)
    assert all(check.endswith(" or role:foreshape") and check.count("foreshape") == 1 for check in rules.values())


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_each_file_says_where_it_goes(file: Path) -> None:
    service, kind = file.stem.split("-")
    heading = " ".join(line.removeprefix("# ") for line in file.read_text().splitlines() if line.startswith("#"))
    assert f"/etc/{service}/policy.d/foreshape-{kind}.yaml" in heading

"""``etc/foreshape/policy.yaml``: every rule as it is in the code, and a file that may be used as it stands."""

from pathlib import Path

import pytest

from foreshape_controller.api.policy import BASE, RULES, Policy, sample

pytestmark = pytest.mark.contract

FILE = Path(__file__).parents[2] / "etc/foreshape/policy.yaml"


def test_the_file_is_what_the_rules_say():
    assert FILE.read_text(encoding="utf-8") == sample(), "render it anew with foreshape_controller.api.policy.sample()"


def test_the_file_as_it_stands_changes_nothing():
    Policy(str(FILE))


def test_every_line_uncommented_is_what_is_built_in(tmp_path):
    lines = FILE.read_text(encoding="utf-8").splitlines()
    live = [line.removeprefix("#") for line in lines if line.startswith('#"')]
    assert len(live) == len(BASE) + len(RULES)
    (tmp_path / "policy.yaml").write_text("\n".join(live))
    Policy(str(tmp_path / "policy.yaml"))

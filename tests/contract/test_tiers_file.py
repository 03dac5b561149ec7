"""etc/foreshape/tiers.yaml says what the program does without it."""

from pathlib import Path

import msgspec
import pytest
import yaml

from foreshape_controller.decide.tiers import BUILT_IN, load_tiers
from foreshape_controller.model.tier import ResourceRules, Tier

pytestmark = pytest.mark.contract

FILE = Path(__file__).parents[2] / "etc" / "foreshape" / "tiers.yaml"
UNITLESS = {"may_shrink", "cpu", "memory"}


def test_the_file_holds_the_built_in_tiers():
    assert load_tiers(FILE.read_text()) == BUILT_IN


def test_the_file_names_every_key_of_every_tier():
    content = yaml.safe_load(FILE.read_text())
    assert set(content) == {"default", "granules", "tiers", "assign"}
    keys = {f.name for f in msgspec.structs.fields(Tier)} - {"name"}
    for name, tier in content["tiers"].items():
        assert set(tier) == keys, name
        for part in ("cpu", "memory"):
            assert set(tier[part]) == {f.name for f in msgspec.structs.fields(ResourceRules)}, (name, part)


def test_every_key_is_explained_where_it_stands_first():
    lines = [line.split("#", 1) for line in FILE.read_text().splitlines() if ":" in line.split("#", 1)[0]]
    first = {}
    for parts in lines:
        first.setdefault(parts[0].split(":")[0].strip(" -"), parts)
    keys = {f.name for f in msgspec.structs.fields(ResourceRules)} | {"weight", "dead_band"}
    assert [k for k in sorted(keys) if len(first[k]) < 2] == []

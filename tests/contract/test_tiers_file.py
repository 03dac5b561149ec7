"""etc/foreshape/tiers.yaml says what the program does without it."""

from pathlib import Path

import msgspec
import pytest
import yaml

from foreshape_controller.decide.tiers import BUILT_IN, load_tiers
from foreshape_controller.model.tier import ResourceRules, Tier

pytestmark = pytest.mark.contract

FILE = Path(__file__).parents[2] / "etc" / "foreshape" / "tiers.yaml"
PARTS = {"cpu": ResourceRules, "memory": ResourceRules}
ELSEWHERE = {"name", "price"}
"""A tier's name is its key, and what it costs stands in rates.yaml."""


def test_the_file_holds_the_built_in_tiers():
    assert load_tiers(FILE.read_text()) == BUILT_IN


def test_the_file_names_every_key_of_every_tier():
    content = yaml.safe_load(FILE.read_text())
    assert set(content) == {"default", "granules", "tiers", "assign"}
    for name, tier in content["tiers"].items():
        assert set(tier) == _keys(Tier) - ELSEWHERE, name
        for part, kind in PARTS.items():
            assert set(tier[part]) == _keys(kind), (name, part)


def test_every_key_is_explained_where_it_stands_first():
    lines = [line.split("#", 1) for line in FILE.read_text().splitlines() if ":" in line.split("#", 1)[0]]
    first = {}
    for parts in lines:
        first.setdefault(parts[0].split(":")[0].strip(" -"), parts)
    keys = _keys(Tier).union(*map(_keys, PARTS.values())) - ELSEWHERE - {"cpu", "memory"}
    assert [k for k in sorted(keys) if len(first[k]) < 2] == []


def _keys(kind):
    return {f.name for f in msgspec.structs.fields(kind)}

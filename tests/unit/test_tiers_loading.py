"""tiers.yaml as an operator writes it: what is taken, and what is refused with which words."""

import pytest

from decide_support import server
from foreshape_controller.decide.tiers import BUILT_IN, DEFAULTS, load_tiers
from foreshape_controller.errors import ConfigError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("text", ["", "# nothing", "tiers:", "tiers: {}"])
def test_nothing_said_means_the_built_in_tiers(text):
    assert load_tiers(text) == BUILT_IN


def test_a_tier_changes_only_what_it_names():
    tiers = load_tiers("tiers: {economy: {cpu: {quantile: 0.8}}}").tiers
    assert tiers["economy"].cpu.quantile == 0.8
    assert tiers["economy"].cpu.hold_s == DEFAULTS["economy"].cpu.hold_s
    assert tiers["economy"].memory == DEFAULTS["economy"].memory
    assert tiers["standard"] == DEFAULTS["standard"]


def test_a_new_tier_starts_from_standard():
    gold = load_tiers("tiers: {gold: {weight: 9}}").tiers["gold"]
    assert (gold.name, gold.weight) == ("gold", 9.0)
    assert gold.cpu == DEFAULTS["standard"].cpu


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tiers: {gold: {cpu: {quantil: 0.9}}}", ["gold", "cpu", "quantil", "quantile"]),
        ("tiers: {gold: {colour: 1}}", ["gold", "colour"]),
        ("tier: {}", ["'tier'", "tiers"]),
        ("tiers: {gold: {weight: heavy}}", ["gold", "weight"]),
        ("tiers: {gold: {weight: 0}}", ["gold", "weight", "0.01"]),
        ("tiers: {gold: {cpu: {quantile: 1.0}}}", ["gold", "cpu", "quantile", "0.99"]),
        ("tiers: {gold: {memory: {floor_share: -0.1}}}", ["gold", "memory", "floor_share"]),
        ("tiers: {gold: {memory: {hold_s: .nan}}}", ["gold", "memory", "hold_s"]),
        ("tiers: {gold: {memory: 3}}", ["gold", "memory"]),
        ("tiers: [gold]", ["tiers"]),
        ("tiers: {gold: {}, gold: {}}", ["gold", "twice", "line 1"]),
        ("default: silver", ["default", "silver", "standard"]),
        ("default: [standard]", ["default"]),
        ("assign: [{tier: silver, project: p}]", ["rule 1", "silver"]),
        ("assign: [{tier: economy}]", ["rule 1", "default"]),
        ("assign: [{tier: economy, image: cirros}]", ["image"]),
        ("granules: {cpu: 0}", ["granules", "cpu"]),
        ("granules: {cpu: many}", ["granules"]),
        ("granules: {disk: 1}", ["granules", "disk"]),
        ("- a list", ["tiers.yaml"]),
        ("tiers: {", ["not YAML"]),
        ("{[1]: 2}", ["not YAML"]),
        ("1: 2", ["tiers.yaml"]),
    ],
)
def test_a_mistake_is_refused_by_the_name_of_tier_and_key(text, words):
    with pytest.raises(ConfigError) as refused:
        load_tiers(text)
    assert [w for w in words if w not in str(refused.value)] == []


@pytest.mark.parametrize(
    ("changes", "tier"),
    [
        ({"id": "vm9", "project": "p1"}, "guaranteed"),  # the first rule that matches
        ({"project": "p1", "flavor": "batch"}, "economy"),
        ({"project": "p1", "flavor": "m1"}, "standard"),  # both keys of a rule must match
        ({"project": "p2", "tier": "economy"}, "economy"),  # carried by the server itself
        ({"project": "p2", "tier": "unheard of"}, "standard"),
    ],
)
def test_the_first_rule_that_matches_assigns_the_tier(changes, tier):
    tiers = load_tiers("assign: [{tier: guaranteed, server: vm9}, {tier: economy, project: p1, flavor: batch}]")
    assert tiers.of(server(**changes)).name == tier

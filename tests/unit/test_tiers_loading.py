"""tiers.yaml as an operator writes it: what is taken, and what is refused with which words."""

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from decide_support import server
from foreshape_controller.decide.tier_checks import RANGES
from foreshape_controller.decide.tiers import BUILT_IN, DEFAULTS, check_tiers, dump_tiers, load_tiers
from foreshape_controller.errors import ConfigError
from foreshape_controller.model.tier import Price, ResourceRules, Tier

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


BROKEN = """
default: silver
tiers:
  gold: {weight: -2, criticality: 0, colour: red, cpu: {quantile: 2, floor_share: 0.9, ceiling_share: 0.5}}
  economy: {may_shrink: false, throttle_order: 1.5, memory: {hold_s: 60, step_s: 600}}
assign:
  - {tier: bronze, project: p}
  - {tier: economy, flavor: 17}
granules: {cpu: 0}
"""


def test_everything_that_is_wrong_is_said_at_once():
    found = check_tiers(BROKEN)
    assert found.tiers is None
    assert sorted(found.problems) == sorted(
        [
            "tier gold: unknown key 'colour'; known are " + ", ".join(f.name for f in msgspec.structs.fields(Tier) if f.name != "name"),
            "tier gold: weight is -2: it must lie between 0.01 and 1000",
            "tier gold: criticality is 0: it must lie between 0.01 and 100",
            "tier gold, cpu: quantile is 2: it must lie between 0.5 and 0.99",
            "tier gold, cpu: floor_share 0.9 is above ceiling_share 0.5: the floor is the lower of the two",
            "tier economy: throttle_order is 1.5: a whole number is wanted",
            "tier economy: may_reclaim is true and may_shrink false: what never shrinks cannot be reclaimed",
            "tier economy, memory: hold_s 60 is below step_s 600: what was wanted between two steps would be forgotten",
            "default: there is no tier 'silver'; known are guaranteed, standard, economy, gold",
            "assign, rule 1: there is no tier 'bronze'; known are guaranteed, standard, economy, gold",
            "assign, rule 2: flavor is 17: text is wanted (numbers need quotes)",
            "granules: cpu is 0: it must lie between 0.001 and 64",
        ]
    )


def test_the_built_in_tiers_are_beyond_reproach():
    assert check_tiers("") == check_tiers("tiers: {}")
    assert (check_tiers("").problems, check_tiers("").warnings) == ((), ())


def test_two_tiers_may_give_at_the_same_time():
    assert check_tiers("tiers: {economy: {throttle_order: 2}, standard: {throttle_order: 2}}").problems == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "tiers: {guaranteed: {cpu: {floor_share: 0.01}}}",
            "tier guaranteed gives after economy, but its cpu floor_share 0.01 is below 0.05",
        ),
        ("tiers: {guaranteed: {weight: 0.5}}", "tier guaranteed gives after economy, but its weight × criticality 0.5 is below 1"),
        (
            "tiers: {standard: {cpu: {floor_share: 1}}}",
            "tier standard, cpu: floor_share is 1: its quantile chooses only above what was sold",
        ),
        (
            "tiers: {standard: {price: {cpu_core: 2, burst_cpu_core: 1}}}",
            (
                "tier standard: price is deprecated, and counts only until the rate file ([pricing] rates_file) names a currency: "
                "write the rates there (docs/pricing.md), then take price out"
            ),
        ),
        (
            "assign: [{tier: economy, project: p}, {tier: standard, project: p}]",
            "assign, rule 2: rule 1 names the same and comes first: this one never matches",
        ),
    ],
)
def test_what_is_hardly_meant_is_allowed_and_said(text, words):
    found = check_tiers(text)
    assert found.tiers is not None
    assert words in found.warnings


def test_a_file_of_the_last_version_is_taken_as_it_is_and_its_zeros_say_nothing():
    """Its sample had a price of nothing in every tier: a controller that is upgraded starts with it, and warns of nothing."""
    none = "price: {cpu_core: 0.0, memory_gib: 0.0, burst_cpu_core: 0.0, burst_memory_gib: 0.0}"
    found = check_tiers(f"tiers: {{guaranteed: {{{none}}}, standard: {{{none}}}, economy: {{{none}}}}}")
    assert (found.tiers, found.problems, found.warnings) == (check_tiers("").tiers, (), ())


def test_every_number_of_a_tier_has_a_range():
    numbers = {f.name for kind in (Tier, ResourceRules, Price) for f in msgspec.structs.fields(kind) if f.type in (int, float)}
    assert numbers == set(RANGES)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda s: st.lists(s) | st.dictionaries(st.text(), s)))
def test_no_text_is_a_crash(value):
    keys = ("default", "granules", "tiers", "assign")
    for text in (yaml.safe_dump(value), *(yaml.safe_dump({k: value}) for k in keys), yaml.safe_dump({"tiers": {"gold": value}})):
        found = check_tiers(text)
        assert (found.tiers is None) == bool(found.problems)


def test_what_is_dumped_reads_back_the_same():
    tiers = load_tiers("tiers: {gold: {weight: 9}}\nassign: [{tier: gold, segment: web, criticality: 3}]\ndefault: gold")
    assert load_tiers(yaml.safe_dump(dump_tiers(tiers))) == tiers


@pytest.mark.parametrize(
    ("changes", "tier"),
    [
        ({"id": "vm9", "project": "p1"}, "guaranteed"),  # the first rule that matches
        ({"project": "p1", "flavor": "batch"}, "economy"),
        ({"project": "p1", "flavor": "m1"}, "standard"),  # both keys of a rule must match
        ({"project": "p2", "tier": "economy"}, "economy"),  # set for the server itself
        ({"id": "vm9", "tier": "economy"}, "economy"),  # and that is before every rule
        ({"project": "p2", "tier": "unheard of"}, "standard"),
    ],
)
def test_the_first_rule_that_matches_assigns_the_tier(changes, tier):
    tiers = load_tiers("assign: [{tier: guaranteed, server: vm9}, {tier: economy, project: p1, flavor: batch}]")
    assert tiers.of(server(**changes)).name == tier


def test_a_rule_may_name_a_segment_and_say_how_critical_its_servers_are():
    tiers = load_tiers("assign: [{tier: guaranteed, segment: web, flavor: big, criticality: 3}, {tier: economy, segment: night}]")
    both = ("host:h1", "segment:night", "segment:web")
    big = tiers.of(server(flavor="big"), both)
    assert (big.name, big.weight, big.criticality) == ("guaranteed", 4.0, 3.0)
    assert (tiers.of(server(flavor="small"), both).name, tiers.of(server(flavor="big")).name) == ("economy", "standard")
    assert tiers.tiers["guaranteed"].criticality == 1.0


values = st.sampled_from(["a", "b", None])


@given(st.lists(st.tuples(values, values, values, values), max_size=8), st.tuples(*[st.sampled_from(["a", "b", "c"])] * 3))
def test_the_quick_look_up_finds_what_going_through_the_rules_finds(rules, has):
    named = [dict(zip(("server", "project", "segment", "flavor"), r, strict=True)) for r in rules if any(r)]
    text = yaml.safe_dump(
        {
            "tiers": {f"t{i}": {} for i in range(8)},
            "assign": [{"tier": f"t{i}", **{k: v for k, v in rule.items() if v}} for i, rule in enumerate(named)],
        }
    )
    segments = {"a", "b"}
    mine = {"server": {has[0]}, "project": {has[1]}, "segment": segments, "flavor": {has[2]}}
    first = next((f"t{i}" for i, r in enumerate(named) if all(v is None or v in mine[k] for k, v in r.items())), "standard")
    asked = server(id=has[0], project=has[1], flavor=has[2])
    assert load_tiers(text).of(asked, [f"segment:{s}" for s in segments]).name == first

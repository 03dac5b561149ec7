"""Segments and zones: who belongs where, and a file with a mistake is refused with the place."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshape_controller.decide.segments import BUILT_IN, grouped, load_segments
from foreshape_controller.errors import ConfigError
from foreshape_controller.model.group import Groups, Member
from foreshape_controller.model.kinds import kind_of

pytestmark = pytest.mark.unit

WEB_AND_BATCH = """
segments:
  web:
    - {name: "web-*"}
    - {project: shop, flavor: "web.?"}
  night:
    - {class: batch, tier: economy}
zones:
  default: elsewhere
  assign:
    - {zone: az1, host: "rack1-*"}
    - {zone: az2, host: "rack[12]-*"}
"""


def member(name="vm", **more):
    words = {"host": "rack1-a", "project": "p", "flavor": "m1", "image": "", "tier": "standard", "first_seen": 0.0}
    return Member(id=f"id-{name}", name=name, **(words | more))


@pytest.mark.parametrize(
    ("who", "workload", "segments"),
    [
        (member("web-1"), "", ("web",)),
        (member("Web-1"), "", ()),  # case counts
        (member("db", project="shop", flavor="web.2"), "", ("web",)),
        (member("db", project="shop", flavor="web.22"), "", ()),  # one character only
        (member("db", project="else", flavor="web.2"), "", ()),  # all that a rule names must match
        (member("sum", tier="economy"), "batch", ("night",)),
        (member("sum", tier="economy"), "", ()),  # its class is not known
        (member("web-sum", tier="economy"), "batch", ("web", "night")),
    ],
)
def test_a_server_is_in_every_segment_that_has_a_rule_for_it(who, workload, segments):
    assert load_segments(WEB_AND_BATCH).of(who, workload) == segments


@pytest.mark.parametrize(("host", "zone"), [("rack1-a", "az1"), ("rack2-a", "az2"), ("lab", "elsewhere")])
def test_a_host_is_in_the_zone_of_the_first_rule_that_matches(host, zone):
    assert load_segments(WEB_AND_BATCH).zone(host) == zone


def test_without_a_file_all_hosts_are_in_zone_nova_and_nobody_is_in_a_segment():
    assert load_segments("") == BUILT_IN
    assert grouped([member()], BUILT_IN, {}).of == {"id-vm": ("host:rack1-a", "project:p", "zone:nova")}


def test_groups_are_known_from_both_sides():
    groups = grouped([member("web-1"), member("web-2", project="q"), member("x", project="")], load_segments(WEB_AND_BATCH), {})
    assert groups.members["segment:web"] == ("id-web-1", "id-web-2")
    assert groups.members["project:q"] == ("id-web-2",)
    assert "project:" not in groups.members, "a server without a project is in none"
    assert {kind_of(name) for name in groups.members} == {"host", "project", "segment", "zone"}
    assert groups.only(["id-x", "nobody"]) == Groups({"id-x": ("host:rack1-a", "zone:az1")})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("segment: {}", "unknown key 'segment'"),
        ("zones: {az: x}", "zones: unknown key 'az'"),
        ("segments: {web: [{naem: x}]}", "segment web: Object contains unknown field `naem`"),
        ("segments: {web: [{class: 7}]}", "segment web: Expected `str | null`, got `int` - at `$[0].class`"),
        ("segments: {web: {name: x}}", "segment web: Expected `array`"),
        ("segments: {web: []}", "segment web: it has no rule"),
        ("segments: {web: [{name: a}, {}]}", "segment web, rule 2: it names nothing"),
        ("segments: {'': [{name: a}]}", "segments: '' is no name"),
        ('segments: {"a\\x07b": [{name: a}]}', "is no name"),
        ("segments: {a/b: [{name: a}]}", "segments: 'a/b' is no name"),
        ("segments: [web]", "segments: keys and values"),
        ("zones: {default: 7}", "zones, default: 7 is no name"),
        ("zones: {assign: [{zone: a}]}", "missing required field `host`"),
        ("zones: {assign: [{zone: '', host: h}]}", "zones, assign, rule 1: '' is no name"),
        ("segments: {}\nsegments: {}", "segments.yaml, line 1: 'segments' stands twice"),
        ("segments: {web: [", "segments.yaml is not YAML"),
        ("- web", "segments.yaml: keys and values"),
    ],
)
def test_a_mistake_is_refused_with_the_place(text, says):
    with pytest.raises(ConfigError) as e:
        load_segments(text)
    assert says in str(e.value)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_our_own_words(text):
    with suppress(ConfigError):
        assert load_segments(text).default_zone


# -- what Nova says


def test_a_rule_may_name_novas_zone_and_aggregates() -> None:
    rules = load_segments("segments:\n  east: [{az: 'east-*'}]\n  fast: [{aggregate: ssd, project: p}]\n")
    here = member("a", zone="east-1", aggregates=("ssd", "big"))
    assert rules.of(here) == ("east", "fast")
    assert rules.of(member("b", zone="west-1", aggregates=("big",))) == ()


def test_a_host_is_in_novas_zone_unless_a_rule_of_ours_says_otherwise() -> None:
    rules = load_segments("zones: {default: nova, assign: [{zone: cage, host: 'rack9-*'}]}")
    zones = grouped([member("a", zone="east"), member("b", host="rack9-1", zone="east"), member("c", host="x")], rules, {}).of
    assert [zones[f"id-{s}"][-1] for s in "abc"] == ["zone:east", "zone:cage", "zone:nova"]

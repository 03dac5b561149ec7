"""What a server's downtime weighs in plans: its tier's weight, however the tier was assigned."""

from pathlib import Path

import pytest

from foreshape_controller.decide.segments import load_segments
from foreshape_controller.decide.tiers import load_tiers
from foreshape_controller.loops.migrations import migrations
from move_support import moving

pytestmark = pytest.mark.functional

TIERS = """
tiers:
  guaranteed:
    weight: 7
assign:
  - {segment: web, tier: guaranteed}
"""
SEGMENTS = """
segments:
  web:
    - {name: "web-*"}
"""


def test_a_tier_that_is_given_by_segment_weighs_in_plans(tmp_path: Path) -> None:
    with moving(tmp_path) as world:
        web = world.emulator.boot("node01", name="web-1", vcpus=1, ram=512)
        other = world.emulator.boot("node01", name="db-1", vcpus=1, ram=512)
        world.round()
        tiers, segments = load_tiers(TIERS), load_segments(SEGMENTS)
        made = migrations(
            world.settings,
            world.store,
            world.cloud.nova,
            world.work.watch,
            world.reservations,
            lambda: tiers,
            workers=0,
            segments=segments,
        )
        around = made.gather(world.at)
        assert around is not None
        assert (around.facts.weights[web], around.facts.weights[other]) == (7.0, 2.0)

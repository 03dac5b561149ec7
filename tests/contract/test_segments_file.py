"""etc/foreshape/segments.yaml says what the program does without it, explains every key, and its examples work."""

from pathlib import Path

import pytest
import yaml

from foreshape_controller.decide.segments import BUILT_IN, SegmentRule, load_segments

pytestmark = pytest.mark.contract

FILE = Path(__file__).parents[2] / "etc" / "foreshape" / "segments.yaml"


def example(lines, first):
    """The commented block that begins with a line, uncommented."""
    start = next(i for i, line in enumerate(lines) if line == f"#   {first}")
    block = []
    for line in lines[start:]:
        if not line.startswith("#   "):
            break
        block.append(line[4:])
    return "\n".join(block)


def test_the_file_holds_what_is_built_in():
    assert load_segments(FILE.read_text()) == BUILT_IN
    assert set(yaml.safe_load(FILE.read_text())) == {"segments", "zones"}


def test_every_key_of_a_rule_is_explained():
    explained = {line.split()[1] for line in FILE.read_text().splitlines() if line.startswith("#   ") and len(line.split()) > 2}
    assert set(SegmentRule.__struct_encode_fields__) <= explained


def test_its_examples_can_be_uncommented():
    lines = FILE.read_text().splitlines()
    segments = load_segments(example(lines, "segments:"))
    assert set(segments.segments) == {"web", "night-batch"}
    zones = load_segments("zones:\n" + "\n".join(f"  {line}" for line in example(lines, "assign:").splitlines()))
    assert (zones.zone("rack2-7"), zones.zone("lab")) == ("az2", "nova")

"""The wire's golden messages: what version 1 looks like, for every agent and controller that speaks it.

A new optional field is added to the message here, and the message without it is kept in ``golden/older``: it is still sent.
Any other change that makes one of these fail breaks agents already installed: raise WIRE_VERSION instead of editing the file.
"""

import json
from pathlib import Path

import msgspec
import pytest

from foreshape_wire.codec import WIRE_VERSION, decode_desired, decode_report, encode
from foreshape_wire.order import Desired, Origin, Verdict
from foreshape_wire.reading import RESIZERS, THROTTLES, LeverName
from foreshape_wire.sample import HostReport
from wire_support import GOLDEN

pytestmark = pytest.mark.contract

FOLDER = Path(__file__).parent / "golden"


def golden(name: str) -> bytes:
    return (FOLDER / f"{name}.json").read_bytes()


def decode(name: str, data: bytes) -> HostReport | Desired:
    return decode_report(data) if name.startswith("report") else decode_desired(data)


def test_every_golden_file_has_its_maker_and_every_maker_its_file() -> None:
    assert sorted(p.stem for p in FOLDER.glob("*.json")) == sorted(GOLDEN)


@pytest.mark.parametrize("name", GOLDEN)
def test_a_golden_message_decodes_to_the_same_values(name: str) -> None:
    assert decode(name, golden(name)) == GOLDEN[name]()


@pytest.mark.parametrize("name", GOLDEN)
def test_a_golden_message_is_written_again_byte_for_byte(name: str) -> None:
    again = encode(decode(name, golden(name)))
    assert msgspec.json.format(again, indent=2) + b"\n" == golden(name)


def test_the_full_report_shows_every_verdict_every_origin_and_every_lever() -> None:
    report = decode_report(golden("report-full"))
    assert {o.verdict for o in report.outcomes} == set(Verdict)
    assert {o.origin for o in report.outcomes} == set(Origin)
    cards = report.cards or ()
    assert [c.lever for card in cards for c in card.capabilities] == list(RESIZERS)  # an older controller knows these, and no others
    assert [c.lever for card in cards for c in card.throttles] == list(THROTTLES)
    assert {*RESIZERS, *THROTTLES} == set(LeverName)


def test_every_part_of_a_guard_is_shown() -> None:
    for g in decode_desired(golden("desired-full")).guards:
        assert None not in msgspec.structs.astuple(g)
        assert g.tier
        assert g.caps


@pytest.mark.parametrize("name", ["report-full", "desired-full"])
def test_the_full_message_leaves_no_field_at_its_default(name: str) -> None:
    """A field added later must be shown in the golden message, or nobody notices when it breaks."""
    shown = json.loads(golden(name))
    message = decode(name, golden(name))
    assert set(shown) == set(message.__struct_fields__)
    for f in msgspec.structs.fields(message):
        if not f.required and f.default is not msgspec.NODEFAULT:
            assert getattr(message, f.name) != f.default, f.name


@pytest.mark.parametrize("name", GOLDEN)
def test_fields_that_a_newer_side_added_are_ignored_at_every_depth(name: str) -> None:
    def widen(node: object) -> object:
        if isinstance(node, dict):
            return {"added_later": {"deep": [1, None]}, **{k: widen(v) for k, v in node.items()}}
        return [widen(n) for n in node] if isinstance(node, list) else node

    assert decode(name, json.dumps(widen(json.loads(golden(name)))).encode()) == GOLDEN[name]()


@pytest.mark.parametrize("name", GOLDEN)
def test_the_order_of_fields_means_nothing(name: str) -> None:
    def turn(node: object) -> object:
        if isinstance(node, dict):
            return {k: turn(v) for k, v in reversed(node.items())}
        return [turn(n) for n in node] if isinstance(node, list) else node

    assert decode(name, json.dumps(turn(json.loads(golden(name)))).encode()) == GOLDEN[name]()


@pytest.mark.parametrize("name", ["report-full", "desired-full"])
def test_what_an_older_side_says_means_what_it_meant_and_nothing_is_made_up(name: str) -> None:
    """The message of before, with its fields only; what was added since is absent, not guessed."""
    older = json.loads((FOLDER / "older" / f"{name}.json").read_text())
    read = json.loads(encode(decode(name, json.dumps(older).encode())))

    def same(was: object, now: object) -> None:
        if isinstance(was, dict):
            assert isinstance(now, dict)
            assert all(now[k] in (None, "", [], False) for k in now.keys() - was.keys())
            for k in was:
                same(was[k], now[k])
        elif isinstance(was, list):
            assert isinstance(now, list)
            assert len(was) == len(now)
            for a, b in zip(was, now, strict=True):
                same(a, b)
        else:
            assert was == now

    same(older, read)


def test_the_golden_messages_are_of_the_version_that_this_code_speaks() -> None:
    assert {json.loads(golden(name))["version"] for name in GOLDEN} == {WIRE_VERSION}

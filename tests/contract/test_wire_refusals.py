"""What the wire refuses, and that it names the field: an operator reads the sentence, not the bytes."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from foreshape_wire.codec import MAX_MESSAGE_BYTES, WireError, decode_desired, decode_report

pytestmark = pytest.mark.contract

FOLDER = Path(__file__).parent / "golden"
FULL_REPORT: dict[str, Any] = json.loads((FOLDER / "report-full.json").read_text())
FULL_DESIRED: dict[str, Any] = json.loads((FOLDER / "desired-full.json").read_text())


def changed(message: dict[str, Any], path: str, value: object) -> bytes:
    """The message with one field set; path as in ``samples.0.cpu.used.cores``."""
    tree = copy.deepcopy(message)
    *above, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    node: Any = tree
    for step in above:
        node = node[step]
    node[last] = value
    return json.dumps(tree).encode()


def refusal(data: bytes) -> str:
    with pytest.raises(WireError) as caught:
        decode_report(data)
    return str(caught.value)


def pointed(path: str) -> str:
    """The path as a refusal writes it: ``$.samples[0].cpu``."""
    return "$" + "".join(f"[{step}]" if step.isdigit() else f".{step}" for step in path.split("."))


AMOUNTS = (
    "samples.0.cpu.used.cores",
    "samples.0.cpu.demand.cores",
    "samples.0.memory.allocation.mib",
    "samples.0.io.read_kib_s",
    "samples.0.window_s",
    "host_sample.memory_total.mib",
    "host_sample.load_1m",
    "outcomes.0.before",
    "outcomes.0.target",
    "outcomes.0.after",
    "outcomes.0.took_s",
    "cards.0.entitlement.memory.mib",
    "cards.0.capabilities.0.highest",
    "taken_at",
    "gap.since",
)


@pytest.mark.parametrize("path", AMOUNTS)
def test_a_negative_amount_is_refused_by_name(path: str) -> None:
    text = refusal(changed(FULL_REPORT, path, -0.5))
    assert pointed(path) in text
    assert ">= 0" in text


@pytest.mark.parametrize("path", AMOUNTS)
@pytest.mark.parametrize(("number", "word"), [(float("nan"), "NaN"), (float("inf"), "Infinity"), (float("-inf"), "-Infinity")])
def test_nan_and_infinity_are_refused_by_name(path: str, number: float, word: str) -> None:
    assert refusal(changed(FULL_REPORT, path, number)) == f"{word} is not an amount - at `{pointed(path)}`"


@pytest.mark.parametrize("path", AMOUNTS)
def test_an_absurd_amount_is_refused_by_name(path: str) -> None:
    assert pointed(path) in refusal(changed(FULL_REPORT, path, 1e30))


@pytest.mark.parametrize("path", AMOUNTS)
@pytest.mark.parametrize("value", ["2.0", None, [], {}, True])
def test_a_value_of_another_type_is_refused_by_name(path: str, value: object) -> None:
    assert pointed(path) in refusal(changed(FULL_REPORT, path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("host", ""),
        ("host", "h" * 256),
        ("epoch", ""),
        ("sequence", -1),
        ("sequence", 2**63),
        ("sequence", 1.5),
        ("samples.0.server", ""),
        ("samples.0.server", "s" * 256),
        ("samples.0.state", "dreaming"),
        ("samples.0.window_s", 86401),
        ("samples.0.cpu.confidence", 1.01),
        ("samples.0.cpu.guest_vcpus", -1),
        ("samples.0.note", "n" * 4097),
        ("host_sample.cpus", 0),
        ("host_sample.cpus", 8193),
        ("host_sample.psi_cpu_some", 3.0),
        ("outcomes.0.resource", "disk"),
        ("outcomes.0.resource", "cpu\n"),
        ("outcomes.0.verdict", "ok"),
        ("outcomes.0.cause", ""),
        ("outcomes.0.code", ""),
        ("outcomes.0.lever", "cpu.magic"),
        ("cards.0.identity.name", ""),
        ("cards.0.capabilities.0.lowest", -1.0),
        ("gap.reports", -1),
        ("agent_version", "v" * 256),
    ],
)
def test_a_value_outside_its_bounds_is_refused_by_name(path: str, value: object) -> None:
    assert pointed(path) in refusal(changed(FULL_REPORT, path, value))


@pytest.mark.parametrize("field", ["version", "host", "epoch", "sequence", "taken_at", "samples"])
def test_a_missing_field_is_refused_by_name(field: str) -> None:
    message = {k: v for k, v in FULL_REPORT.items() if k != field}
    assert f"missing required field `{field}`" in refusal(json.dumps(message).encode())


@pytest.mark.parametrize("version", [0, 2, 999, -1])
def test_another_version_is_refused_before_anything_else_is_read(version: int) -> None:
    text = refusal(json.dumps({"version": version, "host": 7}).encode())
    assert text == f"$.version is {version}: this side speaks 1; upgrade the older side"


def test_more_samples_than_a_host_can_have_are_refused_by_name() -> None:
    sample = {"server": "s", "state": "running", "window_s": 10.0}
    assert "$.samples" in refusal(changed(FULL_REPORT, "samples", [sample] * 20_001))


def test_half_a_message_is_refused_wherever_it_breaks_off() -> None:
    whole = json.dumps(FULL_REPORT).encode()
    for cut in range(0, len(whole) - 1, 37):
        assert refusal(whole[:cut])


def test_bytes_that_are_not_utf8_are_refused() -> None:
    assert "UTF-8" in refusal(b'{"version": 1, "host": "h\xff\xfe"}')


def test_fifty_megabytes_are_refused_unread() -> None:
    """50 MB of valid JSON: the size alone decides, so that nobody can make the controller chew on it."""
    data = b'{"version": 1, "host": "' + b"h" * 50_000_000 + b'"}'
    assert refusal(data) == f"message of {len(data)} bytes: at most {MAX_MESSAGE_BYTES} are taken"


def test_nesting_that_would_exhaust_the_stack_is_refused() -> None:
    assert refusal(b'{"version": 1, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}") == "message is nested too deeply"


def test_a_search_for_a_strange_number_is_bounded() -> None:
    """A message of 3 MB is not searched: finding the place would cost more than the message is worth."""
    data = b'{"version": 1, "x": [' + b"1," * 1_500_000 + b"NaN]}"
    assert refusal(data) == f"NaN or Infinity is not an amount, somewhere in a message of {len(data)} bytes"


def test_a_refusal_quotes_no_more_than_a_log_line_holds() -> None:
    assert len(refusal(changed(FULL_REPORT, "samples.0.state", "x" * 100_000))) <= 301


def test_the_word_nan_inside_a_text_is_a_text() -> None:
    assert decode_report(changed(FULL_REPORT, "samples.0.note", "NaN Infinity")).samples[0].note == "NaN Infinity"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("orders.0.order", ""),
        ("orders.0.server", ""),
        ("orders.0.cpu.cores", -1.0),
        ("orders.0.memory.mib", 1e30),
        ("orders.0.floor.cpu.cores", "1"),
        ("orders.0.expires_at", -1.0),
        ("guards.0.entitlement.memory.mib", None),
        ("mode", "yolo"),
        ("accepted", [-1]),
        ("token", "t" * 1025),
    ],
)
def test_the_controllers_reply_is_held_to_the_same(path: str, value: object) -> None:
    with pytest.raises(WireError) as caught:
        decode_desired(changed(FULL_DESIRED, path, value))
    assert pointed(path) in str(caught.value)

"""Names the field of a NaN or an infinity. JSON has neither, so that a fast parser says "malformed" and no more.

Only the path of a refused message comes here; the standard parser, ten times slower, finds the place.
"""

import json
from collections.abc import Iterator

_WORDS = (b"NaN", b"Infinity")

MAX_SEARCHED_BYTES = 2 * 1024 * 1024
"""More than 2000 VMs' report. What is longer is refused without a search: an error must not cost seconds."""

_Node = tuple["_Node | None", str, object]
"""The node above, the step from it (``.key`` or ``[index]``), and the value."""


class _Strange:
    """Stands where the message has a word that is no number."""

    def __init__(self, word: str) -> None:
        self.word = word


def strange_number(data: bytes) -> str:
    """What is wrong and where, as in ``NaN is not an amount - at `$.samples[0].cpu.used.cores` ``; empty if it is something else."""
    if not any(word in data for word in _WORDS):
        return ""
    if len(data) > MAX_SEARCHED_BYTES:
        return f"NaN or Infinity is not an amount, somewhere in a message of {len(data)} bytes"
    try:
        tree = json.loads(data, parse_constant=_Strange)
    except (ValueError, RecursionError):
        return ""
    return next((f"{word} is not an amount - at `{path}`" for path, word in _find(tree)), "")


def _find(tree: object) -> Iterator[tuple[str, str]]:
    """Depth first, in the order of the message, without recursion: a message may be nested deeply."""
    todo: list[_Node] = [(None, "$", tree)]
    while todo:
        node = todo.pop()
        value = node[2]
        if isinstance(value, _Strange):
            yield _path(node), value.word
        elif isinstance(value, dict):
            todo += [(node, f".{key}", child) for key, child in reversed(value.items())]
        elif isinstance(value, list):
            todo += [(node, f"[{i}]", value[i]) for i in reversed(range(len(value)))]


def _path(node: _Node | None) -> str:
    steps = []
    while node is not None:
        steps.append(node[1])
        node = node[0]
    return "".join(reversed(steps))

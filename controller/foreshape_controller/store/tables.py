"""A plan's columns as bytes, and back: exactly. Pure.

Servers are dealt to parts by a hash of their id, so that whoever asks for one server unpacks one part of about a thousand rows.
A column is kept as one value where all are equal, as codes where few differ (sizes come in steps), as single precision where nothing
is lost by that (forecasts and measurements are), and as it is otherwise; then bytes of equal rank side by side, and deflated.
"""

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import repeat
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from foreshape_controller.model.columns import MASKS, PlanTable, Rows, Sizes

PART_ROWS = 1000
"""Rows of a part, about."""

LEVEL = 1
"""Of deflating: a higher one saves a tenth of the bytes and takes three times as long."""

_FORMAT = 1
_SINGLE, _DOUBLE = struct.Struct("<f"), struct.Struct("<d")
_TEXTS = ("hosts", "tiers", "modes", "causes")
_COLUMNS = {"choice": np.int32, "code": np.int32, "asked": np.uint32, "passed": np.uint32} | dict.fromkeys(
    ("allocation", "target", "wanted", "floor", "ceiling", "reactive"), np.float64
)
assert {*_COLUMNS, "resource", "inputs", "words"} == {f.name for f in fields(Sizes)}


class Part(NamedTuple):
    """Some servers of a plan, packed."""

    number: int
    data: bytes


class _Sizes(msgspec.Struct, array_like=True, frozen=True):
    columns: dict[str, bytes]
    inputs: dict[str, bytes]
    words: dict[str, tuple[str, ...]]


class _Rows(msgspec.Struct, array_like=True, frozen=True):
    """Everything about the rows but whose they are."""

    format: int
    row: bytes
    """Where each stood in the plan."""
    texts: dict[str, tuple[tuple[str, ...], bytes]]
    """Dictionary and codes."""
    cpu: _Sizes
    memory: _Sizes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Rows).decode
_decode_names = msgspec.msgpack.Decoder(tuple[str, ...]).decode


def part_of(server: str, parts: int) -> int:
    """The part that a server is in."""
    return key(server) % parts


def key(server: str) -> int:
    """The hash of a server's id: the same in every process, less than 2^31."""
    return zlib.crc32(server.encode()) & 0x7FFFFFFF


def pack(table: PlanTable) -> list[Part]:
    """All rows, in as many parts as have a thousand rows each, about; an empty table has none."""
    if not table.servers:
        return []
    parts = max(1, round(len(table.servers) / PART_ROWS))
    dealt = np.fromiter(map(part_of, table.servers, repeat(parts)), np.intp, len(table.servers))
    order = np.argsort(dealt, kind="stable")
    ends = np.searchsorted(dealt[order], np.arange(parts + 1))
    texts = {name: _coded(getattr(table, name)) for name in _TEXTS}
    return [Part(n, _part(table, texts, order[ends[n] : ends[n + 1]])) for n in range(parts)]


def unpack(parts: Sequence[bytes], plan: str, at: float) -> PlanTable:
    """Rows of all these parts, in the order that they had in the plan. Raises ValueError for another Foreshape's format."""
    tables = [_unpacked(data) for data in parts]
    order = np.argsort(np.concatenate([row for row, _ in tables]), kind="stable") if tables else np.zeros(0, np.intp)
    joined = {n: _ordered([t[n] for _, t in tables], order) for n in ("servers", *_TEXTS)}
    cpu, memory = (_joined(r, [t[r] for _, t in tables], order) for r in ("cpu", "memory"))
    return PlanTable(plan=plan, at=at, cpu=cpu, memory=memory, **joined)


def holds(part: bytes, server: str) -> bool:
    """Whether a server is in a part, seldom wrong about one that is not; costs a tenth of unpacking it."""
    return _encode(server) in _names(part)


def alone(part: bytes, server: str, plan: str, at: float) -> PlanTable | None:
    """A server's row only, of the part that it would be in; None where it is not in there. A fortieth of unpacking 40 rows."""
    if not holds(part, server):
        return None
    servers = _decode_names(_names(part))
    if server not in servers:
        return None
    rows, n, row = _rows(part), len(servers), servers.index(server)
    texts = {name: (words[int(_value(codes, n, row))],) for name, (words, codes) in rows.texts.items()}
    cpu, memory = (_row(resource, packed, n, row) for resource, packed in (("cpu", rows.cpu), ("memory", rows.memory)))
    return PlanTable(plan=plan, at=at, servers=(server,), cpu=cpu, memory=memory, **texts)


# -- one part -----------------------------------------------------------------------------------------------------------


def _part(table: PlanTable, texts: Mapping[str, tuple[Sequence[str], Rows]], at: Rows) -> bytes:
    names = zlib.compress(_encode([table.servers[i] for i in at]), LEVEL)
    rows = _Rows(
        format=_FORMAT,
        row=_column(at.astype(np.float64)),
        texts={name: _picked(words, codes[at]) for name, (words, codes) in texts.items()},
        cpu=_packed(table.cpu, at),
        memory=_packed(table.memory, at),
    )
    return b"".join((len(names).to_bytes(4, "little"), names, zlib.compress(_encode(rows), LEVEL)))


def _names(part: bytes) -> bytes:
    return zlib.decompress(part[4 : 4 + int.from_bytes(part[:4], "little")])


def _rows(part: bytes) -> _Rows:
    rows = _decode(zlib.decompress(part[4 + int.from_bytes(part[:4], "little") :]))
    if rows.format != _FORMAT:
        raise ValueError(f"a plan in format {rows.format}, {_FORMAT} is known")
    return rows


def _unpacked(part: bytes) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:
    rows = _rows(part)
    servers = _decode_names(_names(part))
    n = len(servers)
    texts = {name: _worded(words, _values(codes, n)) for name, (words, codes) in rows.texts.items()}
    return _values(rows.row, n), {"servers": servers, **texts, "cpu": (rows.cpu, n), "memory": (rows.memory, n)}


def _row(resource: str, packed: _Sizes, n: int, row: int) -> Sizes:
    """One row of a resource; its codes point into the part's own words."""
    found = {name: np.array([_value(data, n, row)]) for name, data in (packed.columns | packed.inputs).items()}
    columns: dict[str, Any] = {name: found.pop(name).astype(kind) for name, kind in _COLUMNS.items()}
    return Sizes(resource=resource, inputs=found, words=packed.words, **columns)


def _packed(sizes: Sizes, at: Rows) -> _Sizes:
    """Words are those that the rows use, so that a part can be told by itself."""
    found = {name: getattr(sizes, name)[at].astype(np.float64) for name in _COLUMNS}
    found |= {name: np.asarray(values, np.float64)[at] for name, values in sizes.inputs.items()}
    words = {}
    for name, texts in sizes.words.items():
        words[name], found[name] = (texts, found[name]) if name in MASKS else _used(texts, found[name])
    packed = {name: _column(values) for name, values in found.items()}
    return _Sizes({n: packed.pop(n) for n in _COLUMNS}, packed, words)


# -- texts --------------------------------------------------------------------------------------------------------------


def _coded(texts: Sequence[str]) -> tuple[Sequence[str], Rows]:
    """A dictionary, and each text's place in it."""
    place: dict[str, int] = {}
    codes = np.fromiter((place.setdefault(t, len(place)) for t in texts), np.intp, len(texts))
    return tuple(place), codes


def _picked(words: Sequence[str], codes: Rows) -> tuple[tuple[str, ...], bytes]:
    """The same for some of the texts."""
    used, again = _used(words, codes.astype(np.float64))
    return used, _column(again)


def _worded(words: Sequence[str], codes: npt.NDArray[np.float64]) -> tuple[str, ...]:
    return tuple(words[int(c)] for c in codes)


def _used(words: Sequence[str], codes: npt.NDArray[np.float64]) -> tuple[tuple[str, ...], npt.NDArray[np.float64]]:
    """Only the words that are pointed to, and the codes into them. NaN and -1 point nowhere."""
    points = codes >= 0
    used, again = np.unique(codes[points].astype(np.intp), return_inverse=True)
    coded = codes.copy()
    coded[points] = again
    return tuple(words[i] for i in used), coded


# -- columns ------------------------------------------------------------------------------------------------------------


def _column(values: npt.NDArray[Any]) -> bytes:
    """A column in the shortest of its exact forms: first byte says which."""
    wide = np.asarray(values, np.float64)
    found, codes = np.unique(wide, return_inverse=True)
    if len(found) <= 1:
        return b"c" + found.tobytes()
    if len(found) <= 256 and len(found) * 8 < len(wide) * 3:
        return b"d" + bytes([len(found) - 1]) + found.tobytes() + codes.astype(np.uint8).tobytes()
    with np.errstate(over="ignore"):
        narrow = wide.astype("<f4")
    exact = np.array_equal(narrow.astype(np.float64), wide, equal_nan=True)
    return b"f" + _shuffled(narrow) if exact else b"g" + _shuffled(wide.astype("<f8"))


def _values(data: bytes, n: int) -> npt.NDArray[np.float64]:
    kind, rest = data[:1], data[1:]
    if kind == b"c":
        return np.full(n, np.frombuffer(rest, "<f8")[0]) if n else np.zeros(0)
    if kind == b"d":
        count = rest[0] + 1
        words = np.frombuffer(rest, "<f8", count, 1)
        return np.asarray(words[np.frombuffer(rest, np.uint8, n, 1 + 8 * count)], np.float64)
    wide = {b"f": "<f4", b"g": "<f8"}[kind]
    size = np.dtype(wide).itemsize
    return np.frombuffer(np.frombuffer(rest, np.uint8).reshape(size, n).T.tobytes(), wide).astype(np.float64)


def _value(data: bytes, n: int, row: int) -> float:
    """One of a column's values: ``_values(data, n)[row]``."""
    kind, rest = data[:1], data[1:]
    if kind == b"c":
        return float(_DOUBLE.unpack(rest)[0])
    if kind == b"d":
        return float(_DOUBLE.unpack_from(rest, 1 + 8 * rest[1 + 8 * (rest[0] + 1) + row])[0])
    return float({b"f": _SINGLE, b"g": _DOUBLE}[kind].unpack(rest[row::n])[0])


def _shuffled(values: npt.NDArray[Any]) -> bytes:
    """Bytes of equal rank side by side: exponents are alike, the last bits of a mantissa are not."""
    return values.view(np.uint8).reshape(len(values), values.dtype.itemsize).T.tobytes()


# -- many parts ---------------------------------------------------------------------------------------------------------


def _ordered(parts: Sequence[Sequence[str]], order: Rows) -> tuple[str, ...]:
    flat = [text for part in parts for text in part]
    return tuple(flat[i] for i in order)


def _joined(resource: str, parts: Sequence[tuple[_Sizes, int]], order: Rows) -> Sizes:
    """One resource of all parts; ``parts``: packed, and how many rows."""
    told = [_sizes(packed, n) for packed, n in parts]
    words = {}
    for name in dict.fromkeys(name for packed, _ in parts for name in packed.words):
        words[name], places = _one_dictionary([packed.words[name] for packed, _ in parts])
        for values, place in zip(told, places, strict=True):
            values[name] = values[name] if name in MASKS else _pointing(values[name], place)
    found = {name: _stacked([values[name] for values in told], order) for name in (told[0] if told else _COLUMNS)}
    columns: dict[str, Any] = {name: found.pop(name).astype(kind) for name, kind in _COLUMNS.items()}
    return Sizes(resource=resource, inputs=found, words=words, **columns)


def _sizes(packed: _Sizes, n: int) -> dict[str, npt.NDArray[np.float64]]:
    """Columns and inputs by name; no two are called the same."""
    return {name: _values(data, n) for name, data in (packed.columns | packed.inputs).items()}


def _one_dictionary(parts: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], list[npt.NDArray[np.float64]]]:
    """Dictionaries as one, and where each one's words stand in it."""
    place: dict[str, int] = {}
    places = [np.array([place.setdefault(t, len(place)) for t in texts], np.float64) for texts in parts]
    return tuple(place), places


def _pointing(codes: npt.NDArray[np.float64], places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    points = codes >= 0
    found = codes.copy()
    found[points] = places[codes[points].astype(np.intp)]
    return found


def _stacked(parts: Sequence[npt.NDArray[Any]], order: Rows) -> npt.NDArray[np.float64]:
    return np.concatenate(parts)[order] if parts else np.zeros(0)

"""Objects through a pipe between two processes of this program, arrays as they lie in memory (pickle's protocol 5).

Never for anything that comes from outside: pickle does what it is told.
"""

import pickle
from typing import Any, BinaryIO

WORD = 8


def put(stream: BinaryIO, what: Any) -> None:
    """Write one object. Raises OSError, ValueError where the pipe is closed."""
    arrays: list[pickle.PickleBuffer] = []
    data = pickle.dumps(what, protocol=5, buffer_callback=arrays.append)
    stream.write(len(arrays).to_bytes(WORD, "big"))
    for part in (memoryview(data), *(a.raw() for a in arrays)):
        stream.write(part.nbytes.to_bytes(WORD, "big"))
        stream.write(part)
    stream.flush()


def get(stream: BinaryIO) -> Any:
    """Read one object; its arrays are read-only. Raises EOFError at the end, OSError."""
    count = _number(stream)
    data, *arrays = (_exactly(stream, _number(stream)) for _ in range(count + 1))
    return pickle.loads(data, buffers=arrays)  # noqa: S301  written by our own process


def _number(stream: BinaryIO) -> int:
    return int.from_bytes(_exactly(stream, WORD), "big")


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError("the pipe ended")
    return data

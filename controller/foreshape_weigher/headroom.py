"""The hosts' headroom as the controller tells it: read beside the scheduler's work, kept for a while, believed only while it is fresh."""

import json
import math
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LARGEST = 16 * 1024 * 1024
"""Bytes of an answer: a hundred thousand hosts have less."""

Tell = Callable[[str], None]
"""Says something in the scheduler's log."""


@dataclass(frozen=True)
class Source:
    """Where the headroom is read, and how long for."""

    url: str
    """``http://``, ``https://`` or ``file://``. Empty: nowhere."""
    token_file: str = ""
    ca_file: str = ""
    limit_s: float = 0.5
    """Most that a boot waits for it."""
    keep_s: float = 30.0
    """It is read again after so long, whether it was there or not."""
    stale_s: float = 900.0
    """What the controller looked at longer ago is not believed."""


def fetch(source: Source) -> bytes:
    """The answer's body. Raises OSError, ValueError and whatever else a network can think of."""
    if source.url.startswith("file://"):
        with Path(source.url.removeprefix("file://")).open("rb") as file:
            return file.read(LARGEST)
    if not source.url.startswith(("http://", "https://")):
        raise ValueError(f"headroom_url {source.url!r}: only http, https and file")
    request = urllib.request.Request(source.url)  # noqa: S310  the scheme was looked at above
    if source.token_file:
        request.add_header("Authorization", f"Bearer {Path(source.token_file).read_text(encoding='utf-8').strip()}")
    trust = ssl.create_default_context(cafile=source.ca_file or None) if source.url.startswith("https") else None
    with urllib.request.urlopen(request, timeout=source.limit_s, context=trust) as answer:  # noqa: S310
        body: bytes = answer.read(LARGEST)
        return body


def read(body: bytes) -> tuple[float, dict[str, float]]:
    """When it was looked, and each host's share, 0..1; what is no such number is left out. Raises ValueError for another shape."""
    told = json.loads(body)
    if not isinstance(told, dict) or not isinstance(told.get("hosts"), dict) or not isinstance(told.get("at"), int | float):
        raise ValueError("this is no answer of GET /v1/headroom")  # noqa: TRY004  it is the answer's value that is wrong
    return float(told["at"]), {str(name): float(free) for name, free in told["hosts"].items() if _share(free)}


def _share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= 1


def weights(hosts: Sequence[str], free: Mapping[str, float]) -> list[float]:
    """One for each host, 0..1. A host that nothing is known of has the mean of those that are weighed with it: no better, no worse.

    Nothing is known of any: all 0, which moves nothing.
    """
    known = [free[host] for host in hosts if host in free]
    middle = sum(known) / len(known) if known else 0.0
    return [free.get(host, middle) for host in hosts]


class Headroom:
    """What is known now. Safe from any thread; ``now`` never raises."""

    def __init__(
        self,
        get: Callable[[Source], bytes] = fetch,
        tell: Tell = lambda _: None,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._get, self._tell, self._wall, self._clock = get, tell, wall, clock
        self._lock = threading.Lock()
        self._fetching: threading.Thread | None = None
        self._asked = -math.inf
        self._known: tuple[float, Mapping[str, float]] = (-math.inf, {})
        self._said = ""

    def now(self, source: Source) -> Mapping[str, float]:
        """Each host's share, or nothing: there is no source, it cannot be read, or is stale.

        Another thread reads, so that whatever a network or a name server does, a boot waits for ``limit_s`` at most, and only if nothing
        is known yet; with something known it does not wait at all.
        """
        if not source.url:
            return {}
        reading = self._start(source)
        if reading and not self._known[1]:
            reading.join(source.limit_s)
        at, free = self._known
        age = self._wall() - at
        if free and abs(age) > source.stale_s:
            self._say("stale", f"headroom is not weighed: it was looked at {age:.0f} s ago; is the controller running, are clocks right?")
            return {}
        return free

    def _start(self, source: Source) -> threading.Thread | None:
        """The thread that reads now, if one was due to begin. One that hangs is left alone, and no second one is started beside it."""
        with self._lock:
            hangs = self._fetching is not None and self._fetching.is_alive()
            if hangs or self._clock() < self._asked + source.keep_s:
                return None
            self._asked = self._clock()
            self._fetching = threading.Thread(target=self._read, args=(source,), name="foreshape-headroom", daemon=True)
            self._fetching.start()
            return self._fetching

    def _read(self, source: Source) -> None:
        try:
            self._known = read(self._get(source))
            self._say("read", "headroom of hosts is weighed")
        except Exception as e:  # noqa: BLE001  whatever it is, a boot must not fail for it
            self._say("lost", f"headroom cannot be read from {source.url}: {type(e).__name__}: {e}")

    def _say(self, kind: str, sentence: str) -> None:
        """Once, until there is something else to say."""
        if kind != self._said:
            self._said = kind
            self._tell(sentence)

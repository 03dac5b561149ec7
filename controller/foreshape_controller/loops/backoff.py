"""How long something that did not succeed is left alone: doubled each time, up to a most. A restart tries everything once."""

from collections.abc import Collection


class Backoff:
    """By name. Not safe from several threads at once for the same name; others do not mind each other."""

    def __init__(self, first_s: float, most_s: float) -> None:
        self._first_s, self._most_s = first_s, most_s
        self._failed: dict[str, tuple[float, float]] = {}
        """When it failed last, and how long it waits from then."""

    def waits(self, name: str, now: float) -> bool:
        """Whether it is too early to try again; after a clock that jumped back it is not."""
        at, wait_s = self._failed.get(name, (now, 0.0))
        return 0 <= now - at < wait_s

    def failed(self, name: str, now: float) -> float:
        """Seconds until it may be tried again."""
        _, before = self._failed.get(name, (now, 0.0))
        wait_s = min(2 * before, self._most_s) if before else self._first_s
        self._failed[name] = (now, wait_s)
        return wait_s

    def forget(self, name: str) -> None:
        """It may be tried at once."""
        self._failed.pop(name, None)

    def keep(self, names: Collection[str]) -> None:
        """Forget all others: they are over."""
        for name in self._failed.keys() - set(names):
            self._failed.pop(name, None)

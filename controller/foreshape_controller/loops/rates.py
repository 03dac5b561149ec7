"""The rate cards in force: read from the file when it changes; a text with a mistake changes nothing, and its problems are told.

What is in force is in the store, too: a restart beside a broken file goes on with the last good text. Only the very first start needs a
good file.
"""

import hashlib
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from foreshape_controller.decide.rates_file import CheckedRates, check_rates
from foreshape_controller.errors import ConfigError
from foreshape_controller.log import get_logger
from foreshape_controller.model.rating import RateCards
from foreshape_controller.store.policies import Kept

_log = get_logger("rates")

UNREAD = (-1, -1, -1)


class KeptTexts(Protocol):
    """The part of the store that remembers texts."""

    def newest(self) -> Kept | None: ...

    def keep(self, new: Kept) -> None: ...


@dataclass(frozen=True)
class RatesInForce:
    """The rate cards at one instant."""

    cards: RateCards
    since: float
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """Why the file's newest text is not in force; empty when it is."""


class Rates:
    """``current`` for everybody who counts; ``reload`` for people. Safe from any thread."""

    def __init__(self, file: str, kept: KeptTexts, clock: Callable[[], float], tiers: Callable[[], Collection[str]]) -> None:
        """``tiers``: names that there are. Raises ConfigError when the file has a mistake and no text was ever in force."""
        self.file = file
        self._kept, self._clock, self._tiers = kept, clock, tiers
        self._lock = threading.Lock()
        self._mark = self._marked()
        self._in_force = self._first()

    def current(self) -> RateCards:
        return self.state().cards

    def state(self) -> RatesInForce:
        """What is in force, since when, and what is wrong with the file."""
        with self._lock:
            mark = self._marked()
            if mark != self._mark:
                self._mark = mark
                self._in_force = self._again()
            return self._in_force

    def reload(self) -> RatesInForce:
        """Read the file now, whether it looks changed or not."""
        self._mark = UNREAD
        return self.state()

    def _marked(self) -> tuple[int, int, int] | None:
        """What tells that a file has changed; None where there is none."""
        try:
            found = Path(self.file).stat() if self.file else None
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino) if found else None

    def _first(self) -> RatesInForce:
        text, checked = self._read()
        if checked.cards is not None:
            return self._taken(text, checked, checked.cards)
        last = self._kept.newest()
        cards = check_rates(last.text).cards if last else None
        if last is None or cards is None:
            raise ConfigError(f"[pricing] rates_file: {self.file}: {'; '.join(checked.problems)}")
        return self._refused(RatesInForce(cards, last.at), checked)

    def _again(self) -> RatesInForce:
        text, checked = self._read()
        return self._refused(self._in_force, checked) if checked.cards is None else self._taken(text, checked, checked.cards)

    def _read(self) -> tuple[str, CheckedRates]:
        try:
            text = Path(self.file).read_text(encoding="utf-8") if self.file else ""
        except (OSError, UnicodeDecodeError) as e:
            return "", CheckedRates(None, (f"it cannot be read: {e}; an empty rates_file stands for the built-in examples",))
        if self.file and not text.strip():
            return "", CheckedRates(None, ("it is empty; leave rates_file empty for the built-in examples",))
        return text, check_rates(text, self._tiers())

    def _taken(self, text: str, checked: CheckedRates, cards: RateCards) -> RatesInForce:
        digest, last = hashlib.sha256(text.encode()).hexdigest(), self._kept.newest()
        if last is None or last.hash != digest:
            last = Kept(self._clock(), digest, text)
            self._kept.keep(last)
        _log.info("rates in force", file=self.file, version=cards.version, currency=cards.currency, warnings=list(checked.warnings))
        return RatesInForce(cards, last.at, checked.warnings)

    def _refused(self, stays: RatesInForce, checked: CheckedRates) -> RatesInForce:
        _log.error(
            "rates refused; those before stay in force", file=self.file, in_force=stays.cards.version, problems=list(checked.problems)
        )
        return replace(stays, problems=checked.problems)

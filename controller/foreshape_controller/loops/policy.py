"""The tiers in force: read from the file when it changes, kept when the new text has a mistake, adapted by feedback.

    no text ──first good text──▶ in force ──another good text──▶ in force (since now)
       │                           │  ▲
       └──mistake: refused         └──┘ mistake: the old text stays; its problems are shown until the file is good

What is in force is in the store, too: a restart beside a broken file goes on with the last good text. Only the very first
start needs a good file.
"""

import hashlib
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from foreshape_controller.decide.tiers import Checked, Tiers, check_tiers
from foreshape_controller.errors import ConfigError
from foreshape_controller.log import get_logger
from foreshape_controller.model.server import Server
from foreshape_controller.model.tier import Tier
from foreshape_controller.store.policies import Kept

_log = get_logger("policy")

Adapt = Callable[[Tiers], Tiers]
"""Something that speaks on top of the file: feedback's factors."""


FRESH_S = 10.0
UNREAD = (-1, -1, -1)
"""The mark of no file."""


class PolicyStore(Protocol):
    """The part of the store that remembers texts."""

    def newest(self) -> Kept | None: ...

    def keep(self, new: Kept) -> None: ...


@dataclass(frozen=True)
class InForce:
    """The policy at one instant."""

    tiers: Tiers
    """As the text says, before feedback."""
    hash: str
    """SHA-256 of the text."""
    since: float
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """Why the file's newest text is not in force; empty when it is."""


class Policy:
    """``current`` for everybody who decides; ``reload`` for people and signals. Safe from any thread."""

    def __init__(
        self,
        file: str,
        kept: PolicyStore,
        clock: Callable[[], float],
        adapt: Adapt = lambda tiers: tiers,
        segments: Collection[str] | None = None,
    ) -> None:
        """``segments``: those there are. Raises ConfigError when the file has a mistake and no text was ever in force."""
        self._file, self._kept, self._clock, self._adapt, self._segments = file, kept, clock, adapt, segments
        self._recent: tuple[float, Tiers] | None = None
        self._lock = threading.Lock()
        self._mark = self._marked()
        self._in_force = self._first()

    # --- asking ---

    def current(self) -> Tiers:
        """The tiers to decide by now: the file's, read again if it changed, with feedback on top."""
        return self._adapt(self.state().tiers)

    def of(self, server: Server, groups: Sequence[str] = ()) -> Tier:
        """The tier of one server, by a policy of the last seconds: thousands are asked about one after the other."""
        now, recent = self._clock(), self._recent
        if recent is None or not 0 <= now - recent[0] < FRESH_S:
            recent = self._recent = (now, self.current())
        return recent[1].of(server, groups)

    def state(self) -> InForce:
        """What is in force, since when, and what is wrong with the file."""
        with self._lock:
            mark = self._marked()
            if mark != self._mark:
                self._in_force = self._again()  # may fail with the database: then the next one who asks tries again
                self._mark = mark
            return self._in_force

    def expect(self) -> None:
        """Let the next one who asks read the file, whether it looks changed or not."""
        self._mark = UNREAD

    def reload(self) -> InForce:
        """Read the file now, whether it looks changed or not."""
        self.expect()
        return self.state()

    def notes(self) -> tuple[str, ...]:
        """Sentences for the plan, while the file and the policy differ."""
        problems = self.state().problems
        return (f"tiers: {self._file} is not in force: {problems[0]}{_more(problems)}",) if problems else ()

    @property
    def file(self) -> str:
        """Its path; empty: the built-in tiers."""
        return self._file

    # --- steps ---

    def _marked(self) -> tuple[int, int, int] | None:
        """What tells that a file has changed; None where there is none."""
        try:
            found = Path(self._file).stat() if self._file else None
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino) if found else None

    def _first(self) -> InForce:
        text, checked = self._read()
        if checked.tiers is not None:
            return self._taken(text, checked, checked.tiers)
        last = self._kept.newest()
        tiers = check_tiers(last.text).tiers if last else None
        if last is None or tiers is None:
            raise ConfigError(f"[plan] tiers_file: {self._file}: {_listed(checked.problems)}")
        return self._refused(InForce(tiers, last.hash, last.at), checked)

    def _again(self) -> InForce:
        text, checked = self._read()
        if checked.tiers is None:
            return self._refused(self._in_force, checked)
        return self._taken(text, checked, checked.tiers)

    def _read(self) -> tuple[str, Checked]:
        try:
            text = Path(self._file).read_text(encoding="utf-8") if self._file else ""
        except (OSError, UnicodeDecodeError) as e:
            return "", Checked(None, (f"it cannot be read: {e}; an empty tiers_file stands for the built-in tiers",), ())
        return text, check_tiers(text)

    def _taken(self, text: str, checked: Checked, tiers: Tiers) -> InForce:
        digest, last = hashlib.sha256(text.encode()).hexdigest(), self._kept.newest()
        if last is None or last.hash != digest:
            last = Kept(self._clock(), digest, text)
            self._kept.keep(last)
        warnings = (*checked.warnings, *unheard_of(tiers, self._segments))
        _log.info("tiers in force", file=self._file, hash=digest[:12], tiers=list(tiers.tiers), warnings=list(warnings))
        return InForce(tiers, digest, last.at, warnings)

    def _refused(self, stays: InForce, checked: Checked) -> InForce:
        kept, problems = stays.hash[:12], list(checked.problems)
        _log.error("tiers refused; the policy before stays in force", file=self._file, in_force=kept, problems=problems)
        return replace(stays, problems=checked.problems)


def unheard_of(tiers: Tiers, segments: Collection[str] | None) -> Iterator[str]:
    """Rules that name a segment that there is not; None: nobody knows which there are."""
    for i, rule in enumerate(tiers.rules if segments is not None else (), 1):
        if rule.segment is not None and segments is not None and rule.segment not in segments:
            yield f"assign, rule {i}: there is no segment {rule.segment!r}: nobody matches"


def assigned(tiers: Tiers, servers: Sequence[Server], groups: Mapping[str, tuple[str, ...]]) -> Mapping[str, Tier]:
    """The tier of every server; ``groups``: by server, names of its groups' series."""
    return {s.id: tiers.of(s, groups.get(s.id, ())) for s in servers}


def _listed(problems: Sequence[str]) -> str:
    return problems[0] if len(problems) == 1 else "".join(f"\n  {p}" for p in problems)


def _more(problems: Sequence[str]) -> str:
    return f" (and {len(problems) - 1} more: foreshape tier list)" if len(problems) > 1 else ""

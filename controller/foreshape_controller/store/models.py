"""The models of this deployment: folders in ``[learn] models_dir``, and which of them is in office.

``champion`` is the pointer: one small file, written beside itself, forced to disk and renamed, so that a controller that is
killed sees the model before or the one after, whole. ``promotions.jsonl`` says who was put there when and why; nothing reads it
to decide who is champion. What a folder holds is not known here: ``check`` is given and raises ModelError for a damaged one.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from foreshape_controller.errors import ModelError, NotFound

BASELINE = "baseline"
"""Stands in the pointer when no model is in office."""

POINTER = "champion"
LOG = "promotions.jsonl"
LESSON = "lesson.json"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""Folders with a dot in their names are work in progress."""


@dataclass(frozen=True)
class Office:
    """Who is in office, since when and why."""

    model: str = BASELINE
    previous: str = BASELINE
    at: float = 0.0
    reason: str = "no model was ever promoted"


@dataclass(frozen=True)
class Lesson:
    """The newest training: kept so that a restart goes on with it, and does not begin a second one that night."""

    model: str = ""
    started: float = 0.0
    attempts: int = 0
    state: str = "none"
    """``none``, ``running``, ``done``, ``failed``."""
    why: str = ""
    """What asked for it."""
    reason: str = ""
    """What came of it."""


@dataclass(frozen=True)
class Event:
    """One line of the log: promoted, rolled back, challenged (waits or lost), refused, fell back."""

    at: float
    event: str
    model: str
    reason: str
    figures: Mapping[str, Any] | None = None


class Models:
    """The registry. Every change is one rename; every failure leaves the one in office where it is."""

    def __init__(self, folder: Path, check: Callable[[Path], object]) -> None:
        self.folder = folder
        self._check = check

    # --- who ---

    def office(self) -> Office:
        """The pointer. ModelError if it cannot be read: whoever asks goes on with the baseline."""
        try:
            told = json.loads((self.folder / POINTER).read_bytes())
            return Office(**{k: told[k] for k in ("model", "previous", "at", "reason")})
        except FileNotFoundError:
            return Office()
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise ModelError(
                f"{self.folder / POINTER} cannot be read ({e}): the baseline forecasts; put a model in office with "
                "'foreshape model promote ID'"
            ) from e

    def stamp(self) -> int:
        """Changes whenever the pointer does."""
        try:
            return (self.folder / POINTER).stat().st_mtime_ns
        except OSError:
            return 0

    def lesson(self) -> Lesson:
        """The newest training; one that cannot be read is as if there had been none."""
        try:
            return Lesson(**json.loads((self.folder / LESSON).read_bytes()))
        except (OSError, ValueError, TypeError):
            return Lesson()

    def keep_lesson(self, lesson: Lesson) -> None:
        """Write it down. ModelError when the disk takes nothing: no training is begun then."""
        try:
            write_whole(self.folder / LESSON, json.dumps(asdict(lesson)).encode())
        except OSError as e:
            raise ModelError(
                f"{self.folder} cannot be written ({e.strerror}): no training; free some space, or set [learn] models_dir"
            ) from e

    def recover(self) -> None:
        """A crash between two renames left a model under the name it had while it was replaced: give it its name back."""
        with suppress(OSError):
            for old in self.folder.glob("*.old"):
                if not (self.folder / old.stem).exists():
                    old.rename(self.folder / old.stem)

    def ids(self) -> tuple[str, ...]:
        """Every model folder, sound or not, oldest name first."""
        try:
            found = sorted(p.name for p in self.folder.iterdir() if p.is_dir() and _NAME.fullmatch(p.name))
        except OSError:
            return ()
        return tuple(found)

    def path(self, model: str) -> Path:
        """Folder of a model. NotFound for one that is not here."""
        if model not in self.ids():
            raise NotFound(f"there is no model {model!r}: 'foreshape model list' shows those that are here")
        return self.folder / model

    def trouble(self, model: str) -> str:
        """Why a model cannot serve; empty when it can."""
        try:
            self._check(self.path(model))
        except (ModelError, NotFound) as e:
            return str(e)
        return ""

    # --- change ---

    def promote(self, model: str, reason: str, at: float, figures: Mapping[str, Any] | None = None) -> Office:
        """Put a model in office. NotFound, or ModelError for one that is damaged or when the disk takes nothing: nothing changes."""
        self._check(self.path(model))
        return self._put(Event(at, "promoted", model, reason, figures))

    def roll_back(self, reason: str, at: float, to: str = "") -> Office:
        """Put the previous champion in office again, or the one that is named, or the baseline."""
        office = self._office_or_baseline()
        target = to or office.previous
        if target == office.model:
            raise ModelError(f"{target} is in office already: there is nothing to roll back to")
        if target != BASELINE:
            self._check(self.path(target))
        return self._put(Event(at, "rolled back", target, reason))

    def note(self, event: Event) -> None:
        """Add a line to the log; a disk that takes no line changes nothing else."""
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / LOG).open("a", encoding="utf-8") as log:
                log.write(json.dumps(asdict(event)) + "\n")

    def events(self, limit: int = 20) -> tuple[Event, ...]:
        """The newest first. A line cut by a crash is left out."""
        try:
            lines = (self.folder / LOG).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return ()
        found = [e for line in reversed(lines[-10 * limit :]) if (e := _event(line))]
        return tuple(found[:limit])

    def prune(self, keep: int) -> tuple[str, ...]:
        """Delete all but the newest ``keep`` models; the one in office and the one before it stay whatever their age."""
        try:
            office = self.office()
        except ModelError:
            return ()
        aged = sorted(self.ids(), key=self._made, reverse=True)
        gone = [m for m in aged[keep:] if m not in (office.model, office.previous)]
        for model in gone:
            shutil.rmtree(self.folder / model, ignore_errors=True)
        return tuple(gone)

    # --- inside ---

    def _made(self, model: str) -> float:
        with suppress(OSError):
            return (self.folder / model).stat().st_mtime
        return 0.0

    def _office_or_baseline(self) -> Office:
        try:
            return self.office()
        except ModelError as e:
            return Office(model="", reason=str(e))

    def _put(self, event: Event) -> Office:
        before = self._office_or_baseline()
        if before.model == event.model:
            return before
        office = Office(event.model, before.model or BASELINE, event.at, event.reason)
        try:
            write_whole(self.folder / POINTER, json.dumps(asdict(office)).encode())
        except OSError as e:
            raise ModelError(
                f"{self.folder / POINTER} cannot be written ({e.strerror}): {before.model or BASELINE} stays in office; free some space"
            ) from e
        self.note(event)
        return office


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file: all of it or nothing, and on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """The rename itself has to be on disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _event(line: str) -> Event | None:
    try:
        return Event(**json.loads(line))
    except (ValueError, TypeError):
        return None

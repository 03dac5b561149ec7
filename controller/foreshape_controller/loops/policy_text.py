"""Writing tiers.yaml: checked as a whole, then put in the old one's place at once, so that no reader ever sees half of it."""

import os
import stat
import tempfile
from pathlib import Path

from foreshape_controller.decide.tiers import Checked, check_tiers
from foreshape_controller.errors import Invalid, Unavailable

LONGEST = 60_000
"""Characters of a text: in UTF-8 below what an answer with an ETag may have, so that nobody overwrites another's."""


def read(file: str) -> str:
    """The file's text; of the built-in tiers none. Raises Unavailable."""
    try:
        return Path(file).read_text(encoding="utf-8") if file else ""
    except (OSError, UnicodeDecodeError) as e:
        raise Unavailable(f"{file} cannot be read: {e}") from e


def why_not(file: str) -> str:
    """Why nobody can write it from here; empty: it can be written."""
    if not file:
        return "the built-in tiers are in force: name a file in [plan] tiers_file to have tiers of your own"
    folder = Path(file).resolve().parent
    if not os.access(folder, os.W_OK):
        return f"the controller may not write to {folder}: change {file} there, or let it (ReadWritePaths= under systemd)"
    return ""


def checked(text: str) -> Checked:
    """What is wrong with a text. Raises Invalid for one that is too long."""
    if len(text) > LONGEST:
        raise Invalid(f"text: at most {LONGEST} characters are taken here; change the file itself")
    return check_tiers(text)


def write(file: str, text: str) -> None:
    """Raises Invalid for a text with a mistake, or where nobody may write; Unavailable. Then the file is as it was."""
    problems, reason = checked(text).problems, why_not(file)
    if problems or reason:
        raise Invalid("\n".join(problems) or reason)
    try:
        _replace(Path(file).resolve(), text)
    except OSError as e:
        raise Unavailable(f"{file} could not be written: {e}; it is as it was") from e


def _replace(path: Path, text: str) -> None:
    """A link stays one; the file's mode is kept."""
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o640
    handle, new = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fchmod(out.fileno(), mode)
            os.fsync(out.fileno())
        Path(new).replace(path)
    except BaseException:
        Path(new).unlink(missing_ok=True)
        raise

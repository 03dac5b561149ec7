"""Tokens that are made at the first start and kept in a file that only the controller's user can read."""

import secrets
from pathlib import Path

from foreshape_controller import log, tls
from foreshape_controller.errors import ConfigError

_log = log.get_logger("main")


def token_file(path: str, option: str) -> str:
    """A token that is made at the first start, readable by this user only; none where there is no path. Raises ConfigError."""
    if not path:
        return ""
    file = Path(path)
    try:
        if not file.exists():
            tls.write_private(file, f"{secrets.token_urlsafe(32)}\n".encode())
            _log.info("token made", file=str(file), option=option)
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{option}: {file}: {e}") from e
    if len(token) < 16:
        raise ConfigError(f"{option}: {file} holds no token of 16 characters or more: delete it, and another is made")
    return token

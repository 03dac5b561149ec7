"""How one option of the configuration is declared: default, unit, reason, limits."""

import types
from dataclasses import field
from typing import Any


def option(default: Any, unit: str, why: str, **limits: Any) -> Any:
    """One option: ``limits`` are min, max or choices."""
    return field(default=default, metadata=types.MappingProxyType({"unit": unit, "help": why, **limits}))

"""Logs: JSON unless a terminal, one canonical line per unit of work."""

import logging
import sys
from typing import Any

import structlog


def get_logger(part: str) -> Any:
    """The logger of one part of the program; usable before ``configure``."""
    return structlog.get_logger(part=part)


def configure(level: str = "info", style: str = "auto") -> None:
    """Set up once, at the program's start. The standard library's loggers (uvicorn, alembic) come out the same way."""
    text = style == "text" or (style == "auto" and sys.stderr.isatty())
    render: Any = structlog.dev.ConsoleRenderer() if text else structlog.processors.JSONRenderer()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render], foreign_pre_chain=shared
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)

"""A metric and its values, before anybody thinks of a format. Names follow Prometheus' conventions: base units, ``_total`` for counters."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from foreshape_controller.model.tally import Tally

Labels: TypeAlias = tuple[str, ...]


class Metric(NamedTuple):
    """One name with all its rows."""

    kind: str
    """``gauge``, ``counter`` (its name ends in ``_total``) or ``histogram``."""
    name: str
    help: str
    labels: Labels
    rows: Mapping[Labels, "float | Tally"]
    """By the labels' values."""


def gauge(name: str, text: str, value: float) -> Metric:
    return Metric("gauge", name, text, (), {(): float(value)})


def gauges(name: str, text: str, labels: str | Labels, rows: Mapping[Any, float]) -> Metric:
    """One row for each of the labels' values: a tuple of texts, or a text where there is one label."""
    return _labelled("gauge", name, text, labels, rows)


def counter(name: str, text: str, value: float) -> Metric:
    return Metric("counter", name, text, (), {(): float(value)})


def counters(name: str, text: str, labels: str | Labels, rows: Mapping[Any, float]) -> Metric:
    return _labelled("counter", name, text, labels, rows)


def histograms(name: str, text: str, labels: Labels, rows: Mapping[Labels, Tally]) -> Metric:
    return Metric("histogram", name, text, labels, rows)


def one_of(name: str, text: str, label: str, all_of: Iterable[str], now: str) -> Metric:
    """A state: 1 for the one that is, 0 for the others."""
    return gauges(name, text, label, {v: float(v == now) for v in all_of})


def _labelled(kind: str, name: str, text: str, labels: str | Labels, rows: Mapping[Any, float]) -> Metric:
    of = (labels,) if isinstance(labels, str) else labels
    return Metric(kind, name, text, of, {(k,) if isinstance(k, str) else k: float(v) for k, v in rows.items()})

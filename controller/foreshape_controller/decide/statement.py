"""Statements: usage times rates, added up to the cent. Pure.

    line   = round(exact amount of one item of one server in one tier, over the whole period)
    total  = sum of the lines
    a part of the period = what the lines come to at its end, less what they came to at its beginning

so that days add up to the month, servers to the project, and meters to the project, to the cent and whatever the parts. Credits that
hang on a share of the whole period (violations) belong to its last day.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from io import StringIO
from typing import NamedTuple

from foreshape_controller.decide.book import CAUSES_TOLD, Book, span_of, total
from foreshape_controller.decide.rate import day_of
from foreshape_controller.errors import Invalid
from foreshape_controller.model.metering import UsageDay
from foreshape_controller.model.statement import ZERO, Line, Statement

APART = ("pool", "reservation")
"""Bought beside servers: not in the comparison with a static flavor."""

WAYS = ("meter", "server", "day", "line")

SHADOW = "Shadow prices: what it would have cost. This is no invoice, and nothing is owed."
REAL = "What was used, at the operator's rates. Foreshape charges nobody by itself."


class Frame(NamedTuple):
    """What a statement says beside its lines."""

    project: str
    until: float
    """How far metering has come."""
    by: str = "meter"
    closed_at: float | None = None
    shadow: bool = True


def make(book: Book, days: Iterable[UsageDay], frame: Frame) -> Statement:
    """A statement from all days that were booked into its period. Raises Invalid for a way that there is not."""
    project, until, by, closed_at, shadow = frame
    check_way(by)
    daily: list[Line] = []
    before = ZERO
    for day in sorted(days, key=lambda d: d.day):
        book.add(day)
        if by == "day":
            after = book.total(final=False)
            daily.append(Line(item=str(day_of(day.day)), kind="sum", amount=after - before))
            before = after
    lines = book.lines()
    since, ends = span_of(book.period)
    credit = sum((n.amount for n in lines if n.kind == "credit"), ZERO)
    static = book.static()
    return Statement(
        project=project,
        period=book.period,
        since=since,
        until=max(float(since), min(until, float(ends))),
        state="open" if closed_at is None else "closed",
        shadow=shadow,
        note=SHADOW if shadow else REAL,
        currency=book.cards.currency,
        card=book.cards.version,
        by=by,
        lines=tuple(_by_day(daily, lines) if by == "day" else regrouped(lines, by)),
        total=total(lines),
        credits=credit,
        adjustments=sum((n.amount for n in lines if n.used_in), ZERO),
        static=static,
        saved=static - sum((n.amount for n in lines if _of_servers(n)), ZERO),
        could_save=book.could_save(),
        measured_h=book.measured_h(),
        closed_at=closed_at,
    )


def check_way(by: str) -> None:
    """Raises Invalid."""
    if by not in WAYS:
        raise Invalid(f"by={by[:40]!r}: choose one of {', '.join(WAYS)}")


def regrouped(lines: Sequence[Line], by: str) -> list[Line]:
    """Lines of a statement added up by item, or by server; rounded amounts, so that every way has the same total."""
    if by == "line":
        return list(lines)
    found: dict[tuple[str, ...], list[Line]] = defaultdict(list)
    for line in lines:
        key = (line.item, line.kind, line.unit) if by == "meter" else (line.server, line.name)
        found[key].append(line)
    return [_added(of, by) for _, of in sorted(found.items())]


def _added(of: Sequence[Line], by: str) -> Line:
    first, amount = of[0], total(of)
    causes = tuple(dict.fromkeys(c for n in of for c in n.causes))[:CAUSES_TOLD]
    if by == "server":
        return Line(server=first.server, name=first.name, item="all", kind="sum", amount=amount, causes=causes)
    rates = {n.rate for n in of}
    return Line(
        item=first.item,
        kind=first.kind,
        quantity=sum((n.quantity for n in of), ZERO),
        unit=first.unit,
        rate=rates.pop() if len(rates) == 1 else ZERO,
        amount=amount,
        causes=causes,
    )


def _by_day(daily: list[Line], lines: Sequence[Line]) -> list[Line]:
    """Days, and what hangs on the whole period as a line of its own."""
    merged: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for line in daily:
        merged[line.item] += line.amount
    rest = total(lines) - sum(merged.values(), ZERO)
    days = [Line(item=day, kind="sum", amount=amount) for day, amount in sorted(merged.items())]
    return [*days, Line(item="credits of the whole month", kind="credit", amount=rest)] if rest else days


def _of_servers(line: Line) -> bool:
    """In the comparison with a static flavor."""
    return not line.item.endswith((*APART, "claim not served"))


def cell(value: object) -> str:
    """A cell of a CSV file on one line; what a spreadsheet would take for a formula begins with an apostrophe.

    Amounts of money keep their minus: a number is no formula.
    """
    text = str(value)
    if isinstance(value, Decimal):
        return text
    formula = text.lstrip()[:1] in ("=", "+", "-", "@") or text[:1] in ("\t", "\r", "\n")
    flat = " ".join(text.splitlines())
    return f"'{flat}" if formula else flat


COLUMNS_OF_CSV = (
    "period",
    "project",
    "server",
    "name",
    "tier",
    "item",
    "kind",
    "quantity",
    "unit",
    "rate",
    "amount",
    "currency",
    "why",
    "causes",
)


def as_csv(found: Statement) -> str:
    """A statement's lines; the amounts add up to its total, which has no line of its own."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS_OF_CSV)
    for line in found.lines:
        more = {
            "period": line.used_in or found.period,
            "project": found.project,
            "currency": found.currency,
            "causes": " ".join(line.causes),
        }
        writer.writerow([cell(more[name] if name in more else getattr(line, name)) for name in COLUMNS_OF_CSV])
    return out.getvalue()

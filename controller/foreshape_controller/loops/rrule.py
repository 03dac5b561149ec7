"""Which recurrence rules are taken: none that happens every minute, none that a computer would look for without end."""

from collections.abc import Mapping
from typing import Any

from foreshape_controller.errors import Invalid

FREQUENCIES = {"HOURLY": 24.0, "DAILY": 1.0, "WEEKLY": 1.0, "MONTHLY": 1.0, "YEARLY": 1.0}
"""Occurrences a day at most, before BYHOUR, BYMINUTE and BYSECOND add to them."""

A_DAY_MOST = 48
"""Occurrences a day."""

COUNTED_MOST = 200_000
"""Occurrences between the first one and now: each is counted through when the rule is expanded."""

HOURLY_MAY = {"FREQ", "INTERVAL", "COUNT", "UNTIL", "BYDAY", "BYHOUR", "BYMINUTE", "BYSECOND", "WKST"}
"""With days of the month or year, hours that match could be millions apart."""


def check_rule(rule: Any, age_days: float) -> None:
    """Raises Invalid for a rule (a mapping from name to values; None for none) that cannot be worked out in time."""
    if rule is None:
        return
    if not isinstance(rule, Mapping):
        raise Invalid("RRULE: it has more than one rule; make each an event of its own")
    frequency = str(_first(rule, "FREQ", "")).upper()
    if frequency not in FREQUENCIES:
        raise Invalid(f"RRULE: FREQ is {frequency or 'missing'}: {', '.join(FREQUENCIES)} are taken")
    if frequency == "HOURLY" and (odd := {str(k).upper() for k in rule} - HOURLY_MAY):
        raise Invalid(f"RRULE: FREQ=HOURLY cannot be combined with {', '.join(sorted(odd))}: write it as FREQ=DAILY with BYHOUR")
    if frequency in ("DAILY", "WEEKLY") and {"BYMONTH", "BYMONTHDAY"} <= {str(k).upper() for k in rule}:
        raise Invalid(f"RRULE: FREQ={frequency} cannot be combined with BYMONTH and BYMONTHDAY: write it as FREQ=YEARLY")
    for name in ("INTERVAL", "COUNT"):
        if int(_first(rule, name, 1)) < 1:
            raise Invalid(f"RRULE: {name} is {_first(rule, name, 1)}: a number above 0 is wanted")
    _check_density(rule, frequency, age_days)


def _check_density(rule: Mapping[str, Any], frequency: str, age_days: float) -> None:
    times = FREQUENCIES[frequency] * _many(rule, "BYMINUTE") * _many(rule, "BYSECOND")
    times *= 1 if frequency == "HOURLY" else _many(rule, "BYHOUR")
    if times > A_DAY_MOST:
        raise Invalid(f"RRULE: it would happen {times:.0f} times a day: at most {A_DAY_MOST} times are taken")
    if times * age_days > COUNTED_MOST:
        raise Invalid("RRULE: it has happened too often since its first time: give a later start")


def _first(rule: Mapping[str, Any], name: str, default: Any) -> Any:
    value = rule.get(name, default)
    return (value[0] if value else default) if isinstance(value, list) else value


def _many(rule: Mapping[str, Any], name: str) -> int:
    value = rule.get(name, [0])
    return max(1, len(value)) if isinstance(value, list) else 1

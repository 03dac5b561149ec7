"""What is older than its retention is deleted, and closed bins of histories are packed: every table that grows is named here."""

from typing import Any

from foreshape_controller.config import Settings

DAY_S = 86400.0
FORECAST_KEPT_S = DAY_S
"""A forecast's own day is over by then."""
REPLIES_KEPT_S = DAY_S
TERMS_KEPT_S = 70 * DAY_S
"""Longer than the latest report that is metered."""


def tidy(store: Any, settings: Settings, now: float) -> None:
    """One table after the other, each in its own transaction. Raises Unavailable: the rest is for the next time."""
    measured = settings.history.retention_days * DAY_S
    acted = settings.journal.acting_retention_days * DAY_S
    agreed = settings.reclaim.kept_days * DAY_S
    store.history.compact(now, measured)
    store.forecasts.tidy(now - FORECAST_KEPT_S)
    store.marks.tidy(now - settings.feedback.kept_days * DAY_S)
    store.pools.tidy(now - settings.pools.kept_days * DAY_S)
    for part in (store.cloud_servers, store.anomalies, store.profiles):
        part.tidy(now - measured)
    for part in (store.reclaims, store.notices):
        part.tidy(now - agreed)
    for part in (store.caps, store.sales, store.migrating, store.needs, store.requests, store.reservations, store.transfers):
        part.tidy(now - acted)
    store.choices.tidy(now - acted)
    store.replies.tidy(now - REPLIES_KEPT_S)
    store.metering.tidy(now - settings.pricing.kept_days * DAY_S, now - TERMS_KEPT_S)
    store.audit.tidy(now - settings.identity.audit_days * DAY_S)
    store.journal.tidy(now, settings.journal.hold_retention_h * 3600.0, acted)

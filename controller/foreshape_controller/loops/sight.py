"""Everything that looks ahead, put together: the same in the controller and in a process of its own (``loops.away_process``)."""

from dataclasses import dataclass, fields, replace
from functools import partial

from foreshape_controller.config import Settings
from foreshape_controller.decide.segments import Segments
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.forecast.reactive import Reactive
from foreshape_controller.loops.aftermath import Aftermath
from foreshape_controller.loops.calendar import Calendar
from foreshape_controller.loops.foresight import Foresight, ForesightSettings, Look
from foreshape_controller.loops.notice import Notice
from foreshape_controller.loops.scene import Hooks, Observer
from foreshape_controller.loops.telling import Telling
from foreshape_controller.model.forecast import Predictor
from foreshape_controller.store import Store


@dataclass(frozen=True)
class Sight:
    """Parts that share a calendar."""

    calendar: Calendar
    foresight: Foresight
    aftermath: Aftermath
    telling: Telling


def sight(store: Store, settings: Settings, segments: Segments, look: Look | None = None, marking: Observer | None = None) -> Sight:
    """``look``: the model's word where one is in office, else as ``[plan] forecast`` says; ``marking``: archives forecasts."""
    plan = settings.plan
    look = look or partial(_predictor, plan.forecast)
    calendar, telling = Calendar(store.events), Telling(store.bus)
    notice = Notice(store.anomalies, store.profiles, store.history, plan.alarms_per_month)
    hooks = Hooks(observers=(notice.observe, telling.observe))
    if plan.forecast != "off":
        hooks = replace(hooks, preparers=(calendar.prepare,), adjusters=(calendar.adjust, notice.adjust))
    hooks = replace(hooks, observers=(*hooks.observers, marking)) if marking else hooks
    told = ForesightSettings(**{f.name: getattr(plan, f.name) for f in fields(ForesightSettings)})
    foresight = Foresight(store, look, told, segments=segments, classes=store.profiles.names, hooks=hooks)
    return Sight(calendar, foresight, Aftermath(calendar, store.events, store.history, look, plan.history_bins), telling)


def _predictor(forecast: str) -> Predictor:
    """Who looks ahead, as ``[plan] forecast`` says."""
    return Reactive() if forecast == "off" else Baseline()

"""What operators ask and tell about learning: models, how forecasts did, training, promotion, rollback."""

from typing import Annotated

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from foreshape_controller.api import present
from foreshape_controller.api.services import Services
from foreshape_controller.errors import ModelError
from foreshape_controller.forecast.folder import read_manifest
from foreshape_controller.forecast.scores import stratum
from foreshape_controller.loops.learn import Learn
from foreshape_controller.loops.marking import Pair
from foreshape_controller.model.answers import AccuracyAnswer, LearningAnswer, ModelAnswer, ModelEvent, VerdictAnswer
from foreshape_controller.model.history import BINS_PER_DAY, WATCHED
from foreshape_controller.model.learned import Manifest, Score
from foreshape_controller.store.models import BASELINE, Event, Office

Days = Annotated[float, QueryParameter(ge=0.01, le=3650)]

OFF = "learning is off: it needs [learn] enabled = true and [plan] forecast = auto in the controller's configuration"

SHOWN_HEADS = ("steps", "half_hours")
"""Heads whose error stands in the list of models: 30 minutes and a day ahead."""


class Because(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """``POST …``: why, kept in the log of promotions."""

    reason: str = ""


class BackTo(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """``POST /v1/learning/rollback``."""

    to: str = ""
    """Model, or ``baseline``; empty: the one before."""
    reason: str = ""


@get("/learning", sync_to_thread=True)
def learning(services: NamedDependency[Services]) -> LearningAnswer:
    """Who is in office, what is being taught, and what is wrong, if anything."""
    return _standing(services)


def _standing(services: Services) -> LearningAnswer:
    learn = services.learn
    if learn is None:
        return LearningAnswer(off=OFF, model=BASELINE)
    s = learn.standing()
    return LearningAnswer(
        off=s.off,
        model=s.model,
        trouble=s.trouble,
        training=s.training,
        training_model=s.lesson.model if s.training else "",
        training_share=s.progress.share if s.training else 0.0,
        training_phase=s.progress.phase if s.training else "",
        last_training=s.lesson.state,
        last_training_at=s.lesson.started or None,
        last_training_reason=s.lesson.reason,
        next_training_at=s.next_training,
        waiting_forecasts=s.waiting,
        verdicts=tuple(
            VerdictAnswer(resource=r, stratum=st, head=h, action=v.action.value, reasons=v.reasons) for (r, st, h), v in s.verdicts
        ),
        events=tuple(_event(e) for e in learn.office.models.events()),
    )


@get("/learning/accuracy", sync_to_thread=True)
def accuracy(services: NamedDependency[Services], days: Days = 7.0, server: FromQuery[str] = "") -> list[AccuracyAnswer]:
    """How forecasts of the last days did. With a server: only of its own kind, by resource and activity."""
    now = services.clock()
    rows = [_accuracy(p) for p in _learn(services).accuracy(now - days * 86400.0, now)]
    if not server:
        return rows
    kinds = _kinds(services, server, now)
    return [r for r in rows if kinds.get(r.resource) == r.stratum]


@post("/learning/train", status_code=202, sync_to_thread=True)
def train(services: NamedDependency[Services], data: JSONBody[Because]) -> LearningAnswer:
    """Begin a training now; ``GET /v1/learning`` says how far it is."""
    _learn(services).train_now(data.reason)
    return _standing(services)


@post("/learning/rollback", status_code=200, sync_to_thread=True)
def rollback(services: NamedDependency[Services], data: JSONBody[BackTo]) -> ModelAnswer:
    """Put the champion before, a named model or the baseline in office, at once."""
    learn = _learn(services)
    office = learn.office.roll_back(data.reason or "an operator asked for it", services.clock(), data.to)
    return _model(learn, office.model)


@get("/models", sync_to_thread=True)
def models(services: NamedDependency[Services]) -> list[ModelAnswer]:
    """The baseline and every model here, the newest first."""
    learn = services.learn
    if learn is None:
        return []
    return [_model(learn, name) for name in (*reversed(learn.office.models.ids()), BASELINE)]


@get("/models/{name:str}", sync_to_thread=True)
def model(services: NamedDependency[Services], name: FromPath[str]) -> ModelAnswer:
    return _model(_learn(services), name)


@post("/models/{name:str}/promote", status_code=200, sync_to_thread=True)
def promote(services: NamedDependency[Services], name: FromPath[str], data: JSONBody[Because]) -> ModelAnswer:
    """Put a model in office, after it was loaded once; a damaged one is refused, and the champion goes on."""
    learn = _learn(services)
    learn.office.promote(name, data.reason or "an operator asked for it", services.clock())
    return _model(learn, name)


HANDLERS = (learning, accuracy, train, rollback, models, model, promote)


def _learn(services: Services) -> Learn:
    if services.learn is None:
        raise ModelError(OFF)
    return services.learn


def _kinds(services: Services, wanted: str, now: float) -> dict[str, str]:
    """By resource: the stratum that a server is in."""
    found = present.find(services.store.inventory.view(now), wanted)
    read = services.store.history.read
    return {r: str(stratum(read(r, [found.id], now, 7 * BINS_PER_DAY), int(now))[0]) for r in WATCHED}


def _model(learn: Learn, name: str) -> ModelAnswer:
    office = learn.office.models
    events = [e for e in office.events(100) if e.model == name]
    if name == BASELINE:
        said = _said(learn, name, events)
        return ModelAnswer(id=name, state=said[0], reason=said[1])
    path = office.path(name)
    trouble = office.trouble(name)
    if trouble:
        return ModelAnswer(id=name, state="damaged", reason=trouble)
    return _papers(read_manifest(path), name, *_said(learn, name, events))


def _said(learn: Learn, name: str, events: list[Event]) -> tuple[str, str]:
    """State of a model, and the newest word on it."""
    try:
        office = learn.office.models.office()
    except ModelError:
        office = Office()
    serving = learn.office.model
    state = "champion" if name == serving else "previous" if name == office.previous else "challenger" if name != BASELINE else "behind it"
    reason = office.reason if name == office.model == serving else f"{events[0].event}: {events[0].reason}" if events else ""
    return state, reason


def _papers(m: Manifest, name: str, state: str, reason: str) -> ModelAnswer:
    return ModelAnswer(
        id=name,
        state=state,
        reason=reason,
        made_at=m.made_at,
        code_version=m.code_version,
        data_from=float(m.first),
        data_until=float(m.until),
        taught_until=float(m.taught_until),
        series=dict(m.series),
        seed=m.seed,
        encoder=m.encoder,
        cpu_seconds=m.cpu_seconds,
        ratios=_ratios(m),
        note=m.note,
    )


def _ratios(m: Manifest) -> dict[str, float]:
    """Error by the baseline's on the held-back days, all strata together."""
    found = {}
    for resource in dict.fromkeys(s.resource for s in m.scores):
        for head in SHOWN_HEADS:
            mine, base = (_total(m, who, resource, head) for who in ("model", BASELINE))
            if base > 0:
                found[f"{resource} {head}"] = round(mine / base, 4)
    return found


def _total(m: Manifest, who: str, resource: str, head: str) -> float:
    return sum(sum(s.pinball) for s in m.scores if (s.predictor, s.resource, s.head) == (who, resource, head))


def _accuracy(pair: Pair) -> AccuracyAnswer:
    s: Score = pair.mine
    base = pair.base.wql if pair.base else None
    return AccuracyAnswer(
        resource=s.resource,
        stratum=s.stratum,
        head=s.head,
        predictor=s.predictor,
        windows=s.windows,
        values=s.count,
        wql=_known(s.wql),
        baseline_wql=_known(base),
        ratio=_known(s.wql / base) if base else None,
        inside80=_known(s.inside(0.8)),
        inside90=_known(s.inside(0.9)),
        inside98=_known(s.inside(0.98)),
        below99=_known(s.under(0.99)),
    )


def _known(value: float | None) -> float | None:
    """NaN is not JSON."""
    return None if value is None or value != value else float(value)  # noqa: PLR0124 - NaN


def _event(e: Event) -> ModelEvent:
    return ModelEvent(at=e.at, event=e.event, model=e.model, reason=e.reason)

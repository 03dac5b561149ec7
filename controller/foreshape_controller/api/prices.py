"""What things cost, and what they did cost: rates, quotes, statements. A tenant sees his own project's."""

import msgspec
from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from foreshape_controller.api import visible
from foreshape_controller.api.auth import OPERATORS
from foreshape_controller.api.services import Services
from foreshape_controller.decide import rate
from foreshape_controller.decide.book import period_of
from foreshape_controller.decide.statement import REAL, SHADOW, as_csv
from foreshape_controller.errors import Invalid, NotFound
from foreshape_controller.loops.pricing import Pricing
from foreshape_controller.model.caller import Caller
from foreshape_controller.model.rating import Card, Quote, QuoteWish
from foreshape_controller.model.statement import Statement, StatementRow


class PricesAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/prices``: the rates in force."""

    currency: str
    """ISO 4217; XXX: examples without a currency."""
    version: str
    """First digits of the SHA-256 of the file's text; ``built-in``."""
    since: float
    shadow: bool
    note: str
    default_tier: str
    card: Card | None
    """Today's; None: no card holds, and nothing costs anything."""
    next: Card | None = None
    """The one that follows, where one is known."""
    file: str = ""
    """For operators."""
    problems: tuple[str, ...] = ()
    """For operators: why the file's newest text is not in force."""
    warnings: tuple[str, ...] = ()


@get("/prices", rule="prices:list", sync_to_thread=True)
def prices(services: NamedDependency[Services], caller: NamedDependency[Caller]) -> PricesAnswer:
    """What each tier costs today."""
    return _prices(services, caller)


@post("/prices/quote", rule="prices:quote", status_code=200, sync_to_thread=True)
def quote(services: NamedDependency[Services], data: JSONBody[QuoteWish]) -> Quote:
    """What a size would cost for a time, by the card of today. Nothing is ordered."""
    pricing = services.priced
    return rate.quote(pricing.rates.current(), data, services.clock(), pricing.default_tier(), shadow=pricing.statements.shadow)


@post("/prices/reload", status_code=200, sync_to_thread=True)
def reload(services: NamedDependency[Services], caller: NamedDependency[Caller]) -> PricesAnswer:
    """Read the rate file now; a text with a mistake changes nothing, and ``problems`` says what is wrong."""
    services.priced.rates.reload()
    return _prices(services, caller)


@get("/statements", rule="statements:list", sync_to_thread=True)
def statements(
    services: NamedDependency[Services], caller: NamedDependency[Caller], period: FromQuery[str] = "", project: FromQuery[str] = ""
) -> list[StatementRow]:
    """Statements of a month (``2026-11``; the running one where none is named), without their lines."""
    of = _period(services, period)
    if project and not caller.sees(project):
        return []
    return services.priced.statements.rows(of, project or caller.only)


@get("/statements/{period:str}", rule="statements:list", sync_to_thread=True)
def statement(
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
    period: FromPath[str],
    project: FromQuery[str] = "",
    by: FromQuery[str] = "meter",
) -> Statement:
    """One project's statement, its lines added up by ``meter``, ``server`` or ``day``, or one by one (``line``)."""
    return _statement(services, caller, (period, project), by)


@get("/statements/{period:str}/csv", rule="statements:list", sync_to_thread=True, media_type="text/csv")
def statement_csv(
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
    period: FromPath[str],
    project: FromQuery[str] = "",
    by: FromQuery[str] = "line",
) -> Response[str]:
    """The same as CSV, without a line for the total: the amounts add up to it."""
    found = _statement(services, caller, (period, project), by)
    name = f"foreshape-{found.period}.csv"
    return Response(as_csv(found), media_type="text/csv", headers={"Content-Disposition": f'attachment; filename="{name}"'})


ROUTER = Router("/v1", opt=OPERATORS, route_handlers=[prices, quote, reload, statements, statement, statement_csv], tags=["prices"])


def _prices(services: Services, caller: Caller) -> PricesAnswer:
    pricing: Pricing = services.priced
    state, today = pricing.rates.state(), rate.day_of(services.clock())
    shadow = pricing.statements.shadow
    answer = PricesAnswer(
        currency=state.cards.currency,
        version=state.cards.version,
        since=state.since,
        shadow=shadow,
        note=SHADOW if shadow else REAL,
        default_tier=pricing.default_tier(),
        card=state.cards.on(today),
        next=next((c for c in state.cards.cards if c.valid_from > today), None),
    )
    if caller.everywhere:
        answer.file, answer.problems, answer.warnings = pricing.rates.file, state.problems, state.warnings
    return answer


def _period(services: Services, period: str) -> str:
    return period or period_of(services.clock())


def _statement(services: Services, caller: Caller, of: tuple[str, str], by: str) -> Statement:
    """Raises Invalid, NotFound: of another's in the words of one that nothing is known of."""
    period, project = of[0], of[1] or caller.only
    if project is None:
        raise Invalid("project: say whose statement, by the project's id; 'foreshape statement list' shows those there are")
    if not caller.sees(project):
        raise NotFound(f"nothing was metered of project {project[:80]!r} in {period[:40]}: see 'foreshape statement list'")
    found = services.priced.statements.make(project, period, by)
    if caller.everywhere:
        return found
    words = visible.words(services, caller) if any(n.kind == "credit" and n.why for n in found.lines) else str
    return msgspec.structs.replace(found, lines=tuple(msgspec.structs.replace(n, why=words(n.why)) for n in found.lines))

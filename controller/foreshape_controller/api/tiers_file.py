"""The text behind the tiers, for operators: read, tried out, and written where the controller may write its file."""

import hashlib

import msgspec
from litestar import Router, get, post, put
from litestar.di import NamedDependency
from litestar.params import JSONBody

from foreshape_controller.api.auth import OPERATORS
from foreshape_controller.api.scopes import one_line
from foreshape_controller.api.services import Services
from foreshape_controller.errors import Unavailable
from foreshape_controller.log import get_logger
from foreshape_controller.loops import policy_text
from foreshape_controller.loops.policy import unheard_of
from foreshape_controller.model.caller import Caller

_log = get_logger("tiers")


class TextAnswer(msgspec.Struct, kw_only=True):
    """``GET /v1/policy``. Its ETag changes with the text: send it as If-Match to overwrite no change of somebody else."""

    file: str
    """Empty: the built-in tiers are in force."""
    text: str
    """What the file says now, in force or not."""
    in_force: str
    """SHA-256 of the text in force."""
    current: bool
    """Whether that is this text."""
    read_only: str
    """Why it cannot be written here; empty: it can."""
    problems: tuple[str, ...]
    """Why this text is not in force."""
    warnings: tuple[str, ...]


class TextRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """``PUT /v1/policy``: all of tiers.yaml."""

    text: str
    reason: str = ""


class TextCheck(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """``POST /v1/policy/check``."""

    text: str


class CheckedAnswer(msgspec.Struct, kw_only=True):
    """``POST /v1/policy/check``: nothing was changed."""

    tiers: tuple[str, ...]
    """Names that there would be; none where there is a problem."""
    rules: int
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


@get("/policy", sync_to_thread=True)
def show(services: NamedDependency[Services]) -> TextAnswer:
    """tiers.yaml as it is now, and whether it is in force."""
    return _shown(services)


@put("/policy", sync_to_thread=True)
def write(services: NamedDependency[Services], caller: NamedDependency[Caller], data: JSONBody[TextRequest]) -> TextAnswer:
    """Write tiers.yaml anew, and decide by it from now on. A text with a mistake changes nothing, and the detail names every one."""
    policy_text.write(services.policy.file, data.text)
    _log.info("tiers written", file=services.policy.file, by=caller.name or caller.user, reason=one_line(data.reason))
    try:
        services.policy.reload()
    except Unavailable as e:
        raise Unavailable(f"the text is written, and not in force yet ({e}): it will be with the next plan") from e
    return _shown(services)


@post("/policy/check", status_code=200, sync_to_thread=True)
def check(services: NamedDependency[Services], data: JSONBody[TextCheck]) -> CheckedAnswer:
    """What is wrong with a text, and what is odd; nothing is kept."""
    found = policy_text.checked(data.text)
    heard = tuple(unheard_of(found.tiers, services.segments.segments)) if found.tiers else ()
    return CheckedAnswer(
        tiers=tuple(found.tiers.tiers) if found.tiers else (),
        rules=len(found.tiers.rules) if found.tiers else 0,
        problems=found.problems,
        warnings=(*found.warnings, *heard),
    )


ROUTER = Router("/v1", opt=OPERATORS, route_handlers=[show, write, check], tags=["operators"])


def _shown(services: Services) -> TextAnswer:
    state, text = services.policy.state(), policy_text.read(services.policy.file)
    return TextAnswer(
        file=services.policy.file,
        text=text,
        in_force=state.hash,
        current=state.hash == hashlib.sha256(text.encode()).hexdigest(),
        read_only=policy_text.why_not(services.policy.file),
        problems=state.problems,
        warnings=state.warnings,
    )

"""The controller's own errors. ``code`` is stable and for machines; the text says what to do.

The API turns each into one HTTP status (``api/problems.py``); nothing below it knows about HTTP.
"""

from collections.abc import Sequence


class ControllerError(Exception):
    """Anything the controller raises itself."""

    code = "error"


class ConfigError(ControllerError):
    """The configuration cannot be used; the text names the option and what to write instead."""

    code = "bad_configuration"


class Unavailable(ControllerError):
    """Waiting helps: the store is locked, its disk is full, or it is starting. Nothing was taken."""

    code = "unavailable"


class NotFound(ControllerError):
    """What was asked for does not exist."""

    code = "not_found"


class Ambiguous(ControllerError):
    """A name that several things have; ``candidates`` lists their ids."""

    code = "ambiguous"

    def __init__(self, text: str, candidates: Sequence[str]) -> None:
        super().__init__(text)
        self.candidates = tuple(candidates)


class Invalid(ControllerError):
    """A request whose content makes no sense; the text names the field."""

    code = "invalid"


class KeyReused(ControllerError):
    """An Idempotency-Key that was used for another request."""

    code = "idempotency_key_reused"


class RequestUnderWay(ControllerError):
    """The same request, by its Idempotency-Key, is being worked on."""

    code = "request_under_way"


class OutcomeUnknown(ControllerError):
    """The same request, by its Idempotency-Key, was begun by a process that is gone."""

    code = "outcome_unknown"


class WrongMedia(ControllerError):
    """A body of another kind than the route takes."""

    code = "wrong_media_type"


class Unauthenticated(ControllerError):
    """No token, or one that is unknown or revoked."""

    code = "unauthenticated"


class Forbidden(ControllerError):
    """Who asks is known, and may not do this."""

    code = "forbidden"


class TooMany(ControllerError):
    """Somebody asks too often. ``delay``: seconds after which he may again."""

    code = "too_many_requests"

    def __init__(self, text: str, *, delay: float) -> None:
        super().__init__(text)
        self.delay = delay


class Forged(ControllerError):
    """An agent reports for a host that is not its own."""

    code = "forged_host"


class EnrolRefused(ControllerError):
    """A join token that is unknown, used, expired, or another host's."""

    code = "enrol_refused"


class ModelError(ControllerError):
    """A model cannot be used, made or promoted: damaged, of another version, or without the library it needs. The champion goes on."""

    code = "bad_model"


class TraceError(ControllerError):
    """A trace file cannot be used; the text says which line or column, and what to do."""

    code = "bad_trace"


class CloudError(ControllerError):
    """The cloud did not do what was asked; the text says who answered what, and what to do."""

    code = "cloud"


class Temporary(CloudError):
    """Waiting helps. ``delay`` is how many seconds to wait at least.

    ``maybe_done``: the request may have taken effect although nobody said so (a time-out, a 500, a 502, a 504): look before asking again.
    """

    code = "cloud_unavailable"

    def __init__(self, text: str, *, delay: float = 0.0, maybe_done: bool = False) -> None:
        super().__init__(text)
        self.delay = delay
        self.maybe_done = maybe_done


class Conflict(Temporary):
    """Somebody was faster: a stale generation, or a state that does not allow it now. Nothing was changed; read again, decide again."""

    code = "cloud_conflict"


class Permanent(CloudError):
    """Asking again will not help; somebody has to change something first."""

    code = "cloud_refused"


class NoRoom(Permanent):
    """It does not fit there: Placement or Nova's scheduler refused. Nothing was changed."""

    code = "cloud_no_room"


class Gone(Permanent):
    """What was asked about does not exist (any more)."""

    code = "cloud_gone"

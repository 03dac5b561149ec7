"""The way from a simulated host to the controller: the real messages and the real intake, without a socket between."""

from foreshape_agent.errors import LinkDown, LinkRefused, ReportRefused
from foreshape_agent.levers.base import Clock
from foreshape_controller.errors import Forged, Unavailable
from foreshape_controller.main import Program
from foreshape_wire.codec import WireError
from foreshape_wire.ids import HostName


class DirectLink:
    """An agent's link that hands its bytes to a controller in the same process.

    ``controller`` is None while the controller is dead; ``cut`` (and why) cuts this host off; ``deaf`` (and why) loses
    the replies: the controller has the report, and the agent does not know.
    """

    def __init__(self, controller: Program | None, token: str, clock: Clock) -> None:
        self.controller = controller
        self.cut = ""
        self.deaf = ""
        self._token = token
        self._clock = clock
        self._known: Program | None = None
        self._host = HostName("")

    def exchange(self, report: bytes) -> bytes:
        if self.controller is None or self.cut:
            raise LinkDown(self.cut or "the controller does not answer: connection refused")
        now = self._clock.now()
        host = self._authenticated(self.controller, now)
        try:
            reply = self.controller.intake.accept(host, report, now)
        except Unavailable as e:
            raise LinkDown(str(e)) from e
        except (WireError, Forged) as e:
            raise ReportRefused(str(e)) from e
        if self.deaf:
            raise LinkDown(self.deaf)
        return reply

    def use_token(self, token: str) -> None:
        self._token, self._known = token, None

    def _authenticated(self, controller: Program, now: float) -> HostName:
        """Whose token this is. Asked once per controller and token: a connection that is kept open."""
        if self._known is not controller:
            host = controller.store.agents.authenticate(self._token, now)
            if host is None:
                raise LinkRefused("the controller does not know this token: enrol the agent again")
            self._known, self._host = controller, host
        return self._host

"""The way from a simulated host to the controller: the real messages and the real intake, without a socket between."""

from foreshape_agent.errors import LinkDown, LinkRefused, ReportRefused
from foreshape_agent.levers.base import Clock
from foreshape_controller.errors import Forged, Unavailable
from foreshape_controller.main import Program
from foreshape_wire.codec import WireError


class DirectLink:
    """An agent's link that hands its bytes to a controller in the same process.

    ``controller`` is None while the controller is dead; ``cut`` (and why) cuts this host off.
    """

    def __init__(self, controller: Program | None, token: str, clock: Clock) -> None:
        self.controller = controller
        self.cut = ""
        self.exchanged = 0
        self._token = token
        self._clock = clock

    def exchange(self, report: bytes) -> bytes:
        if self.controller is None or self.cut:
            raise LinkDown(self.cut or "the controller does not answer: connection refused")
        now = self._clock.now()
        host = self.controller.store.agents.authenticate(self._token, now)
        if host is None:
            raise LinkRefused("the controller does not know this token: enrol the agent again")
        try:
            reply = self.controller.intake.accept(host, report, now)
        except Unavailable as e:
            raise LinkDown(str(e)) from e
        except (WireError, Forged) as e:
            raise ReportRefused(str(e)) from e
        self.exchanged += 1
        return reply

    def use_token(self, token: str) -> None:
        self._token = token

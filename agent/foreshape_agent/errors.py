"""The agent's own errors: each says whether waiting helps."""


class AgentError(Exception):
    """Anything the agent raises itself."""


class ConfigError(AgentError):
    """The configuration cannot be used; the text names the option and what to write instead."""


class Temporary(AgentError):
    """Waiting helps: the cycle goes on and tries again later."""


class Permanent(AgentError):
    """Waiting does not help: the same call will fail the same way."""


class HypervisorLost(Temporary):
    """The connection to the hypervisor is gone; the door reconnects with back-off."""


class DomainGone(Permanent):
    """The domain does not exist here (any more): absence, not failure."""


class DomainBusy(Temporary):
    """Another job holds the domain (migration, snapshot, save)."""


class GuestSilent(Temporary):
    """The guest's agent does not answer."""


class LeverRejected(Permanent):
    """The hypervisor or the guest said no to a change."""


class LeverUnsafe(LeverRejected):
    """Not even tried, because trying is known to harm the domain; ``code`` is the outcome's word."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class LinkDown(Temporary):
    """The controller cannot be reached, or answers with 5xx."""


class LinkRefused(Permanent):
    """The controller refused this agent or this report (401, 403, 4xx): the text says what to do."""


class ReportRefused(LinkRefused):
    """The controller refuses this one report for what it says (400, 413, 422): sending it again is no use, others may pass."""


class SpoolFull(Temporary):
    """The spool cannot be written (disk full, read-only): the cycle goes on in memory."""

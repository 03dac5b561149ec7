"""The simulated hypervisor's own errors. The demo hands them to the agent as the agent's errors of the same meaning."""


class SimError(Exception):
    """Anything a simulated hypervisor or its workload refuses."""


class SimLost(SimError):
    """The connection to the simulated hypervisor is cut."""


class SimDomainGone(SimError):
    """No such domain on this host (any more)."""


class SimBusy(SimError):
    """Another job holds the domain."""


class SimRejected(SimError):
    """The hypervisor or the guest says no."""

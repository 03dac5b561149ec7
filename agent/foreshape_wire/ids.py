"""Names of things. A NewType keeps a host name from being passed where a server id is wanted."""

from typing import Annotated, NewType
from uuid import uuid4

import msgspec

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]

ServerId = NewType("ServerId", str)
"""libvirt's domain UUID, which is Nova's server UUID."""

HostName = NewType("HostName", str)
"""Name of a hypervisor, as Nova knows it."""

OrderId = NewType("OrderId", str)
PlanId = NewType("PlanId", str)

CauseId = NewType("CauseId", str)
"""Follows one decision through plan, order, outcome, log line and audit row."""


def new_id(prefix: str) -> str:
    """A new unique id, its kind readable: ``ord-3f2a…``."""
    return f"{prefix}-{uuid4().hex[:16]}"

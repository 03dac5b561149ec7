"""Names of things. A NewType keeps a host name from being passed where a server id is wanted."""

from typing import Annotated, NewType
from uuid import uuid4

import msgspec

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
"""A name that must be there."""

Label = Annotated[str, msgspec.Meta(max_length=255)]
"""A name that may be empty."""

Text = Annotated[str, msgspec.Meta(max_length=4096)]
"""A sentence for people. What may grow longer (another program's error) goes through ``clip`` first."""

ServerId = NewType("ServerId", str)
"""libvirt's domain UUID, which is Nova's server UUID."""

HostName = NewType("HostName", str)
"""Name of a hypervisor, as Nova knows it."""

OrderId = NewType("OrderId", str)
PlanId = NewType("PlanId", str)

CauseId = NewType("CauseId", str)
"""Follows one decision through plan, order, outcome, log line and audit row."""

# The same ids as fields of a message: never empty, never longer than a column.
ServerKey = Annotated[ServerId, msgspec.Meta(min_length=1, max_length=255)]
OrderKey = Annotated[OrderId, msgspec.Meta(max_length=255)]
"""Empty where no order was behind an action (reflex, fail to static)."""
PlanKey = Annotated[PlanId, msgspec.Meta(min_length=1, max_length=255)]
CauseKey = Annotated[CauseId, msgspec.Meta(min_length=1, max_length=255)]


def clip(text: str) -> str:
    """The text, cut to what a Text field holds."""
    return text if len(text) <= 4096 else text[:4095] + "…"


def new_id(prefix: str) -> str:
    """A new unique id, its kind readable: ``ord-3f2a…``."""
    return f"{prefix}-{uuid4().hex[:16]}"

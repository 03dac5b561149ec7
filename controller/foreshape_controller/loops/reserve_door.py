"""What reservations need of others: Placement and Nova, the store, the cloud as it was read last."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from foreshape_controller.loops.clouding import CORE
from foreshape_controller.model.cloud import RESERVATION, Allocation, Candidate, CloudView, Resources
from foreshape_controller.model.reservation import Lock, Reservation, Write

Me: TypeAlias = Callable[[], tuple[str, str]]
"""Project and user that our consumers belong to. Raises CloudError."""

Disabled: TypeAlias = Callable[[str], bool]
"""Whether somebody took this host out of the scheduler in Nova; a host that Nova does not know is not. Raises CloudError."""

May: TypeAlias = Callable[[str], str]
"""Why nothing may be taken on a host now, mode and halts considered; empty: it may."""


class Placement(Protocol):
    """``cloud/placement.py``, as far as it is needed here."""

    def providers(self) -> Mapping[str, object]: ...

    def holders(self, provider: str) -> Mapping[str, Resources]: ...

    def traits(self, provider: str) -> tuple[frozenset[str], int]: ...

    def add_trait(self, provider: str, trait: str) -> bool: ...

    def remove_trait(self, provider: str, trait: str) -> bool: ...

    def allocation(self, consumer: str) -> Allocation: ...

    def put_allocation(
        self,
        consumer: str,
        held: Mapping[str, Resources],
        *,
        generation: int | None,
        type: str,  # noqa: A002 - Placement's word
        project: str,
        user: str,
    ) -> None: ...

    def post_allocations(self, allocations: Sequence[Allocation]) -> None: ...

    def delete_allocation(self, consumer: str) -> bool: ...

    def held_by_type(self, project: str) -> Mapping[str, int]: ...

    def candidates(
        self, resources: Resources, *, required: Collection[str] = (), forbidden: Collection[str] = (), provider: str = "", limit: int = 0
    ) -> tuple[Candidate, ...]: ...


@dataclass(frozen=True)
class Door:
    """The cloud, as far as reservations need it."""

    placement: Placement
    me: Me
    disabled: Disabled
    type: str = RESERVATION
    """Consumer type of what this controller holds (``model.cloud.reservation_type``)."""


class ReservationStore(Protocol):
    """``store/reservations.py``."""

    def find(self, wanted: str) -> Reservation: ...

    def save(self, reservation: Reservation, writes: Sequence[Write] = ()) -> tuple[int, ...]: ...

    def open(self) -> tuple[Reservation, ...]: ...

    def of_host(self, host: str) -> tuple[Reservation, ...]: ...

    def of_owner(self, owner: str) -> tuple[Reservation, ...]: ...

    def ask(self, write: Write) -> int: ...

    def known(self, numbers: Sequence[int], outcome: str, now: float, said: str = "") -> None: ...

    def written(self, subjects: Collection[str]) -> frozenset[str]: ...

    def lock(self, lock: Lock, write: Write) -> int: ...

    def unlock(self, provider: str) -> None: ...

    def locks(self) -> Mapping[str, Lock]: ...


class Watch(Protocol):
    """``loops/clouding.py``."""

    def view(self) -> CloudView | None: ...

    def why_not(self, now: float, parts: Sequence[str] = CORE) -> str: ...

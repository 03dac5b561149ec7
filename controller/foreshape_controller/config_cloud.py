"""Options of what the controller does in an OpenStack: read only where ``[cloud] enabled`` says so."""

from dataclasses import dataclass

from foreshape_controller.option import option


@dataclass(frozen=True)
class CloudSettings:
    """The OpenStack that the hosts belong to. Secrets stay in clouds.yaml."""

    enabled: bool = option(
        False,
        "true | false",
        "Ask Nova, Placement and Keystone. false: hosts and servers are known from agents only; nothing is reserved or migrated.",
    )
    name: str = option("", "name", "Of the cloud in clouds.yaml. Empty: the OS_* environment.")
    region: str = option("", "name", "Region. Empty: the one that clouds.yaml names.")
    interval_s: float = option(30.0, "seconds", "How often what changed in the cloud is read.", min=1, max=3600)
    full_every_s: float = option(1800.0, "seconds", "How often all of it is read again.", min=10, max=86400)
    stale_after_s: float = option(
        120.0,
        "seconds",
        "What was read longer ago is no ground to act on: nothing is reserved or ordered meanwhile.",
        min=5,
        max=86400,
    )
    timeout_s: float = option(90.0, "seconds", "For one request. A migration waits for Nova's own calls, up to 60 s.", min=1, max=600)
    requests_per_second: float = option(20.0, "requests", "Most that are sent a second, all services together.", min=0.1, max=1000)
    aborts_cleanly: str = option(
        "auto",
        "auto | yes | no",
        "Whether Nova survives an aborted live migration. auto: up to microversion 2.96 (2024.2) yes, later no; say yes for Nova 31.",
        choices=("auto", "yes", "no"),
    )


@dataclass(frozen=True)
class ReservationSettings:
    """Room that is held in Placement."""

    interval_s: float = option(30.0, "seconds", "How often reservations are carried on.", min=1, max=3600)


@dataclass(frozen=True)
class MigrationSettings:
    """Live migrations."""

    interval_s: float = option(10.0, "seconds", "How often migrations are looked after.", min=1, max=3600)


@dataclass(frozen=True)
class PoolSettings:
    """Shadow VMs that wait for a claim."""

    interval_s: float = option(30.0, "seconds", "How often pools are looked after.", min=1, max=3600)


@dataclass(frozen=True)
class SellSettings:
    """Freed capacity that Nova may sell again: allocation ratios."""

    enabled: bool = option(False, "true | false", "Move allocation ratios of hosts in Placement, in mode act.")
    interval_s: float = option(300.0, "seconds", "How often ratios are looked at.", min=10, max=86400)

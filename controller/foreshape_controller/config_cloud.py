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

    interval_s: float = option(30.0, "seconds", "How often reservations are carried on: begun, ended, asked for again.", min=1, max=3600)
    lead_s: float = option(300.0, "seconds", "A planned one is held so long before it is needed.", min=0, max=86400)
    lock_wait_s: float = option(
        1.0,
        "seconds",
        "During a hand-over its target is kept from Nova's scheduler; so long is waited for scheduler calls that chose it before.",
        min=0,
        max=30,
    )
    audit_every_s: float = option(
        300.0,
        "seconds",
        "How often the journal is compared with Placement; also at the start. What is missing is held again, what is nobody's deleted.",
        min=10,
        max=86400,
    )
    orphan_grace_s: float = option(
        600.0,
        "seconds",
        "A reservation of ours in Placement that the journal does not know is deleted after so long. One project per controller.",
        min=0,
        max=86400,
    )
    plan_needs: bool = option(
        True,
        "true | false",
        "Plan a reservation for each host that a forecast says somebody has to leave ('foreshape need list').",
    )


@dataclass(frozen=True)
class MigrationSettings:
    """Live migrations."""

    interval_s: float = option(
        1.0, "seconds", "How often migrations are looked after; nothing is asked where none is open.", min=0.2, max=600
    )
    plan_every_s: float = option(60.0, "seconds", "How often it is planned who should move.", min=1, max=3600)
    quantile: float = option(0.95, "0.5 .. 0.99", "Of the forecast peaks that targets are chosen by.", min=0.5, max=0.99)
    full: float = option(0.9, "0 .. 1", "Share of what a host has that its forecast may reach with a server that comes.", min=0.1, max=1)
    gain: float = option(0.05, "0 .. 1", "A target stays so much emptier than the host that is relieved was.", min=0, max=1)
    worth: float = option(0.0, "weighted seconds", "What a move must be worth beyond its price.", min=0, max=1000000)
    out: int = option(1, "count", "Migrations under way out of one host. Nova's own default is one, too.", min=1, max=100)
    into: int = option(2, "count", "Migrations under way into one host.", min=1, max=100)
    link: int = option(
        2,
        "count",
        "Migrations under way on one link (host aggregates' metadata foreshape:link; without it a pair of hosts).",
        min=1,
        max=1000,
    )
    cluster: int = option(4, "count", "Migrations under way altogether, others' included.", min=1, max=1000)
    per_hour: int = option(60, "count", "Migrations ordered within an hour.", min=1, max=100000)
    hold_s: float = option(1800.0, "seconds", "How long a server stays where it came to, at least.", min=0, max=604800)
    wait_s: float = option(3600.0, "seconds", "A migration that could not begin for so long is given up.", min=10, max=604800)
    downtime_s: float = option(0.5, "seconds", "Nova's live_migration_downtime.", min=0.01, max=60)
    dirty_mib_s: float = option(
        10.0, "MiB/s", "How fast a server writes its memory, where no migration of it has told yet.", min=0, max=100000
    )
    force: bool = option(False, "true | false", "Complete by force what runs too long: a longer downtime. Your customers must have agreed.")
    consolidate: bool = option(False, "true | false", "In mode act, make room for the largest flavor without being asked.")
    balancer_moves: int = option(
        3, "count", "So many migrations by somebody else within balancer_window_s: a second balancer.", min=1, max=10000
    )
    balancer_window_s: float = option(900.0, "seconds", "See balancer_moves.", min=60, max=86400)
    balancer_rest_s: float = option(
        1800.0, "seconds", "How long nothing is moved by itself after a second balancer was seen.", min=60, max=604800
    )


@dataclass(frozen=True)
class PoolSettings:
    """Shadow VMs that wait for a claim."""

    interval_s: float = option(30.0, "seconds", "How often pools are looked after.", min=0.2, max=3600)
    boots_at_once: int = option(2, "count", "Shadow VMs of one pool that boot at the same time.", min=1, max=100)
    boot_limit_s: float = option(900.0, "seconds", "One that is not up by then failed: it is deleted.", min=5, max=86400)
    unknown_s: float = option(180.0, "seconds", "So long a boot that Nova did not answer may still show up.", min=1, max=3600)
    claim_limit_s: float = option(
        300.0, "seconds", "A claimed one that did not get all of what was sold by then counts as handed over as it is.", min=1, max=86400
    )
    sweep_every_s: float = option(300.0, "seconds", "How often servers with our tag are compared with the records.", min=1, max=86400)
    kept_days: float = option(30.0, "days", "Records, claims and steps are kept for so long after their end.", min=1, max=3650)


@dataclass(frozen=True)
class SellSettings:
    """Freed capacity that Nova may sell again: allocation ratios (docs/selling.md). Switched off, what was moved is put back."""

    enabled: bool = option(False, "true | false", "Move allocation ratios of hosts in Placement, in mode act; in advise it is only shown.")
    interval_s: float = option(300.0, "seconds", "How often ratios are looked at.", min=10, max=86400)
    quantile: float = option(0.99, "0..1", "Of the host's forecast that has to fit.", min=0.5, max=0.99)
    full: float = option(0.9, "share", "Of a host that this quantile of demand may reach.", min=0.1, max=1)
    lead_s: float = option(21600.0, "seconds", "A ratio is moved back so long before demand rises.", min=0, max=86400)
    hold_s: float = option(86400.0, "seconds", "Capacity must have been free for so long before it is sold.", min=0, max=2592000)
    dead_band: float = option(0.05, "share", "A ratio rises only by more than this share of itself.", min=0, max=1)
    history_s: float = option(172800.0, "seconds", "A host that was measured for less sells nothing.", min=0, max=2592000)
    forecast_stale_s: float = option(
        3600.0, "seconds", "By an older forecast nothing is sold, and what was is moved back.", min=60, max=86400
    )
    cpu_most: float = option(4.0, "ratio", "Largest CPU ratio that is ever written; a host that had more keeps it.", min=0.1, max=64)
    cpu_step: float = option(0.25, "ratio", "Most that it rises at once.", min=0.001, max=64)
    cpu_newcomer: float = option(0.5, "cores", "Demand that one more sold vCPU is taken to bring at least.", min=0.01, max=1)
    memory_most: float = option(
        1.0, "ratio", "Largest memory ratio. 1: never more than there is, whatever servers leave unused of theirs.", min=0.1, max=4
    )
    memory_step: float = option(0.02, "ratio", "Most that it rises at once.", min=0.001, max=4)
    memory_newcomer: float = option(1.0, "MiB", "Demand that one more sold MiB is taken to bring at least.", min=0.01, max=1)
    headroom_token_file: str = option(
        "",
        "path",
        "Token by which Nova's scheduler may read the hosts' headroom, and nothing else (docs/selling.md). Made at the start. Empty: none.",
    )

"""What can be told about tenants: who they are, what they ask for, what it costs."""

from dataclasses import dataclass

from foreshape_controller.option import option


@dataclass(frozen=True)
class IdentitySettings:
    """Who may do what. The local admin token always works; Keystone's tokens where [cloud] is enabled."""

    policy_file: str = option(
        "",
        "path",
        "Rules of oslo.policy that replace the built-in ones (see policy.yaml). Empty: the built-in ones. Read again when it changes.",
    )
    token_cache_s: float = option(
        60.0,
        "seconds",
        "Keystone's word on a token holds so long: a revoked one works until then, and one that is known while Keystone is away.",
        min=0,
        max=3600,
    )
    session_s: float = option(
        28800.0, "seconds", "A browser's session lasts so long at most, and never longer than its token.", min=60, max=604800
    )
    audit_days: float = option(365.0, "days", "The audit is kept so long: who changed what, and who was refused.", min=1, max=36500)
    requests_per_minute: int = option(600, "requests", "Of each project. Operators and agents are not limited.", min=1, max=1000000)
    writes_per_minute: int = option(
        60,
        "requests",
        "Of each project, those that change something, half of them at once: each is kept in the audit for audit_days.",
        min=1,
        max=1000000,
    )
    failures_per_minute: int = option(
        30,
        "requests",
        "With a token that is not valid, from one address; what comes then is refused without a look at its token.",
        min=1,
        max=100000,
    )
    logins_per_minute: int = option(
        10,
        "requests",
        "With a password that is wrong, from one address and of one user, half at once; who logged in there lately has a count of his own.",
        min=1,
        max=100000,
    )


@dataclass(frozen=True)
class RequestSettings:
    """Requests for servers and growth: admitted now, started later, or answered with alternatives."""

    enabled: bool = option(True, "true | false", "Take requests. Nothing is reserved in mode advise without an operator's approval.")
    interval_s: float = option(
        60.0, "seconds", "How often those who wait are looked at again, and room is begun and ended.", min=1, max=3600
    )
    per_project: int = option(50, "requests", "Most that one project may have open.", min=1, max=10000)
    fleet_peak: float = option(
        0.7, "share", "Of all that hosts can use: non-critical starts are spread out below, where that can be.", min=0.05, max=1
    )
    full: float = option(
        0.9, "share", "Of what one host can use: its demand by forecast may reach it with those who are promised to come.", min=0.05, max=1
    )
    project_share: float = option(0.5, "share", "Of all capacity, the most that one project is promised at any time.", min=0.01, max=1)
    critical_share: float = option(0.1, "share", "Of each host's capacity, what only critical requests are promised.", min=0, max=0.9)
    newcomer_cpu: float = option(0.5, "cores", "Demand that one more sold core is expected to bring.", min=0.01, max=1)
    newcomer_memory: float = option(1.0, "share", "Of the memory of a newcomer that it is expected to use.", min=0.01, max=1)
    normal_wait_s: float = option(
        21600.0, "seconds", "A normal request is delayed at most so long for the fleet's peak.", min=0, max=604800
    )
    flexible_wait_s: float = option(86400.0, "seconds", "The same of a flexible one.", min=0, max=604800)
    take_s: float = option(3600.0, "seconds", "So long the room of a request that started is kept for its owner.", min=60, max=604800)
    cpu_ratio: float = option(4.0, "factor", "Without [cloud]: VCPUs that may be sold for each core.", min=0.1, max=64)
    memory_ratio: float = option(1.0, "factor", "Without [cloud]: memory that may be sold for each MiB.", min=0.1, max=16)
    webhook_http: bool = option(False, "true | false", "Webhooks may be http, too: whoever is on the way reads what is told.")
    webhook_networks: tuple[str, ...] = option(
        (),
        "networks",
        "Addresses that webhooks may have beside public ones, as 10.1.0.0/16. Tenants choose the URLs: list no more than needed.",
    )


@dataclass(frozen=True)
class PricingSettings:
    """Rates, metering and statements. Nothing is ever charged by Foreshape itself: it says what was used and what it would cost."""

    rates_file: str = option("", "path", "Rate card (see rates.yaml). Empty: the built-in examples, in no currency.")
    shadow: bool = option(True, "true | false", "Every statement and quote says that it is no invoice: what it would cost, and save.")
    interval_s: float = option(300.0, "seconds", "How often terms are noted, and hours that are over are metered.", min=10, max=3600)
    close_after_days: float = option(
        3.0, "days", "A month's statements are frozen so long after its end; what is reported later is an adjustment.", min=2, max=28
    )
    late_days: float = option(7.0, "days", "Reports that come later than this are not metered any more.", min=2, max=60)
    kept_days: float = option(400.0, "days", "Usage that is older is deleted. Closed statements stay.", min=70, max=4000)

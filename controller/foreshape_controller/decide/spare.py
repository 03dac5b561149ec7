"""What the day ahead is expected to leave free on each host: what Nova's scheduler may prefer hosts by. Pure."""

from collections.abc import Iterable

from foreshape_controller.decide.sell import Outlook


def spare(looks: Iterable[tuple[str, int, Outlook | str]]) -> dict[str, float]:
    """By host: 1 − D/C of its fuller resource, 0..1. Each look: host, what guests can use (C), the day's demand or why it is unknown.

    A host of which any resource is unknown is left out: nothing is said of it.
    """
    found: dict[str, float] = {}
    unknown: set[str] = set()
    for host, physical, seen in looks:
        if isinstance(seen, str) or physical <= 0:
            unknown.add(host)
            continue
        free = min(1.0, max(0.0, 1 - seen.later / physical))
        found[host] = min(found.get(host, 1.0), free)
    return {host: free for host, free in found.items() if host not in unknown}

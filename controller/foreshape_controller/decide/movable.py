"""Why Nova's live migration is not for a server, and what its next host must have: from what Nova says of it (domain.md §8).

What is bound to the cores, the pages or the devices of its host is left where it is: a forced hand-over skips Nova's own checks of these
(facts of Nova 31 to 34), so a target would have to be proven in ways that Placement alone does not allow.
"""

from collections.abc import Mapping

from foreshape_controller.model.cloud import CloudServer

_DEDICATED = frozenset({"dedicated", "mixed"})
_ORDINARY_PAGES = frozenset({"", "small", "any"})
_ORDINARY_CLASSES = frozenset({"VCPU", "MEMORY_MB", "DISK_GB"})
_MOVABLE_STATES = frozenset({"ACTIVE", "PAUSED"})


def immovable(server: CloudServer) -> str:
    """Why it is not to be live-migrated; empty: it may be."""
    return _state(server) or bound(server.flavor.extra_specs)


def labels_needed(server: CloudServer) -> frozenset[str]:
    """What its host must have, as ``room.Servers.needs`` writes it: the traits that its flavor requires, and ``!`` those it forbids."""
    return labels_of(server.flavor.extra_specs)


def labels_of(specs: Mapping[str, str]) -> frozenset[str]:
    """The same, of a flavor's extra specs."""
    signs = {"required": "", "forbidden": "!"}
    return frozenset(f"{signs[how.lower()]}trait:{name}" for name, how in _traits(specs) if how.lower() in signs)


def _state(server: CloudServer) -> str:
    if not server.host:
        return "it is on no host"
    if server.status.upper() not in _MOVABLE_STATES:
        return f"it is {server.status or 'in no known state'}: only a running or paused server is live-migrated"
    if server.task_state:
        return f"something is being done to it already: {server.task_state}"
    return "it is locked by its owner or an operator" if server.locked else ""


def bound(specs: Mapping[str, str]) -> str:
    """The first thing in a flavor's extra specs that binds a server to its host's hardware; empty: nothing does."""
    if specs.get("hw:cpu_policy", "").lower() in _DEDICATED or _amount(specs, "resources:PCPU"):
        return "its vCPUs are pinned to cores of its host"
    if "hw:numa_nodes" in specs or any(key.startswith(("hw:numa_cpus.", "hw:numa_mem.")) for key in specs):
        return "it has a NUMA layout of its own"
    if specs.get("hw:mem_page_size", "").lower() not in _ORDINARY_PAGES:
        return "its memory is in huge pages"
    return _devices(specs)


def _devices(specs: Mapping[str, str]) -> str:
    if specs.get("pci_passthrough:alias"):
        return "it has a device of its host passed through"
    special = sorted(key.partition(":")[2] for key in specs if key.startswith("resources") and _special(key) and _amount(specs, key))
    return f"it holds {', '.join(special)} of its host" if special else ""


def _special(key: str) -> bool:
    return key.partition(":")[2] not in _ORDINARY_CLASSES


def _amount(specs: Mapping[str, str], key: str) -> bool:
    """Whether so much as one of it is asked for; what is no number counts as asked for."""
    return specs.get(key, "0").strip() not in ("", "0")


def _traits(specs: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(key.partition(":")[2], how) for key, how in specs.items() if key.startswith("trait") and ":" in key]

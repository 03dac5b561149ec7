"""Every option of the agent, declared once: default, unit, range and reason. Read once at the door, frozen afterwards.

``Settings`` is that declaration. ``load`` reads a file through oslo.config and refuses what it does not know;
``sample_file`` writes the file an operator starts from, so that the two cannot drift apart.
"""

import re
import textwrap
from collections.abc import Iterator
from configparser import ConfigParser
from configparser import Error as ParserError
from dataclasses import Field, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from socket import gethostname
from typing import Any, get_type_hints

from foreshape_agent.errors import ConfigError


def _option(default: Any, group: str, text: str, **more: Any) -> Any:
    """One option: ``low``, ``high`` bound a number, ``choices`` a word; ``unit`` is for people."""
    return field(default=default, metadata={"group": group, "help": text, **more})


@dataclass(frozen=True)
class Settings:
    """The agent's settings; every field is an option of agent.conf."""

    host: str = _option("", "agent", "Name of this hypervisor as Nova knows it. Empty: the machine's host name.")
    interval_s: float = _option(
        10.0,
        "agent",
        "Length of a cycle. Shorter sees peaks better and costs about 3 ms of libvirtd per domain and cycle.",
        unit="seconds",
        low=1,
        high=300,
    )
    pressure_interval_s: float = _option(
        5.0,
        "agent",
        "Between two cycles the domains are read this often to see pressure, without a report. 0: only with every cycle. "
        "5 s plus the guest's own numbers every 5 s keep the answer to pressure below 15 s.",
        unit="seconds",
        low=0,
        high=300,
    )
    static_after_s: float = _option(
        300.0,
        "agent",
        "Controller silent for so long: every domain goes back to its entitlement, and no order is followed until it answers again. "
        "Shorter returns VMs at every restart of the controller, longer leaves them on an old plan.",
        unit="seconds",
        low=10,
        high=86400,
    )
    on_stop: str = _option(
        "leave",
        "agent",
        "What a stop (SIGTERM) does to resized domains: leave them, so that an upgrade does not move them, or restore their "
        "entitlement and lift hard caps.",
        choices=("leave", "restore"),
    )
    action_deadline_s: float = _option(
        60.0, "agent", "A resize not seen done after so long has failed; a shrink is then taken back.", unit="seconds", low=5, high=3600
    )
    action_budget_s: float = _option(
        8.0,
        "agent",
        "Time for resizes within one cycle; orders beyond it wait for the next, pressure goes first.",
        unit="seconds",
        low=0.5,
        high=300,
    )
    state_dir: str = _option(
        "/var/lib/foreshape-agent", "agent", "Folder of the spool and of the agent's token; readable by the agent only."
    )
    metrics_file: str = _option(
        "",
        "agent",
        "Figures of this agent for node_exporter's textfile collector, written anew after each cycle: a path in its folder that ends in "
        ".prom. Empty: none.",
    )
    controller_url: str = _option(
        "", "controller", "Where the controller listens, such as https://foreshape.example.org:8470. Must be set."
    )
    ca_file: str = _option("", "controller", "CA bundle (PEM) that signed the controller's certificate. Empty: the system's.")
    insecure: bool = _option(
        False,
        "controller",
        "Allow http, or a certificate that nobody checked, to a controller on another machine. The token can then be stolen.",
    )
    join_token_file: str = _option(
        "", "controller", "File with the one-time join token of `foreshape agent enroll HOST`; used once, when this agent has no token yet."
    )
    timeout_s: float = _option(5.0, "controller", "Longest wait for an answer.", unit="seconds", low=0.1, high=120)
    backlog_per_cycle: int = _option(
        30,
        "controller",
        "Reports from an outage that are sent after each fresh one, oldest first: 30 drain an hour of outage in 2 minutes.",
        unit="reports",
        low=0,
        high=1000,
    )
    spool_reports: int = _option(
        8640,
        "spool",
        "Unacknowledged reports kept: one day at 10 s. Beyond it the oldest samples are thinned, and the gap is marked.",
        unit="reports",
        low=10,
        high=1_000_000,
    )
    buffer_reports: int = _option(
        360, "spool", "Reports kept in memory while the disk cannot be written: one hour at 10 s.", unit="reports", low=1, high=100_000
    )
    libvirt_uri: str = _option("qemu:///system", "hypervisor", "Connection to the hypervisor.")
    stats_period_s: int = _option(
        5,
        "hypervisor",
        "How often a balloon asks its guest for memory numbers, set where a domain has no period; without one they freeze.",
        unit="seconds",
        low=1,
        high=300,
    )
    stats_fresh_periods: float = _option(
        3.0,
        "hypervisor",
        "Guest's memory numbers older than this many periods are frozen and no longer believed.",
        unit="periods",
        low=1,
        high=100,
    )
    memory_margin_mib: float = _option(
        64.0, "guards", "No memory shrink leaves less than this above the working set.", unit="MiB", low=0, high=1_048_576
    )
    memory_margin_share: float = _option(
        0.1, "guards", "… nor less than this share of the working set above it.", unit="share", low=0, high=10
    )
    least_confidence: float = _option(
        0.5, "guards", "A memory estimate below this confidence shrinks nothing.", unit="share", low=0, high=1
    )
    clock_slack_s: float = _option(
        60.0,
        "guards",
        "An order from further in the future, or a reply this far behind the ones before, is not followed.",
        unit="seconds",
        low=1,
        high=3600,
    )
    pressure_usable_share: float = _option(
        0.08,
        "reflex",
        "Usable memory below this share of what the guest has, or below half of memory_margin_mib, is pressure.",
        unit="share",
        low=0,
        high=0.9,
    )
    pressure_swap_in_kib_s: float = _option(64.0, "reflex", "Swap-in above this is memory pressure.", unit="KiB/s", low=0, high=1e9)
    pressure_major_faults_s: float = _option(
        100.0, "reflex", "Major faults above this, with little usable memory, are memory pressure.", unit="1/s", low=0, high=1e9
    )
    storm_swap_in_kib_s: float = _option(
        2048.0, "reflex", "Swap-in above this is a swap storm: everything is given back.", unit="KiB/s", low=0, high=1e9
    )
    pressure_throttled_share: float = _option(
        0.1, "reflex", "CPU held back by the cap for more than this share of the allocation is starvation …", unit="share", low=0, high=10
    )
    pressure_busy_share: float = _option(
        0.8,
        "reflex",
        "… if the demand is above this share of the allocation too: bursts within one period of the cap (0.1 s) are held back "
        "at low use already.",
        unit="share",
        low=0,
        high=1,
    )
    reflex_growth: float = _option(
        1.5,
        "reflex",
        "Under pressure the allocation is multiplied by this (the tier's own factor of tiers.yaml goes before it) …",
        unit="factor",
        low=1.01,
        high=100,
    )
    reflex_headroom: float = _option(
        1.3, "reflex", "… or the demand by this, whichever is more, up to the entitlement and any hard cap.", unit="factor", low=1, high=100
    )
    log_level: str = _option(
        "info", "log", "Least severity that is logged. Re-read on SIGHUP.", choices=("debug", "info", "warning", "error")
    )

    @property
    def host_name(self) -> str:
        return self.host or gethostname()

    @property
    def spool_path(self) -> Path:
        return Path(self.state_dir) / "spool.sqlite"

    @property
    def token_path(self) -> Path:
        return Path(self.state_dir) / "token"


_KINDS = get_type_hints(Settings)


def load(path: str | Path) -> Settings:
    """Read a file. Raises ConfigError naming file, section and option, and what to write instead."""
    _refuse_unknown(Path(path))
    from oslo_config import cfg  # noqa: PLC0415  not needed where Settings are built in code

    conf = cfg.ConfigOpts()
    for f in fields(Settings):
        conf.register_opt(_oslo(cfg, f), group=f.metadata["group"])
    try:
        conf(args=[], project="foreshape-agent", default_config_files=[str(path)], default_config_dirs=[])
        values = {f.name: getattr(getattr(conf, f.metadata["group"]), f.name) for f in fields(Settings)}
    except (cfg.Error, ValueError) as e:
        raise ConfigError(f"{path}: {_plain(e)}") from e
    return check(Settings(**values), path)


def check(settings: Settings, path: str | Path) -> Settings:
    """Ranges (NaN lies in none), and what no single option can say. Raises ConfigError."""
    for f in fields(Settings):
        low, high, value = f.metadata.get("low"), f.metadata.get("high"), getattr(settings, f.name)
        if low is not None and not low <= value <= high:
            raise ConfigError(
                f"{path}: [{f.metadata['group']}] {f.name} is {value:g}: write a number from {low:g} to {high:g} ({f.metadata['unit']})"
            )
    if not settings.controller_url.startswith(("https://", "http://")):
        raise ConfigError(
            f"{path}: [controller] controller_url is {settings.controller_url!r}: write where the controller listens, such as https://foreshape.example.org:8470"
        )
    if settings.pressure_interval_s > settings.interval_s:
        raise ConfigError(
            f"{path}: [agent] pressure_interval_s is {settings.pressure_interval_s:g}, longer than interval_s ({settings.interval_s:g}): "
            "write a shorter time, or 0 for none"
        )
    return settings


def _oslo(cfg: Any, f: "Field[Any]") -> Any:
    """The oslo.config option of a field."""
    kind, meta = _KINDS[f.name], f.metadata
    if kind is bool:
        return cfg.BoolOpt(f.name, default=f.default, help=meta["help"])
    if kind is int:
        return cfg.IntOpt(f.name, default=f.default, help=meta["help"])
    if kind is float:
        return cfg.FloatOpt(f.name, default=f.default, help=meta["help"])
    return cfg.StrOpt(f.name, default=f.default, choices=meta.get("choices"), help=meta["help"])


def _plain(error: Exception) -> str:
    """One line, without oslo.config's note on where in itself it looked."""
    return re.sub(r" from LocationInfo\(.*\) is not valid", " is not valid", str(error).replace("\n", " ").strip())


def _refuse_unknown(path: Path) -> None:
    """oslo.config passes over what nobody declared: a misspelt option would silently keep its default."""
    known = _groups()
    parser = ConfigParser(interpolation=None, strict=True, default_section="\0")
    try:
        parser.read_string(path.read_text(encoding="utf-8"), source=str(path))
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: cannot be read: {e}") from e
    except ParserError as e:
        raise ConfigError(f"{path}: is not an INI file: {_plain(e)}") from e
    for section in parser.sections():
        if section not in known:
            raise ConfigError(f"{path}: there is no section [{section}]{_nearest(section, known)}")
        for key in parser[section]:
            if key not in known[section]:
                raise ConfigError(f"{path}: there is no option {key} in [{section}]{_nearest(key, known[section], known)}")


def _nearest(word: str, known: "dict[str, Any]", groups: "dict[str, dict[str, Any]] | None" = None) -> str:
    """A hint at the nearest valid name, looked for in the other sections too."""
    near = get_close_matches(word, list(known), n=1)
    if near:
        return f": did you mean {near[0]}?"
    for group, names in (groups or {}).items():
        if word in names:
            return f": it belongs to [{group}]"
    return f": known are {', '.join(known)}"


def _groups() -> "dict[str, dict[str, Any]]":
    groups: dict[str, dict[str, Any]] = {}
    for f in fields(Settings):
        groups.setdefault(f.metadata["group"], {})[f.name] = f
    return groups


def sample_file() -> str:
    """agent.conf with every option commented at its default."""
    return "\n".join(_sample_lines())


def _sample_lines() -> Iterator[str]:
    yield "# Foreshape agent. Every option stands at its default, commented. An unknown section or option is refused at start."
    for group, options in _groups().items():
        yield f"\n[{group}]"
        for name, f in options.items():
            yield ""
            yield from textwrap.wrap(f.metadata["help"], 118, initial_indent="# ", subsequent_indent="# ")
            if note := _range(f):
                yield f"# {note}"
            yield f"#{name} = {_written(f.default)}".rstrip()
    yield ""


def _range(f: "Field[Any]") -> str:
    meta = f.metadata
    if "choices" in meta:
        return "One of: " + ", ".join(meta["choices"])
    if "low" in meta:
        return f"Unit: {meta['unit']}. From {meta['low']:g} to {meta['high']:g}."
    return ""


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

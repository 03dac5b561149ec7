"""Who may do what: oslo.policy's rules, each with its default; ``policy_file`` overrides them. The only place that imports oslo.policy.

A route names its rule (``rule="servers:list"`` in its decorator). A rule is asked with the project that a thing belongs to; handlers of
things that are another project's answer as if they did not exist.
"""

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from oslo_config import cfg
from oslo_policy import policy

from foreshape_controller.errors import ConfigError
from foreshape_controller.log import get_logger
from foreshape_controller.model.caller import Caller

PREFIX = "foreshape:"
REMEMBERED = 4096
"""Decisions kept."""
NEVER = "!"
"""oslo.policy's word for a rule that lets nobody; what it cannot read becomes one, too."""
NOBODYS = "(none)"
"""Project of what belongs to no project: no caller has it, one without a project neither."""
ADMIN = "rule:foreshape:admin"
SYSTEM_READER = "rule:foreshape:system_reader"
READER = "rule:foreshape:reader"
MEMBER = "rule:foreshape:member"
_log = get_logger("policy")

BASE: Mapping[str, tuple[str, str]] = {
    "admin": ("is_local_admin:True or role:admin", "Operators: all of the cloud, and all writes."),
    "system_reader": (f"{ADMIN} or (role:reader and system_scope:all)", "Reads all of the cloud."),
    "reader": (f"{SYSTEM_READER} or (role:reader and project_id:%(project_id)s)", "Reads a project's own things."),
    "member": (f"{ADMIN} or (role:member and project_id:%(project_id)s)", "Changes a project's own things."),
}

ANYBODY = "@"

RULES: Mapping[str, tuple[str, str]] = {
    "session:show": (ANYBODY, "Log in, ask who one is, log out: whoever has a valid token."),
    "servers:list": (READER, "The project's servers: sizes, tier, mode, what they use. Where they run is told as Nova tells it."),
    "servers:show": (READER, "One of them."),
    "servers:why": (READER, "Why it has the size it has."),
    "forecasts:show": (READER, "What a server, or the project, is expected to want."),
    "anomalies:list": (READER, "What stands out in the project's servers."),
    "profiles:show": (READER, "What the project's servers do."),
    "profiles:set": (MEMBER, "Say what a server does."),
    "events:list": (READER, "The project's events, and those of the whole cloud."),
    "events:create": (MEMBER, "Declare or import events for the project's own servers."),
    "events:delete": (MEMBER, "Delete the project's own events."),
    "modes:show": (READER, "How far Foreshape may go with the project and its servers."),
    "modes:set": (MEMBER, "Let Foreshape do less than the operators let it, or take that back: opting out, and in again."),
    "tiers:list": (READER, "What tiers promise."),
    "caps:list": (READER, "Hard caps that hold for the project, its servers, or all servers."),
    "notices:list": (READER, "What the project was told."),
    "reclaims:list": (READER, "What is reclaimed from the project's servers, and what was found."),
    "reclaims:object": (MEMBER, "Object to a reclaim, or take that back."),
    "pools:list": (READER, "The project's pools, and those that all projects share."),
    "pools:claim": (MEMBER, "Take a shadow VM of such a pool."),
    "stream:show": (READER, "What happens to the project's servers, as it happens."),
    "audit:list": (READER, "Who wrote what in the project."),
    "requests:list": (READER, "The project's requests for servers and growth, and what became of them."),
    "requests:create": (MEMBER, "Ask for servers or growth."),
    "requests:change": (MEMBER, "Cancel, decline, take, or accept an alternative of the project's own requests."),
    "requests:approve": (ADMIN, "Let a request be carried out in mode advise."),
    "webhooks:list": (READER, "Where the project is told, and what it was told there."),
    "webhooks:change": (MEMBER, "Be told at a URL of what becomes of the project's requests, or no more."),
    "operator:read": (SYSTEM_READER, "What concerns the cloud as a whole: hosts, plans, models, migrations, reservations."),
    "operator:write": (ADMIN, "Modes, stops, approvals, drains, tiers, and all else that an operator changes."),
    "prices:list": (READER, "What each tier costs."),
    "prices:quote": (READER, "What a size would cost for a time; nothing is ordered."),
    "statements:list": (READER, "What the project used in a month, and what that costs."),
    "overview:read": (READER, "The fleet at one glance; for a tenant, his project."),
}
"""Name -> who by default, and what it is for."""


class Policy:
    """The rules in force. A file that changes is read again; one with a mistake in it changes nothing. Raises ConfigError at the start."""

    def __init__(self, file: str = "") -> None:
        self._file = Path(file) if file else None
        self._enforcer = self._read()
        self._stamp = self._stamped()
        self._decided: dict[tuple[str, Caller, str], bool] = {}

    def may(self, rule: str, caller: Caller, project: str | None = None) -> bool:
        """Whether the rule lets him; ``project``: whose thing it is about, his own where it is not said."""
        self._look_again()
        whose = (caller.project if project is None else project) or NOBODYS
        key = rule, caller, whose
        found = self._decided.get(key)
        if found is None:  # oslo.policy needs half a millisecond
            found = bool(self._enforcer.enforce(f"{PREFIX}{rule}", {"project_id": whose}, credentials(caller)))
            self._decided = {key: found} if len(self._decided) >= REMEMBERED else {**self._decided, key: found}
        return found

    def _look_again(self) -> None:
        if self._file is None or self._stamped() == self._stamp:
            return
        self._stamp = self._stamped()
        try:
            self._enforcer, self._decided = self._read(), {}
            _log.info("policy read", file=str(self._file))
        except ConfigError as e:
            _log.error("policy kept as it was", file=str(self._file), reason=str(e))

    def _stamped(self) -> int:
        try:
            return self._file.stat().st_mtime_ns if self._file else 0
        except OSError:
            return -1

    def _read(self) -> Any:
        conf = cfg.ConfigOpts()
        conf([], project="foreshape", default_config_files=[], default_config_dirs=[])
        enforcer = policy.Enforcer(conf, policy_file="built-in")
        enforcer.register_defaults([policy.RuleDefault(f"{PREFIX}{n}", c, d) for n, (c, d) in {**BASE, **RULES}.items()])
        enforcer.load_rules()
        enforcer.use_conf = False  # else it looks for its file with every question
        if self._file:
            enforcer.set_rules(self._overridden(enforcer.rules), overwrite=False, use_conf=False)
        return enforcer

    def _overridden(self, built_in: Container[str]) -> policy.Rules:
        assert self._file is not None
        where = f"[identity] policy_file: {self._file}"
        try:
            said = policy.parse_file_contents(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as e:
            raise ConfigError(f"{where}: {e}; leave the option empty for the built-in rules") from e
        if not isinstance(said, dict) or not all(isinstance(check, str) for check in said.values()):
            raise ConfigError(f'{where}: every line is a rule\'s name and who it lets, like \'"foreshape:admin": "role:admin"\'')
        for name, check in policy.Rules.from_dict(said).items():
            if name not in built_in:
                raise ConfigError(f"{where}: there is no rule {name!r}: etc/foreshape/policy.yaml has all of them")
            if str(check) == NEVER != said[name].strip():
                raise ConfigError(f"{where}: rule {name!r} cannot be read: {said[name]!r}; see oslo.policy's documentation")
        return policy.Rules.from_dict(said)


def credentials(caller: Caller) -> dict[str, Any]:
    """A caller in oslo.policy's words."""
    return {
        "user_id": caller.user,
        "project_id": caller.project or None,
        "roles": sorted(caller.roles),
        "system_scope": "all" if caller.system else None,
        "is_local_admin": caller.local,
    }


def sample() -> str:
    """The text of ``etc/foreshape/policy.yaml``: every rule at its default, commented."""
    lines = [
        "# Who may do what: oslo.policy's rules. Every rule stands here at its default, commented; uncomment to change.",
        "# The controller reads the file that [identity] policy_file names, and again when it changes; a mistake in it changes nothing.",
        "# A rule asks for roles in Keystone and, where it says project_id, for a token of the project that a thing belongs to.",
    ]
    for title, rules in (("What the rules below are made of", BASE), ("Rules", RULES)):
        lines += ["", f"# -- {title}"]
        for name, (check, what) in rules.items():
            lines += ["", f"# {what}", f'#"{PREFIX}{name}": "{check}"']
    return "\n".join(lines) + "\n"

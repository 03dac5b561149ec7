"""DevStack around the plugin: a machine with a local.conf, on which stack.sh, unstack.sh and clean.sh call what they call.

Programs that the plugin runs are replaced by ones that write down how they were called; files are real, below one folder.
"""

import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PLUGIN = REPOSITORY / "devstack"
STANDINS = Path(__file__).parent
PHASES = ("pre-install", "install", "post-config", "extra", "test-config")

Call = tuple[str, ...]

FIRST_NODE = "key,n-api,n-cpu,placement-api"
SECOND_NODE = "n-cpu,placement-client"

_PROGRAMS = {
    "sudo": 'exec "$@"',
    "hostname": "echo node1",
    "sleep": ":",
}
"""Found before the machine's own."""

_PYTHON = """
case "$1" in
-c) [ ! -e "$WORLD/python-is-old" ] ;;
-m)
    mkdir -p "$3/bin"
    for program in pip foreshape foreshape-agent foreshape-controller; do
        ln -sf "$WORLD/bin/in-venv" "$3/bin/$program"
    done ;;
esac
"""

_IN_VENV = r"""
name=$(basename "$0")
said=""
for word in "$@"; do
    case "$word" in
    /dev/fd/*) word="<$(cat "$word")>" ;;
    esac
    said="$said, \"$word\""
done
echo "[\"$name\"$said]" >>"$CALLS"
case "$name $*" in
foreshape\ *enroll*) [ ! -e "$WORLD/controller-is-dead" ] && echo join-token-of-the-controller ;;
foreshape\ *host\ show*) cat "$WORLD/fresh" ;;
foreshape-agent\ *--enrol*) echo "[\"stdin\", \"$(cat)\"]" >>"$CALLS"; echo token >"$STATE/token" ;;
esac
"""


def table() -> dict[str, tuple[str, str, str]]:
    """DevStack's functions that the plugin may call: name -> file, usage."""
    rows = csv.reader((STANDINS / "devstack_functions.tsv").read_text().splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return {row[0]: (row[1], f"{row[2]} to {row[3]}", row[4]) for row in rows if not row[0].startswith("#")}


@dataclass
class Node:
    """One machine. ``local`` is its local.conf; ``plugin`` may be a copy of the folder that was changed."""

    folder: Path
    services: str = FIRST_NODE
    local: dict[str, str] = field(default_factory=dict)
    plugin: Path = PLUGIN
    real: bool = False
    """The programs of this environment are run, and time passes."""

    def __post_init__(self) -> None:
        for name in ("bin", "units", "opt", "etc/nova", "etc/placement", "etc/keystone", "usr"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "fresh").write_text("True\n")
        python = _PYTHON.replace("$WORLD/bin/in-venv", f"{Path(sys.executable).parent}/$program") if self.real else _PYTHON
        for name, body in (_PROGRAMS | {"python-of-the-test": python, "in-venv": _IN_VENV}).items():
            self.program(name, body)
        if self.real:
            (self.folder / "bin/sleep").unlink()
            self.local = {"OFFLINE": "True", "REAL_PROGRAMS": "yes", "SERVICE_TIMEOUT": "60"} | self.local
            (self.data / "venv").mkdir(parents=True)
            subprocess.run([self.folder / "bin/python-of-the-test", "-m", "venv", self.data / "venv"], check=True, timeout=10)

    def program(self, name: str, body: str) -> None:
        file = self.folder / "bin" / name
        file.write_text(f"#!/bin/bash\n{body}\n")
        file.chmod(0o755)

    @property
    def data(self) -> Path:
        return self.folder / "opt/data/foreshape"

    @property
    def conf(self) -> Path:
        return self.folder / "etc/foreshape"

    @property
    def command(self) -> Path:
        return self.folder / "usr/foreshape"

    @property
    def running(self) -> set[str]:
        return {unit.name for unit in (self.folder / "units").iterdir()}

    def files(self) -> set[str]:
        """Everything that lies on this machine now, but for this harness's own."""
        inner = {"bin", "units", "calls", "fresh"}
        found = (p.relative_to(self.folder) for p in self.folder.rglob("*"))
        return {str(p) for p in found if p.parts[0] not in inner}

    def stack(self, *phases: str) -> list[Call]:
        return self.run(*(f"stack {phase}" for phase in phases or PHASES))

    def unstack(self) -> list[Call]:
        return self.run("unstack")

    def clean(self) -> list[Call]:
        return self.run("clean")

    def run(self, *words: str) -> list[Call]:
        """The calls it made, in order. Raises AssertionError with all that was said if DevStack would have given up."""
        done, calls = self.attempt(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return calls

    def attempt(self, *words: str) -> tuple[subprocess.CompletedProcess[str], list[Call]]:
        """One process, as DevStack has one: settings once, the plugin for each phase; a failing command ends it."""
        log = self.folder / "calls"
        log.unlink(missing_ok=True)
        log.touch()
        lines = [
            'source "$STANDINS/devstack_standins.bash"',
            "set -o errexit -o xtrace",
            f"source {self.plugin}/settings",
            *(f"source {self.plugin}/plugin.sh {word}" for word in words),
            "echo THE END",
        ]
        done = subprocess.run(
            ["bash", "-c", "\n".join(lines)], env=self._environment(), capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode != 0 or "THE END" in done.stdout, "it ended by itself, and called that a success"
        return done, [tuple(json.loads(line)) for line in log.read_text().splitlines()]

    def _environment(self) -> dict[str, str]:
        folder = self.folder
        ours = {
            "PATH": f"{folder}/bin:{os.environ['PATH']}",
            "HOME": str(folder),
            "STANDINS": str(STANDINS),
            "WORLD": str(folder),
            "CALLS": str(folder / "calls"),
            "UNITS": str(folder / "units"),
            "STATE": str(self.data / "agent"),
        }
        devstacks = {
            "ENABLED_SERVICES": self.services,
            "DISABLED_SERVICES": "",
            "VIRT_DRIVER": "libvirt",
            "LIBVIRT_GROUP": "libvirt",
            "STACK_USER": os.environ.get("USER", "root"),
            "OFFLINE": "False",
            "DATA_DIR": f"{folder}/opt/data",
            "SSL_BUNDLE_FILE": f"{folder}/opt/data/ca-bundle.pem",
            "NOVA_CONF_DIR": f"{folder}/etc/nova",
            "NOVA_CONF": f"{folder}/etc/nova/nova.conf",
            "PLACEMENT_CONF_DIR": f"{folder}/etc/placement",
            "KEYSTONE_CONF_DIR": f"{folder}/etc/keystone",
            "KEYSTONE_SERVICE_URI": "http://192.0.2.11/identity",
            "SERVICE_HOST": "192.0.2.11",
            "SERVICE_LISTEN_ADDRESS": "0.0.0.0",
            "SERVICE_TIMEOUT": "1",
            "SERVICE_PASSWORD": "it's secret",
            "SERVICE_PROJECT_NAME": "service",
            "SERVICE_DOMAIN_NAME": "Default",
            "REGION_NAME": "RegionOne",
        }
        settings = {
            "FORESHAPE_CONF_DIR": str(self.conf),
            "FORESHAPE_COMMAND": str(self.command),
            "FORESHAPE_PYTHON": str(folder / "bin" / "python-of-the-test"),
        }
        return ours | devstacks | settings | self.local

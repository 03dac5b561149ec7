"""devstack/packages.sh on machines that it is not: the programs it asks are replaced by ones that tell a story."""

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.functional

DEVSTACK = Path(__file__).parents[2] / "devstack"


class Machine:
    """A Debian with some packages, where the caller is root or not."""

    def __init__(self, folder: Path, *, root: bool, installed: set[str], apt_works: bool = True) -> None:
        self.bin, self.state, self.asked = folder / "bin", folder / "installed", folder / "asked"
        self.bin.mkdir()
        self.state.write_text("".join(f"{p}\n" for p in sorted(installed)))
        self._program("id", f"echo {0 if root else 1000}")
        self._program("dpkg-query", f'for last; do :; done; grep -qx -- "$last" {self.state} && echo "install ok installed"')
        install = f'for w in "$@"; do echo "$w" >> {self.state}; done' if apt_works else "echo no network >&2; exit 100"
        self._program("apt-get", f'echo "$@" >> {self.asked}; case "$*" in *install*) {install};; esac')

    def _program(self, name: str, body: str) -> None:
        file = self.bin / name
        file.write_text(f"#!/bin/bash\n{body}\n")
        file.chmod(0o755)

    def run(self, *arguments: str) -> tuple[int, str]:
        environment = os.environ | {"PATH": f"{self.bin}:{os.environ['PATH']}", "POLICY_RC_D": str(self.state.with_name("policy"))}
        done = subprocess.run(
            ["bash", str(DEVSTACK / "packages.sh"), *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout + done.stderr


def listed(part: str = "") -> set[str]:
    rows = [line.split() for line in (DEVSTACK / "packages.txt").read_text().splitlines() if line and not line.startswith("#")]
    return {name for name, its_part, *why in rows if part in {"", its_part} and why}


def test_every_package_names_its_part_and_its_reason() -> None:
    rows = [line.split() for line in (DEVSTACK / "packages.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(len(row) > 2 and row[1] in {"build", "lab", "units", "web", "past", "pg", "cloud"} for row in rows)


def test_where_everything_is_installed_it_says_nothing_and_asks_apt_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path, root=True, installed=listed())
    assert machine.run() == (0, "")
    assert not machine.asked.exists()


def test_root_gets_what_is_missing_after_one_update(tmp_path: Path) -> None:
    machine = Machine(tmp_path, root=True, installed=listed() - {"gcc", "cpio"})
    code, text = machine.run()
    assert (code, text.strip()) == (0, "packages: installing gcc cpio")
    update, install = machine.asked.read_text().splitlines()
    assert update.endswith("update")
    assert install.endswith("install gcc cpio")


def test_others_are_told_what_is_missing_and_what_to_type(tmp_path: Path) -> None:
    machine = Machine(tmp_path, root=False, installed=listed() - {"gcc"})
    code, text = machine.run()
    assert code == 0
    assert text.splitlines() == [
        "packages: missing: gcc",
        "packages: install them as root: apt-get install -y --no-install-recommends gcc",
    ]
    assert not machine.asked.exists()


def test_required_packages_that_are_missing_are_a_failure(tmp_path: Path) -> None:
    code, _ = Machine(tmp_path, root=False, installed=listed() - {"gcc"}).run("--require", "build")
    assert code == 1


def test_only_the_parts_asked_for_count(tmp_path: Path) -> None:
    machine = Machine(tmp_path, root=False, installed=listed("build"))
    assert machine.run("--require", "build") == (0, "")
    assert machine.run("--require", "lab")[0] == 1


def test_a_failing_apt_is_told_and_fails_only_where_packages_are_required(tmp_path: Path) -> None:
    machine = Machine(tmp_path, root=True, installed=set(), apt_works=False)
    code, text = machine.run("lab")
    assert code == 0
    assert "no network" in text
    assert "packages: apt-get failed, see above" in text
    assert "packages: missing: " + " ".join(sorted(listed("lab"))) in text
    assert machine.run("--require", "lab")[0] == 1

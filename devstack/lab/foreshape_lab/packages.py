"""What the lab needs of the machine: root, and Debian's packages (listed in devstack/packages.txt)."""

import os
import platform
from pathlib import Path

from foreshape_lab.errors import LabError, Missing
from foreshape_lab.shell import run

INSTALLER = Path(__file__).parents[2] / "packages.sh"


def ensure() -> None:
    """Make sure that the lab can run here; installs packages when root. Raises Missing with what to do."""
    if platform.machine() != "x86_64":
        raise Missing(f"the lab's guests are x86-64; this machine is {platform.machine()}")
    lacking = install()
    if os.geteuid() != 0:
        raise Missing(f"the lab makes namespaces, cgroups and mounts: run it as root. {lacking}".strip())
    if lacking:
        raise Missing(lacking)


def install() -> str:
    """Install what is missing when root; what is missing afterwards, in words for people."""
    try:
        run([INSTALLER, "--require", "build", "lab"], timeout_s=1200)
    except LabError as e:
        return str(e).partition("): ")[2]
    return ""


def unpack(package: str, into: Path) -> None:
    """Fetch one Debian package and unpack it into a folder, without installing it: it is for the guest, not for this machine."""
    into.mkdir(parents=True, exist_ok=True)
    try:
        download(package, into)
    except LabError as e:
        raise Missing(f"could not fetch the Debian package {package} for the guest image: {e}") from e
    for archive in into.glob("*.deb"):
        run(["dpkg", "-x", archive, into])
        archive.unlink()


def download(package: str, into: Path) -> None:
    """apt-get download; with a fresh list of packages when the first try fails."""
    try:
        run(["apt-get", "-qq", "download", package], cwd=into, timeout_s=300)
    except LabError:
        run(["apt-get", "-qq", "update"], timeout_s=300)
        run(["apt-get", "-qq", "download", package], cwd=into, timeout_s=300)

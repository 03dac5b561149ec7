"""What pip would install: the wheel, built offline from this tree."""

import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from email.parser import Parser
from pathlib import Path

import pytest

pytestmark = pytest.mark.functional

ROOT = Path(__file__).parents[2]
INTO_THE_WHEEL = ("pyproject.toml", "README.md", "LICENSE", "agent", "controller")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built from a copy, so that no build folder is left in the tree and no stale one is taken along."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in INTO_THE_WHEEL:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / name, source / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-index",
        "--no-build-isolation",
        "--no-deps",
        "--wheel-dir",
        str(out),
        str(source),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return zipfile.ZipFile(next(out.glob("foreshape-*.whl")))


def test_every_python_file_of_the_tree_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    """A folder without __init__.py would silently be left out."""
    tree = {str(p.relative_to(ROOT / side)) for side in ("agent", "controller") for p in (ROOT / side).rglob("*.py")}
    assert tree - set(wheel.namelist()) == set()


def test_every_data_file_that_the_programs_read_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    data = {
        str(p.relative_to(ROOT / side))
        for side in ("agent", "controller")
        for p in (ROOT / side).rglob("*")
        if p.is_file() and p.suffix not in {".py", ".pyc"} and ".egg-info" not in str(p)
    }
    assert {f"{package}/py.typed" for package in ("foreshape_wire", "foreshape_agent", "foreshape_controller", "foreshape_demo")} <= data
    assert data - set(wheel.namelist()) == set()


def test_the_wheel_carries_licence_programs_and_the_three_extras(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    entries = ConfigParser()
    entries.read_string(wheel.read(next(n for n in names if n.endswith("entry_points.txt"))).decode())
    assert set(entries["console_scripts"]) == {"foreshape", "foreshape-agent", "foreshape-controller"}
    metadata = Parser().parsestr(wheel.read(next(n for n in names if n.endswith(".dist-info/METADATA"))).decode())
    assert {"agent", "controller", "dev"} <= set(metadata.get_all("Provides-Extra") or [])
    assert metadata["License-Expression"] == "Apache-2.0"


def test_the_agents_extra_asks_for_none_of_the_controllers_libraries(wheel: zipfile.ZipFile) -> None:
    metadata = Parser().parsestr(wheel.read(next(n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))).decode())
    asked = {
        r.split(";")[0].strip().split(">")[0].lower()
        for r in metadata.get_all("Requires-Dist") or []
        if 'extra == "agent"' in r or "extra" not in r
    }
    assert "libvirt-python" in asked
    assert asked & {"numpy", "litestar", "sqlalchemy", "torch", "openstacksdk", "uvicorn", "pyarrow"} == set()

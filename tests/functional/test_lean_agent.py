"""An agent lives on a hypervisor beside paying guests: it must not drag the controller's libraries along."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.functional

HEAVY = frozenset(
    [
        "numpy",
        "torch",
        "litestar",
        "uvicorn",
        "sqlalchemy",
        "alembic",
        "openstack",
        "keystoneauth1",
        "apscheduler",
        "cliff",
        "pyarrow",
        "foreshape_controller",
    ]
)

BLOCK = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""
"""Makes libraries look as if they were not installed."""


def modules_after(statement: str, absent: frozenset[str] = frozenset()) -> set[str]:
    """Top-level modules that a fresh interpreter holds after one statement; those of ``absent`` cannot be imported in it."""
    tell = "import json\nprint(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    script = f"{BLOCK.format(absent=set(absent))}\n{statement}\n{tell}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_agent_starts_where_none_of_the_controllers_libraries_is_installed() -> None:
    loaded = modules_after("import foreshape_agent.main", absent=HEAVY)
    assert "foreshape_wire" in loaded
    assert loaded & HEAVY == set()


def test_the_agent_itself_asks_for_none_of_them_even_where_they_are_installed() -> None:
    assert modules_after("import foreshape_agent.main") & HEAVY == set()


def test_a_library_that_looks_absent_cannot_be_imported() -> None:
    """The check above can fail."""
    with pytest.raises(AssertionError, match="No module named 'numpy'"):
        modules_after("import foreshape_controller.forecast.baseline", absent=frozenset({"numpy"}))


def test_the_wire_alone_loads_msgspec_and_none_of_the_agents_libraries() -> None:
    loaded = modules_after("import foreshape_wire.codec")
    assert "msgspec" in loaded
    assert loaded & (HEAVY | {"libvirt", "psutil", "httpx", "sqlite_utils", "oslo_config", "structlog", "foreshape_agent"}) == set()


def test_the_controller_starts_without_the_agents_libraries() -> None:
    assert modules_after("import foreshape_controller.main") & {"libvirt", "sqlite_utils", "foreshape_agent"} == set()


@pytest.mark.parametrize(
    ("module", "call", "absent", "program", "extra"),
    [
        ("foreshape_controller.start", "operator", "cliff", "foreshape", "controller"),
        ("foreshape_controller.start", "controller", "litestar", "foreshape-controller", "controller"),
        ("foreshape_agent.start", "main", "libvirt", "foreshape-agent", "agent"),
    ],
)
def test_a_program_without_its_libraries_says_what_to_install(module: str, call: str, absent: str, program: str, extra: str) -> None:
    script = f"{BLOCK.format(absent={absent})}\nfrom {module} import {call}\nsys.exit({call}())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr == f"{program}: {absent} is not installed here; install it with: pip install 'foreshape[{extra}]'\n"

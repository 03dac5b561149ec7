"""An agent lives on a hypervisor beside paying guests: it must not drag the controller's libraries along."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.functional

HEAVY = {
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
}


def modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after one statement."""
    script = f"import sys, json\n{statement}\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_agent_starts_without_any_of_the_controllers_libraries() -> None:
    loaded = modules_after("import foreshape_agent.main")
    assert "foreshape_wire" in loaded
    assert loaded & HEAVY == set()


def test_the_wire_alone_loads_msgspec_and_none_of_the_agents_libraries() -> None:
    loaded = modules_after("import foreshape_wire.codec")
    assert "msgspec" in loaded
    assert loaded & (HEAVY | {"libvirt", "psutil", "httpx", "sqlite_utils", "oslo_config", "structlog", "foreshape_agent"}) == set()


def test_the_controller_starts_without_the_agents_libraries() -> None:
    assert modules_after("import foreshape_controller.main") & {"libvirt", "sqlite_utils", "foreshape_agent"} == set()

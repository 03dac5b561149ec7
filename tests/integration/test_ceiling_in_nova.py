"""The ceiling in the real nova-compute's code: Nova from PyPI loads the driver, and writes domains with it."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from foreshape_cloudbed import environment
from foreshape_lab import Missing

from foreshape_agent.domain_xml import parse

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def python() -> Path:
    """Nova's own."""
    try:
        environment.install()
    except Missing as e:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(e))
    return environment.PYTHON


def test_nova_defines_domains_that_can_grow_where_the_flavor_says_so_and_boots_the_others_as_ever(python: Path) -> None:
    """2 vCPUs, 2048 MiB: with a ceiling, without one, and with one that makes no sense."""
    flavors = [{"foreshape:max_vcpus": "4", "foreshape:max_memory_mb": "4096"}, {}, {"foreshape:max_vcpus": "many"}]
    words = [python, ROOT / "tests/support/ceiling_inside_nova.py", json.dumps(flavors)]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "agent"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    grows, plain, odd = map(parse, json.loads(done.stdout))
    assert (grows.vcpus, grows.max_vcpus) == (2, 4)
    assert grows.virtio is not None
    assert grows.virtio.size == 2048
    assert (plain.max_vcpus, plain.virtio) == (odd.max_vcpus, odd.virtio) == (2, None)

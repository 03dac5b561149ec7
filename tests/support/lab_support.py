"""Real beds for tests: each module its own, under a name nobody else has, taken down whatever happens.

@pytest.fixture(scope="module")
def bed():
    with a_bed(hosts=2) as bed:
        yield bed
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from foreshape_lab import Bed, Missing, packages


@contextmanager
def a_bed(hosts: int = 1) -> Iterator[Bed]:
    """Hosts that are up. Skips, saying why, where a bed cannot be made; under CI conftest.py turns that into a failure."""
    try:
        packages.ensure()
    except Missing as e:
        pytest.skip(str(e))
    with Bed(f"t{os.getpid():x}{secrets.token_hex(2)}", hosts) as bed:
        yield bed

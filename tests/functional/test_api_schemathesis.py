"""The published description against the running service: no fault, no status that is not described, answers as they are described.

schemathesis tries every route with generated input, sound and unsound; what writes is let loose on a store of its own.
``FORESHAPE_EXAMPLES=10000`` makes it that many requests at least; otherwise it is a look of bounded time.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzz_support import Filled, filled
from tenants_support import MEMBER

pytestmark = pytest.mark.functional

EXAMPLES = int(os.environ.get("FORESHAPE_EXAMPLES", "0"))
LOOKS_S = (15, 60, 240)
"""For each of two callers."""
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
LEFT_OUT = ("/v1/stream", "/v1/session")
"""A stream has no end, and a session that ends takes the token's rights with it; both have tests of their own."""
LOOK = ("--phases", "examples,coverage,fuzzing", "--max-examples", "2", "--seed", "1")
ROUTES = 120
"""About as many as there are."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    with filled(tmp_path_factory.mktemp("schemathesis")) as made:
        yield made


def fuzz(service: Filled, folder: Path, *options: str, **headers: str) -> str:
    """What schemathesis says. Raises AssertionError with all of it where it found something."""
    program = (str(Path(sys.executable).parent / "schemathesis"), "run", f"{service.url}/schema/openapi.json", "--url", service.url)
    chosen = ("--checks", ",".join(CHECKS), "--mode", "all", "--continue-on-failure", "--no-color", "--request-timeout", "30")
    left = [word for path in LEFT_OUT for word in ("--exclude-path", path)]
    said = [word for name, value in headers.items() for word in ("-H", f"{name.replace('_', '-')}: {value}")]
    done = subprocess.run([*program, *chosen, *left, *said, *options], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    return done.stdout


def tried(told: str) -> int:
    """How many requests were made, as it says in its summary."""
    found = re.search(r"(\d+) generated", told)
    assert found, told[-2000:]
    return int(found.group(1))


def look(service: Filled, folder: Path, **headers: str) -> int:
    """Requests made. A machine that has other work needs longer for as many."""
    return next((n for s in LOOKS_S if (n := tried(fuzz(service, folder, *LOOK, "--max-time", str(s), **headers))) > ROUTES), 0)


@pytest.mark.skipif(EXAMPLES > 0, reason="the long look is taken instead")
def test_what_is_described_is_what_happens(service: Filled, tmp_path: Path) -> None:
    assert look(service, tmp_path, Authorization=f"Bearer {service.program.admin_token}")


@pytest.mark.skipif(EXAMPLES > 0, reason="the long look is taken instead")
def test_for_a_tenant_too(service: Filled, tmp_path: Path) -> None:
    assert look(service, tmp_path, X_Auth_Token=MEMBER["X-Auth-Token"])


@pytest.mark.skipif(EXAMPLES == 0, reason="a long look: set FORESHAPE_EXAMPLES=10000")
@pytest.mark.parametrize("who", ["operator", "tenant"])
@pytest.mark.timeout(7200)
def test_however_often_it_is_tried(service: Filled, tmp_path: Path, who: str) -> None:
    options = ("--phases", "examples,coverage,fuzzing", "--max-examples", str(1 + EXAMPLES // ROUTES))
    tokens = {"operator": {"Authorization": f"Bearer {service.program.admin_token}"}, "tenant": {"X_Auth_Token": MEMBER["X-Auth-Token"]}}
    assert tried(fuzz(service, tmp_path, *options, **tokens[who])) >= EXAMPLES

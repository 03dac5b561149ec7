"""The API's own description is whole: every route says what it is for, who may ask, what it answers and how it refuses."""

from collections.abc import Iterator
from typing import Any

import pytest

from foreshape_controller.api import problems
from foreshape_controller.api.openapi import described
from reference_support import controller

pytestmark = pytest.mark.contract

ERRORS = {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}


@pytest.fixture(scope="module")
def schema() -> Iterator[dict[str, Any]]:
    with controller() as program:
        yield described(program.app)


def routes(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in schema["paths"].items():
        yield from ((f"{m.upper()} {path}", o) for m, o in item.items() if m in ("get", "put", "post", "delete"))


def test_operations_have_ids_of_their_own_a_tag_and_a_sentence(schema: dict[str, Any]) -> None:
    found = dict(routes(schema))
    assert len({o["operationId"] for o in found.values()}) == len(found) > 100
    for name, operation in found.items():
        assert operation.get("summary") or operation.get("description"), name
        if name.split()[1].startswith("/v1/") and "agents" not in name and "reports" not in name:
            assert operation.get("tags"), name


def test_every_route_says_who_may_ask_and_how_it_refuses(schema: dict[str, Any]) -> None:
    for name, operation in routes(schema):
        assert "security" in operation, name
        method, statuses = name.split()[0], set(operation["responses"])
        if operation["security"]:
            assert {"401", "403"} <= statuses, name
        if name.split()[1] in ("/healthz", "/readyz", "/metrics"):
            continue
        assert {"400", "404", "409", "429", "503"} <= statuses, name
        assert method not in ("PUT", "DELETE") or "412" in statuses, name
        assert method not in ("PUT", "POST") or {"413", "415"} <= statuses, name
        assert method != "POST" or "422" in statuses, name
        for status in statuses - {s for s in statuses if s < "400"}:
            assert operation["responses"][status]["content"] == ERRORS["content"], (name, status)


def test_schemes_that_are_asked_for_exist(schema: dict[str, Any]) -> None:
    wanted = {scheme for _, o in routes(schema) for way in o["security"] for scheme in way}
    assert wanted <= schema["components"]["securitySchemes"].keys()


def test_the_codes_of_problems_are_those_that_are_listed(schema: dict[str, Any]) -> None:
    listed = {e["code"] for e in schema["x-errors"]}
    assert listed == set(schema["components"]["schemas"]["Problem"]["properties"]["code"]["enum"])
    assert {c.code for c in problems.STATUS} <= listed
    assert all(e["meaning"] and e["title"] for e in schema["x-errors"])


def test_writes_may_be_repeated_and_lists_read_in_parts(schema: dict[str, Any]) -> None:
    found = dict(routes(schema))
    names = {name: {p["name"] for p in o.get("parameters", ())} for name, o in found.items()}
    assert "Idempotency-Key" in names["POST /v1/events"]
    assert "If-Match" in names["PUT /v1/choices/{of}"]
    assert {"limit", "marker", "project", "name", "tier"} <= names["GET /v1/servers"]

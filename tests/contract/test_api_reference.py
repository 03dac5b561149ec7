"""The page of the API is the API."""

import pytest

from foreshape_controller.api.reference import reference
from reference_support import PAGE, page

pytestmark = pytest.mark.contract


def test_the_page_is_made_from_the_api_as_it_is():
    assert PAGE.read_text(encoding="utf-8") == page(), "docs/api.md is not what the API says: run 'make reference'"


def test_a_route_says_its_parameters_its_body_and_its_answers():
    told = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}}
    operation = {
        "tags": ["things"],
        "summary": "Make",
        "description": "Make a\nthing.",
        "parameters": [{"name": "limit", "in": "query", "schema": {"type": "integer"}, "description": "so many"}],
        "requestBody": told,
        "responses": {"201": told, "404": {"content": {"application/problem+json": {"schema": {"$ref": "#/x/Problem"}}}}},
    }
    thing = {"properties": {"name": {"type": "string"}, "of": {"oneOf": [{"type": "null"}, {"type": "integer"}]}}, "required": ["name"]}
    made = reference({"paths": {"/v1/things": {"post": operation}}, "components": {"schemas": {"Thing": thing}}})
    assert "## things\n\n### POST /v1/things\n\nMake a thing.\n" in made
    assert "- `limit` (query, integer, optional): so many\n- body: `Thing` (application/json)\n- answers: **201** `Thing`, 404\n" in made
    assert "### Thing\n\n- `name`: string\n- `of`: null or integer, optional\n" in made

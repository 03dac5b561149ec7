"""The API reference as a page, from the API's own description: ``make reference`` writes docs/api.md."""

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]
METHODS = ("get", "put", "post", "delete", "patch")
HEAD = """# The API

Made from the API's own description by `make reference`; the description itself is served at `/schema/openapi.json`, and is what a
program should read. Every route speaks JSON. Errors are problem documents (RFC 9457, `application/problem+json`) with a stable `code`.

Who asks is told by `X-Auth-Token` (a token of Keystone's) or by `Authorization: Bearer` (the controller's own admin token, for operators).
A tenant sees his own project; what belongs to another looks like what does not exist.
"""


def reference(schema: Schema) -> str:
    """The description (OpenAPI 3.1, as a mapping) as a page of Markdown: routes by tag, then the messages they speak of."""
    parts = [HEAD, *_errors(schema)]
    for tag, found in sorted(_by_tag(schema).items()):
        parts.append(f"\n## {tag}\n")
        parts += [_route(path, method, operation) for path, method, operation in found]
    parts.append("\n## Messages\n")
    parts += [_message(name, told) for name, told in sorted(schema.get("components", {}).get("schemas", {}).items())]
    return "\n".join(parts).rstrip() + "\n"


def _errors(schema: Schema) -> Iterator[str]:
    if schema.get("x-errors"):
        rows = "\n".join(f"| {e['status']} | `{e['code']}` | {e['meaning']} |" for e in schema["x-errors"])
        yield f"\n## Errors\n\n| status | code | meaning |\n|---|---|---|\n{rows}\n"


def _by_tag(schema: Schema) -> dict[str, list[tuple[str, str, Schema]]]:
    found: dict[str, list[tuple[str, str, Schema]]] = {}
    for path, item in sorted(schema["paths"].items()):
        for method in (m for m in METHODS if m in item):
            tag = (item[method].get("tags") or ["other"])[0]
            found.setdefault(tag, []).append((path, method, item[method]))
    return found


def _route(path: str, method: str, operation: Schema) -> str:
    said = _line(operation.get("description") or operation.get("summary") or "")
    lines = [f"### {method.upper()} {path}\n", *([f"{said}\n"] if said else [])]
    lines += [f"- {p}" for p in _parameters(operation)]
    body = operation.get("requestBody", {}).get("content", {})
    if body:
        kinds = (f"{_type(told.get('schema', {}))} ({kind})" for kind, told in body.items())
        lines.append(f"- body: {' or '.join(kinds)}")
    lines.append(f"- answers: {', '.join(_answers(operation))}\n")
    return "\n".join(lines)


def _parameters(operation: Schema) -> Iterator[str]:
    for p in operation.get("parameters", ()):
        must = "" if p.get("required") else ", optional"
        said = _line(p.get("description") or "")
        yield f"`{p['name']}` ({p['in']}, {_type(p.get('schema', {}))}{must}){f': {said}' if said else ''}"


def _answers(operation: Schema) -> Iterator[str]:
    for status, told in sorted(operation.get("responses", {}).items()):
        kinds = {_type(media.get("schema", {})) for media in (told.get("content") or {}).values()}
        shown = " or ".join(sorted(kinds - {"any", "nothing"}))
        yield f"**{status}** {shown}".rstrip() if "Problem" not in shown else status


def _message(name: str, told: Schema) -> str:
    lines = [f"### {name}\n"]
    if told.get("description"):
        lines.append(f"{_line(told['description'])}\n")
    if told.get("enum"):
        lines.append(f"One of {', '.join(f'`{v}`' for v in told['enum'])}.\n")
    must = set(told.get("required", ()))
    lines += [f"- `{field}`: {_type(kind)}{'' if field in must else ', optional'}{_about(kind)}" for field, kind in _fields(told)]
    return "\n".join(lines) + "\n"


def _fields(told: Schema) -> list[tuple[str, Schema]]:
    return list((told.get("properties") or {}).items())


def _about(kind: Schema) -> str:
    return f": {_line(kind['description'])}" if kind.get("description") else ""


def _type(kind: Schema) -> str:
    """A type in words."""
    if "$ref" in kind:
        return f"`{kind['$ref'].rsplit('/', 1)[-1]}`"
    several = kind.get("oneOf") or kind.get("anyOf")
    if several:
        return " or ".join(dict.fromkeys(_type(k) for k in several))
    if kind.get("type") == "array":
        return f"list of {_type(kind.get('items', {}))}"
    if kind.get("enum"):
        return " or ".join(f"`{v}`" for v in kind["enum"])
    named = kind.get("type", "any")
    return " or ".join(named) if isinstance(named, list) else str(named)


def _line(text: str) -> str:
    return " ".join(text.split())

"""What the documents name must exist: files, functions, verbs, commands and options."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.contract

ROOT = Path(__file__).parents[2]
GENERATED = "docs/api.md"
PAGES = (
    "README.md",
    "CHANGELOG.md",
    "devstack/README.md",
    *sorted(name for p in (ROOT / "docs").glob("*.md") if (name := f"docs/{p.name}") != GENERATED),
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def page(name: str) -> str:
    return (ROOT / name).read_text()


def spans(text: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`\n]+)`", text)


def walk() -> Iterator[tuple[str, str]]:
    """File and name of every row of the walk of one sample."""
    section = page("docs/development.md").split("## The walk of one sample")[1].split("\n## ")[0]
    for line in section.splitlines():
        if line.startswith("| ") and "`" in line:
            file, *names = spans(line)
            for name in names:
                yield file, name


def defined(file: Path) -> set[str]:
    """Every class and function of a file, methods included."""
    return {n.name for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(("file", "name"), list(walk()))
def test_the_walk_names_functions_that_exist(file: str, name: str) -> None:
    assert name in defined(ROOT / file)


def test_the_walk_goes_through_both_programs() -> None:
    files = {file.split("/")[1] for file, _ in walk()}
    assert files == {"foreshape_agent", "foreshape_wire", "foreshape_controller"}


@pytest.mark.parametrize("name", PAGES)
def test_every_path_on_a_page_exists(name: str) -> None:
    paths = [s for s in spans(page(name)) if re.fullmatch(r"(agent|controller|tests|docs|etc|devstack|systemd|bench)/[\w./*-]*", s)]
    assert [p for p in paths if not list(ROOT.glob(p.rstrip("/")))] == []


def anchors(text: str) -> set[str]:
    """Of its headings, as renderers make them."""
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


@pytest.mark.parametrize("name", PAGES)
def test_every_link_on_a_page_leads_somewhere(name: str) -> None:
    for path, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page(name)):
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.is_file(), path
        assert not anchor or anchor in anchors(target.read_text()), f"{path}#{anchor}"


@pytest.mark.parametrize("name", PAGES)
def test_every_make_verb_on_a_page_exists(name: str) -> None:
    verbs = set(re.findall(r"^([a-z-]+):", page("Makefile"), re.MULTILINE))
    said = set(re.findall(r"(?:`|^    )make ([a-z-]+)", page(name), re.MULTILINE))
    assert said - verbs == set()


def said_commands(text: str) -> set[tuple[str, ...]]:
    """Words after ``foreshape`` in code, up to the first argument."""
    lines = re.findall(r"(?:`|^ {4}|; )foreshape ([a-z][^`\n]*)", text, re.MULTILINE)
    return {tuple(w for w in re.split(r"[^a-z -]", line)[0].split()[:2]) for line in lines}


@pytest.mark.parametrize("name", PAGES)
def test_every_foreshape_command_on_a_page_exists(name: str) -> None:
    commands = {tuple(entry.split("_")) for entry in PROJECT["entry-points"]["foreshape.cli"]}
    groups = {command[:1] for command in commands}
    for words in said_commands(page(name)):
        assert words in commands or words[:1] in commands or (words in groups and len(words) == 1), f"foreshape {' '.join(words)}"


def test_a_new_user_s_page_stays_short() -> None:
    assert len(page("README.md").splitlines()) <= 200


def test_every_guide_can_be_found_from_the_first_page() -> None:
    """In one step, or in two."""
    seen = {"README.md"}
    for _ in range(2):
        for name in list(seen):
            found = [target for target, _ in re.findall(r"\]\(([^)#:]+)(#[^)]*)?\)", page(name))]
            seen |= {str(p.resolve().relative_to(ROOT)) for link in found if (p := (ROOT / name).parent / link).suffix == ".md"}
    assert {*PAGES, GENERATED} - seen == set()


def declared_options() -> set[str]:
    """Options that stand in the configuration files, commented at their default."""
    files = ("etc/foreshape/agent.conf", "etc/foreshape/controller.conf")
    return {o for f in files for o in re.findall(r"^#?(\w+) = ?", page(f), re.MULTILINE)}


def test_every_option_that_the_operators_guide_sets_exists() -> None:
    said = set(re.findall(r"^\s*(\w+) = ", page("docs/operating.md"), re.MULTILINE)) | set(
        re.findall(r"`(\w+_\w+) = ", page("docs/operating.md"))
    )
    assert said
    assert said - declared_options() == set()


def test_every_file_of_a_unit_stands_in_the_operators_guide() -> None:
    guide = page("docs/operating.md")
    for file in (ROOT / "systemd").rglob("*.conf"):
        assert str(file.relative_to(ROOT)) in guide or f"{file.parent.relative_to(ROOT)}/" in guide, file


def trouble_words() -> list[str]:
    """What the table of troubles quotes from logs and answers, without commands; a quotation may leave something out with …"""
    section = page("docs/operating.md").split("## When something is wrong")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    quoted = [span for row in rows for span in spans(row) if not span.startswith("foreshape ")]
    return sorted({part.strip() for span in quoted for part in span.split("…") if part.strip()})


@pytest.mark.parametrize("words", trouble_words())
def test_the_words_that_an_operator_is_told_to_look_for_are_written_by_the_programs(words: str) -> None:
    sources = (p for side in ("agent", "controller") for p in (ROOT / side).rglob("*.py"))
    assert any(words in source.read_text() for source in sources)

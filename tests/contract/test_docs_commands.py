"""Commands as the guides write them: each is taken by the command's own parser, so that every option and argument in a guide exists."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

pytestmark = pytest.mark.contract

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / name for name in ("README.md", "CHANGELOG.md", "devstack/README.md"))])
POINTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
COMMANDS = {tuple(name.split("_")): where for name, where in POINTS["foreshape.cli"].items()}
SHAPED = {tuple(name.split("_")[1:]) for name in POINTS["openstack.shape.v1"]}
"""What the OpenStack client has of them."""
OURS, THEIRS = r"(?:\.venv/bin/)?foreshape", r"openstack(?: --\S+ \S+)* shape"
GLOBAL = re.compile(r"^foreshape --(?:url|token-file|ca-file) \S+ ")


def lines(page: Path, program: str) -> list[str]:
    """Of code blocks, indented or fenced, without what stands beside them as a comment or as an explanation; all as commands of ours."""
    found = re.findall(rf"^(?: {{4}}| {{7}})?({program} [a-z-].*)$", page.read_text(), re.MULTILINE)
    alone = [command for line in found for command in re.split(r"\s+#|\s{4,}| > ", line)[0].split("; ")]
    return [re.sub(f"^{program} ", "foreshape ", command).rstrip() for command in alone]


def variants(line: str) -> Iterator[str]:
    """One command for each that a line stands for: ``a | b`` says two of one kind, ``[x | y]`` may be left out or be x, ``X...`` one X."""
    line = GLOBAL.sub("foreshape ", line).replace("...", "")
    if bracket := re.search(r"\[([^\[\]]*)\]", line):
        for inner in ("", *bracket.group(1).split(" | ")):
            yield from variants(line.replace(bracket.group(0), inner, 1))
    elif " | " in line:
        first, *others = line.split(" | ")
        yield first
        for other in others:
            alone = tuple(other.split()[:2]) in COMMANDS or other.split()[0] in {name[0] for name in COMMANDS if len(name) == 1}
            if other.startswith("--"):
                yield f"{' '.join(first.split()[:3])} {other}"
            else:
                yield f"foreshape {other}" if alone else f"{' '.join(first.split()[:2])} {other}"
    else:
        yield line


def every(program: str = OURS) -> list[tuple[str, str]]:
    return sorted({(page.name, v) for page in PAGES for line in lines(page, program) for v in variants(line)})


def named(command: str) -> tuple[tuple[str, ...], list[str]]:
    """Which command it is; all of its words."""
    _, *words = shlex.split(command)
    return tuple(words[:2]) if tuple(words[:2]) in COMMANDS else tuple(words[:1]), words


def parse(command: str) -> None:
    """Raises SystemExit for what argparse does not take, KeyError for a command that does not exist."""
    name, words = named(command)
    module, cls = COMMANDS[name].split(":")
    getattr(import_module(module), cls)(None, None).get_parser(f"foreshape {' '.join(name)}").parse_args(words[len(name) :])


def test_there_are_commands_on_every_guide() -> None:
    assert {page for page, _ in every()} >= {"README.md", "operating.md", "openstack.md", "pools.md", "pricing.md"}
    assert {page for page, _ in every(THEIRS)} >= {"tenants.md"}


@pytest.mark.parametrize(("page", "command"), every())
def test_the_command_takes_what_the_guide_gives_it(page: str, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        parse(command)
    except SystemExit:
        pytest.fail(f"{command}\n{capsys.readouterr().err}")


@pytest.mark.parametrize(("page", "command"), every(THEIRS))
def test_the_openstack_client_takes_what_the_guide_gives_it(page: str, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert named(command)[0] in SHAPED
    try:
        parse(command)
    except SystemExit:
        pytest.fail(f"openstack shape, as {command}\n{capsys.readouterr().err}")


def test_what_a_guide_gets_wrong_is_found() -> None:
    with pytest.raises(SystemExit):
        parse("foreshape host list --no-such-option")
    with pytest.raises(KeyError):
        parse("foreshape no-such-command")

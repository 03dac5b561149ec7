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
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "devstack" / "README.md"])
COMMANDS = {
    tuple(name.split("_")): where
    for name, where in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["foreshape.cli"].items()
}
GLOBAL = re.compile(r"^foreshape --(?:url|token-file|ca-file) \S+ ")


def lines(page: Path) -> list[str]:
    """Of code blocks, indented or fenced, without what stands beside them as a comment or as an explanation."""
    found = re.findall(r"^(?: {4}| {7})?(foreshape [a-z-].*)$", page.read_text(), re.MULTILINE)
    alone = [command for line in found for command in line.split("; ")]
    return [re.split(r"\s+#|\s{4,}", command)[0].rstrip() for command in alone]


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


def every() -> list[tuple[str, str]]:
    return sorted({(page.name, v) for page in PAGES for line in lines(page) for v in variants(line)})


def parse(command: str) -> None:
    """Raises SystemExit for what argparse does not take, KeyError for a command that does not exist."""
    _, *words = shlex.split(command)
    name = tuple(words[:2]) if tuple(words[:2]) in COMMANDS else tuple(words[:1])
    module, cls = COMMANDS[name].split(":")
    getattr(import_module(module), cls)(None, None).get_parser("foreshape").parse_args(words[len(name) :])


def test_there_are_commands_on_every_guide() -> None:
    assert {page for page, _ in every()} >= {"operating.md", "openstack.md", "pools.md"}


@pytest.mark.parametrize(("page", "command"), every())
def test_the_command_takes_what_the_guide_gives_it(page: str, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        parse(command)
    except SystemExit:
        pytest.fail(f"{command}\n{capsys.readouterr().err}")


def test_what_a_guide_gets_wrong_is_found() -> None:
    with pytest.raises(SystemExit):
        parse("foreshape host list --no-such-option")
    with pytest.raises(KeyError):
        parse("foreshape no-such-command")

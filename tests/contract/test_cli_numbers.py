"""Every numeric option of every command: what is no number, or none that makes sense, is a sentence and exit code 2, never a traceback."""

import argparse
import tomllib
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshape_controller.cli.main import main
from foreshape_controller.cli.numbers import exact, number, whole

pytestmark = pytest.mark.contract

ROOT = Path(__file__).parents[2]
COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["foreshape.cli"]
NONSENSE = ("x", "", " ", "nan", "-nan", "inf", "-inf", "1e999", "-1", "9" * 400, "9" * 5000, "1e400", "٣x", "0x10", "1;2", "--1", "1,5")
TEXTS = (None, str, Path)
NUMERIC = {"N", "S", "C", "D", "MIB", "GIB", "CORES", "SEC", "SECONDS", "TIME", "FACTOR", "PORT", "NUMBER", "LIMIT", "STATUS", "DAYS"}
"""What numbers and times are called in the help."""
SAID_TO_THE_CONTROLLER = {
    ("event_create", "--start"),
    ("event_create", "--end"),
    ("event_create", "--except"),
    ("trace_import", "--delimiter"),
}
"""Local times in a zone that the controller knows, and a character."""


def parser(name: str) -> argparse.ArgumentParser:
    module, cls = COMMANDS[name].split(":")
    made: argparse.ArgumentParser = getattr(import_module(module), cls)(None, None).get_parser(f"foreshape {name.replace('_', ' ')}")
    return made


def cliffs(action: argparse.Action) -> bool:
    """The options that every list and every table has from cliff."""
    return bool({"-c", "-f", "--max-width", "--quote", "--prefix", "--sort-column"} & set(action.option_strings))


def found() -> list[tuple[str, str, str]]:
    """Command, option or positional, and its metavar: all that have a type of their own."""
    return [
        (name, next(iter(a.option_strings), ""), str(a.metavar or a.dest))
        for name in sorted(COMMANDS)
        for a in parser(name)._actions
        if a.type not in TEXTS and not cliffs(a)
    ]


def test_there_are_many_of_them() -> None:
    assert len(found()) > 100
    assert {("price_quote", "--cores", "N"), ("request_accept", "", "NUMBER"), ("demo", "--port", "PORT")} <= set(found())


def test_what_is_called_a_number_is_read_as_one() -> None:
    loose = [
        (name, a.option_strings[0])
        for name in sorted(COMMANDS)
        for a in parser(name)._actions
        if a.option_strings and a.metavar in NUMERIC and a.type in TEXTS and not cliffs(a)
    ]
    assert set(loose) - SAID_TO_THE_CONTROLLER == set()


@pytest.mark.parametrize(("name", "option", "metavar"), found())
def test_nonsense_is_refused_with_a_sentence_that_names_the_option(name, option, metavar, capsys) -> None:
    made = parser(name)
    for text in NONSENSE:
        words = [f"{option}={text}"] if option else ["x"] * _before(made) + [text]
        with pytest.raises(SystemExit) as ended:
            made.parse_args(words)
        said = capsys.readouterr().err
        assert ended.value.code == 2
        assert f"argument {option or metavar}" in said or (not option and text in ("-1", "--1", "-nan", "-inf")), (text, said[-300:])
        assert "Traceback" not in said
        assert "invalid" not in said.splitlines()[-1], "in words of its own, not argparse's"
        assert len(said.splitlines()[-1]) < 400, "the value is cut"


def _before(made: argparse.ArgumentParser) -> int:
    """Positionals before the first that has a type."""
    positionals = [a for a in made._actions if not a.option_strings]
    return next(i for i, a in enumerate(positionals) if a.type not in TEXTS)


def test_the_program_itself_ends_with_2_and_one_line(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["price", "quote", "--cores", "x", "--gib", "1"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "argument --cores: 'x': write a number above 0" in said
    assert "Traceback" not in said


@given(st.text())
def test_any_text_is_a_number_in_the_range_or_refused(text: str) -> None:
    for read, least, most in ((whole(1, 99), 1, 99), (number(0.5, 7), 0.5, 7), (number(0, 7, above=True), 1e-323, 7), (exact(2, 3), 2, 3)):
        with suppress(argparse.ArgumentTypeError):
            assert least <= float(read(text)) <= most


@given(st.integers() | st.floats())
def test_every_number_of_the_range_is_taken_and_no_other(value: float) -> None:
    inside = 1 <= value <= 99
    for read in (number(1, 99), exact(1, 99), *((whole(1, 99),) if isinstance(value, int) else ())):
        try:
            assert float(read(str(value))) == value
            assert inside
        except argparse.ArgumentTypeError:
            assert not inside

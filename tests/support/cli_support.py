"""``foreshape …`` as an operator types it, in this process.

@pytest.fixture
def ask(served, capsys):
    return Operator(capsys, ("--url", served.url, "--token-file", served.token))
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from foreshape_controller.cli.main import main


class Said(NamedTuple):
    """What came of a command: its exit code, what it printed, what it complained of."""

    code: int
    out: str
    err: str


def foreshape(*words: object) -> int:
    """The exit code of ``foreshape words``."""
    try:
        return main([*map(str, words)])
    except SystemExit as e:  # argparse's way to refuse
        return int(e.code or 0)


@dataclass(frozen=True)
class Operator:
    """Types commands, each after the same options."""

    capsys: Any
    options: tuple[object, ...] = ()

    def __call__(self, *words: object) -> Said:
        code = foreshape(*self.options, *words)
        return Said(code, *self.capsys.readouterr())

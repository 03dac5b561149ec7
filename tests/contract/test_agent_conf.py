"""agent.conf: every option is there, commented at its default, with its reason; and nothing unknown is accepted."""

from dataclasses import fields
from pathlib import Path

import pytest

from foreshape_agent.config import Settings, load, sample_file
from foreshape_agent.errors import ConfigError

pytestmark = pytest.mark.contract

SHIPPED = Path(__file__).parents[2] / "etc" / "foreshape" / "agent.conf"
GOOD = "[controller]\ncontroller_url = https://controller:8470\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "agent.conf"
    path.write_text(text)
    return path


def complaint(tmp_path: Path, text: str) -> str:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_the_shipped_file_is_what_the_declaration_says() -> None:
    assert SHIPPED.read_text() == sample_file()


def test_every_option_is_in_the_shipped_file_commented_at_its_default_with_a_reason() -> None:
    lines = SHIPPED.read_text().splitlines()
    for option in fields(Settings):
        shown = str(option.default).lower() if isinstance(option.default, bool) else str(option.default)
        at = lines.index(f"#{option.name} = {shown}".rstrip())
        assert lines[at - 1].startswith("# "), option.name
        assert isinstance(option.default, str | bool) or lines[at - 1].startswith("# Unit: "), option.name


def test_the_shipped_file_uncommented_means_the_defaults(tmp_path: Path) -> None:
    text = "\n".join(line[1:] if line.startswith("#") and not line.startswith("# ") else line for line in SHIPPED.read_text().splitlines())
    text = text.replace("controller_url =", "controller_url = https://controller:8470")
    assert load(written(tmp_path, text)) == Settings(controller_url="https://controller:8470")


def test_defaults_are_all_that_is_needed_beside_the_controller(tmp_path: Path) -> None:
    assert load(written(tmp_path, GOOD)) == Settings(controller_url="https://controller:8470")


def test_values_come_with_their_types(tmp_path: Path) -> None:
    settings = load(written(tmp_path, GOOD + "insecure = true\n[agent]\ninterval_s = 7\n[spool]\nspool_reports = 100\n"))
    assert (settings.insecure, settings.interval_s, settings.spool_reports) == (True, 7.0, 100)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[controler]\ncontroller_url = https://c\n", ["no section [controler]", "did you mean controller?"]),
        (GOOD + "timeout = 5\n", ["no option timeout in [controller]", "did you mean timeout_s?"]),
        (GOOD + "interval_s = 5\n", ["no option interval_s in [controller]", "belongs to [agent]"]),
        (GOOD + "[agent]\ninterval_s = soon\n", ["interval_s is not valid", "soon"]),
        (GOOD + "[agent]\ninterval_s = 0.01\n", ["[agent] interval_s is 0.01", "from 1 to 300"]),
        (GOOD + "[agent]\ninterval_s = nan\n", ["[agent] interval_s is nan"]),
        (GOOD + "[agent]\non_stop = explode\n", ["on_stop", "explode", "leave"]),
        (GOOD + "[agent]\ninterval_s = 5\npressure_interval_s = 6\n", ["pressure_interval_s", "longer than interval_s"]),
        ("[agent]\nhost = hv1\n", ["controller_url", "https://"]),
        ("[controller]\ncontroller_url = ftp://c\n", ["controller_url", "ftp://c"]),
        ("controller_url = https://c\n", ["is not an INI file"]),
        (GOOD + GOOD, ["is not an INI file", "already exists"]),
        ("[DEFAULT]\nhost = hv1\n" + GOOD, ["no section [DEFAULT]"]),
    ],
)
def test_a_mistake_is_named_with_file_section_and_what_to_write(tmp_path: Path, text: str, words: list[str]) -> None:
    said = complaint(tmp_path, text)
    for word in words:
        assert word in said


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.conf")
    (tmp_path / "odd.conf").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "odd.conf")

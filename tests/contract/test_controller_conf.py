"""etc/foreshape/controller.conf holds every option, commented, at its default; a file with anything else is refused at start."""

import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from foreshape_controller.config import Settings, load, sample
from foreshape_controller.errors import ConfigError

pytestmark = pytest.mark.contract

FILE = Path(__file__).parents[2] / "etc" / "foreshape" / "controller.conf"
SECTIONS = {f.name: f.default_factory() for f in fields(Settings) if is_dataclass(f.default_factory)}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "c.conf"
    path.write_text(text)
    return path


def test_the_file_is_what_the_declarations_say():
    assert FILE.read_text() == sample(), (
        "render it anew: python -c 'from foreshape_controller.config import sample; print(sample(), end=\"\")'"
    )


def test_as_shipped_it_changes_nothing():
    assert load(FILE) == Settings()


def test_every_option_uncommented_still_means_the_default(tmp_path):
    text = re.sub(r"^#(\w+ =)", r"\1", FILE.read_text(), flags=re.MULTILINE)
    assert load(written(tmp_path, text)) == Settings()


@pytest.mark.parametrize("section", SECTIONS)
def test_every_option_stands_there_with_unit_and_reason(section):
    body = FILE.read_text().split(f"[{section}]")[1].split("\n[")[0]
    for f in fields(SECTIONS[section]):
        before, found, _ = body.partition(f"\n#{f.name} =")
        assert found, f.name
        above = before.rsplit("\n\n", 1)[-1]
        assert "# Unit: " in above, f.name
        assert len(above) > 20, f.name


def test_values_are_taken(tmp_path):
    s = load(written(tmp_path, "[api]\nport = 0\ntls_names = a, b.example\ninsecure = true\n[history]\nstep_s = 10\n"))
    assert (s.api.port, s.api.tls_names, s.api.insecure, s.history.step_s) == (0, ("a", "b.example"), True, 10)
    assert s.plan == Settings().plan


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[store]\nurll = x\n", "unknown option 'urll' in [store]: did you mean 'url'?"),
        ("[safety]\nbreaker_window_s = 300\n", "breaker_window_s = 300 is shorter than an order may take to fail"),
        ("[stor]\nurl = x\n", "unknown section [stor]: did you mean 'store'?"),
        ("[zzz]\n", "unknown section [zzz]"),
        ("[DEFAULT]\ndebug = true\n", "unknown section [DEFAULT]"),
        ("[api]\nport = 99999\n", "port"),
        ("[api]\nport = many\n", "port"),
        ("[api]\ntls = perhaps\n", "auto, self-signed, files, off"),
        ("[plan]\ninterval_s = -1\n", "[plan] interval_s takes seconds, 1 to 3600"),
        ("[reclaim]\ninterval_s = nan\n", "[reclaim] interval_s takes seconds, 1 to 3600. nan is not an amount"),
        ("[safety]\nfleet_share_per_hour = inf\n", "[safety] fleet_share_per_hour takes share, 0 to 1"),
        ("url = x\n", "Section must be started"),
        ("[api\n", "section"),
        ("\x00\xff", "assignment"),
    ],
)
def test_a_bad_file_is_refused_with_the_place_and_what_to_write(tmp_path, text, says):
    with pytest.raises(ConfigError) as e:
        load(written(tmp_path, text))
    assert says.lower() in str(e.value).lower()
    assert "LocationInfo" not in str(e.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "c.conf").write_bytes(b"[api]\nport = \xff\xfe\n")
    with pytest.raises(ConfigError):
        load(tmp_path / "c.conf")


def test_a_missing_file_says_how_to_give_one(tmp_path):
    with pytest.raises(ConfigError, match="--config-file"):
        load(tmp_path / "absent.conf")

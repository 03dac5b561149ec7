"""The rules of tests/conftest.py, tried on small trees of their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.functional

HERE = Path(__file__).parent
PASSES = "import pytest\npytestmark = pytest.mark.{mark}\n\n\ndef test_it():\n    assert True\n"
SKIPS = "import pytest\npytestmark = pytest.mark.{mark}\n\n\ndef test_it():\n    pytest.skip('the bed is away')\n"


def run(root: Path, files: dict[str, str], *arguments: str, ci: bool = False) -> tuple[int, str]:
    """pytest over a tree of its own with this project's conftest and configuration."""
    (root / "tests").mkdir()
    shutil.copy(HERE.parent / "conftest.py", root / "tests")
    shutil.copy(HERE.parents[1] / "pyproject.toml", root)
    for name, text in files.items():
        file = root / "tests" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    environment = {k: v for k, v in os.environ.items() if k != "CI"} | ({"CI": "true"} if ci else {})
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # half the time to start
    command = [sys.executable, "-m", "pytest", "-p", "pytest_timeout", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_test_without_its_folders_marker_is_an_error(tmp_path: Path) -> None:
    code, text = run(tmp_path, {"unit/test_a.py": "def test_it():\n    assert True\n"})
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "lies in tests/unit, so it needs the marker 'unit'" in text


def test_a_test_with_another_tiers_marker_is_an_error(tmp_path: Path) -> None:
    code, text = run(tmp_path, {"unit/test_a.py": PASSES.format(mark="functional")})
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "it has ['functional']" in text


def test_a_test_outside_the_tiers_is_an_error(tmp_path: Path) -> None:
    code, text = run(tmp_path, {"elsewhere/test_a.py": PASSES.format(mark="unit")})
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "a test lies in one of" in text


def test_tiers_run_from_the_fastest_to_the_slowest_whatever_the_command_line(tmp_path: Path) -> None:
    files = {"unit/test_u.py": PASSES.format(mark="unit"), "functional/test_f.py": PASSES.format(mark="functional")}
    code, text = run(tmp_path, files, "-v", "tests/functional", "tests/unit")
    assert code == 0
    assert text.index("test_u.py") < text.index("test_f.py")


def test_every_tier_has_its_line_with_its_counts(tmp_path: Path) -> None:
    files = {"unit/test_u.py": PASSES.format(mark="unit"), "functional/test_f.py": SKIPS.format(mark="functional")}
    code, text = run(tmp_path, files, "--real-tiers")
    lines = {line.split()[0]: line for line in text.splitlines() if line.startswith(("unit ", "functional ", "integration "))}
    assert code == 0
    assert "1 passed" in lines["unit"]
    assert "SKIPPED 1 skipped" in lines["functional"]
    assert "the bed is away (1)" in lines["functional"]
    assert "SKIPPED no test" in lines["integration"]


def test_a_skipped_real_test_passes_at_home_and_fails_under_ci(tmp_path: Path) -> None:
    files = {"integration/test_i.py": SKIPS.format(mark="integration")}
    for ci, expected in ((False, pytest.ExitCode.OK), (True, pytest.ExitCode.TESTS_FAILED)):
        root = tmp_path / str(ci)
        root.mkdir()
        code, text = run(root, files, ci=ci)
        assert code == expected, text
    assert "skipped under CI, where the integration tier must run" in text


def test_a_skip_in_another_tier_is_no_failure_under_ci(tmp_path: Path) -> None:
    code, text = run(tmp_path, {"unit/test_u.py": SKIPS.format(mark="unit")}, ci=True)
    assert code == 0, text


def test_a_whole_run_without_a_real_test_fails_under_ci(tmp_path: Path) -> None:
    code, text = run(tmp_path, {"unit/test_u.py": PASSES.format(mark="unit")}, "--real-tiers", ci=True)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "integration  SKIPPED no test in 0 s - under CI this tier must run: FAILED" in text


def test_a_module_that_needs_libvirt_is_skipped_where_it_is_not_installed(tmp_path: Path) -> None:
    files = {"unit/test_u.py": PASSES.format(mark="unit"), "unit/test_l.py": "import libvirt_that_is_not_here\n"}
    code, text = run(tmp_path, files)
    assert code == 0, text
    assert "libvirt-python is not installed" in text
    root = tmp_path / "ci"
    root.mkdir()
    code, _ = run(root, files, ci=True)
    assert code != 0

"""The units as systemd itself reads them. No running systemd is needed; the sandbox as such is systemd's to enforce."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.functional,
    pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (as root: make packages)"),
]

FOLDER = Path(__file__).parents[2] / "systemd"
INSTALLED = "/opt/foreshape/bin/"
"""Where docs/operating.md installs the programs."""

PROGRAMS = ("foreshape-agent", "foreshape-controller")

MOST_EXPOSED = {"foreshape-agent": 1.5, "foreshape-controller": 1.1}
"""systemd's own score, 0 (nothing exposed) to 10; stated in docs/operating.md. A distribution's default is 9.6."""


def analyze(*arguments: str) -> str:
    done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def unit(name: str) -> str:
    return (FOLDER / f"{name}.service").read_text()


@pytest.mark.parametrize("name", PROGRAMS)
def test_systemd_accepts_the_unit_without_a_word(name: str, tmp_path: Path) -> None:
    """verify wants the program to exist: the installed path is replaced by this environment's program of the same name."""
    here = Path(sys.executable).parent
    assert (here / name).exists(), "install the package first: make venv"
    copy = tmp_path / f"{name}.service"
    copy.write_text(unit(name).replace(INSTALLED, f"{here}/"))
    assert analyze("verify", "--man=no", str(copy)) == ""


def test_verify_does_complain_about_a_misspelt_line(tmp_path: Path) -> None:
    """The check above can fail: systemd says so when a line means nothing to it."""
    copy = tmp_path / "foreshape-agent.service"
    copy.write_text(unit("foreshape-agent").replace(INSTALLED + "foreshape-agent", "/bin/true").replace("ProtectHome=", "ProtectHouse="))
    assert "ProtectHouse" in analyze("verify", "--man=no", str(copy))


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_unit_is_exposed_no_more_than_stated(name: str) -> None:
    text = analyze("security", "--offline=true", "--no-pager", str(FOLDER / f"{name}.service"))
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", text)
    assert found, text
    assert float(found.group(1)) <= MOST_EXPOSED[name]


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_stated_score_stands_in_the_operators_guide(name: str) -> None:
    guide = (FOLDER.parent / "docs" / "operating.md").read_text()
    assert f"`{name}.service` {MOST_EXPOSED[name]}" in guide


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_program_runs_as_its_own_user_without_any_capability(name: str) -> None:
    lines = unit(name).splitlines()
    assert "CapabilityBoundingSet=" in lines
    assert "NoNewPrivileges=yes" in lines
    user = next(line for line in lines if line.startswith("User=")).removeprefix("User=")
    assert user != "root"
    declared = "".join(p.read_text() for p in (FOLDER / "sysusers.d").glob("*.conf"))
    assert re.search(rf"^u {re.escape(user)} ", declared, re.MULTILINE), f"sysusers.d makes no user {user}"


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_the_program_writes_by_default_lies_in_its_state_directory(name: str) -> None:
    """ProtectSystem=strict leaves nothing else writable, so a default path elsewhere would fail at the first start."""
    state = "/var/lib/" + re.findall(r"^StateDirectory=(.+)$", unit(name), re.MULTILINE)[0]
    conf = (FOLDER.parent / "etc" / "foreshape" / name.replace("foreshape-", "")).with_suffix(".conf").read_text()
    paths = re.findall(r"/var/lib/[\w./-]+", conf)
    assert paths, "the configuration names no path of state"
    assert all(path == state or path.startswith(f"{state}/") for path in paths), (state, paths)


def test_the_controller_finds_its_cloud_with_nothing_but_what_the_unit_gives_it(tmp_path: Path) -> None:
    """No home (ProtectHome), no working directory of its own: the variable alone leads to the credentials."""
    variable, path = re.findall(r"^Environment=(OS_\w+)=(.+)$", unit("foreshape-controller"), re.MULTILINE)[0]
    clouds = tmp_path / Path(path).name
    clouds.write_text("clouds: {mine: {auth: {auth_url: 'http://192.0.2.1/v3', username: u, password: p, project_name: service}}}\n")
    program = (
        "from foreshape_controller.cloud.call import Ways\n"
        "from foreshape_controller.cloud.session import Access, connect\n"
        "connect(Access(cloud='mine'), Ways())\n"
    )

    def ask(**variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"HOME": "/nonexistent", **variables}
        return subprocess.run(
            [sys.executable, "-c", program], env=environment, cwd="/", capture_output=True, text=True, timeout=60, check=False
        )

    found = ask(**{variable: str(clouds)})
    assert found.returncode == 0, found.stderr
    assert "see clouds.yaml" in ask().stderr


def test_credentials_are_for_the_controllers_eyes_only() -> None:
    path = re.findall(r"^Environment=OS_\w+=(.+)$", unit("foreshape-controller"), re.MULTILINE)[0]
    rules = (FOLDER / "tmpfiles.d" / "foreshape-controller.conf").read_text().splitlines()
    assert [line.split()[2:5] for line in rules if line.split()[1] == path] == [["0640", "root", "foreshape"]]


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not installed")
def test_sysusers_would_make_both_users_and_put_the_agent_into_libvirts_group(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    files = [str(p) for p in sorted((FOLDER / "sysusers.d").glob("*.conf"))]
    done = subprocess.run(["systemd-sysusers", f"--root={tmp_path}", *files], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert {line.split(":")[0] for line in (tmp_path / "etc/passwd").read_text().splitlines()} == {"foreshape", "foreshape-agent"}
    group = next(line for line in (tmp_path / "etc/group").read_text().splitlines() if line.startswith("libvirt:"))
    assert group.split(":")[3].split(",") == ["foreshape-agent"]


@pytest.mark.skipif(shutil.which("systemd-tmpfiles") is None, reason="systemd-tmpfiles is not installed")
@pytest.mark.parametrize("name", PROGRAMS)
def test_tmpfiles_understands_every_line(name: str, tmp_path: Path) -> None:
    """Users are replaced by root: they exist on an installed machine only."""
    text = (FOLDER / "tmpfiles.d" / f"{name}.conf").read_text()
    (tmp_path / "f.conf").write_text(re.sub(r"(?<= )foreshape(-agent|-controller)?(?= )", "root", text))
    root = tmp_path / "root"
    root.mkdir()
    done = subprocess.run(
        ["systemd-tmpfiles", "--create", f"--root={root}", str(tmp_path / "f.conf")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (root / "etc/foreshape").is_dir()

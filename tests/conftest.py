"""The tiers: one folder and one marker each, in this order, with one line each at the end of a run.

A test in tests/unit without the unit marker (or with another tier's) is an error, so that a tier is what its name says.
Under CI (environment CI=true) a skipped test of a real tier is a failure: a bed that did not come up must not look green.
"""

import gc
import logging
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
import structlog
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from postgres_support import Cluster

TIERS = ("unit", "contract", "functional", "simulation", "integration", "e2e")
REAL_TIERS = frozenset({"integration", "e2e"})
HERE = Path(__file__).parent
IN_CI = os.environ.get("CI", "") == "true"

NO_POSTGRES = "no PostgreSQL server is installed (as root: make packages)"
"""Why a test on the second engine is skipped: under CI that is a failure, too."""

OF_THE_RUN = ("resource_tracker", "foreshape-pg-", "/beds/kept")
"""Processes that end with the run, and not with a file: multiprocessing's helper, the PostgreSQL server, clouds that files share."""

BED_TOOLS = ("libvirtd", "virsh", "qemu-system-x86_64", "ip", "busybox", "cpio", "gcc")
"""Programs that the bed of real hypervisors is made of; the packages stand in devstack/packages.txt."""

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # half of what starting a program of OpenStack costs is compiling it
os.environ.setdefault("OMP_NUM_THREADS", "1")  # nets of the tests are small: threads that wait for each other cost more than they bring
UNHURRIED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}  # by the clock; these tests stand back for others
settings.register_profile("ci", derandomize=True, max_examples=15, **UNHURRIED)
settings.register_profile("default", **UNHURRIED)
settings.load_profile("ci" if IN_CI else "default")


@pytest.fixture(autouse=True)
def plain_log() -> None:
    """What is logged is read as if nobody had set the log up before: programs that other tests ran in this process did."""
    structlog.reset_defaults()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=False, pad_level=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stdout),  # of the test that runs, not of the one that was first
        cache_logger_on_first_use=False,
    )


@pytest.fixture
def every_line(plain_log: None) -> None:
    """Also what is logged quietly."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))


@pytest.fixture(scope="session")
def cluster() -> Iterator["Cluster"]:
    """A real PostgreSQL server, for all tests of this process."""
    from postgres_support import Cluster, programs  # noqa: PLC0415  the controller: most runs do not need it here

    if programs() is None:
        pytest.skip(NO_POSTGRES)
    made = Cluster()
    yield made
    made.close()


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """The database that stores are opened on: a test with the marker ``engines`` runs once on each, or on those it names."""
    from store_support import ENGINE  # noqa: PLC0415  as above

    name = str(request.param)
    ENGINE.cluster = request.getfixturevalue("cluster") if name == "postgresql" else None
    yield name
    ENGINE.cluster = None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if (marker := metafunc.definition.get_closest_marker("engines")) is not None:
        if "engine" not in metafunc.fixturenames:
            metafunc.fixturenames.insert(0, "engine")
        metafunc.parametrize("engine", marker.args or ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(autouse=True, scope="module")
def nothing_left_running() -> Iterator[None]:
    """What a file's tests started ends with them: a training that works on would slow whatever comes after."""
    before = _at_work()
    yield
    deadline = time.monotonic() + 5
    while (left := _at_work() - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, f"started here and still running: {sorted(_words(p) for p in left)}"


def _at_work() -> set[psutil.Process]:
    """Processes that this one started, without those that have ended."""
    return {p for p in psutil.Process().children() if (words := _words(p)) and not any(own in words for own in OF_THE_RUN)}


def _words(process: psutil.Process) -> str:
    """Its command line and its folder; empty once it has ended."""
    try:
        return " ".join((*process.cmdline(), process.cwd()))
    except psutil.Error:
        return ""


@dataclass
class Tally:
    """What came of one tier."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    skips: Counter[str] = field(default_factory=Counter)


TALLIES: dict[str, Tally] = {tier: Tally() for tier in TIERS}


def tier_of(path: Path) -> str:
    """The tier whose folder a file lies in; UsageError for a test outside all of them."""
    parts = path.relative_to(HERE).parts
    if parts[0] not in TIERS:
        raise pytest.UsageError(f"{path}: a test lies in one of tests/{{{','.join(TIERS)}}}")
    return parts[0]


def missing_for_the_bed() -> str:
    """What a real hypervisor bed lacks on this machine, in one sentence; empty when nothing."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    absent = [tool for tool in BED_TOOLS if shutil.which(tool, path=path) is None]
    if os.geteuid() != 0:
        return "real hypervisors need root"
    return f"missing programs: {', '.join(absent)} (as root: make packages)" if absent else ""


def missing_for_the_browser() -> str:
    """Likewise for the dashboard in a real browser: Debian's Chromium, never one that a test tool brings along."""
    if not Path("/usr/bin/chromium").exists():
        return "missing program: chromium (as root: make packages)"
    return "" if find_spec("playwright") else "Playwright is not installed (make venv)"


LACKS = {"integration": missing_for_the_bed, "e2e": missing_for_the_browser}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--real-tiers", action="store_true", help="a real tier without a single test that ran is named, and under CI fails")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Check folder against marker, order by tier, and say once why the real tier cannot run."""
    wrong = [problem for item in items if (problem := _misplaced(item))]
    if wrong:
        raise pytest.UsageError("\n".join(wrong))
    items.sort(key=lambda item: TIERS.index(tier_of(item.path)))  # stable: order inside a tier stays
    lacks = {tier: lack for tier, ask in LACKS.items() if (lack := ask())}
    for item in items:
        if lack := lacks.get(tier_of(item.path)):
            item.add_marker(pytest.mark.skip(reason=lack))


def pytest_collection_finish() -> None:
    """What was imported is never garbage, and tests leave much: looking through it all again and again was a tenth of their time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _misplaced(item: pytest.Item) -> str:
    tier = tier_of(item.path)
    marked = sorted({m.name for m in item.iter_markers()} & set(TIERS))
    return (
        ""
        if marked == [tier]
        else f"{item.nodeid}: lies in tests/{tier}, so it needs the marker {tier!r} and no other tier's; it has {marked}"
    )


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """Without libvirt's headers the agent's door cannot be installed: tests that import it are skipped, and it is said."""
    report = yield
    if report.failed and "No module named 'libvirt" in str(report.longrepr) and not IN_CI:
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, "Skipped: libvirt-python is not installed (as root: make packages; then: make venv)")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    tier = tier_of(item.path)
    if report.skipped and not hasattr(report, "wasxfail") and IN_CI and (tier in REAL_TIERS or NO_POSTGRES in str(report.longrepr)):
        report.outcome = "failed"
        report.longrepr = f"skipped under CI, where the {tier} tier must run: {report.longrepr}"
    return report


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A whole file that was skipped counts in its tier."""
    if report.skipped and (tally := _tally_of(report.nodeid)):
        _count(tally, report)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if not (tally := _tally_of(report.nodeid)):
        return
    tally.seconds += report.duration
    if report.when == "call" or report.outcome != "passed":
        _count(tally, report)


def _tally_of(nodeid: str) -> Tally | None:
    return TALLIES.get(nodeid.removeprefix("tests/").split("/", 1)[0])


def _count(tally: Tally, report: pytest.TestReport | pytest.CollectReport) -> None:
    tally.counts[report.outcome] += 1
    if report.skipped:
        tally.skips[_skip_reason(report)] += 1


def _skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A whole run in which a real tier proved nothing is no success under CI."""
    if IN_CI and session.exitstatus == pytest.ExitCode.OK and _silent(_meant(session.config)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _meant(config: pytest.Config) -> frozenset[str]:
    """Real tiers that a run is about: of those whose folder it names, else all; none without ``--real-tiers``."""
    if not config.getoption("--real-tiers"):
        return frozenset()
    named = {part for arg in config.args for part in Path(arg.split("::")[0]).parts}
    return REAL_TIERS & named or REAL_TIERS


def _silent(tiers: frozenset[str]) -> list[str]:
    """Tiers of which no test ran."""
    return [t for t in TIERS if t in tiers and not TALLIES[t].counts["passed"] + TALLIES[t].counts["failed"]]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    terminalreporter.section("tiers")
    real = _meant(config)
    for tier in TIERS:
        if tier in real or TALLIES[tier].counts:
            terminalreporter.write_line(_line(tier))


def _line(tier: str) -> str:
    tally = TALLIES[tier]
    counts = ", ".join(f"{n} {word}" for word, n in sorted(tally.counts.items())) or "no test"
    state = "SKIPPED " if tier in _silent(frozenset(TIERS)) else ""
    must = " - under CI this tier must run: FAILED" if state and IN_CI and tier in REAL_TIERS else ""
    why = "; ".join(f"{reason} ({n})" for reason, n in tally.skips.most_common(3))
    return f"{tier:12} {state}{counts} in {tally.seconds:.0f} s{must}" + (f" | skipped: {why}" if why else "")

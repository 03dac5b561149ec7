"""The tiers: one folder and one marker each, in this order, with one line each at the end of a run.

A test in tests/unit without the unit marker (or with another tier's) is an error, so that a tier is what its name says.
Under CI (environment CI=true) a skipped test of a real tier is a failure: a bed that did not come up must not look green.
"""

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import structlog
from hypothesis import HealthCheck, settings

TIERS = ("unit", "contract", "functional", "simulation", "integration")
REAL_TIERS = frozenset({"integration"})
HERE = Path(__file__).parent
IN_CI = os.environ.get("CI", "") == "true"

BED_TOOLS = ("libvirtd", "virsh", "qemu-system-x86_64", "ip", "busybox", "cpio", "gcc")
"""Programs that the bed of real hypervisors is made of; the packages stand in devstack/packages.txt."""

os.environ.setdefault("OMP_NUM_THREADS", "1")  # nets of the tests are small: threads that wait for each other cost more than they bring
UNHURRIED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}  # by the clock; these tests stand back for others
settings.register_profile("ci", derandomize=True, **UNHURRIED)
settings.register_profile("default", **UNHURRIED)
settings.load_profile("ci" if IN_CI else "default")


@pytest.fixture(autouse=True)
def plain_log() -> None:
    """What is logged is read as if nobody had set the log up before: programs that other tests ran in this process did."""
    structlog.reset_defaults()


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
    """Processes that this one started, without those that have ended and multiprocessing's own helper."""
    return {p for p in psutil.Process().children() if (words := _words(p)) and "resource_tracker" not in words}


def _words(process: psutil.Process) -> str:
    """Its command line; empty once it has ended."""
    try:
        return " ".join(process.cmdline())
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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--real-tiers", action="store_true", help="a real tier without a single test that ran is named, and under CI fails")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Check folder against marker, order by tier, and say once why the real tier cannot run."""
    wrong = [problem for item in items if (problem := _misplaced(item))]
    if wrong:
        raise pytest.UsageError("\n".join(wrong))
    items.sort(key=lambda item: TIERS.index(tier_of(item.path)))  # stable: order inside a tier stays
    lack = missing_for_the_bed()
    for item in items:
        if lack and tier_of(item.path) in REAL_TIERS:
            item.add_marker(pytest.mark.skip(reason=lack))


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
    if report.skipped and not hasattr(report, "wasxfail") and IN_CI and tier in REAL_TIERS:
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
    if session.config.getoption("--real-tiers") and IN_CI and session.exitstatus == pytest.ExitCode.OK and _silent(REAL_TIERS):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _silent(tiers: frozenset[str]) -> list[str]:
    """Tiers of which no test ran."""
    return [t for t in TIERS if t in tiers and not TALLIES[t].counts["passed"] + TALLIES[t].counts["failed"]]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    terminalreporter.section("tiers")
    real = REAL_TIERS if config.getoption("--real-tiers") else frozenset()
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

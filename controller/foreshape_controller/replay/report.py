"""A replay as one HTML page that needs nothing but itself: what was replayed, who did how well, when, for whom, and for how much."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.sax.saxutils import escape

import numpy as np

from foreshape_controller.model.history import BINS_PER_DAY, STEP_S
from foreshape_controller.replay import svg
from foreshape_controller.replay.compare import ORACLE, STATIC, VPA
from foreshape_controller.replay.engine import Replayed, Track
from foreshape_controller.replay.findings import (
    NAME,
    Findings,
    Line,
    chosen,
    daily_slack,
    daily_violations,
    held_back,
    tightest,
)

UNITS = {"cpu": "cores", "memory": "MiB"}

STYLE = """body{font:15px/1.5 system-ui,sans-serif;color:#1c2733;max-width:820px;margin:2em auto;padding:0 1em}
h1{font-size:1.5em}h2{font-size:1.2em;margin-top:2em;border-bottom:1px solid #d8dde3}
table{border-collapse:collapse;width:100%;font-size:13px}
td,th{padding:3px 6px;border-bottom:1px solid #e6e9ed;text-align:right}td:first-child,th:first-child{text-align:left}
tr.own{font-weight:600;background:#eef6fb}figure{margin:1.2em 0}figcaption{font-size:13px;color:#4a5563;margin-bottom:2px}
svg{width:100%;height:auto;font:11px system-ui,sans-serif;fill:#4a5563}.g{stroke:#e6e9ed}.u{fill:#8a8f98}
.note{background:#fff6e5;border-left:4px solid #d9822b;padding:.6em 1em}"""

HEADERS = ("Policy", "Violations", "active", "worst", "> 2 %", "Allocated", "Slack", "Resizes", "Saved", "Foreshape / it")


@dataclass(frozen=True)
class Source:
    """Where the figures come from, in words."""

    trace: str
    voice: str
    """Who forecast: a model's folder, or the baseline and why."""
    tiers: str
    sample: str
    """Which VMs these are."""
    servers: tuple[str, ...] = ()
    """To be drawn; empty: some that are worth a look."""


def cells(line: Line) -> tuple[str, ...]:
    """A row of the table, as it is printed here and by the command."""
    m, row = line.row.measures, line.row
    name = row.policy if row.multiplier is None else f"{row.policy} ×{row.multiplier:.2f}"
    return (
        name if row.reached else f"{name} (cannot violate as rarely)",
        f"{m.violations:.2%}",
        f"{m.violations_active:.2%}",
        f"{m.worst_active:.2%}",
        str(m.above_most),
        f"{m.allocation_share:.1%}",
        f"{m.slack:.1%}",
        f"{m.resizes_per_day:.2f}",
        "no price" if line.saved is None else f"{line.saved:,.2f}",
        f"{line.share:.3f}",
    )


def page(findings: Findings, source: Source) -> str:
    """The whole page."""
    body = "".join(_body(findings, source))
    title = f"Foreshape replay of {escape(source.trace)}"
    head = f'<head><meta charset="utf-8"/><title>{title}</title><style>{STYLE}</style></head>'
    return f'<!DOCTYPE html>\n<html lang="en">{head}<body><h1>{title}</h1>{body}</body></html>\n'


def _body(findings: Findings, source: Source) -> Iterator[str]:
    yield _about(findings, source)
    for resource in findings.replayed.tracks:
        yield f"<h2>{escape(resource.capitalize() if resource != 'cpu' else 'CPU')}</h2>"
        yield _table(findings.of(resource))
        yield from _charts(findings, resource)
        yield from _servers(findings, resource, source)
    yield from _hosts(findings.replayed)
    yield from _money(findings)
    yield _words()


# -- words --------------------------------------------------------------------------------------------------------------


def _about(findings: Findings, source: Source) -> str:
    r, setup = findings.replayed, findings.replayed.setup
    servers = len(r.names)
    where = f"{len(r.hosts)} hosts of {setup.hosts.cpus} cores and {setup.hosts.memory_mib:g} MiB" if setup.hosts else "each for itself"
    rows = (
        ("Trace", source.trace),
        ("Servers", f"{servers}, {int(findings.busy.sum())} of them active; {source.sample}"),
        ("Counted", f"{_date(setup.begin)} to {_date(setup.end)} UTC ({(setup.end - setup.begin) / 86400:.1f} days)"),
        ("Decided before that", f"{setup.warm_up_s / 86400:.1f} days at most, so that servers begin as under management already"),
        ("Hosts", where),
        ("Forecasts", f"{source.voice}; {_voices(r)}"),
        ("Tiers", f"{source.tiers}; {', '.join(f'{n} {t}' for t, n in _counted(r.tiers))}"),
        ("Changed by the forecast", f"{findings.forecast_changed:.0%} of {r.decisions:,} decisions"),
    )
    told = "".join(f"<tr><td>{escape(a)}</td><td>{escape(b)}</td></tr>" for a, b in rows)
    return (
        '<p class="note">Simulated: these sizes were never given. Demand is what the trace measured, and does not answer to a smaller or '
        "larger allocation; every order is applied at once; one plan a 5-minute bin stands for the five of the product. "
        f"The rules are the product's own.</p><table>{told}</table>"
    )


def _words() -> str:
    return (
        "<h2>What the words mean</h2><p>Violation: a 5-minute bin whose demand, cut at the size that was sold, was above the allocation. "
        "Active: servers whose CPU use reached 5 % of their size in 5 % of the bins before. Worst: share of violated bins of the "
        "worst active server; &gt; 2 %: how many active servers have more. Allocated: of what was sold. Slack: allocated and not "
        "used. Resizes: a server and day. Saved: what was not allocated, at the tiers' prices, against static flavors. "
        f"Moving maxima and {escape(VPA)} decide each half-hour from the past alone and have the multiplier with which they violate active "
        f"servers as often as Foreshape; {escape(ORACLE)} knows the future and shows what is possible. Foreshape / it: the "
        "allocations' ratio.</p>"
    )


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


def _counted(words: Sequence[str]) -> list[tuple[str, int]]:
    return [(w, words.count(w)) for w in dict.fromkeys(words)]


def _voices(replayed: Replayed) -> str:
    total = max(1, sum(replayed.voices.values()))
    most = sorted(replayed.voices.items(), key=lambda v: -v[1])
    return ", ".join(f"{name} {count / total:.0%}" for name, count in most) + " of the forecasts"


# -- tables -------------------------------------------------------------------------------------------------------------


def _table(lines: Sequence[Line]) -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in HEADERS)
    rows = "".join(
        f'<tr class="{"own" if line.row.policy == NAME else "other"}">{"".join(f"<td>{escape(c)}</td>" for c in cells(line))}</tr>'
        for line in lines
    )
    return f"<table><tr>{head}</tr>{rows}</table>"


# -- charts -------------------------------------------------------------------------------------------------------------


def _charts(findings: Findings, resource: str) -> Iterator[str]:
    track, lines = findings.replayed.tracks[resource], findings.of(resource)
    axes = _time_axes(findings.replayed, UNITS[resource])
    x = np.arange(track.given.shape[1], dtype=float)
    known = np.isfinite(track.demand)
    yield svg.chart(
        "All servers together: what was sold, allocated and wanted (the largest of each stretch)",
        [
            _series("allocated", np.where(known, track.given, 0).sum(axis=0), x),
            _series("wanted", np.nan_to_num(track.demand).sum(axis=0), x, fill=True),
            _series("sold", np.where(known, track.sold[:, None], 0).sum(axis=0), x),
        ],
        axes,
    )
    drawn = [line for line in lines if line.row.policy not in (STATIC, ORACLE)]
    yield svg.chart(
        "Violations of active servers, day by day",
        [_daily(line, daily_violations(track, _given(line), findings.busy)) for line in drawn],
        _day_axes(findings.replayed, "of their bins"),
    )
    yield svg.chart(
        "Slack, day by day: allocated and not used",
        [_daily(line, daily_slack(track, _given(line))) for line in drawn],
        _day_axes(findings.replayed, "of the allocation"),
    )
    if resource in findings.frontiers:
        yield _frontier(findings, resource)


def _given(line: Line) -> np.ndarray:
    assert line.row.allocation is not None
    return line.row.allocation


def _daily(line: Line, values: list[float]) -> svg.Series:
    return svg.Series(line.row.policy, [d + 0.5 for d in range(len(values))], values)


def _series(name: str, values: np.ndarray, x: np.ndarray, *, fill: bool = False) -> svg.Series:
    return svg.Series(name, *svg.thinned(values, x), fill)


def _frontier(findings: Findings, resource: str) -> str:
    """How much each policy must allocate to violate so rarely."""
    own = findings.of(resource)[0].row.measures
    rivals = findings.frontiers[resource]
    series = [svg.Series(NAME, [own.violations_active], [own.allocation_share], dots=True)]
    for name, points in rivals.items():
        seen = sorted(p for p in points if 0.0003 <= p[0] <= 0.1)
        series.append(svg.Series(name, [p[0] for p in seen], [p[1] for p in seen]))
    ticks = [(v, f"{v:.2%}") for v in (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05)]
    xs = [x for s in series for x in s.x]
    inside = [(v, said) for v, said in ticks if min(xs) <= v <= max(xs)]
    return svg.chart(
        "What it takes: allocated share over the violations of active servers, rivals with multipliers of 0.5 to 5 (lower left is better)",
        series,
        svg.Axes("allocated of sold", inside, share=True, log_x=True),
    )


def _servers(findings: Findings, resource: str, source: Source) -> Iterator[str]:
    replayed, track = findings.replayed, findings.replayed.tracks[resource]
    x = np.arange(track.given.shape[1], dtype=float)
    for row, why in chosen(findings, resource, source.servers):
        sold = f"{track.sold[row]:g} {UNITS[resource]} sold"
        yield svg.chart(
            f"{replayed.names[row]} ({why}; tier {replayed.tiers[row]}, {sold}): allocation against demand",
            [_series("allocated", track.given[row], x), _series("wanted", track.demand[row], x, fill=True)],
            _time_axes(replayed, UNITS[resource]),
        )


def _time_axes(replayed: Replayed, unit: str) -> svg.Axes:
    bins = (replayed.setup.end - replayed.setup.begin) // STEP_S
    every = max(1, round(bins / BINS_PER_DAY / 7)) * BINS_PER_DAY if bins >= 2 * BINS_PER_DAY else 36
    ticks = [(float(b), _tick(replayed.setup.begin + b * STEP_S, every)) for b in range(0, bins, every)]
    return svg.Axes(unit, ticks)


def _tick(at: int, every: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%d %b" if every >= BINS_PER_DAY else "%H:%M")


def _day_axes(replayed: Replayed, unit: str) -> svg.Axes:
    days = -(-(replayed.setup.end - replayed.setup.begin) // 86400)
    every = max(1, days // 7)
    return svg.Axes(unit, [(d + 0.5, _tick(replayed.setup.begin + d * 86400, BINS_PER_DAY)) for d in range(0, days, every)], share=True)


# -- hosts and money ------------------------------------------------------------------------------------------------------


def _hosts(replayed: Replayed) -> Iterator[str]:
    if replayed.setup.hosts is None:
        return
    yield "<h2>Hosts, and who was held back</h2>"
    for resource, track in replayed.tracks.items():
        yield _tight_host(replayed, resource, track)
    held = held_back(replayed)
    if not held:
        yield "<p>No host was ever short: nobody was held back.</p>"
        return
    head = "".join(f"<th>{h}</th>" for h in ("Server", "Tier", "Host", "Resource", "Bins", "Missing", "Bins that wanted more"))
    rows = "".join(
        f"<tr><td>{escape(h.name)}</td><td>{escape(h.tier)}</td><td>{escape(h.host)}</td><td>{h.resource}</td><td>{h.bins}</td>"
        f"<td>{h.missing:,.1f} {UNITS[h.resource]}·h</td><td>{h.wanted_more}</td></tr>"
        for h in held
    )
    yield f"<table><tr>{head}</tr>{rows}</table>"


def _tight_host(replayed: Replayed, resource: str, track: Track) -> str:
    assert replayed.setup.hosts is not None
    k = tightest(replayed, resource)
    mine = replayed.host == k
    capacity = float(replayed.setup.hosts.cpus) if resource == "cpu" else replayed.setup.hosts.memory_mib
    x = np.arange(track.given.shape[1], dtype=float)
    return svg.chart(
        f"{replayed.hosts[k]}, the tightest for {resource}: allocated, wanted, missing and there",
        [
            _series("allocated", np.nan_to_num(track.given[mine]).sum(axis=0), x),
            _series("wanted", np.nan_to_num(track.demand[mine]).sum(axis=0), x, fill=True),
            svg.Series("capacity", [0.0, float(len(x))], [capacity, capacity]),
            _series("missing", track.unmet[mine].sum(axis=0), x),
        ],
        _time_axes(replayed, UNITS[resource]),
    )


def _money(findings: Findings) -> Iterator[str]:
    yield "<h2>Money</h2>"
    priced = [line for line in findings.lines if line.saved is not None]
    if not priced:
        yield "<p>The tiers name no price: give price keys in tiers.yaml to see what the freed capacity is worth.</p>"
        return
    for resource in findings.replayed.tracks:
        named = [(line.row.policy, line.saved or 0.0) for line in findings.of(resource)]
        days = (findings.replayed.setup.end - findings.replayed.setup.begin) / 86400
        yield svg.bars(f"Worth of what was not allocated in {days:.1f} days, {resource}, at equal violations", named, "")

"""A replay as one HTML page that needs nothing but itself: what was replayed, who did how well, when, for whom, and for how much."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.sax.saxutils import escape

import numpy as np

from foreshape_controller.model.history import STEP_S
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

STYLE = """:root{color-scheme:light}body{font:15px/1.5 system-ui,sans-serif;color:#1c2733;background:#fff;
max-width:820px;margin:2em auto;padding:0 1em}
h1{font-size:1.5em;overflow-wrap:anywhere}h2{font-size:1.2em;margin-top:2em;border-bottom:1px solid #d8dde3}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:13px}
td,th{padding:3px 6px;border-bottom:1px solid #e6e9ed;text-align:right;white-space:nowrap}
td:first-child,th:first-child{text-align:left;white-space:normal;min-width:9em}
table.told td{text-align:left;vertical-align:top;white-space:normal}table.told td:first-child{width:11em;color:#4a5563}
tr.own{font-weight:600;background:#eef6fb}figure{margin:1.2em 0}figcaption{font-size:13px;color:#4a5563;margin-bottom:2px}
svg{width:100%;min-width:600px;height:auto;font:11px system-ui,sans-serif;fill:#4a5563}.g{stroke:#e6e9ed}.u{fill:#5a6472}
.note{background:#fff6e5;border-left:4px solid #d9822b;padding:.6em 1em}"""

DAY_S = 86400

LEAST_DRAWN, MOST_DRAWN = 0.0003, 0.1
"""Shares of violated bins on a logarithmic axis: what is below stands at its left end."""

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
    notes: tuple[str, ...] = ()
    """What had to be repaired or guessed in the trace, a sentence each."""


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
    yield _words(findings)


# -- words --------------------------------------------------------------------------------------------------------------


def _about(findings: Findings, source: Source) -> str:
    r, setup = findings.replayed, findings.replayed.setup
    servers = len(r.names)
    where = "none: each server for itself, as if hosts were never short"
    if setup.hosts:
        where = f"{len(r.hosts)} of {setup.hosts.cpus} cores and {setup.hosts.memory_mib:g} MiB, packed by what was sold, nobody migrated"
    rows = (
        ("Trace", source.trace),
        ("Servers", f"{servers}, {_active(findings)}; {source.sample}"),
        ("Counted", f"{_date(setup.begin)} to {_date(setup.end)} UTC ({(setup.end - setup.begin) / 86400:.1f} days)"),
        ("Decided before that", f"{setup.warm_up_s / 86400:.1f} days at most, so that servers begin as under management already"),
        ("Hosts", where),
        ("Forecasts", f"{source.voice}; {_voices(r)}"),
        ("Tiers", f"{source.tiers}; {', '.join(f'{n} {t}' for t, n in _counted(r.tiers))}"),
        ("Changed by the forecast", f"{findings.forecast_changed:.0%} of {r.decisions:,} decisions"),
    )
    told = "".join(
        f"<tr><td>{escape(a)}</td><td>{escape(b)}</td></tr>" for a, b in (*rows, *(("Trace, repaired", n) for n in source.notes))
    )
    return (
        '<p class="note">Simulated: these sizes were never given. Demand is what the trace measured (means of 5 minutes: peaks inside them '
        "are not seen), and does not answer to a smaller or larger allocation; what was sold is "
        "the largest size that the trace ever says of a server; "
        "every order is applied at once; one plan a 5-minute bin stands for the five of the product. "
        f'The rules are the product\'s own.</p><table class="told">{told}</table>'
    )


def _active(findings: Findings) -> str:
    return (
        "none of them active: what is said of active ones is said of all"
        if findings.none_active
        else f"{int(findings.busy.sum())} of them active"
    )


def _words(findings: Findings) -> str:
    by = "CPU" if "cpu" in findings.replayed.tracks else "memory"
    alone = " Hosts hold Foreshape back only: all others have as much as they ask for." if findings.replayed.setup.hosts else ""
    return (
        "<h2>What the words mean</h2><p>Violation: a 5-minute bin whose demand, cut at the size that was sold, was above the allocation. "
        f"Active: servers whose {by} use reached 5 % of their size in 5 % of the bins before. Worst: share of violated bins of the "
        "worst active server; &gt; 2 %: how many active servers have more. Allocated: of what was sold. Slack: allocated and not "
        "used. Resizes: a server and day. Saved: what was not allocated, at what the tiers ask for it, against static flavors: worth "
        "only as much of it as can be used otherwise. Bins without data count nowhere. "
        f"Moving maxima and {escape(VPA)} decide each half-hour from the past alone and have the smallest multiplier, of 0.05 to 20, with "
        "which they violate active servers no more often than Foreshape; a row that cannot do so is no fair comparison. "
        f"{escape(ORACLE)} knows the future and shows what is possible. "
        f"Foreshape / it: the allocations' ratio; below 1, Foreshape took less.{alone}</p>"
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
    return f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>'


# -- charts -------------------------------------------------------------------------------------------------------------


def _charts(findings: Findings, resource: str) -> Iterator[str]:
    track, lines = findings.replayed.tracks[resource], findings.of(resource)
    axes = _time_axes(findings.replayed, UNITS[resource])
    x = np.arange(track.given.shape[1], dtype=float)
    known = np.isfinite(track.demand)
    want = np.nan_to_num(track.demand).sum(axis=0)
    yield svg.chart(
        "All servers together: what was sold, allocated and wanted (of each stretch the bin that wanted most)",
        [
            _series("allocated", np.where(known, track.given, 0).sum(axis=0), x, want),
            _series("wanted", want, x, want, fill=True),
            _series("sold", np.where(known, track.sold[:, None], 0).sum(axis=0), x, want),
        ],
        axes,
    )
    drawn = [line for line in lines if line.row.policy not in (STATIC, ORACLE)]
    yield svg.chart(
        f"Violations of active servers, {_by_day(findings.replayed)}",
        [_daily(line, daily_violations(track, _given(line), findings.busy)) for line in drawn],
        _day_axes(findings.replayed, "of their bins"),
    )
    yield svg.chart(
        f"Slack, {_by_day(findings.replayed)}: allocated and not used",
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


def _by_day(replayed: Replayed) -> str:
    at = datetime.fromtimestamp(replayed.setup.begin, UTC)
    return "day by day (UTC)" if at.hour == at.minute == 0 else f"day by day (24 hours from {at:%H:%M} UTC on)"


def _series(name: str, values: np.ndarray, x: np.ndarray, by: np.ndarray, *, fill: bool = False) -> svg.Series:
    """Thinned to the bins in which ``by`` was largest: all series of a chart show the same moments."""
    return svg.Series(name, *svg.thinned(values, x, by), fill)


def _frontier(findings: Findings, resource: str) -> str:
    """How much each policy must allocate to violate so rarely."""
    own = findings.of(resource)[0].row.measures
    rivals = findings.frontiers[resource]
    at = max(LEAST_DRAWN, own.violations_active)
    name = NAME if own.violations_active >= LEAST_DRAWN else f"{NAME} ({own.violations_active:.2%})"
    series = [svg.Series(name, [at], [own.allocation_share], dots=True)]
    for rival, points in rivals.items():
        seen = _best([(max(LEAST_DRAWN, p[0]), p[1]) for p in points if p[0] <= MOST_DRAWN])
        series.append(svg.Series(rival, [p[0] for p in seen], [p[1] for p in seen]))
    ticks = [(v, f"{v:.2%}") for v in (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05)]
    xs = [x for s in series for x in s.x]
    inside = [(v, said) for v, said in ticks if min(xs) <= v <= max(xs)]
    return svg.chart(
        "What it takes: allocated share over the violations of active servers, rivals with multipliers of 0.5 to 5 (lower left is better)",
        series,
        svg.Axes("allocated of sold", inside, share=True, log_x=True),
    )


def _best(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that nobody beats: more violations only for a smaller allocation."""
    kept: list[tuple[float, float]] = []
    for p in sorted(points):
        if not kept or p[1] < kept[-1][1]:
            kept.append(p)
    return kept


def _servers(findings: Findings, resource: str, source: Source) -> Iterator[str]:
    replayed, track = findings.replayed, findings.replayed.tracks[resource]
    x = np.arange(track.given.shape[1], dtype=float)
    for row, why in chosen(findings, resource, source.servers):
        sold = f"{track.sold[row]:g} {UNITS[resource]} sold"
        yield svg.chart(
            f"{replayed.names[row]} ({why}; tier {replayed.tiers[row]}, {sold}): allocation against demand",
            [
                _series("allocated", track.given[row], x, track.demand[row]),
                _series("wanted", track.demand[row], x, track.demand[row], fill=True),
            ],
            _time_axes(replayed, UNITS[resource]),
        )


def _time_axes(replayed: Replayed, unit: str) -> svg.Axes:
    """Ticks at whole days (UTC), or every three hours of short ones."""
    begin, end = replayed.setup.begin, replayed.setup.end
    days = (end - begin) / DAY_S
    every = max(1, round(days / 7)) * DAY_S if days >= 2 else 3 * 3600
    first = -(-begin // every) * every if every <= DAY_S else -(-begin // DAY_S) * DAY_S
    return svg.Axes(unit, [((at - begin) / STEP_S, _tick(at, every)) for at in range(first, end, every)])


def _tick(at: int, every: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%d %b" if every >= DAY_S else "%H:%M")


def _day_axes(replayed: Replayed, unit: str) -> svg.Axes:
    days = -(-(replayed.setup.end - replayed.setup.begin) // DAY_S)
    every = max(1, days // 7)
    return svg.Axes(unit, [(d + 0.5, _tick(replayed.setup.begin + d * DAY_S, DAY_S)) for d in range(0, days, every)], share=True)


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
    yield f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>'


def _tight_host(replayed: Replayed, resource: str, track: Track) -> str:
    assert replayed.setup.hosts is not None
    k = tightest(replayed, resource)
    mine = replayed.host == k
    want = np.nan_to_num(track.demand[mine]).sum(axis=0)
    capacity = float(replayed.setup.hosts.cpus) if resource == "cpu" else replayed.setup.hosts.memory_mib
    x = np.arange(track.given.shape[1], dtype=float)
    return svg.chart(
        f"{replayed.hosts[k]}, the tightest for {resource}: allocated, wanted, missing and there",
        [
            _series("allocated", np.nan_to_num(track.given[mine]).sum(axis=0), x, want),
            _series("wanted", want, x, want, fill=True),
            svg.Series("capacity", [0.0, float(len(x))], [capacity, capacity]),
            _series("missing", track.unmet[mine].sum(axis=0), x, want),
        ],
        _time_axes(replayed, UNITS[resource]),
    )


def _money(findings: Findings) -> Iterator[str]:
    yield "<h2>Money</h2>"
    priced = [line for line in findings.lines if line.saved is not None]
    if not priced:
        yield "<p>There is no price: name a rate file that has a currency with --rates to see what the freed capacity is worth.</p>"
        return
    for resource in findings.replayed.tracks:
        named = [(line.row.policy, line.saved or 0.0) for line in findings.of(resource)]
        days = (findings.replayed.setup.end - findings.replayed.setup.begin) / 86400
        yield svg.bars(f"Worth of what was not allocated in {days:.1f} days, {resource} (in the money of the tiers' prices)", named, "")

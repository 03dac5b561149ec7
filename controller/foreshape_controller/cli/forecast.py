"""``foreshape forecast show``: the fan of quantiles ahead of a server, or of a group of servers."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from foreshape_controller.cli import chart
from foreshape_controller.cli.paths import segment
from foreshape_controller.cli.server import server_path
from foreshape_controller.cli.view import ListView, Row, ago, moment

SHOWN = (0.05, 0.5, 0.95, 0.99)
ALLOCATED = {"cpu": "cpu_allocated_cores", "memory": "memory_allocated_mib"}
"""What a server has now, where something was allocated."""


def _rows(fan: Row) -> list[Row]:
    """Window peaks first, then the next 30 minutes step by step, then the half-hours of a day."""
    step = fan["step_s"]
    windows = [("peak30m", 0, 6 * step, fan["peak30m"]), ("peak24h", 0, 288 * step, fan["peak24h"])]
    windows += [("step", i * step, (i + 1) * step, values) for i, values in enumerate(fan["steps"])]
    windows += [("half_hour", i * 6 * step, (i + 1) * 6 * step, values) for i, values in enumerate(fan["half_hours"])]
    said = {"resource": fan["resource"], "unit": fan["unit"], "source": fan["source"]}
    return [
        said | {"window": name, "from_s": start, "to_s": end} | {f"q{level:.2f}": v for level, v in zip(fan["levels"], values, strict=True)}
        for name, start, end, values in windows
    ]


def _at(level: float) -> Any:
    return lambda row: f"{row[f'q{level:.2f}']:.{2 if row['unit'] == 'cores' else 0}f}" if f"q{level:.2f}" in row else "-"


class ForecastShow(ListView):
    """Show what a server, host, project, segment or zone is expected to want: a chart with bands, or every quantile with -f."""

    text_default = True
    columns = (
        ("Resource", lambda r: r["resource"]),
        ("Unit", lambda r: r["unit"]),
        ("Window", lambda r: r["window"]),
        ("From s", lambda r: r["from_s"]),
        ("To s", lambda r: r["to_s"]),
        *((f"q{level:.2f}", _at(level)) for level in SHOWN),
        ("Source", lambda r: r["source"]),
    )

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        what = "id or name of a server, or host:NAME, project:ID, segment:NAME, zone:NAME"
        parser.add_argument("server", metavar="NAME", help=what)
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.get(_path(parsed))

    def rows(self, answer: Any) -> Sequence[Row]:
        return [row for fan in answer["fans"] for row in _rows(fan)]

    def text(self, answer: Any, parsed: Namespace) -> str:
        group = _is_group(parsed.server)
        server = {} if group else self.app.client.get(server_path(parsed))
        who = f"{answer['series']} ({answer['servers']} servers now)" if group else f"{answer['name']} ({answer['server']})"
        lines = [f"{who}, forecast of {moment(answer['origin'])}"]
        if not answer["fans"]:
            lines.append("no forecast yet: the next plan makes one")
        for fan in answer["fans"]:
            lines += ["", *_fan_text(fan, server)]
        return "\n".join(lines)


def _is_group(name: str) -> bool:
    """Whether ``host:NAME`` or another kind of group was named."""
    from foreshape_controller.model.kinds import kind_of  # noqa: PLC0415 - start-up time

    return kind_of(name) is not None


def _path(parsed: Namespace) -> str:
    """The API's path of the forecast of what was named."""
    return f"/v1/forecasts/{segment(parsed.server)}" if _is_group(parsed.server) else server_path(parsed, "/forecast")


def _fan_text(fan: Row, server: Row) -> list[str]:
    has = server.get(ALLOCATED.get(fan["resource"], ""))
    digits = 2 if fan["unit"] == "cores" else 0
    steps = [*fan["steps"], *fan["half_hours"]]
    hours = len(fan["half_hours"]) * 6 * fan["step_s"] / 3600
    near, far = len(fan["steps"]), len(fan["half_hours"])
    head = f"{fan['resource']} ({fan['unit']}), from {fan['source']}, with {ago(fan['age_s'])} of history"
    return [
        f"{head}: {fan['reason']}" if fan["reason"] else head,
        *chart.fan(fan["levels"], steps, has),
        f"{'':>9} └{'─' * (near - 1)}┴{'─' * far}",
        f"{'':>11}{'now':<{near}}{near * fan['step_s'] / 60:g} min ahead, then half-hours to {hours:g} h",
        f"{'':>11}░ 5-95 %  ▒ 20-80 %  ▓ 40-60 %  {chart.MEDIAN} median" + (f"  · has now {has:.{digits}f}" if has is not None else ""),
        _peak("largest in the next 30 minutes", fan, fan["peak30m"], digits),
        _peak("largest in the next 24 hours", fan, fan["peak24h"], digits),
    ]


def _peak(title: str, fan: Row, values: Sequence[float], digits: int) -> str:
    said = "  ".join(f"{level:.0%} {chart.quantile(fan['levels'], values, level):.{digits}f}" for level in (0.5, 0.95, 0.99))
    return f"{'':>11}{title}: {said} {fan['unit']}"

"""``foreshape cloud status``: what the configured OpenStack says, and how it fits what agents report."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator
from typing import Any

from foreshape_controller.cli.view import Row, ShowView, ago, moment

WIDTH = 11
NAMED = 10
"""Most names on one line."""


class CloudStatus(ShowView):
    """Show the configured OpenStack: services, the newest reading, hosts and servers on either side, what does not fit together."""

    text_default = True

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser: ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "--rights", action="store_true", help="also try which rights the controller's role has (requests that change nothing)"
        )
        return parser

    def ask(self, parsed: Namespace) -> Any:
        answer = self.app.client.get("/v1/cloud")
        if parsed.rights:
            answer["rights"] = self.app.client.get("/v1/cloud/rights")
        return answer

    def text(self, answer: Any, parsed: Namespace) -> str:
        parts = {
            "Cloud": _cloud(answer),
            "Services": _services(answer["services"]),
            "Hosts": _hosts(answer),
            "Servers": _servers(answer),
            "Elsewhere": _elsewhere(answer["elsewhere"]),
            "Differ": _differ(answer),
            "Consumers": [", ".join(f"{n} {kind}" for kind, n in answer["consumers"].items()) or "none in our project"],
            "Problems": answer["problems"] or ["none"],
        }
        if parsed.rights:
            parts["Rights"] = _rights(answer["rights"])
        return "\n".join(_part(name, lines) for name, lines in parts.items())


def _part(name: str, lines: Iterable[str]) -> str:
    return "\n".join(f"{name if not i else '':<{WIDTH}}{line}" for i, line in enumerate(lines))


def _some(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - NAMED} more" if len(every) > NAMED else ""
    return ", ".join(every[:NAMED]) + more


def _cloud(a: Row) -> Iterator[str]:
    where = ", ".join(filter(None, (a["name"] or "of the OS_* environment", a["region"] and f"region {a['region']}")))
    yield f"{where}; as user {a['user'] or '?'} of project {a['project'] or '?'}, roles: {', '.join(a['roles']) or '?'}"
    if a["age_s"] is None:
        yield "not read yet"
    else:
        yield f"read {ago(a['age_s'])} ago, " + (f"NOT IN FULL: {', '.join(a['missing'])}" if a["missing"] else "in full")
    yield (
        f"NOTHING IS RESERVED OR MIGRATED: {a['why_not']}"
        if a["why_not"]
        else "read well enough for reservations and migrations, where the mode is act or somebody approves them"
    )
    if a["why_not_sizes"]:
        yield f"NOBODY IS SHRUNK, or grown beyond what was sold: {a['why_not_sizes']}"


def _services(services: list[Row]) -> Iterator[str]:
    for s in services:
        spoken = f" {s['least']} to {s['most']}" if s["most"] else ""
        release = f" ({s['release']})" if s["release"] else ""
        said = [f"{s['name']}{spoken}{release}", f"asked at {s['asked_at']}" if s["asked_at"] else ""]
        said.append("" if s["answer_ms"] is None else f"answers in {s['answer_ms']:.0f} ms")
        said.append("" if s["clock_ahead_s"] is None else f"clock {s['clock_ahead_s']:+.0f} s")
        yield s["trouble"] or ", ".join(filter(None, said))
    if not services:
        yield "not asked yet"


def _hosts(a: Row) -> Iterator[str]:
    yield f"{a['hosts']} in Nova: {a['hosts_up']} up, {a['hosts_enabled']} enabled, {a['hosts_with_agent']} with an agent"
    if a["silent_hosts"]:
        yield f"without an agent: {_some(a['silent_hosts'])}"
    yield from (f"agent of {host}: {why}" for host, why in a["strange_hosts"].items())


def _servers(a: Row) -> Iterator[str]:
    yield f"{a['servers']} in Nova: {a['reported']} reported by agents, {a['unwatched']} on hosts without one"
    if a["migrations"]:
        yield f"{a['migrations']} migrations under way, whosever they are"
    if a["held"]:
        yield "left alone: " + ", ".join(f"{n} {code}" for code, n in sorted(a["held"].items()))
    if a["unreported"]:
        yield f"ACTIVE, and not reported by the agent of their host: {_some(a['unreported'])}"
    if a["strangers"]:
        yield f"guests that Nova does not have, never touched: {_some(a['strangers'])}"


def _elsewhere(astray: list[Row]) -> Iterator[str]:
    for m in astray:
        yield f"{m['name'] or m['server']} ({m['server']}) RUNS ON {m['runs']} since {moment(m['since'])}, and Nova has it on {m['nova']}"
        yield f"  {m['said']}" + (f" by {m['reservation']}" if m["reservation"] else "")
        yield f"  {m['remedy']}"
    if not astray:
        yield "no guest runs where Nova does not have it"


def _differ(a: Row) -> Iterator[str]:
    if not a["differing"]:
        yield "agents and Nova say the same"
        return
    yield "Nova's word holds; it differs in " + ", ".join(f"{what} of {n}" for what, n in sorted(a["differing"].items()))
    for d in a["differences"][:NAMED]:
        yield f"{d['name'] or d['server']}: {d['what']} is {d['nova']}, and its agent says {d['agent']}"


def _rights(rights: list[Row]) -> Iterator[str]:
    for r in rights:
        why = f" ({r['why']})" if r["why"] else ""
        yield f"{r['state']:<8} {r['needed_for']:<13} {r['what']}: {r['policy']}{why}"

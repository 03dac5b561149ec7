"""``foreshape agent list``, ``show``, ``enroll`` and ``revoke``."""

from argparse import ArgumentParser, Namespace
from typing import Any

from cliff.command import Command

from foreshape_controller.cli.paths import segment
from foreshape_controller.cli.view import Columns, ListView, Row, ShowView, ago, moment


def _since(key: str) -> Any:
    def cell(row: Row) -> str:
        return "never" if row[key] is None else f"{ago(row[key])} ago"

    return cell


STATES = ("invited", "enrolled", "reporting", "late", "silent", "revoked")
COLUMNS: Columns = (
    ("Host", lambda r: r["host"]),
    ("State", lambda r: r["state"]),
    ("Version", lambda r: r["version"] or "-"),
    ("Last report", _since("last_report_s_ago")),
    ("Token age", lambda r: "-" if r["token_age_s"] is None else ago(r["token_age_s"])),
    ("What is wrong", lambda r: r["wrong"] or "-"),
    ("What to do", lambda r: r["to_do"] or "-"),
)


class AgentList(ListView):
    """List agents: which there are, what they do, what is wrong, and what to do. A filter: --state silent."""

    nothing = "There is no agent: 'foreshape agent enroll HOST' lets the first one in."
    columns = COLUMNS

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser: ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--state", metavar="STATE", choices=STATES, help=f"only those that are {' | '.join(STATES)}")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.get("/v1/agents", **({"state": parsed.state} if parsed.state else {}))


class AgentShow(ShowView):
    """Show one agent: its token, its last report, what is wrong, and what to do."""

    columns = (
        *COLUMNS,
        ("Token of", lambda r: "-" if r["token_issued"] is None else moment(r["token_issued"])),
        ("New token, not used yet", lambda r: "-" if r["token_next"] is None else moment(r["token_next"])),
        ("Join token until", lambda r: "-" if r["join_until"] is None else moment(r["join_until"])),
    )

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser: ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("host", metavar="HOST", help="name of the hypervisor")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.get(f"/v1/agents/{segment(parsed.host)}")


class AgentEnroll(ShowView):
    """Make a one-time join token for a host's agent, and say what to run there."""

    text_default = True

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("host", metavar="HOST", help="name of the hypervisor, as Nova knows it")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        return self.app.client.post(f"/v1/agents/{segment(parsed.host)}/join")

    def text(self, answer: Any, parsed: Namespace) -> str:  # noqa: ARG002 - one way to say it
        o = self.app.options
        steps = [
            "pip install 'foreshape[agent]'",
            f"in /etc/foreshape/agent.conf set  [agent] host = {answer['host']}  and  [controller] controller_url = {o.url}",
            "foreshape-agent --config-file /etc/foreshape/agent.conf --enrol " + answer["join_token"],
            "systemctl enable --now foreshape-agent",
        ]
        if o.ca_file:
            steps.insert(1, f"copy {o.ca_file} there as /etc/foreshape/ca.pem, and set  [controller] ca_file = /etc/foreshape/ca.pem")
        head = f"Join token of host {answer['host']}, good once, until {moment(answer['expires_at'])}:"
        numbered = (f"  {n}. {step}" for n, step in enumerate(steps, 1))
        return "\n".join((head, "", f"    {answer['join_token']}", "", f"On {answer['host']}:", *numbered))


class AgentRevoke(Command):
    """Take an agent's token away: its reports are refused from now on."""

    app: Any

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("host", metavar="HOST", help="name of the hypervisor")
        return parser

    def take_action(self, parsed: Namespace) -> int:
        self.app.client.delete(f"/v1/agents/{segment(parsed.host)}")
        self.app.stdout.write(
            f"{parsed.host}: its token is revoked. Cut off, its agent returns every server there to its entitlement "
            f"after its silence limit. Let it back in with: foreshape agent enroll {parsed.host}\n"
        )
        return 0

"""``foreshape agent enroll`` and ``agent revoke``."""

from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from typing import Any

from cliff.command import Command

from foreshape_controller.cli.view import ShowView


class AgentEnroll(ShowView):
    """Make a one-time join token for a host's agent, and say what to run there."""

    text_default = True

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("host", metavar="HOST", help="name of the hypervisor, as Nova knows it")
        return parser

    def ask(self, parsed: Namespace) -> Any:
        from foreshape_controller.cli.client import segment  # noqa: PLC0415 - start-up time

        return self.app.client.post(f"/v1/agents/{segment(parsed.host)}/join")

    def text(self, answer: Any, parsed: Namespace) -> str:  # noqa: ARG002 - one way to say it
        until = datetime.fromtimestamp(answer["expires_at"], UTC).strftime("%Y-%m-%d %H:%M")
        o = self.app.options
        ca = f"  3. copy {o.ca_file} there as /etc/foreshape/ca.pem, and set  ca_file = /etc/foreshape/ca.pem" if o.ca_file else ""
        return "\n".join(
            line
            for line in (
                f"Join token of host {answer['host']}, good once, until {until} UTC:",
                "",
                f"    {answer['join_token']}",
                "",
                f"On {answer['host']}:",
                "  1. pip install 'foreshape[agent]'",
                f"  2. in /etc/foreshape/agent.conf, section [agent], set  host = {answer['host']}  and  controller_url = {o.url}",
                ca,
                f"  {'4' if ca else '3'}. foreshape-agent --config-file /etc/foreshape/agent.conf --join {answer['join_token']} --once",
                f"  {'5' if ca else '4'}. systemctl enable --now foreshape-agent",
            )
            if line != "" or not ca
        )


class AgentRevoke(Command):
    """Take an agent's token away: its reports are refused from now on."""

    app: Any

    def get_parser(self, prog_name: str) -> ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("host", metavar="HOST", help="name of the hypervisor")
        return parser

    def take_action(self, parsed: Namespace) -> int:
        from foreshape_controller.cli.client import segment  # noqa: PLC0415 - start-up time

        self.app.client.delete(f"/v1/agents/{segment(parsed.host)}")
        self.app.stdout.write(
            f"{parsed.host}: its token is revoked. Cut off, its agent returns every server there to its entitlement "
            f"after its silence limit. Let it back in with: foreshape agent enroll {parsed.host}\n"
        )
        return 0

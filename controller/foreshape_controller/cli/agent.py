"""``foreshape agent enroll`` and ``agent revoke``."""

from argparse import ArgumentParser, Namespace
from typing import Any

from cliff.command import Command

from foreshape_controller.cli.view import ShowView, moment


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
        from foreshape_controller.cli.client import segment  # noqa: PLC0415 - start-up time

        self.app.client.delete(f"/v1/agents/{segment(parsed.host)}")
        self.app.stdout.write(
            f"{parsed.host}: its token is revoked. Cut off, its agent returns every server there to its entitlement "
            f"after its silence limit. Let it back in with: foreshape agent enroll {parsed.host}\n"
        )
        return 0

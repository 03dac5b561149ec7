"""A controller with something of everything in its store, served over HTTP: what a fuzzer is let loose on."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from foreshape_controller.decide.caps import compose
from foreshape_controller.main import Program, build
from foreshape_controller.model.cap import CapRequest
from foreshape_controller.model.choice import Choice
from foreshape_controller.model.reclaim import Notice
from foreshape_controller.model.workload import Profile
from foreshape_demo.serve import Serving
from foreshape_wire.ids import new_id
from foreshape_wire.order import Mode
from store_support import T0, ask, card, report, sample, settings, size
from tenants_support import FakeTokens

NOW = T0 + 7200


class Filled(NamedTuple):
    program: Program
    url: str


@contextmanager
def filled(folder: Path) -> Iterator[Filled]:
    """Two servers of two projects with two hours of history, a plan, a cap, an event, a choice, notices, a profile."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    plain = settings(folder)
    generous = replace(plain.api, **{f: 10**6 for f in ("project_requests_per_s", "requests_per_s") if hasattr(plain.api, f)})
    program = build(replace(plain, api=generous), lambda: NOW, tokens=FakeTokens())
    _fill(program)
    with Serving(program, 0) as served:
        yield Filled(program, served.url)
    program.store.close()


def _fill(program: Program) -> None:
    store = program.store
    store.modes.set("cloud", Mode.ACT, "a test", T0)
    words = (("vm-1", "web", "p1"), ("vm-2", "db", "p2"))
    cards = tuple(msgspec.structs.replace(card(s, name=n, project=p), allocation=size(1, 2048)) for s, n, p in words)
    for k in range(1, 73):
        at = T0 + 100.0 * k
        ask(program.intake, report(k, at - 1, [sample("vm-1"), sample("vm-2")], cards=cards if k == 1 else None), now=at)
    program.look_ahead()
    program.plan_loop.run_once(NOW)
    store.caps.add(compose(CapRequest(scope="server:vm-1", amounts={"cpu": 1.5}, for_s=86400, reason="noisy"), new_id, NOW), NOW)
    store.choices.put(Choice(scope="server:vm-2", project="p2", mode=Mode.ADVISE, since=NOW))
    store.notices.put([Notice(at=NOW, project="p1", server="vm-1", name="web", kind="cap", text="capped", resource="cpu")])
    store.profiles.declare("vm-1", Profile(work="steady"), NOW)

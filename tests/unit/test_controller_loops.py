"""The controller's loops: which threads they run in."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from foreshape_controller.config import Settings
from foreshape_controller.loops.pulse import Pulse
from foreshape_controller.main import _loops

pytestmark = pytest.mark.unit

MANY = 8


def test_plans_and_the_watchdog_go_on_while_every_job_of_the_cloud_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    hanging, released = threading.Semaphore(0), threading.Event()
    planned, fed = threading.Event(), threading.Event()

    def hangs(_now: float) -> None:
        hanging.release()
        released.wait(30.0)

    def plans(_now: float, **_more: object) -> None:
        planned.set()

    idle: Any = SimpleNamespace(run_once=lambda *_a, **_k: None)
    program: Any = SimpleNamespace(
        settings=Settings(),
        clock=lambda: 0.0,
        look_ahead=lambda: None,
        tidy=lambda: None,
        plan_loop=SimpleNamespace(run_once=lambda *a, **k: all(hanging.acquire(timeout=10.0) for _ in range(MANY)) and plans(*a, **k)),
        store=SimpleNamespace(journal=SimpleNamespace(expire=lambda _now: None), ping=fed.set),
        cloud=SimpleNamespace(jobs=lambda: iter([(f"cloud{i}", 3600.0, hangs) for i in range(MANY)])),
        **dict.fromkeys(("aftermath", "reclaim", "feedback", "guard", "optout"), idle),
        **dict.fromkeys(("pricing", "requests", "webhooks"), None),
        learn=None,
        pulse=Pulse(),
    )
    loops = _loops(program)
    loops.start()
    try:
        assert planned.wait(20.0)
        assert fed.wait(20.0)
    finally:
        released.set()
        loops.shutdown(wait=True)

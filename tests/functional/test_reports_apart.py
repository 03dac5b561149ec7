"""Reports that a process of its own takes: answered as by the controller itself, exactly once, whatever dies meanwhile."""

import asyncio
import os
import signal
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar.testing import TestClient

from foreshape_controller.bus import Behind
from foreshape_controller.config import Settings, StoreSettings
from foreshape_controller.errors import Forged, Unauthenticated, Unavailable
from foreshape_controller.loops.apart import OWN, ROOM, Apart, Ask, Job, door_of
from foreshape_controller.loops.intake_process import Doorman
from foreshape_controller.main import Program, build
from foreshape_controller.store import Store
from foreshape_wire.codec import WireError, decode_desired, encode
from foreshape_wire.order import Verdict
from store_support import T0, decision, order, outcome, plan, report, sample, settings

pytestmark = pytest.mark.functional

NOW = T0 + 11.0


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    made = build(settings(tmp_path), lambda: NOW)
    yield made
    made.store.close()


def door(program: Program) -> Apart:
    found = door_of(program.settings, program.store, program.intake.answer)
    assert found is not None
    return found


def token(program: Program, host: str = "hv1") -> str:
    agents = program.store.agents
    return agents.enrol(host, agents.join_token(host, NOW, 60.0), NOW)


def through(program: Program, steps: Any) -> Any:
    """Run the steps against a door that is begun before and closed after them."""

    async def run() -> Any:
        apart = door(program)
        await apart.begin()
        try:
            return await steps(apart)
        finally:
            await apart.close()

    return asyncio.run(run())


def taken(program: Program) -> int:
    with program.store.db.read() as conn:
        servers = "SELECT id FROM series WHERE name NOT LIKE 'host:%'"
        return int(conn.exec_driver_sql(f"SELECT COALESCE(SUM(samples), 0) FROM bins WHERE series IN ({servers})").scalar_one())


def test_a_report_is_answered_as_by_the_controller_itself(program: Program) -> None:
    mine = token(program)
    apart = decode_desired(through(program, lambda d: d.accept(mine, encode(report(1, cards=True)), NOW)))
    itself = decode_desired(program.intake.accept(report(1).host_name, encode(report(1, cards=True)), NOW))
    assert apart == itself
    assert apart.guards


@pytest.mark.parametrize("tenants_default", ["observe", "act"])
@pytest.mark.parametrize("in_cloud", [True, False])
def test_tenants_terms_and_the_cloud_hold_at_both_doors(tmp_path: Path, tenants_default: str, in_cloud: bool) -> None:
    base = settings(tmp_path)
    program = build(replace(base, plan=replace(base.plan, default_mode="act", tenants_default=tenants_default)), lambda: NOW)
    program.store.inventory.in_cloud = in_cloud
    apart = door(program)
    store = Store.beside(apart.job.database, msgspec.msgpack.decode(msgspec.msgpack.encode(apart.job), type=Job).beside)
    try:
        program.intake.accept(report(1).host_name, encode(report(1, cards=True)), NOW)
        program.store.journal.record(plan(NOW, decision(NOW)), (order("ord-1", at=NOW),))
        here, there = (s.inventory.steering(report(1).host_name, NOW) for s in (program.store, store))
        assert here == there
        assert bool(there.acting) == (tenants_default == "act" and not in_cloud)
        assert [g.hands_off for g in there.guards] == [in_cloud]
        told = through(program, lambda d: d.accept(token(program), encode(report(2, T0 + 20)), NOW + 10))
        assert decode_desired(told).orders == (here.orders if here.acting else ())
    finally:
        store.close()
        program.store.close()


def test_what_it_wrote_is_known_to_copies_of_history_here(program: Program) -> None:
    before = program.store.history.touched.mark
    through(program, lambda d: d.accept(token(program), encode(report(1, cards=True)), NOW))
    assert program.store.history.touched.since(before).bins


def test_outcomes_are_settled_and_told_to_whoever_watches_here(program: Program) -> None:
    mine = token(program)
    program.intake.accept(report(1).host_name, encode(report(1, cards=True)), NOW)
    program.store.journal.record(plan(NOW, decision(NOW)), (order("ord-1", at=NOW),))
    watch = program.store.bus.watch(lambda: None)
    told = report(2, T0 + 21, outcomes=(outcome("ord-1", "cpu", Verdict.APPLIED), outcome("ord-1", "memory", Verdict.APPLIED)))
    through(program, lambda d: d.accept(mine, encode(told), NOW + 10))
    assert program.store.journal.counts()["orders_applied"] == 1
    assert {n.kind for n in program.store.bus.read(watch, 100)} <= {"outcome", "allocation"}


@pytest.mark.parametrize(
    ("token_of", "data", "error"),
    [
        ("nobody", encode(report(1)), Unauthenticated),
        ("hv1", b"not a message", WireError),
        ("hv1", encode(report(1, host="hv2")), Forged),
    ],
)
def test_what_is_refused_is_refused_in_the_same_words(program: Program, token_of: str, data: bytes, error: type[Exception]) -> None:
    mine = token(program) if token_of == "hv1" else "wrong"
    with pytest.raises(error) as there:
        through(program, lambda d: d.accept(mine, data, NOW))
    if error is not Unauthenticated:
        with pytest.raises(error) as here:
            program.intake.accept(report(1).host_name, data, NOW)
        assert str(there.value) == str(here.value)
    assert taken(program) == 0


def test_reports_at_once_each_get_their_own_answer(program: Program) -> None:
    hosts = [f"hv{n}" for n in range(20)]
    tokens = {h: token(program, h) for h in hosts}

    async def all_at_once(apart: Apart) -> list[bytes]:
        told = [report(n, host=h, samples=[sample(f"vm-{h}")]) for n, h in enumerate(hosts, 1)]
        return await asyncio.gather(*(apart.accept(tokens[r.host], encode(r), NOW) for r in told))

    answers = [decode_desired(a) for a in through(program, all_at_once)]
    assert [a.host for a in answers] == hosts
    assert [a.accepted for a in answers] == [(n,) for n in range(1, 21)]
    assert taken(program) == 20


def test_a_process_that_is_killed_costs_an_answer_503_and_no_report(program: Program) -> None:
    mine = token(program)

    async def killed(apart: Apart) -> None:
        acked = []
        for n in range(1, 31):
            if n % 10 == 0:
                assert apart.process is not None
                os.kill(apart.process.pid, signal.SIGKILL)
            message = encode(report(n, T0 + 10 + n))
            for _ in range(200):
                try:
                    acked.append(decode_desired(await apart.accept(mine, message, NOW + n)).accepted)
                    break
                except Unavailable:
                    await asyncio.sleep(0.05)
        assert acked == [(n,) for n in range(1, 31)]

    through(program, killed)
    assert taken(program) == 30


async def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.02)


def hold(apart: Apart, how: signal.Signals) -> Process:
    assert apart.process is not None
    apart.process.send_signal(how)
    return apart.process


def test_a_process_that_hangs_is_ended_and_another_one_begun(program: Program) -> None:
    mine = token(program)

    async def hung(apart: Apart) -> None:
        await apart.accept(mine, encode(report(1)), NOW)
        first, apart.wait_s = hold(apart, signal.SIGSTOP), 0.5
        with pytest.raises(Unavailable):
            await apart.accept(mine, encode(report(2, T0 + 20)), NOW + 10)
        await until(lambda: first.returncode == -signal.SIGKILL)
        apart.wait_s = 30.0
        await until(lambda: not apart.alive)
        async with asyncio.timeout(30):
            while True:
                try:
                    assert decode_desired(await apart.accept(mine, encode(report(2, T0 + 20)), NOW + 10)).accepted == (2,)
                    break
                except Unavailable:
                    await asyncio.sleep(0.1)
        assert apart.process is not first

    through(program, hung)
    assert taken(program) == 2


def test_a_process_that_only_closes_its_output_is_ended_too(program: Program) -> None:
    async def closing() -> None:
        apart = door(program)
        apart.command, apart.end_s = ("/bin/sh", "-c", "exec >&-; exec sleep 600"), 0.2
        await apart.begin()
        try:
            await until(lambda: apart.process is not None and apart.process.returncode == -signal.SIGKILL)
        finally:
            await apart.close()

    asyncio.run(closing())


def test_what_was_written_is_known_here_even_where_nobody_waits_any_more(program: Program) -> None:
    mine, touched = token(program), program.store.history.touched

    async def gone(apart: Apart) -> None:
        await apart.accept(mine, encode(report(1)), NOW)
        before = touched.mark
        hold(apart, signal.SIGSTOP)
        asked = asyncio.create_task(apart.accept(mine, encode(report(2, T0 + 20)), NOW + 10))
        await asyncio.sleep(0.05)
        asked.cancel()
        hold(apart, signal.SIGCONT)
        await until(lambda: bool(touched.since(before).bins))

    through(program, gone)
    assert taken(program) == 2


def test_after_a_process_that_died_copies_are_read_again_and_streams_told_that_something_is_lost(program: Program) -> None:
    before, watch = program.store.history.touched.mark, program.store.bus.watch(lambda: None)

    async def killed(apart: Apart) -> None:
        hold(apart, signal.SIGKILL)
        await until(lambda: program.store.history.touched.since(before).more)

    through(program, killed)
    with pytest.raises(Behind):
        watch.read()


def test_a_report_that_nobody_waits_for_is_not_taken(program: Program) -> None:
    mine, made = token(program), door(program)
    store = Store.beside(made.job.database, made.job.beside)
    try:
        late, sound = (Ask(n, mine, encode(report(n)), NOW, time.monotonic() + left) for n, left in ((1, -0.1), (2, 30.0)))
        told = Doorman(store, 0.0).answer_all([late, sound])
    finally:
        store.close()
    assert [(t.number, t.error) for t in told] == [(1, "Unavailable"), (2, "")]
    assert taken(program) == 1


def test_it_is_begun_from_what_is_installed_and_not_from_where_the_controller_was_started(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.joinpath("foreshape_controller").mkdir()
    tmp_path.joinpath("foreshape_controller", "__init__.py").write_text("raise SystemExit('not mine')")
    mine = token(program)
    monkeypatch.chdir(tmp_path)
    assert decode_desired(through(program, lambda d: d.accept(mine, encode(report(1)), NOW))).accepted == (1,)


def test_a_token_is_known_until_it_is_revoked_and_refused_at_once_then(program: Program) -> None:
    mine = token(program)

    async def revoked(apart: Apart) -> None:
        assert not await apart.knows("agent-invented")
        assert await apart.knows(mine)
        await apart.accept(mine, encode(report(1)), NOW)
        program.store.agents.revoke("hv1")
        with pytest.raises(Unauthenticated):
            await apart.accept(mine, encode(report(2, T0 + 20)), NOW + 10)
        assert not await apart.knows(mine)

    through(program, revoked)


def test_reports_that_do_not_fit_into_memory_wait_outside(program: Program) -> None:
    made = door(program)
    with made.room("a", ROOM - 1), made.room("b", 1), pytest.raises(Unavailable), made.room("c", 1):
        pass
    with ExitStack() as some:
        for _ in range(OWN):
            some.enter_context(made.room("a", 1))
        some.enter_context(made.room("b", 1))
        with pytest.raises(Unavailable), made.room("a", 1):
            pass
    with made.room("c", ROOM):
        pass


@pytest.mark.parametrize(("said", "status", "reads"), [("Bearer wrong", 401, 0), ("", 401, 0), ("Bearer {}", 200, 1)])
def test_nothing_is_read_of_whoever_has_no_valid_token(program: Program, said: str, status: int, reads: int) -> None:
    body, asked, answers = encode(report(1)), list[int](), list[int]()
    headers = [(b"host", b"x"), (b"content-length", str(len(body)).encode())]
    headers += [(b"authorization", said.format(token(program)).encode())] if said else []
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http", "path": "/v1/reports"}
    scope |= {"raw_path": b"/v1/reports", "query_string": b"", "root_path": "", "headers": headers, "client": ("192.0.2.1", 1)}

    async def receive() -> Any:
        asked.append(1)
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        answers.append(message.get("status", 0))

    async def run() -> None:
        apart = program.app.state.services.door
        await apart.begin()
        try:
            await program.app(scope, receive, send)
        finally:
            await apart.close()

    asyncio.run(run())
    assert (answers[0], len(asked)) == (status, reads)


def test_whoever_guesses_tokens_is_told_to_wait_and_who_has_one_is_served(program: Program) -> None:
    mine = token(program)
    with TestClient(program.app) as client:
        client.blocking_portal.call(program.app.state.services.door.begin)
        try:
            said = [client.post("/v1/reports", content=b"{}", headers={"Authorization": f"Bearer guess-{n}"}) for n in range(20)]
            assert [s.status_code for s in said] == [401] * 15 + [429] * 5
            found = client.post("/v1/reports", content=encode(report(1)), headers={"Authorization": f"Bearer {mine}"})
            assert found.status_code == 200
        finally:
            client.blocking_portal.call(program.app.state.services.door.close)


def test_a_closed_door_takes_nothing_more(program: Program) -> None:
    mine = token(program)

    async def closed(apart: Apart) -> None:
        await apart.close()
        with pytest.raises(Unavailable):
            await apart.accept(mine, encode(report(1)), NOW)

    through(program, closed)
    assert taken(program) == 0


def test_a_database_in_memory_has_no_second_door() -> None:
    memory = replace(Settings(), store=StoreSettings(url="sqlite://"))
    assert door_of(memory, None, lambda _half: b"") is None  # type: ignore[arg-type]

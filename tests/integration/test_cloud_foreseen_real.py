"""A forecast moves a guest, on real Nova and hypervisors, before the shortage that it predicts; and without a forecast nothing moves.

Two guests on one host; people declared an event for one of them that will multiply what it wants: both together then want more than
their host has. The controller first runs with ``[plan] forecast`` off: it knows the event and the same history, and moves nobody. Then it
is started again with the forecast, and nothing else is another: a need with a deadline, a plan, room held on the target before the
shortage, others refused it, a live migration, an arrival that is proven, its limits on the target, the reservation gone. Nobody asks for
anything but the event.

However little the machine has left for them, two guests of one CPU each can never be measured to want more than the two CPUs that may be
handed out: only the event makes them short. And whatever it makes of the one, the other always fits into the target.

Times are compressed: a bin of 2 s stands for five minutes, so that "the next six hours" are 144 s.
"""

import json
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from foreshape_cloudbed import RealCloud
from foreshape_lab.programs import with_options

from foreshape_controller.model.cloud import LOCKED_OUT, CloudView
from lab_support import Resets, eventually
from story_support import SIZE, Stage, Thieves

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

SOURCE, TARGET = "hv1", "hv2"
GUESTS = 2
STEP_S, BINS = 2, 40
"""From 36 bins on a history speaks for itself."""
AHEAD_S = 12 * 6 * STEP_S
"""How far ahead shortages are looked for."""
RATIO = GUESTS / (os.cpu_count() or GUESTS)
"""Of a host's CPUs that may be handed out: as many as the guests have."""
WANTED, LOOKED_S = 1.4, 12.0
"""What the event makes of the host's demand (the least of so many seconds), as a share of what may be handed out."""
LOAD = "load.cpu=0.3 load.mem=32"
LEFT_ALONE_S = 16.0
"""So long the event is within sight, and nobody looks."""
CAP = 0.8
CALM_S = 15.0
"""By a guest's own clock: its boot, which wants a whole CPU, is over."""

OPTIONS: dict[str, dict[str, object]] = {
    "history": {"step_s": STEP_S},
    "plan": {"forecast": "off", "cpu_ratio": RATIO, "interval_s": 2, "forecast_every_s": 2, "history_bins": 96, "stale_after_s": 30},
    "migrations": {"plan_every_s": 2, "hold_s": 0},
    "reservations": {"lock_wait_s": 8},  # so that the room is seen to be held
}


@dataclass
class Story:
    """What was seen."""

    before: tuple[list[Any], list[Any]]
    """Needs and migrations, proposed ones too, when the forecast was off."""
    looked_s: float
    """From the restart with the forecast to the need."""
    event_at: float
    need: dict[str, Any]
    move: dict[str, Any]
    states: list[tuple[str, float]]
    held_at: float
    """When Placement had our consumer on the target."""
    held: list[str]
    refused: int
    stolen: list[str]
    quota: int
    orders: int
    server: str
    view: CloudView
    left: list[str]
    runs: list[str]
    up: tuple[float, float]
    """Seconds by the moved guest's own kernel, before and after."""
    words: str
    """The end of its consoles."""
    died: str = ""
    """How it died of itself in between; empty: it did not."""


@pytest.fixture(scope="module")
def story(one_real_cloud: Any) -> Story:
    """Told once more where the guest died of itself."""
    with one_real_cloud.lend() as cloud:
        told = tell(cloud)
    if not told.died:
        return told
    print(f"once more: the guest died of itself: {told.died}")
    with one_real_cloud.lend() as cloud:
        return tell(cloud)


def tell(real_cloud: RealCloud) -> Story:
    stage, began = Stage(real_cloud), time.monotonic()
    users = stage.hands.users
    users._make_image = lambda users: real_cloud.image(users, LOAD)
    servers = [users.order(SOURCE, **SIZE) for _ in range(GUESTS)]
    assert [users.built(s) for s in servers] == ["ACTIVE"] * GUESTS
    eventually(lambda: all(stage.uptime(s) >= CALM_S for s in servers), "guests that have booted", 180, every_s=1)
    booted = time.monotonic()
    controller = real_cloud.start_product("act", OPTIONS)
    seen = eventually(lambda: measured(stage, servers), "all of them measured", 120, every_s=1)
    for server in servers:
        words = ("--cpu", str(CAP), "--for", "30min", "--reason", "a limit that has to come along")
        controller.ask("cap", "set", f"server:{server}", *words)
    event_at = declared(stage, seen + (BINS + 1) * STEP_S + LEFT_ALONE_S, servers)
    taken = stage.fill(TARGET)
    eventually(lambda: time.time() >= event_at - AHEAD_S + LEFT_ALONE_S, "the event within sight for a while", 400, every_s=0.5)
    before = (controller.ask("need", "list"), controller.ask("migration", "list", "--all"))
    print(f"booted after {booted - began:.0f} s, watched for {time.monotonic() - booted:.0f} s")
    controller.kill()
    config = controller.folder / "controller.conf"
    config.write_text(with_options(config.read_text(), {"plan": {"forecast": "auto"}}))
    controller.start()
    with Resets(real_cloud.lab.hosts) as resets:
        told = play(stage, servers, event_at, before, taken, time.time())
        told.died = stage.died(told.server, told.up, resets)
    return told


def measured(stage: Stage, servers: list[str]) -> float:
    """Since when all are reported with what they use; 0: not yet."""
    known = {s["id"]: s for s in stage.controller.ask("server", "list")}
    return time.time() if all(known.get(s, {}).get("cpu_demand_cores") for s in servers) else 0.0


def declared(stage: Stage, history_at: float, servers: list[str]) -> float:
    """When the event begins: as soon as histories speak, and it was in sight for a while, its start is still most of a "six hours" away."""
    at = history_at + AHEAD_S - LEFT_ALONE_S
    least, until = dict.fromkeys(servers, float(SIZE["vcpus"])), time.time() + LOOKED_S
    while time.time() < until:
        known = {s["id"]: s["cpu_demand_cores"] for s in stage.controller.ask("server", "list")}
        least = {s: min(seen, known.get(s) or seen) for s, seen in least.items()}
    other, busy = (least[s] for s in servers)
    factor = min(20.0, (WANTED * GUESTS - other) / busy)
    words = ("--scope", f"server:{servers[-1]}", "--duration", "2h", "--cpu", f"{factor:.2f}")
    stage.controller.ask("event", "create", "sale", "--start", datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S"), *words)
    return at


def play(stage: Stage, servers: list[str], event_at: float, before: tuple[list[Any], list[Any]], taken: list[str], began: float) -> Story:
    """From the need to its end."""
    up = {s: stage.uptime(s) for s in servers}
    eventually(lambda: stage.holders(TARGET) - set(taken), "somebody new who holds room on the target", 180, every_s=0.05)
    held, held_at = stage.held(TARGET), time.time()
    with Thieves(stage, TARGET) as thieves:
        row = stage.controller.rows("select since, data from needs where host = ? order by id", SOURCE)[0]
        gone = eventually(lambda: [s for s in servers if stage.hands.users.host_of(s) == TARGET], "an arrival", 240, every_s=0.5)
    move = eventually(lambda: settled(stage, gone[0]), "the end of the story", 120, every_s=1)
    eventually(lambda: stage.quota(gone[0], TARGET) > 0, "the cap on the target", 60)
    stage.empty(taken)
    return Story(
        before=before,
        looked_s=row["since"] - began,
        event_at=event_at,
        need=json.loads(row["data"]),
        move=move,
        states=[(h["state"], h["at"]) for h in move["history"]],
        held_at=held_at,
        held=held,
        refused=thieves.refused,
        stolen=thieves.stolen,
        quota=stage.quota(gone[0], TARGET),
        orders=stage.orders(gone[0]),
        server=gone[0],
        view=stage.view(),
        left=stage.held(TARGET),
        runs=stage.runs(gone[0]),
        up=(up[gone[0]], stage.heard(gone[0])),
        words=stage.last_words(gone[0]),
    )


def settled(stage: Stage, server: str) -> Any:
    """The migration's record once it is over; None: not yet."""
    mine = [m for m in stage.controller.ask("migration", "list", "--all") if m["server"] == server and m["kind"] == "migration"]
    return stage.controller.ask("migration", "show", mine[0]["id"]) if mine and mine[0]["state"] == "settled" else None


def test_without_the_forecast_nobody_was_to_move(story: Story) -> None:
    """The same event, the same history, in sight."""
    print(f"left alone for {LEFT_ALONE_S:.0f} s; with the forecast it was a need {story.looked_s:.0f} s after the restart")
    assert story.before == ([], [])


def test_the_forecast_saw_the_shortage_before_it_came(story: Story) -> None:
    assert story.need["resource"] == "cpu"
    half_hour = 6 * STEP_S  # what a crowded machine's guests want varies: it may be short one half-hour earlier
    assert abs(story.need["starts"] - story.event_at) <= 2 * half_hour + STEP_S
    assert story.need["deadline"] < story.need["starts"]
    assert "demand is above what the host has" in story.need["reason"]


def test_room_was_held_and_the_move_ordered_before_the_shortage(story: Story) -> None:
    times = dict(reversed(story.states))
    print(f"held {story.event_at - story.held_at:.0f} s, settled {story.event_at - times['settled']:.0f} s before the shortage")
    assert len(story.held) == 1, "one server, one consumer in Placement"
    assert story.held_at < story.event_at
    assert times["ordered"] < story.event_at


def test_it_was_moved_for_the_need_and_once(story: Story) -> None:
    assert (story.move["goal"], story.move["source"], story.move["target"]) == ("need", SOURCE, TARGET)
    assert story.orders == 1


def test_nobody_else_got_the_room(story: Story) -> None:
    assert story.stolen == []
    assert story.refused >= 1


def test_the_arrival_is_proven_and_the_shape_came_along(story: Story) -> None:
    steps = [s for s, _ in story.states if s in {"reserved", "ordered", "running", "arrived", "settled"}]
    assert steps.index("reserved") < steps.index("ordered") < steps.index("arrived") < steps.index("settled")
    assert (story.view.servers[story.server].host, story.view.servers[story.server].status) == (TARGET, "ACTIVE")
    assert story.runs == [TARGET]
    assert story.up[1] > story.up[0] > 0, f"the same guest, never started anew: {story.words}"
    assert story.quota > 0


def test_nothing_is_left_of_it(story: Story) -> None:
    assert story.left == []
    assert LOCKED_OUT not in story.view.hosts[TARGET].traits

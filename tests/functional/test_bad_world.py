"""A world that makes no sense, through the whole controller: a clear error or a stated rule, and everybody else is served."""

import msgspec
import pytest

from foreshape_controller.main import build
from foreshape_wire.codec import WireError, encode
from foreshape_wire.quantity import Cores, Memory
from foreshape_wire.reading import Capability, LeverName
from store_support import T0, card, host_sample, raw, report, sample, settings, size

pytestmark = pytest.mark.functional

GOOD = "good"
"""A server on a host of its own that runs into its cap: whatever happens elsewhere, it grows."""


class World:
    """A controller, the good server, and whatever a test adds."""

    def __init__(self, folder, tiers=""):
        self.file = folder / "tiers.yaml"
        self.file.write_text(tiers)
        self.now, self.sequence = T0, 0
        self.program = build(settings(folder, default_mode="act", forecast="off", tiers_file=str(self.file)), clock=lambda: self.now)
        self.others = {}

    def host(self, name, servers, **sizes):
        """Another host: its servers (id, allocated cores, MiB), and what it says of itself."""
        self.others[name] = (servers, sizes)

    def told(self, name, servers, **sizes):
        samples = [has(s, cores, mib) for s, cores, mib in servers]
        cards = [card_of(s, **sizes.get("card", {})) for s, _, _ in servers]
        whole = msgspec.structs.replace(host_sample(), **sizes.get("host", {}))
        return report(self.sequence, self.now, samples, host=name, cards=cards, host_sample=whole)

    def cycle(self, cycles=2):
        """Minutes of reports and plans; the last plan."""
        for _ in range(cycles):
            for _ in range(6):
                self.sequence, self.now = self.sequence + 1, self.now + 10
                for name, (servers, sizes) in {"hv-good": ([(GOOD, 1.0, 2048.0)], {}), **self.others}.items():
                    self.program.intake.accept(name, encode(self.told(name, servers, **sizes)), self.now)
            plan = self.program.plan_loop.run_once(self.now)
        return plan

    def orders(self, host="hv-good"):
        return {o.server: o for o in self.program.store.journal.open_orders(host, self.now)}


def has(server, cores, mib):
    """A sample of a server that wants twice the CPU it has, and uses half of its memory."""
    told = sample(server, 2 * cores, mib / 2, censored=True)
    cpu = msgspec.structs.replace(told.cpu, allocation=Cores(cores))
    return msgspec.structs.replace(told, cpu=cpu, memory=msgspec.structs.replace(told.memory, allocation=Memory(mib), censored=False))


def card_of(server, cores=4.0, mib=4096.0):
    made = card(server, cores=max(cores, 1.0), mib=mib)
    balloon = Capability(lever=LeverName.MEM_BALLOON, lowest=256.0, highest=mib, granule=1.0)
    return msgspec.structs.replace(made, entitlement=size(cores, mib), capabilities=(*made.capabilities, balloon))


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.program.store.close()


def grows(world):
    """Whether the good server was ordered to grow."""
    order = world.orders().get(GOOD)
    return order is not None and order.cpu is not None and order.cpu.cores > 1.0


def test_in_a_sane_world_the_good_server_grows(world):
    plan = world.cycle()
    assert grows(world)
    assert plan.notes == ()


@pytest.mark.parametrize(
    "total",
    [0.0, 16.0, 1024.0],  # none; less than what no server gets; less than its servers have
)
def test_a_host_with_too_little_memory_grows_nobody_and_takes_nobody_anything_it_uses(world, total):
    world.host("hv-bad", [("a", 1.0, 2048.0), ("b", 1.0, 2048.0)], host={"memory_total": Memory(total), "memory_available": Memory(0.0)})
    plan = world.cycle()
    assert grows(world)
    for server in ("a", "b"):
        memory = plan.decision(server).memory
        assert memory.target <= memory.allocation
        assert memory.target >= 1024.0, "half of it is in use"


@pytest.mark.parametrize("total", [-1.0, 2.0**30])
def test_an_impossible_memory_total_is_refused_at_the_door_by_its_name(world, total):
    message = world.told("hv-bad", [("a", 1.0, 2048.0)])
    body = msgspec.to_builtins(message)["host_sample"] | {"memory_total": {"mib": total}}
    with pytest.raises(WireError, match=r"host_sample\.memory_total"):
        world.program.intake.accept("hv-bad", raw(message, host_sample=body), world.now)
    world.cycle()
    assert grows(world)


def test_on_a_host_of_one_cpu_with_the_servers_of_forty_everybody_gets_the_floor_and_no_more(world):
    world.host("hv-bad", [(f"s{i:02}", 0.2, 512.0) for i in range(40)], host={"cpus": 1})
    plan = world.cycle()
    assert grows(world)
    mine = [plan.decision(f"s{i:02}").cpu for i in range(40)]
    assert {d.target for d in mine} == {0.4}, "a tenth of 4 cores: 16 cores of floors, where 4 are to hand out"
    assert any("floors" in note and "hv-bad" in note for note in plan.notes)


def test_a_flavor_without_vcpus_is_held_for_its_reason(world):
    world.host("hv-bad", [("a", 1.0, 2048.0), ("b", 1.0, 2048.0)], card={"cores": 0.0})
    plan = world.cycle()
    assert grows(world)
    assert {plan.decision(s).cpu.code for s in ("a", "b")} == {"odd_data"}
    assert "what was sold is nothing" in plan.decision("a").cpu.reason


def test_a_flavor_of_one_pebibyte_is_refused_at_the_door_by_its_name(world):
    message = world.told("hv-bad", [("a", 1.0, 2048.0)])
    cards = msgspec.to_builtins(message)["cards"]
    cards[0]["entitlement"]["memory"]["mib"] = 2.0**30
    with pytest.raises(WireError, match=r"cards\[0\]\.entitlement\.memory|cards\[\.\.\.\]\.entitlement\.memory"):
        world.program.intake.accept("hv-bad", raw(message, cards=cards), world.now)
    world.cycle()
    assert grows(world)


def test_floors_above_a_hosts_capacity_are_said_and_kept(tmp_path):
    world = World(tmp_path, "default: guaranteed")
    tight = {"memory_total": Memory(4096.0), "memory_available": Memory(0.0)}
    world.host("hv-bad", [("a", 1.0, 3072.0), ("b", 1.0, 3072.0)], host=tight)
    plan = world.cycle()
    assert grows(world)
    assert any("hv-bad" in note for note in plan.notes), "2 floors of 0.75 × 4096 MiB, and 3584 MiB to hand out"
    for server in ("a", "b"):
        memory = plan.decision(server).memory
        assert memory.floor == 3072.0
        assert memory.target == memory.allocation
    world.program.store.close()


def test_a_project_that_vanishes_between_two_plans_leaves_nothing_behind_that_stops_the_loop(world):
    world.host("hv2", [("a", 1.0, 2048.0), ("b", 1.0, 2048.0)])
    world.cycle(1)
    assert set(world.orders("hv2")) == {"a", "b"}
    world.host("hv2", [])
    world.program.store.modes.set("project:gone", world.program.store.modes.effective("hv2"), "no such project", world.now)
    world.cycle(3)
    assert grows(world)
    reply = world.program.store.inventory.steering("hv2", world.now)
    assert reply.orders == (), "nobody is left to carry them out"
    world.now += 700
    plan = world.cycle(1)
    assert plan.decision("a") is None, "ten minutes after its host last had it"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("tiers: {standard: {weight: -1}}", "weight"),
        ("tiers: {standard: {cpu: {floor_share: 0.9, ceiling_share: 0.2}}}", "ceiling_share"),
        ("tiers: {", "not YAML"),
    ],
)
def test_contradicting_tiers_change_nothing_and_the_plan_says_so(world, text, word):
    world.cycle(1)
    world.file.write_text(text)
    plan = world.cycle(1)
    assert grows(world)
    (note,) = (n for n in plan.notes if n.startswith("tiers: "))
    assert word in note


def test_a_second_controller_is_left_its_server_and_everybody_is_told(world):
    world.host("hv-two", [("a", 1.0, 2048.0), ("b", 1.0, 2048.0)])
    world.cycle(1)
    world.host("hv-two", [("a", 1.0, 3000.0), ("b", 1.0, 2048.0)])
    plan = world.cycle(3)
    assert (plan.decision("a").cpu.code, plan.decision("a").memory.code) == ("foreign", "foreign")
    assert "somebody else changed its memory: from 2048 to 3000 MiB" in plan.decision("a").memory.reason
    assert any(note.startswith("server:a is halted (foreign): somebody else") for note in plan.notes)
    assert plan.decision("b").cpu.code != "foreign"
    assert grows(world)

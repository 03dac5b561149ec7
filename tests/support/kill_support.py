"""One guest that goes to and fro between two real hosts, whose parts die meanwhile, and what is found afterwards."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from foreshape_cloudbed import RealCloud
from foreshape_cloudbed.real import alone
from foreshape_lab import LabError

from foreshape_controller.errors import ControllerError
from foreshape_controller.model.cloud import LOCKED_OUT
from lab_support import eventually
from story_support import SIZE, Stage

STEPS = ("reserved", "ordered", "running", "arrived")
ORDER = ("proposed", "queued", *STEPS, "settled", "failed", "aborted", "compensated")
Way = tuple[Callable[[], object], Callable[[], object]]
"""How something is killed, and started again."""


@dataclass
class Ending:
    """What was found after one move."""

    state: str = ""
    said: str = ""
    took_s: float = 0.0
    orders: int = 0
    runs: list[str] = field(default_factory=list)
    nova: tuple[str, str, str] = ("", "", "")
    """Host, status and task."""
    claims: list[str] = field(default_factory=list)
    """Hosts on which Placement has the server's claim."""
    strangers: list[str] = field(default_factory=list)
    """What is held on the hosts and is no server's, and not Nova's own for one of its migrations."""
    novas: list[str] = field(default_factory=list)
    """Shares of ended migrations that Nova did not give back."""
    ours: list[str] = field(default_factory=list)
    """Those of them that are ours."""
    locked: list[str] = field(default_factory=list)
    before_up: float = 0.0
    up: float = 0.0
    """0: the guest is silent."""
    died: str = ""
    """How the guest died of itself; empty: it did not."""

    @property
    def tidy(self) -> bool:
        """Whether the hypervisors and Nova agree, Placement has the room that is used, and nothing of ours is left.

        Nova itself takes a host out of service while it cannot reach its libvirt.
        """
        return self.claimed and self.runs == [self.nova[0]] and not self.nova[2] and not self.locked and not self.strangers

    @property
    def claimed(self) -> bool:
        """Whether Placement has the room that is used."""
        return set(self.runs) <= set(self.claims)


@dataclass
class World(Stage):
    """One guest."""

    server: str = ""

    @classmethod
    def begun(cls, cloud: RealCloud) -> "World":
        """One guest on hv1, and the product beside it, which knows it and moves what it is asked to at once."""
        world = cls(cloud)
        world.server = world.hands.users.boot("hv1", **SIZE)
        cloud.start_product("act", {"migrations": {"hold_s": 0}})
        world.known()
        return world

    def host(self) -> str:
        return self.hands.users.host_of(self.server)

    def other(self) -> str:
        return next(h for h in self.cloud.hosts if h != self.host())

    def known(self, *servers: str) -> None:
        """Until the controller has them."""
        ids = servers or (self.server,)
        told = "the servers in the controller"
        eventually(lambda: {s["id"] for s in self.controller.ask("server", "list")} >= set(ids), told, 90, every_s=0.5)

    def state(self, move: str) -> str:
        rows = self.controller.rows("select state from migrations where id = ?", move)
        return str(rows[0]["state"]) if rows else "proposed"

    def comes_to(self, move: str, step: str) -> str:
        """The state in which it is found there, or beyond."""
        eventually(lambda: ORDER.index(self.state(move)) >= ORDER.index(step), f"the step {step}", 90, every_s=0.01)
        return self.state(move)

    def propose(self, target: str) -> str:
        """Id of a move that the controller takes; until then it may not have read the cloud again."""
        said: list[str] = []

        def taken() -> bool:
            try:
                asked = self.controller.ask("migration", "propose", self.server, "--to", target, "--reason", "to and fro", "--approve")
            except LabError as e:
                said.append(str(e)[-300:])
                return False
            said.append((asked[0] if isinstance(asked, list) else asked)["id"])
            return True

        try:
            eventually(taken, "a move that the controller takes", 90, every_s=1.0)
        except Exception as e:
            raise AssertionError(f"{target}: {said[-1]}") from e
        return said[-1]

    def shown(self, move: str) -> Any:
        return self.controller.ask("migration", "show", move)

    def spoken(self, server: str = "") -> float:
        """Seconds that the guest's own kernel counts."""
        up = self.heard(server or self.server)
        assert up, "the guest says nothing"
        return up

    def revive(self) -> None:
        """A guest that fell silent is started anew."""
        if not self.heard(self.server):
            self.cloud.host(self.runs(self.server)[0]).virsh("reset", self.name(self.server))
        self.spoken()

    # -- killing

    def hands_on(self, source: str, target: str) -> Mapping[str, Way]:
        """How each part is killed and started again."""
        cloud: RealCloud = self.cloud
        found: dict[str, Way] = {
            "controller": (self.controller.kill, self.controller.start),
            "placement": (lambda: cloud.kill("placement"), lambda: cloud.start("placement")),
            "keystone": (lambda: cloud.kill("keystone"), lambda: cloud.start("keystone")),
        }
        for whose, name in (("source's", source), ("target's", target)):
            agent, host = cloud.agents[name], cloud.host(name)
            found[f"{whose} agent"] = (agent.kill, agent.start)
            found[f"{whose} nova-compute"] = (lambda n=name: cloud.kill(n), lambda n=name: cloud.start(n))  # type: ignore[misc]
            found[f"{whose} libvirtd"] = (host.kill_libvirtd, host.start_libvirtd)
        return found

    def power_off(self, name: str) -> None:
        """libvirtd, guests, nova-compute and agent are gone at once."""
        self.cloud.host(name).crash()
        self.cloud.agents[name].end_of_host()

    def power_on(self, name: str) -> None:
        """The host is back, without its guests."""
        host = self.cloud.host(name)
        host.up()
        alone(host)
        self.cloud.start(name)
        self.cloud.agents[name].start()

    # -- an operator

    def astray(self) -> list[Any]:
        """What `foreshape cloud status` tells of guests that run where Nova does not have them."""
        return [t for t in self.controller.ask("cloud", "status")["elsewhere"] if t["server"] == self.server]

    def bring_back(self, runs: str, home: str) -> None:
        """To the host that Nova names, while it runs, as docs/openstack.md says; its disk is the host's own."""
        name, address = self.name(self.server), self.cloud.host(home).address
        words = ("--live", "--p2p", "--persistent", "--undefinesource", "--copy-storage-inc", "--migrateuri", f"tcp://{address}")
        self.cloud.host(runs).virsh("migrate", *words, name, f"qemu+tcp://{address}/system")
        self.cloud.host(runs).run_in(["rm", "-r", f"/var/lib/libvirt/instances/{self.server}"])

    def heal(self, move: str) -> None:
        """What the move's own sentence tells to do with Nova's leftovers."""
        said = self.shown(move)["said"]
        assert f"heal_allocations --instance {self.server} --force" in said, said
        print(self.cloud.manage("placement", "heal_allocations", "--instance", self.server, "--force"))
        if "allocation delete" in said:
            self.hands.cloud.placement.delete_allocation(said.partition("allocation delete ")[2].partition("'")[0])

    # -- looking

    def tidy(self) -> bool:
        """What is left is looked at by the test, not here."""
        try:
            return self.seen(Ending()).tidy
        except (LabError, ControllerError):
            return False

    def seen(self, ending: Ending, bystanders: tuple[str, ...] = ()) -> Ending:
        """The same, with what hypervisors, Nova and Placement have."""
        view, placement = self.view(), self.hands.cloud.placement
        record = view.servers[self.server]
        hosts = {h.provider: h.name for h in view.hosts.values()}
        ending.runs = self.runs(self.server)
        ending.nova = (record.host, record.status, str(self.hands.users.link.compute.get_server(self.server).task_state or ""))
        ending.claims = sorted(hosts.get(p, p) for p in placement.allocation(self.server).held)
        holders = self.everybody()
        novas = {m.uuid for m in self.hands.cloud.nova.migrations()}
        ending.novas = sorted(holders & novas)
        ending.strangers = sorted(holders - novas - {self.server, *bystanders})
        ending.ours = sorted(c for name in view.hosts for c in self.held(name))
        ending.locked = sorted(h.name for h in view.hosts.values() if LOCKED_OUT in h.traits)
        return ending

"""What must never happen, looked for after every step, on the simulated servers themselves."""

from dataclasses import dataclass, field

from foreshape_controller.sim.guest import SimVm
from foreshape_demo.bed import Bed
from foreshape_wire.ids import ServerId
from foreshape_wire.order import Guard

CPU_RATIO = 4.0
"""Cores allocated per CPU of a host, at most."""
ROUNDING_CORES = 0.01
ROUNDING_SHARE = 0.01
"""A cap is set in whole milliseconds; a balloon counts pages and is proven to a hundredth."""
KEPT = 20


@dataclass
class Watch:
    """Counts breaches; keeps the first sentences."""

    breaches: int = 0
    said: list[str] = field(default_factory=list)
    _guards: dict[ServerId, Guard] = field(default_factory=dict)
    _plans: int = -1

    def look(self, bed: Bed) -> None:
        """Check floors, ceilings and hosts as they are now."""
        self._learn(bed)
        for host in bed.world.hosts.values():
            living = host.living(bed.now)
            for vm in living:
                self._server(vm, bed.now)
            self._sum(host.spec.name, "memory", sum(vm.memory for vm in living), host.spec.mib, bed.now)
            self._sum(host.spec.name, "cpu", sum(vm.cpu for vm in living), host.spec.cpus * CPU_RATIO, bed.now)

    def floors(self, resource: str) -> float:
        """Sum of the floors in force, cores or MiB."""
        return sum(g.floor.cpu.cores if resource == "cpu" else g.floor.memory.mib for g in self._guards.values())

    def _learn(self, bed: Bed) -> None:
        """The floors in force are those of the last plan; a dead controller changes none."""
        if bed.controller is None or bed.plans == self._plans:
            return
        self._plans = bed.plans
        for host in bed.world.hosts:
            for guard in bed.controller.store.inventory.steering(host, bed.now).guards:
                self._guards[guard.server] = guard

    def _server(self, vm: SimVm, now: float) -> None:
        spec, guard = vm.spec, self._guards.get(vm.spec.server)
        if vm.cpu > spec.most_cores + ROUNDING_CORES:
            self._breach(now, f"{spec.name} has {vm.cpu:.2f} cores, above its ceiling of {spec.most_cores}")
        if vm.memory > spec.most_mib * (1 + ROUNDING_SHARE):
            self._breach(now, f"{spec.name} has {vm.memory:.0f} MiB, above its ceiling of {spec.most_mib:.0f}")
        if guard is None:
            return
        floor = guard.floor
        if vm.cpu < floor.cpu.cores - ROUNDING_CORES:
            self._breach(now, f"{spec.name} has {vm.cpu:.2f} cores, below its floor of {floor.cpu.cores:.2f}")
        if vm.memory < floor.memory.mib * (1 - ROUNDING_SHARE):
            self._breach(now, f"{spec.name} has {vm.memory:.0f} MiB, below its floor of {floor.memory.mib:.0f}")

    def _sum(self, host: str, resource: str, given: float, most: float, now: float) -> None:
        if given > most * (1 + 1e-9):
            self._breach(now, f"{host} has given {given:.1f} of {most:.1f} ({resource})")

    def _breach(self, now: float, sentence: str) -> None:
        self.breaches += 1
        if len(self.said) < KEPT:
            self.said.append(f"t={now:.0f}: {sentence}")

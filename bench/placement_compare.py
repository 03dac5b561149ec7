"""Greedy plans against OR-tools CP-SAT on the same clouds by the same rules: relieving needs, draining a host, consolidating.

python bench/placement_compare.py [--hosts 15 50] [--rounds 5] [--seconds 5]      needs `pip install ortools`

CP-SAT: one thread, a fixed seed, so many seconds at most for each plan. Its objective is the greedy planner's own measure: weighted
seconds of violation avoided, less prices and a fixed price per move (needs); servers that find a place, then how full the fullest target
gets (drain); how many more of the largest flavor fit, then few moves (consolidate). Every plan of both is checked by one ledger.
For each server CP-SAT chooses among the emptiest TARGETS hosts that may take it: a model of all has 3 million choices at 1,000 hosts.
"tight": the same clouds with hosts three quarters full by forecast and needs three times as large.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from migration_plan import FLAVOR, cloud

from foreshape_controller.decide.consolidate import consolidate, fragments
from foreshape_controller.decide.place import MOVE_PRICE, Move, Need, drain, rebalance
from foreshape_controller.decide.room import WATCHED, Ground, Ledger, Rule

try:
    from ortools.sat.python import cp_model
except ImportError:
    sys.exit("this compares with OR-tools: pip install ortools")

TARGETS = 20
SCALE = 100
"""CP-SAT counts in whole numbers: hundredths of cores and of weighted seconds."""
RULE = Rule(moves=10_000, full=0.95)
FEW = Rule(moves=40, full=0.95)


@dataclass(frozen=True)
class Choice:
    server: int
    target: int
    taken: object
    """The solver's variable."""


class Model:
    """Who may go where, with all rules of the ledger as constraints."""

    def __init__(self, ground: Ground, servers: Sequence[int], rule: Rule, below: Callable[[int], float]) -> None:
        self.ground, self.rule, self.m = ground, rule, cp_model.CpModel()
        ledger = Ledger(ground, rule)
        self.choices = [
            Choice(v, t, self.m.new_bool_var("")) for v in servers if not ground.held_back[v] for t in self._targets(ledger, v, below(v))
        ]
        self.by_server: dict[int, list[Choice]] = {}
        self.into: dict[int, list[Choice]] = {}
        for c in self.choices:
            self.by_server.setdefault(c.server, []).append(c)
            self.into.setdefault(c.target, []).append(c)
        for mine in self.by_server.values():
            self.m.add(sum(c.taken for c in mine) <= 1)
        self.m.add(sum(c.taken for c in self.choices) <= rule.moves)
        for target, arrivals in self.into.items():
            self._target(ledger, target, arrivals, below)

    @staticmethod
    def _targets(ledger: Ledger, server: int, below: float) -> list[int]:
        allowed, _ = ledger.targets(server, below)
        found = np.flatnonzero(allowed)
        return [int(t) for t in found[np.argsort(ledger.after(server)[found], kind="stable")][:TARGETS]]

    def _target(self, ledger: Ledger, target: int, arrivals: list[Choice], below: Callable[[int], float]) -> None:
        g, hosts = self.ground, self.ground.hosts
        self.m.add(sum(c.taken for c in arrivals) <= self.rule.into)
        for k in range(3):
            free = int(hosts.capacity[target, k] - ledger.held[target, k])
            self.m.add(sum(int(np.ceil(g.servers.size[c.server, k])) * c.taken for c in arrivals) <= free)
        for k in range(2):
            weight = {c.server: int(np.ceil(SCALE * g.servers.peak[c.server, k])) for c in arrivals}
            used = int(np.ceil(SCALE * ledger.forecast[target, k])) + sum(weight[c.server] * c.taken for c in arrivals)
            for limit in {min(self.rule.full, below(c.server)) for c in arrivals}:
                bound = int(SCALE * limit * hosts.physical[target, k])
                strict = [c for c in arrivals if min(self.rule.full, below(c.server)) <= limit]
                any_ = self.m.new_bool_var("")
                self.m.add_max_equality(any_, [c.taken for c in strict])
                self.m.add(used <= bound).only_enforce_if(any_)
        groups: dict[str, list[Choice]] = {}
        for c in arrivals:
            if g.servers.groups[c.server]:
                groups.setdefault(g.servers.groups[c.server], []).append(c)
        for name, mine in groups.items():
            there = sum(1 for v in g.members[name] if g.servers.host[v] == target)
            self.m.add(sum(c.taken for c in mine) + there <= g.groups[name].most)

    def solve(self, seconds: float) -> list[Choice]:
        solver = cp_model.CpSolver()
        solver.parameters.num_workers, solver.parameters.random_seed, solver.parameters.max_time_in_seconds = 1, 0, seconds
        status = solver.solve(self.m)
        self.status = solver.status_name(status).lower()
        return [c for c in self.choices if solver.value(c.taken)] if status in (cp_model.OPTIMAL, cp_model.FEASIBLE) else []


def _any(_: int) -> float:
    return float(np.inf)


def solved_needs(ground: Ground, needs: Sequence[Need], rule: Rule, seconds: float) -> tuple[list[Move], str]:
    by_host = {ground.host_index[n.host]: n for n in needs}
    limit = {h: float(ground.load[h]) - rule.gain for h in by_host}
    servers = [int(v) for h in by_host for v in ground.on(h)]
    model = Model(ground, servers, rule, lambda v: limit[int(ground.servers.host[v])])
    gains = []
    for host, need in by_host.items():
        leaving = [c for c in model.choices if ground.servers.host[c.server] == host]
        column, amount = WATCHED.index(need.resource), int(SCALE * need.amount)
        relief = model.m.new_int_var(0, amount, "")
        model.m.add(relief <= sum(int(SCALE * ground.servers.peak[c.server, column]) * c.taken for c in leaving))
        model.m.add(sum(c.taken for c in leaving) <= rule.out)
        gains.append(int(SCALE * need.avoided / amount * 100) * relief)
    prices = [int(100 * SCALE * min(1e6, ground.servers.price[c.server] + MOVE_PRICE)) * c.taken for c in model.choices]
    model.m.maximize(sum(gains) - sum(prices))
    return moves(ground, model.solve(seconds)), model.status


def solved_drain(ground: Ground, host: int, rule: Rule, seconds: float) -> tuple[list[Move], str]:
    free = replace(rule, into=10_000)
    model = Model(ground, [int(v) for v in ground.on(host)], free, _any)
    fullest = model.m.new_int_var(0, 1000, "")
    for target, arrivals in model.into.items():
        used = model.m.new_bool_var("")
        model.m.add_max_equality(used, [c.taken for c in arrivals])
        for k in range(2):
            unit = ground.hosts.physical[target, k] / 1000
            base = int(ground.hosts.forecast[target, k] / unit)
            model.m.add(base + sum(int(ground.servers.peak[c.server, k] / unit) * c.taken for c in arrivals) <= fullest).only_enforce_if(
                used
            )
    model.m.maximize(100_000 * sum(c.taken for c in model.choices) - fullest)
    return moves(ground, model.solve(seconds)), model.status


def solved_consolidate(ground: Ground, flavor: np.ndarray, rule: Rule, seconds: float) -> tuple[list[Move], str]:
    model = Model(ground, range(len(ground.servers.ids)), rule, _any)
    hosts, fits = ground.hosts, []
    leaving: dict[int, list[Choice]] = {}
    for c in model.choices:
        leaving.setdefault(int(ground.servers.host[c.server]), []).append(c)
    for t in np.flatnonzero(ground.open & (flavor <= hosts.most).all(axis=1)):
        y = model.m.new_int_var(0, 1000, "")
        out, come = leaving.get(int(t), []), model.into.get(int(t), [])
        model.m.add(sum(c.taken for c in out) <= rule.out)
        for k in range(3):
            gone = sum(int(ground.servers.size[c.server, k]) * c.taken for c in out)
            arrived = sum(int(np.ceil(ground.servers.size[c.server, k])) * c.taken for c in come)
            model.m.add(int(flavor[k]) * y <= int(hosts.capacity[t, k] - hosts.held[t, k]) + gone - arrived)
        fits.append(y)
    model.m.maximize(1000 * sum(fits) - sum(c.taken for c in model.choices))
    return moves(ground, model.solve(seconds)), model.status


def moves(ground: Ground, chosen: Sequence[Choice]) -> list[Move]:
    ids, names, where = ground.servers.ids, ground.hosts.names, ground.servers.host
    return [Move(ids[c.server], names[int(where[c.server])], names[c.target], "", 0.0) for c in chosen]


def broken(ground: Ground, plan: Sequence[Move], rule: Rule) -> int:
    """Moves that the ledger would have refused."""
    ledger, ids, bad = Ledger(ground, rule), {name: i for i, name in enumerate(ground.servers.ids)}, 0
    for move in plan:
        server, target = ids[move.server], ground.host_index[move.target]
        bad += not ledger.targets(server)[0][target]
        ledger.promise(server, target)
    return bad


def worth(ground: Ground, needs: Sequence[Need], plan: Sequence[Move]) -> tuple[float, float]:
    """Weighted seconds that a plan is worth, and the share of the needs that stays unmet."""
    ids = {name: i for i, name in enumerate(ground.servers.ids)}
    relief = dict.fromkeys((n.host for n in needs), 0.0)
    price = 0.0
    for move in plan:
        relief[move.source] += float(ground.servers.peak[ids[move.server], 0])
        price += float(ground.servers.price[ids[move.server]]) + MOVE_PRICE
    met = {n.host: min(1.0, relief[n.host] / n.amount) for n in needs}
    return sum(n.avoided * met[n.host] for n in needs) - price, 1 - float(np.mean(list(met.values())))


def fullest(ground: Ground, plan: Sequence[Move]) -> float:
    ids, forecast = {name: i for i, name in enumerate(ground.servers.ids)}, ground.hosts.forecast.copy()
    hit = [ground.host_index[m.target] for m in plan]
    for move in plan:
        forecast[ground.host_index[move.target]] += ground.servers.peak[ids[move.server]]
    return float((forecast / ground.hosts.physical)[hit].max(initial=0.0))


def timed(work: Callable[[], object]) -> tuple[object, float]:
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, nargs="+", default=[15, 50])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="at most for each of CP-SAT's plans")
    asked = parser.parse_args()
    if min(asked.hosts) < 2 or asked.rounds < 1 or asked.seconds <= 0:
        parser.error("a plan needs two hosts at least, one round and some time")
    bad = sum(compare(hosts, seed, asked.seconds) for hosts in asked.hosts for seed in range(asked.rounds))
    print("every move of both obeys the ledger" if not bad else f"{bad} moves break the ledger's rules")
    return 1 if bad else 0


def compare(n: int, seed: int, seconds: float) -> int:
    loose = cloud(n, 10 if n <= 15 else 30, seed)
    return sum(
        _compared(f"{n} hosts, {len(loose[0].servers.ids)} servers, seed {seed}{word}", *made, seconds)
        for word, made in (("", loose), (", tight", tight(*loose)))
    )


def tight(ground: Ground, needs: Sequence[Need]) -> tuple[Ground, list[Need]]:
    """Hosts of 70 to 80 % by forecast, those with a need full."""
    dice = np.random.default_rng(len(ground.servers.ids))
    short = {ground.host_index[n.host] for n in needs}
    load = np.array([1.0 if h in short else dice.uniform(0.7, 0.8) for h in range(len(ground.hosts.names))])
    hosts = replace(ground.hosts, physical=ground.hosts.forecast / load[:, None])
    return Ground(hosts, ground.servers, ground.groups), [
        replace(n, amount=0.3 * float(ground.hosts.forecast[ground.host_index[n.host], 0])) for n in needs
    ]


def _compared(title: str, ground: Ground, needs: Sequence[Need], seconds: float) -> int:
    bad = 0
    print(title)
    for name, greedy, solver, measure, rule in (
        ("needs", lambda: rebalance(ground, needs, RULE).moves, lambda: solved_needs(ground, needs, RULE, seconds), _needs(needs), RULE),
        (
            "drain",
            lambda: drain(ground, ground.hosts.names[0], 3600.0, RULE).moves,
            lambda: solved_drain(ground, 0, RULE, seconds),
            _drain,
            None,
        ),
        (
            "consolidate",
            lambda: consolidate(ground, FLAVOR, FEW).moves,
            lambda: solved_consolidate(ground, FLAVOR, FEW, seconds),
            _fits,
            FEW,
        ),
    ):
        plan, spent = timed(greedy)
        (best, status), long = timed(solver)  # type: ignore[misc]
        ours = f"greedy {measure(ground, plan)} {1000 * spent:8.1f} ms"
        print(f"  {name:11s} {ours}   CP-SAT {measure(ground, best)} {1000 * long:8.1f} ms {status}", flush=True)
        bad += broken(ground, plan, rule or replace(RULE, into=10_000)) + broken(ground, best, rule or replace(RULE, into=10_000))
    return bad


def _needs(needs: Sequence[Need]) -> Callable[[Ground, Sequence[Move]], str]:
    def told(ground: Ground, plan: Sequence[Move]) -> str:
        value, unmet = worth(ground, needs, plan)
        return f"{len(plan):3d} moves, unmet {100 * unmet:5.1f} %, worth {value:8.0f}"

    return told


def _drain(ground: Ground, plan: Sequence[Move]) -> str:
    return f"{len(plan):3d} moves, fullest target {100 * fullest(ground, plan):5.1f} %   "


def _fits(ground: Ground, plan: Sequence[Move]) -> str:
    left = fragments(ground, FLAVOR, plan)
    return f"{len(plan):3d} moves, {fragments(ground, FLAVOR).fits} -> {left.fits} fit, stranded {100 * left.stranded:4.1f} %"


if __name__ == "__main__":
    sys.exit(main())

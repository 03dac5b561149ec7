"""Training: two nets, one for grown series and one, taught on cut histories, for young ones.

The budget is CPU time: the first steps are timed, the rest is planned. Every step's windows follow from the seed and its number,
so that a run goes on from its checkpoint as if nothing had happened.
"""

import copy
import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from foreshape_controller.errors import ModelError
from foreshape_controller.forecast import features
from foreshape_controller.forecast.net import weights
from foreshape_controller.forecast.net.loss import HEAD_WEIGHT, losses, targets, total
from foreshape_controller.forecast.net.model import Batch, QuantileNet, Shape
from foreshape_controller.forecast.net.sampler import LATE, Sample, Sampler, split
from foreshape_controller.forecast.net.windows import Bank, bank
from foreshape_controller.model.forecast import HEADS
from foreshape_controller.model.history import History

PHASES = ("grown", "young")

FILES = {"grown": "net.npz", "young": "young.npz"}

CHECKPOINT = "checkpoint"

PARTS = {"soon": ("steps", "peak30m"), "day": ("half_hours", "peak24h")}
"""The net's two parts, each kept as it was when it was best: the day's is the first to learn by heart."""

TIMED = (5, 25)
"""Steps between which the speed is measured."""

GUESSED_STEPS = 2000

WARM_UP = 0.05
"""Share of the steps until the full learning rate; from there half a cosine falls to nothing."""

AVERAGED = 0.03
"""Share of the steps whose weights the result is averaged over."""

CHECKS = 8
"""Times a phase looks at held-out series."""

PATIENCE = 3
"""Checks without a better result before a phase ends."""

VALIDATION = 1024
"""Windows of a check."""

TOLD_EVERY = 25
"""Steps between two reports of progress."""

CLIP = 1.0


@dataclass(frozen=True)
class TrainSettings:
    """How to train. cpu_minutes: all phases together. until: epoch s; nothing from there on is read. steps: instead of the budget."""

    cpu_minutes: float = 5.0
    seed: int = 0
    encoder: str = "mlp"
    until: int | None = None
    device: str = "auto"
    batch: int = 512
    width: int = 384
    blocks: int = 2
    dropout: float = 0.2
    forget: float = 0.1
    rate: float = 1.5e-3
    decay: float = 0.05
    young_share: float = 0.25
    """Of the budget."""
    steps: int | None = None
    """Steps of the first phase; None: as many as the budget allows."""
    series_limit: int = 4000
    """Of each resource."""
    start: str = ""
    """Folder of weights to go on from, at a lower rate; they are kept where going on makes nothing better. Empty: from nothing."""


@dataclass(frozen=True)
class Progress:
    """Where training is. validation: NaN before the first check."""

    step: int
    steps: int
    loss: float
    validation: float
    phase: str
    elapsed_s: float


@dataclass(frozen=True)
class TrainReport:
    """What training did. validation: mean weighted loss of each phase and head on held-out series."""

    series: int
    groups: int
    steps: int
    windows: int
    cpu_s: float
    device: str
    resumed: bool
    validation: Mapping[str, Mapping[str, float]]


def train(histories: Mapping[str, History], out: Path, settings: TrainSettings, progress: Callable[[Progress], None]) -> TrainReport:
    """Write both nets into ``out`` (made if missing); go on from its checkpoint. ModelError: too little data, a full disk."""
    data = bank(histories, settings.until, settings.series_limit, np.random.default_rng(settings.seed))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"cannot make {out} ({error})") from error
    school = _School(data, settings, out, progress)
    return school.teach()


def device(wanted: str) -> torch.device:
    """``auto``: CUDA where it is, else the CPU."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(wanted)
    except RuntimeError as error:
        raise ModelError(f"no device {wanted!r}: write auto, cpu or cuda") from error


@dataclass
class _State:
    """What a checkpoint holds."""

    phase: int = 0
    step: int = 0
    steps: int = 0
    cpu_s: float = 0.0
    done_steps: int = 0
    best: dict[str, float] = field(default_factory=dict)
    worse: int = 0
    now: float = float("nan")
    scores: dict[str, dict[str, float]] = field(default_factory=dict)


class _School:
    """One run of training."""

    def __init__(self, data: Bank, settings: TrainSettings, out: Path, progress: Callable[[Progress], None]) -> None:
        self.data, self.settings, self.out, self.progress = data, settings, out, progress
        self.device = device(settings.device)
        held, taught = split(data, settings.seed)
        self.taught, self.held = Sampler(data, taught), Sampler(data, held, LATE)
        torch.manual_seed(settings.seed)
        table = features.compute(data.windows(taught[:1], np.asarray([data.bins]))).table.shape[1]
        shape = Shape(settings.encoder, table, settings.width, settings.blocks, settings.dropout, settings.forget)
        self.net = QuantileNet(shape).to(self.device)
        self.average = copy.deepcopy(self.net).eval()
        self.best = copy.deepcopy(self.average)
        self.optimizer = self._optimizer()
        self.state = _State()
        self.resumed = self._resume()
        self.before_s = self.state.cpu_s
        self.started = time.process_time()
        self.loss = float("nan")

    def teach(self) -> TrainReport:
        """All phases that are still to do."""
        while self.state.phase < len(PHASES):
            self._phase(PHASES[self.state.phase])
        (self.out / CHECKPOINT).unlink(missing_ok=True)
        return self._report()

    def _optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.net.parameters(), lr=self.settings.rate, weight_decay=self.settings.decay, fused=True)

    def _phase(self, phase: str) -> None:
        """From where the state stands to the phase's end; its best average is written."""
        checks = self.held.draw(VALIDATION, phase == "young", np.random.default_rng((self.settings.seed, 2)))
        if self.settings.start and not self.state.step:
            self._take_over(weights.load(Path(self.settings.start) / FILES[phase]))
            self._check(phase, checks)
        for step in self._steps(phase):
            self._learn(phase, step)
            self.state.step, self.state.done_steps = step + 1, self.state.done_steps + 1
            if self.state.steps and (step + 1) % max(1, self.state.steps // CHECKS) == 0:
                self._check(phase, checks)
        self._check(phase, checks)
        weights.save(self.best, self.out / FILES[phase])
        self._next_phase()

    def _take_over(self, net: QuantileNet) -> None:
        """Go on with another net's weights. ModelError where its shape is another one's."""
        if net.shape != self.net.shape:
            raise ModelError(f"{self.settings.start} holds a net of another shape ({net.shape}): train from nothing")
        for mine in (self.net, self.average, self.best):
            mine.load_state_dict(net.state_dict())
        self.optimizer = self._optimizer()

    def _next_phase(self) -> None:
        """The young net starts where the grown one ended."""
        state = self.state
        self._take_over(self.best)
        self.state = _State(state.phase + 1, cpu_s=self._cpu_s(), done_steps=state.done_steps, scores=state.scores)
        self._save()

    def _steps(self, phase: str) -> Iterator[int]:
        """Numbers of the steps still to do; the plan is made once the speed is known."""
        state, began = self.state, time.process_time()
        if self.settings.steps is not None:
            share = 1.0 if phase == PHASES[0] else self.settings.young_share
            state.steps = max(1, round(self.settings.steps * share))
        while state.worse < PATIENCE and (not state.steps or state.step < state.steps):
            if not state.steps and state.step == TIMED[0]:
                began = time.process_time()
            if not state.steps and state.step >= TIMED[1]:
                state.steps = self._plan(phase, (time.process_time() - began) / (TIMED[1] - TIMED[0]))
            yield state.step

    def _plan(self, phase: str, seconds: float) -> int:
        """Steps that the phase's share of the budget pays for; a check costs about as much as two."""
        share = 1 - self.settings.young_share if phase == PHASES[0] else 1.0
        left = 60 * self.settings.cpu_minutes * share - self._cpu_s()
        return max(TIMED[1] + 1, self.state.step + int(left / max(seconds, 1e-6)) - 2 * CHECKS)

    def _learn(self, phase: str, step: int) -> None:
        rng = np.random.default_rng((self.settings.seed, 3, self.state.phase, step))
        torch.manual_seed(int(rng.integers(2**31)))
        loss = self._loss(self.net.train(), self.taught.draw(self.settings.batch, phase == "young", rng), rng)[0]
        self._rate(phase, step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), CLIP)
        self.optimizer.step()
        self._remember(step)
        self.loss = float(loss.detach())
        if not np.isfinite(self.loss):
            raise ModelError("training came to numbers that are none: look for values far out of any scale in the data")
        if step % TOLD_EVERY == 0:
            self._tell()

    def _rate(self, phase: str, step: int) -> None:
        """Warm up, then half a cosine; a net that has learned already starts lower."""
        top = self.settings.rate * (1.0 if phase == PHASES[0] and not self.settings.start else 0.5)
        done = (step + 1) / (self.state.steps or GUESSED_STEPS)
        share = min(1.0, done / WARM_UP) * 0.5 * (1 + np.cos(np.pi * min(1.0, done)))
        for group in self.optimizer.param_groups:
            group["lr"] = float(top * max(share, 0.005))  # numpy's own float could not be read back

    def _remember(self, step: int) -> None:
        """The average of the last weights."""
        keep = min(1 - 1 / max(2.0, AVERAGED * (self.state.steps or GUESSED_STEPS)), (1 + step) / (10 + step))
        with torch.no_grad():
            for mine, new in zip(self.average.parameters(), self.net.parameters(), strict=True):
                mine.lerp_(new, 1 - keep)

    def _loss(self, net: QuantileNet, sample: Sample, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Everything in one number, and each head for itself."""
        wanted = targets(sample.future, sample.told, rng, self.device)
        parts = losses(net(Batch.of(sample.told, self.device)), wanted)
        worth = torch.from_numpy(sample.worth).to(self.device)
        return total(parts, worth), (parts * worth[:, None]).mean(dim=0)

    def _check(self, phase: str, sample: Sample) -> None:
        """Keep the average if it is the best so far; the state goes to disk."""
        with torch.no_grad():
            loss, parts = self._loss(self.average, sample, np.random.default_rng((self.settings.seed, 4)))
        state = self.state
        state.now = float(loss)
        scores = dict(zip(HEADS, parts.tolist(), strict=True))
        better = [self._keep(phase, part, heads, scores) for part, heads in PARTS.items()]
        state.worse = 0 if any(better) else state.worse + 1
        self._tell()
        self._save()

    def _keep(self, phase: str, part: str, heads: tuple[str, ...], scores: Mapping[str, float]) -> bool:
        """Whether one part of the net has never been better; then it is kept."""
        loss = sum(weight * scores[head] for head, weight in zip(HEADS, HEAD_WEIGHT, strict=True) if head in heads)
        if not loss < self.state.best.get(part, np.inf):
            return False
        self.state.best[part] = loss
        self.state.scores.setdefault(phase, {}).update({head: scores[head] for head in heads})
        kept, now = self.best.state_dict(), self.average.state_dict()
        self.best.load_state_dict({name: (now if name.startswith("day_") == (part == "day") else kept)[name] for name in now})
        return True

    def _tell(self) -> None:
        state = self.state
        steps = state.steps or GUESSED_STEPS
        self.progress(Progress(state.step, steps, self.loss, state.now, PHASES[state.phase], self._cpu_s()))

    def _cpu_s(self) -> float:
        return self.before_s + time.process_time() - self.started

    def _report(self) -> TrainReport:
        groups = int(self.data.group.sum())
        steps = self.state.done_steps
        return TrainReport(
            series=len(self.data) - groups,
            groups=groups,
            steps=steps,
            windows=steps * self.settings.batch,
            cpu_s=self._cpu_s(),
            device=str(self.device),
            resumed=self.resumed,
            validation=self.state.scores,
        )

    def _save(self) -> None:
        self.state.cpu_s = self._cpu_s()
        nets = {name: getattr(self, name).state_dict() for name in ("net", "average", "best", "optimizer")}
        told = {"settings": asdict(self.settings), "rows": len(self.data), "bins": self.data.bins, "state": asdict(self.state)}
        with weights.whole(self.out / CHECKPOINT) as temporary:
            torch.save({**nets, **told}, temporary)

    def _resume(self) -> bool:
        """Go on from a checkpoint of the same lesson; another one's, or a damaged one, is not used."""
        try:
            kept = torch.load(self.out / CHECKPOINT, map_location=self.device, weights_only=True)
            if (kept["settings"], kept["rows"], kept["bins"]) != (asdict(self.settings), len(self.data), self.data.bins):
                return False
            for name in ("net", "average", "best", "optimizer"):
                getattr(self, name).load_state_dict(kept[name])
            self.state = _State(**kept["state"])
        except (OSError, KeyError, TypeError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError):
            return False
        return True

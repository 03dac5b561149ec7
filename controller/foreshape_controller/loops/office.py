"""Who is in office: the one place that hands out the predictor, and the one that changes it.

``look`` costs nothing and never fails: the chain it returns is swapped whole, so that a forecast is made by one model or the other.
A model that cannot be read is passed over for the one before it, then for the baseline, and ``trouble`` says why. Promotion and
rollback change the pointer first and the chain after; what was changed by another process is taken over with the next ``refresh``.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from foreshape_controller.errors import ModelError, NotFound
from foreshape_controller.forecast import folder as papers
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.forecast.calibrate import Calibration, Misses, refit
from foreshape_controller.forecast.chain import Chain, Champion, load_champion
from foreshape_controller.forecast.gate import fall_back
from foreshape_controller.log import get_logger
from foreshape_controller.model.forecast import Predictor
from foreshape_controller.model.learned import Corrections, Gate, Manifest, Score, Verdict
from foreshape_controller.store.models import BASELINE, Event, Models, Office, write_whole

_log = get_logger("learn")

Cell = tuple[str, str, str]
"""Resource, stratum, head."""

CALIBRATION = "baseline-calibration.json"


@dataclass(frozen=True)
class Serving:
    """What is in office now, whole."""

    model: str
    predictor: Predictor
    champion: Champion | None


class InOffice:
    """The champion, its papers, and the changes that learning makes to it. Methods may be called from any thread."""

    def __init__(self, models: Models, load: Callable[[Path], Champion] = load_champion, *, recover: bool = True) -> None:
        """``recover``: repair what a crash left in the folder; for the one process that writes there."""
        self.models = models
        self._load = load
        self._lock = threading.RLock()
        self._stamp = -1
        self.trouble = ""
        """Why the model that the pointer names does not speak; empty when it does."""
        if recover:
            models.recover()
        self._serving = self._baseline()
        self.refresh()

    # --- who ---

    def look(self) -> Predictor:
        """Who looks ahead now."""
        return self._serving.predictor

    @property
    def model(self) -> str:
        """Id of the model that speaks; ``baseline`` when none does."""
        return self._serving.model

    @property
    def manifest(self) -> Manifest | None:
        if self.model == BASELINE:
            return None
        try:
            return papers.read_manifest(self.models.path(self.model))
        except (ModelError, NotFound):
            return None

    @property
    def gate(self) -> Gate:
        champion = self._serving.champion
        return champion.gate if champion else Gate()

    def refresh(self) -> bool:
        """Take over what the pointer says, if it changed. True: somebody else is in office now."""
        with self._lock:
            stamp = self.models.stamp()
            if stamp == self._stamp:
                return False
            self._stamp = stamp
            before = self.model
            self._serving, self.trouble = self._appointed()
            if self.trouble:
                _log.error("model not used", reason=self.trouble, in_office=self.model)
            return self.model != before

    # --- change ---

    def promote(self, model: str, reason: str, at: float) -> Office:
        """Put a model in office, after it was loaded once. ModelError or NotFound: nothing changes."""
        with self._lock:
            self._load(self.models.path(model))
            office = self.models.promote(model, reason, at)
            self.refresh()
            _log.info("model promoted", model=model, reason=reason, before=office.previous)
            return office

    def roll_back(self, reason: str, at: float, to: str = "") -> Office:
        """Put the one before in office again, or the one named (``baseline`` is always there)."""
        with self._lock:
            office = self.models.roll_back(reason, at, to)
            self.refresh()
            _log.warning("model rolled back", model=office.model, reason=reason, before=office.previous)
            return office

    def stand_back(self, cells: dict[Cell, str], live: Sequence[Score], at: float) -> tuple[Cell, ...]:
        """Take the word from the champion in these cells, and wherever ``live`` shows that it lost its coverage, until another comes.

        Returns the cells in which it was heard until now. ModelError when the disk takes nothing.
        """
        with self._lock:
            champion = self._serving.champion
            if champion is None or self.model == BASELINE:
                return ()
            gate = _silenced(fall_back(champion.gate, live), cells)
            lost = tuple(_cell(a) for a, b in zip(champion.gate.verdicts, gate.verdicts, strict=True) if a.weight > 0 and b.weight == 0)
            if lost:
                self._rewrite(champion, gate, champion.calibration)
                why = "; ".join(f"{' '.join(c)}: {gate.verdict(*c).reason}" for c in lost)
                self.models.note(Event(at, "fell back", self.model, why))
                _log.warning("model falls back", model=self.model, cells=[" ".join(c) for c in lost], reason=why)
            return lost

    def recalibrate(self, found: Sequence[Misses]) -> None:
        """Follow what the newest forecasts missed by. ModelError when the disk takes nothing: the old calibration stays."""
        with self._lock:
            champion = self._serving.champion
            old = champion.calibration if champion else Calibration(Corrections())
            new = refit(old, found)
            if champion is None or self.model == BASELINE:
                self._keep_baseline(new)
            else:
                self._rewrite(champion, champion.gate, new)
            _log.info("calibration refitted", model=self.model, cells=len(new.corrections.cells), forecasts=len(found))

    # --- inside ---

    def _appointed(self) -> tuple[Serving, str]:
        """The pointer's model, else the one before it, else the baseline; and why not the first."""
        try:
            office = self.models.office()
        except ModelError as e:
            return self._baseline(), str(e)
        trouble = ""
        for model in dict.fromkeys((office.model, office.previous)):
            if model == BASELINE:
                break
            try:
                return self._ready(model), trouble
            except (ModelError, NotFound) as e:
                trouble = trouble or f"{model} is not used: {e}"
        return self._baseline(), trouble

    def _ready(self, model: str) -> Serving:
        champion = self._load(self.models.path(model))
        return Serving(model, Chain(Baseline(), champion), champion)

    def _baseline(self) -> Serving:
        """The baseline, with the calibration it earned."""
        try:
            corrections = msgspec.json.decode((self.models.folder / CALIBRATION).read_bytes(), type=Corrections)
        except (OSError, msgspec.MsgspecError):
            return Serving(BASELINE, Chain(Baseline()), None)
        champion = Champion(BASELINE, None, Gate(), Calibration(corrections), "no model is in office")
        return Serving(BASELINE, Chain(Baseline(), champion), champion)

    def _keep_baseline(self, calibration: Calibration) -> None:
        file = self.models.folder / CALIBRATION
        try:
            write_whole(file, msgspec.json.encode(calibration.corrections))
        except OSError as e:
            raise ModelError(f"{file} cannot be written ({e.strerror}): the calibration stays as it was") from e
        if self.model == BASELINE:
            self._serving = self._baseline()

    def _rewrite(self, champion: Champion, gate: Gate, calibration: Calibration) -> None:
        """The same net with another gate or calibration, on disk and in office."""
        papers.rewrite(self.models.path(self.model), gate, calibration)
        changed = Champion(champion.id, champion.net, gate, calibration, champion.silence)
        self._serving = Serving(self.model, Chain(Baseline(), changed), changed)


def _cell(verdict: Verdict) -> Cell:
    return verdict.resource, verdict.stratum, verdict.head


def _silenced(gate: Gate, cells: dict[Cell, str]) -> Gate:
    """Weight 0 in these cells, with the reason."""
    return Gate(tuple(msgspec.structs.replace(v, weight=0.0, reason=cells[_cell(v)]) if _cell(v) in cells else v for v in gate.verdicts))

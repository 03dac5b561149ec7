"""From the names of methods to predictors that are ready: trained where they are trained, loaded where they are loaded."""

from collections.abc import Callable, Mapping
from pathlib import Path

from foreshape_controller.errors import ModelError
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.model.forecast import Predictor
from foreshape_controller.model.history import History
from foreshape_controller.replay import classical
from foreshape_controller.replay.methods import CLASSICAL, simple_or_baseline

Progress = Callable[[str, int, int], None]


def enter(name: str, model: Path | None, school: Mapping[str, History], until: int, progress: Progress) -> Predictor:
    """One method, ready to predict. school, until: what a trained method may learn from. Raises ModelError, TraceError."""
    if name == "model":
        return champion(model)
    if name == "lightgbm":
        return classical.boosted(school, until)
    if name in CLASSICAL:
        return classical.classical(name, lambda done, all_: progress(f"{name}, series", done, all_))
    return simple_or_baseline(name)


def champion(folder: Path | None) -> Predictor:
    """The whole chain of production with a stored model at its head."""
    if folder is None:
        raise ModelError("the method 'model' needs a model: add --model DIR (made by foreshape train)")
    from foreshape_controller.forecast.chain import Chain, load_champion  # noqa: PLC0415 - torch is behind it

    chain = Chain(Baseline(), load_champion(folder))
    chain.name = "model"
    return chain

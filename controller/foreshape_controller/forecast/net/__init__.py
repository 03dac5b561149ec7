"""The learned forecast: one global quantile net. The only folder that imports torch; import it only where a net is wanted."""

from foreshape_controller.errors import ModelError

try:
    import torch as _torch
except ImportError as missing:  # the demo and small installations
    raise ModelError("torch is not installed: pip install 'foreshape[learn]'") from missing

from foreshape_controller.forecast.net.predict import Net
from foreshape_controller.forecast.net.train import Progress, TrainReport, TrainSettings, train

__all__ = ["Net", "Progress", "TrainReport", "TrainSettings", "train"]

del _torch

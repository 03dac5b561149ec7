"""Weight files: arrays in an npz, nothing that could run."""

import json
import os
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from foreshape_controller.errors import ModelError
from foreshape_controller.forecast.net.model import QuantileNet, Shape

FORMAT = 1
"""Changes when features or the net change, so that an old file is refused, not misread."""

SHAPE = "shape"


def save(net: QuantileNet, path: Path) -> None:
    """All or nothing; ModelError when the disk is full."""
    meta = json.dumps({"format": FORMAT, **asdict(net.shape)})
    arrays = {name: value.detach().cpu().numpy() for name, value in net.state_dict().items()}
    with whole(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **{SHAPE: np.asarray(meta)}, **arrays)
        file.flush()
        os.fsync(file.fileno())


def load(path: Path) -> QuantileNet:
    """ModelError, with advice, for a file that is missing, cut, damaged or of another version."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(str(arrays.pop(SHAPE)))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} is not a net's weights, or damaged ({error}): train again, or roll back to another model") from error
    if not isinstance(meta, dict) or meta.pop("format", None) != FORMAT:
        raise ModelError(f"{path} is of another version than this program's {FORMAT}: train again")
    return _built(path, meta, arrays)


def _built(path: Path, meta: dict[str, object], arrays: dict[str, np.ndarray]) -> QuantileNet:
    try:
        net = QuantileNet(Shape(**meta))  # type: ignore[arg-type]
        net.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()})
    except (TypeError, RuntimeError, ValueError) as error:
        raise ModelError(f"{path} does not hold what this program's net needs: train again ({error})") from error
    if not all(bool(torch.isfinite(value).all()) for value in net.state_dict().values()):
        raise ModelError(f"{path} holds numbers that are none: train again, or roll back to another model")
    return net.eval()


class whole:  # noqa: N801 - reads as a verb: with whole(path) as temporary
    """A file that appears complete or not at all; an OSError inside becomes a ModelError and leaves nothing behind."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = path.with_name(path.name + ".part")

    def __enter__(self) -> Path:
        return self.temporary

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.temporary.replace(self.path)
            return
        self.temporary.unlink(missing_ok=True)
        if isinstance(error, (OSError, RuntimeError)):
            raise ModelError(f"cannot write {self.path} ({error}): free some space and train again; the champion goes on") from error

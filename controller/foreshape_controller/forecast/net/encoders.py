"""Three ways to read two days of half-hour patches [n, 96, 8] into one vector [n, width]."""

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn

from foreshape_controller.errors import ModelError
from foreshape_controller.forecast.features import CHANNELS, PATCHES


class Mlp(nn.Module):
    """All bins at once (as TiDE and N-HiTS do): the quickest."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.read = nn.Linear(PATCHES * CHANNELS, width)

    def forward(self, sequence: Tensor) -> Tensor:
        read: Tensor = self.read(sequence.flatten(1))
        return read


class Tcn(nn.Module):
    """Convolutions over patches that halve the length three times: the same pattern is known wherever it stands."""

    CHANNELS = 64

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = (CHANNELS, self.CHANNELS, self.CHANNELS, self.CHANNELS)
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Conv1d(before, after, 4, stride=2, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.read = nn.Linear(self.CHANNELS * PATCHES // 8, width)
        self.recent = nn.Linear(24 * CHANNELS, width)

    def forward(self, sequence: Tensor) -> Tensor:
        far = self.layers(sequence.transpose(1, 2).contiguous())
        read: Tensor = self.read(far.flatten(1)) + self.recent(sequence[:, -24:].flatten(1))
        return read


class Lstm(nn.Module):
    """A recurrent reading by the hour."""

    HIDDEN = 64

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cells = nn.LSTM(2 * CHANNELS, self.HIDDEN, batch_first=True)
        self.read = nn.Linear(self.HIDDEN, width)
        self.recent = nn.Linear(24 * CHANNELS, width)

    def forward(self, sequence: Tensor) -> Tensor:
        _, (hidden, _) = self.cells(sequence.reshape(len(sequence), PATCHES // 2, 2 * CHANNELS))
        read: Tensor = self.read(hidden[-1]) + self.recent(sequence[:, -24:].flatten(1))
        return read


ENCODERS: dict[str, Callable[[int], nn.Module]] = {"mlp": Mlp, "tcn": Tcn, "lstm": Lstm}


def encoder(name: str, width: int) -> nn.Module:
    """By its name; ModelError for another one."""
    if name not in ENCODERS:
        raise ModelError(f"no encoder {name!r}: choose one of {', '.join(ENCODERS)}")
    return ENCODERS[name](width)

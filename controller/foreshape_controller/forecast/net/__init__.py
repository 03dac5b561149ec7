"""The learned forecast: one global quantile net. The only folder that imports torch; import it only where a net is wanted."""

import mmap

from foreshape_controller.errors import ModelError

try:
    import torch as _torch
except ImportError as missing:  # the demo and small installations
    raise ModelError("torch is not installed: pip install 'foreshape[learn]'") from missing

from foreshape_controller.forecast.net.predict import Net
from foreshape_controller.forecast.net.train import Progress, TrainReport, TrainSettings, train

__all__ = ["Net", "Progress", "TrainReport", "TrainSettings", "train"]


def _may_compile() -> bool:
    """Whether this process may run code that it wrote itself: a hardened service may not (MemoryDenyWriteExecute)."""
    try:
        mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
    except OSError:
        return False
    return True


if not _may_compile():
    # oneDNN writes its kernels at run time and fails there; torch's own are as fast for these nets
    _torch.backends.mkldnn.set_flags(False)  # type: ignore[no-untyped-call]

del _torch

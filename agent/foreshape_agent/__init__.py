"""The per-hypervisor program: measures VMs, hot-resizes them within the controller's orders and its own guards."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("foreshape")
except PackageNotFoundError:  # run from a source tree
    __version__ = "unknown"

"""How the programs start: a missing library is a sentence, not a traceback (a hypervisor has the agent's libraries only)."""

import sys
from collections.abc import Callable
from importlib import import_module


def operator() -> int:
    """``foreshape``."""
    return _start("foreshape", "foreshape_controller.cli.main")


def controller() -> int:
    """``foreshape-controller``."""
    return _start("foreshape-controller", "foreshape_controller.main")


def _start(program: str, module: str) -> int:
    """Run ``main`` of a module; 1 when what it needs is not installed."""
    try:
        main: Callable[[], int] = import_module(module).main
    except ModuleNotFoundError as e:
        print(f"{program}: {e.name} is not installed here; install it with: pip install 'foreshape[controller]'", file=sys.stderr)
        return 1
    return main()

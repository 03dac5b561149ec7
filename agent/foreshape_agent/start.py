"""How the program starts: a missing library is a sentence, not a traceback."""

import sys


def main() -> int:
    """``foreshape-agent``; 1 when what it needs is not installed."""
    try:
        from foreshape_agent.main import main as program  # noqa: PLC0415 - what may be missing is imported here
    except ModuleNotFoundError as e:
        print(f"foreshape-agent: {e.name} is not installed here; install it with: pip install 'foreshape[agent]'", file=sys.stderr)
        return 1
    return program()

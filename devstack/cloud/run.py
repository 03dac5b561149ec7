#!/usr/bin/env python3
"""A real OpenStack on this machine:

run.py up [--real]            runs it, says how to use it, holds until Ctrl-C: `make cloud`, `make cloud REAL=1`
run.py check [--real]         up, a server is booted and live-migrated, down: `make cloud CHECK=1`
run.py down [NAME | --all]    takes away what a killed bed left
run.py list

Exit status: 0 it did, 1 it did not, 2 this machine cannot.
"""

import signal
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lab")]

from foreshape_cloudbed import show  # noqa: E402
from foreshape_lab import LabError, Missing  # noqa: E402

USAGE = 2


def main(words: list[str]) -> int:
    verb, *rest = words or [""]
    real = "--real" in rest
    if verb not in {"up", "check", "down", "list"} or (set(rest) - {"--real"} and verb != "down"):
        print(__doc__)
        return USAGE
    if verb == "down":
        show.down(rest[0] if rest else show.NAME)
    elif verb == "list":
        print("\n".join(show.clouds()))
    else:
        show.run(real=real, check=verb == "check")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main(sys.argv[1:]))
    except Missing as e:
        print(f"cloud: {e}", file=sys.stderr)
        sys.exit(2)
    except LabError as e:
        print(f"cloud: {e}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\ncloud: everything it made is taken down", file=sys.stderr)
        sys.exit(0)

#!/usr/bin/env python3
"""`make lab`: see foreshape_lab/show.py. Exit status: 0 all claims hold, 1 one does not, 2 this machine cannot."""

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from foreshape_lab import LabError, Missing
from foreshape_lab.show import main

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main())
    except Missing as e:
        print(f"lab: {e}", file=sys.stderr)
        sys.exit(2)
    except LabError as e:
        print(f"lab: {e}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\nlab: interrupted; everything it made is taken down", file=sys.stderr)
        sys.exit(130)

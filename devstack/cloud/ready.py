#!/usr/bin/env python3
"""Once, what a cloud's bed needs and takes a minute to make: packages, OpenStack's environment, its databases."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lab")]

from foreshape_cloudbed import environment, template  # noqa: E402
from foreshape_lab.errors import LabError  # noqa: E402

if __name__ == "__main__":
    try:
        environment.ensure()
        template.ready()
    except LabError as e:
        sys.exit(f"no OpenStack here: {e}")

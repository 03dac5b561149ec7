"""``python -m foreshape_controller``: the same as ``foreshape-controller``."""

import sys

from foreshape_controller.main import main

sys.exit(main())

"""``python -m foreshape_agent``."""

import sys

from foreshape_agent.main import main

sys.exit(main())

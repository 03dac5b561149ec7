"""How many examples the property tests of shares and sizes draw: 10,000 in CI's long run, a few hundred at a desk."""

import os

LONG = 10_000 if os.environ.get("CI") == "true" else 200

"""How many examples the property tests of shares and sizes draw: a few hundred, and 10,000 in the long run
(`make test LONG=1`).

An example is a host with its servers. Hosts are computed all at once and each for itself, so one draw holds HOSTS of them: the
same examples in a tenth of the time.
"""

import os

LONG = 10_000 if os.environ.get("LONG") else 200

HOSTS = 20
"""Hosts in a drawn cloud."""

HOSTS_LONG = max(20, LONG // HOSTS)
"""Draws of such clouds."""

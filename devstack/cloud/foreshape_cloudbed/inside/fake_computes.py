"""Several of Nova's own nova-compute services in one process, each a host: fake_computes.py CONFIG HOST...

One import for all of them, a tenth of the memory of one process each. SIGTERM ends all.
"""

import os
import shlex
import signal
import sys
import threading
import time

from nova.cmd import compute  # noqa: F401 - first: it chooses threads instead of eventlet

# isort: split
import os_vif
from fake_driver import BedDriver  # type: ignore[import-not-found]  # it lies beside this file
from nova import config, objects, service, utils
from nova.compute import manager
from nova.compute import rpcapi as compute_rpcapi
from nova.conductor import rpcapi as conductor_rpcapi
from nova.conf import CONF
from nova.db.main import api as database
from nova.objects import base as objects_base
from oslo_log import log as logging
from oslo_privsep import priv_context


def prepare(configuration: str) -> None:
    """What nova-compute's own main does before it makes its service."""
    config.parse_args(["nova-compute", "--config-file", configuration])
    CONF.set_override("compute_driver", f"fake.{BedDriver.__name__}")
    logging.setup(CONF, "nova")
    objects.register_all()
    priv_context.init(root_helper=shlex.split(utils.get_root_helper()))
    os_vif.initialize()
    database.DISABLE_DB_ACCESS = True
    objects_base.NovaObject.indirection_api = conductor_rpcapi.ConductorAPI()
    objects.Service.enable_min_version_cache()
    # A node's identity is the driver's here; Nova would keep one file for the whole process.
    manager.ComputeManager._ensure_existing_node_identity = lambda *_: None


def start(host: str) -> service.Service:
    CONF.set_override("host", host)
    words = {"binary": "nova-compute", "topic": compute_rpcapi.RPC_TOPIC, "topic_alt": compute_rpcapi.RPC_TOPIC_ALT}
    made = service.Service.create(host=host, **words)
    before = time.monotonic()
    made.start()
    print(f"{host} started in {time.monotonic() - before:.1f} s", flush=True)
    return made


def main(configuration: str, *hosts: str) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    prepare(configuration)
    running = [start(host) for host in hosts]
    print(f"{len(running)} computes run", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])

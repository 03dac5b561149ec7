"""A real Neutron API by itself, run in an environment that has it: ML2 without drivers or agents on SQLite, one project, no Keystone.

Arguments: an empty folder, a port. Prints ``serving``. Keystone's middleware is left out of the pipeline; who asks is always the same.
"""

import os
import sys
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server

CONF = """
[DEFAULT]
auth_strategy = keystone
core_plugin = ml2
service_plugins =
transport_url = fake://
api_paste_config = {folder}/api-paste.ini
state_path = {folder}
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
dhcp_agent_notification = false
[database]
connection = sqlite:///{folder}/neutron.db
[ml2]
type_drivers = local
tenant_network_types = local
mechanism_drivers =
[oslo_concurrency]
lock_path = {folder}
[quotas]
quota_port = 20
"""
ASKS = {"HTTP_X_PROJECT_ID": "p1", "HTTP_X_USER_ID": "u1", "HTTP_X_ROLES": "admin,member", "HTTP_X_IDENTITY_STATUS": "Confirmed"}


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


def main(folder: Path, port: int) -> None:
    paste = (Path(sys.prefix) / "etc" / "neutron" / "api-paste.ini").read_text()
    (folder / "api-paste.ini").write_text(paste.replace(" authtoken keystonecontext", " keystonecontext"))
    (folder / "neutron.conf").write_text(CONF.format(folder=folder))
    make_tables(folder)
    os.environ["OS_NEUTRON_CONFIG_DIR"], os.environ["OS_NEUTRON_CONFIG_FILES"] = str(folder), "neutron.conf"
    sys.argv = ["neutron-api"]
    from neutron.wsgi.api import application  # noqa: PLC0415  reads the environment

    def known(environ, start):
        return application({**environ, **ASKS}, start)

    with make_server("127.0.0.1", port, known, server_class=Server) as server:
        print("serving", flush=True)
        server.serve_forever()


def make_tables(folder: Path) -> None:
    """As Neutron's models say: its migrations do not run on SQLite."""
    import sqlalchemy  # noqa: PLC0415
    from neutron.db.migration.models import head  # noqa: PLC0415

    head.get_metadata().create_all(sqlalchemy.create_engine(f"sqlite:///{folder}/neutron.db"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

"""MariaDB and RabbitMQ as the cloud's own processes, never as services of this machine."""

import socket
from pathlib import Path

from foreshape_lab.errors import LabError, Missing
from foreshape_lab.shell import run, try_run

from foreshape_cloudbed.places import DATABASES, PORTS, Places
from foreshape_cloudbed.service import Service

EPMD_PORTS, NODE_PORTS = 20000, 21000
"""Plus the bed's number: Erlang's port mapper listens on all of loopback."""
FAST = (
    "--innodb-flush-log-at-trx-commit=0",
    "--sync-binlog=0",
    "--skip-log-bin",
    "--innodb-doublewrite=0",
    "--innodb-flush-method=nosync",
    "--innodb-buffer-pool-size=128M",
    "--innodb-log-file-size=48M",
    "--performance-schema=OFF",
)
"""A test bed's data may be lost in a power failure."""


def mariadb(places: Places) -> Service:
    folder = places.folder / "mariadb"
    return Service(
        folder,
        [
            "/usr/sbin/mariadbd",
            "--no-defaults",
            "--user=root",
            "--skip-networking",
            "--skip-name-resolve",
            "--character-set-server=utf8mb3",
            "--max-connections=2000",
            f"--datadir={places.data / 'mysql'}",
            f"--socket={places.socket}",
            f"--pid-file={folder / 'pid'}",
            *FAST,
        ],
        answers=lambda: try_run(["mariadb-admin", "--no-defaults", "-uroot", "-S", places.socket, "ping"]),
    )


def make_databases(places: Places) -> None:
    """Empty ones, before MariaDB starts for the first time."""
    data = places.data / "mysql"
    data.mkdir(parents=True)
    run(
        [
            "mariadb-install-db",
            "--no-defaults",
            "--user=root",
            f"--datadir={data}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ]
    )


def name_databases(places: Places) -> None:
    sql(places, "".join(f"create database if not exists {name};" for name in DATABASES))


def sql(places: Places, text: str) -> str:
    """What MariaDB answers, one row a line, columns separated by tabs."""
    return run(["mariadb", "--no-defaults", "-uroot", "-S", places.socket, "-N", "-e", text])


def epmd(places: Places) -> Service:
    """Erlang's port mapper: without its own, RabbitMQ would start the machine's and leave it behind."""
    port = EPMD_PORTS + places.number
    return Service(
        places.folder / "epmd",
        ["epmd", "-port", str(port), "-address", "127.0.0.1"],
        answers=lambda: listens("127.0.0.1", port),
    )


def rabbitmq(places: Places) -> Service:
    """As root, which the wrapper of Debian's package refuses: its inner program is called."""
    folder = places.folder / "rabbit"
    environment = {
        "RABBITMQ_NODENAME": f"bed{places.number}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": places.address,
        "RABBITMQ_NODE_PORT": str(PORTS["rabbit"]),
        "RABBITMQ_DIST_PORT": str(NODE_PORTS + places.number),
        "ERL_EPMD_PORT": str(EPMD_PORTS + places.number),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_CONFIG_FILE": str(places.etc / "rabbitmq"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(places.etc / "rabbitmq_plugins"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -setcookie bed",
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
    }
    return Service(folder, [rabbit_program()], environment, answers=lambda: listens(places.address, PORTS["rabbit"]))


def rabbit_program() -> Path:
    found = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    if not found:
        raise Missing("RabbitMQ is not installed: apt-get install -y rabbitmq-server")
    return found[-1]


def listens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), 1).close()
    except OSError:
        return False
    return True


def free(address: str, port: int) -> None:
    """Raises LabError when something else listens where a service of the bed will."""
    if listens(address, port):
        raise LabError(f"something listens on {address}:{port} already: another program's, or a bed that was left (down removes it)")

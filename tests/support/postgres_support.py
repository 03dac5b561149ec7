"""A real PostgreSQL server of the tests' own: on a socket in a temporary folder, gone with the run."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from hashlib import sha256
from pathlib import Path

from foreshape_controller.store import Store

FOLDERS = Path("/usr/lib/postgresql")
USER = "postgres"
"""Debian's; the server refuses to run as root."""
TEMPLATE = "foreshape_empty"
QUICK = ("fsync=off", "full_page_writes=off", "listen_addresses=", "max_connections=200", "shared_buffers=32MB")
"""Nothing here survives a power cut, and nothing has to. No port is opened."""


def programs() -> Path | None:
    """Where the newest server's programs are; None: there is none."""
    found = sorted(FOLDERS.glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    return found[-1].parent if found else None


class Cluster:
    """``url`` of a database for each name, made with every table when it is asked for first."""

    def __init__(self) -> None:
        bin_folder = programs()
        assert bin_folder is not None, "no PostgreSQL server is installed (as root: make packages)"
        self._bin = bin_folder
        self.folder = Path(tempfile.mkdtemp(prefix="foreshape-pg-"))
        self._made: set[str] = set()
        self._user = USER if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            shutil.chown(self.folder, USER)
        # Sorted as people do, not as C does: what works here works with any collation.
        self.run("initdb", "-D", self.data, "-A", "trust", "-E", "UTF8", "--locale-provider=icu", "--icu-locale=en-US", "--no-sync")
        self.start()
        self.sql(f"CREATE DATABASE {TEMPLATE}")
        Store.open(self.at(TEMPLATE)).close()

    @property
    def data(self) -> str:
        return str(self.folder / "data")

    def start(self, *more: str) -> None:
        """It ends with this process, however that ends."""
        options = (*QUICK, f"unix_socket_directories={self.folder}", *more)
        command = self._as_owner("postgres", "-D", self.data, *(word for o in options for word in ("-c", o)))
        with Path(self.folder, "log").open("ab") as log:
            self._server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
        deadline = time.monotonic() + 60
        while subprocess.run([self._bin / "pg_isready", "-q", "-h", self.folder], check=False).returncode:
            assert self._server.poll() is None, Path(self.folder, "log").read_text()
            assert time.monotonic() < deadline, "PostgreSQL does not start"
            time.sleep(0.05)

    def stop(self, how: str = "fast") -> None:
        self.run("pg_ctl", "-D", self.data, "-w", "-m", how, "stop")
        self._server.wait(30)

    def close(self) -> None:
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def sql(self, text: str, database: str = "postgres") -> str:
        return self.run("psql", "-h", str(self.folder), "-U", self._user, "-d", database, "-qAtc", text)

    def run(self, program: str, *arguments: str) -> str:
        """As whoever owns the server."""
        command = self._as_owner(program, *arguments)
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False, timeout=60)
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def _as_owner(self, program: str, *arguments: str) -> list[str]:
        who = [f"--reuid={USER}", f"--regid={USER}", "--init-groups"] if os.geteuid() == 0 else []
        return ["setpriv", *who, "--pdeathsig=KILL", str(self._bin / program), *arguments]

    def at(self, database: str) -> str:
        """Its URL."""
        return f"postgresql+psycopg://{self._user}@/{database}?host={self.folder}"

    def empty(self, name: str) -> str:
        """URL of a database without any table."""
        self.sql(f"CREATE DATABASE {name}")
        return self.at(name)

    def url(self, path: Path) -> str:
        """The database that stands for a file: the same one for the same path."""
        name = f"t_{sha256(str(path).encode()).hexdigest()[:20]}"
        if name not in self._made:
            self._made.add(name)
            self.sql(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
        return self.at(name)

"""Where everything of one cloud is: folders, addresses, ports, passwords. Pure."""

from dataclasses import dataclass
from pathlib import Path

PASSWORD = "bed"
"""Of every user: the bed listens on loopback and on its own network only."""
REGION = "RegionOne"
PORTS = {"keystone": 5000, "placement": 8778, "nova": 8774, "glance": 9292, "neutron": 9696, "rabbit": 5672}
PATHS = {"keystone": "/v3", "nova": "/v2.1"}
"""What an endpoint's address in the catalogue ends with."""
TYPES = {"nova": "compute", "placement": "placement", "glance": "image", "neutron": "network"}
USERS = {"admin": "admin", "demo": "demo", "foreshape": "service"}
"""Users that clouds.yaml offers, and their projects."""
DATABASES = ("keystone", "placement", "glance", "nova_api", "nova_cell0", "nova")


@dataclass(frozen=True)
class Places:
    """One cloud's own."""

    folder: Path
    """The bed's."""
    address: str
    """Where its services listen: one of loopback's, or this machine's on the bed's network. Ports are the usual ones."""
    number: int
    """The bed's, of 512: RabbitMQ's port mapper listens on all of loopback and needs a port of its own."""

    @property
    def etc(self) -> Path:
        return self.folder / "etc"

    @property
    def data(self) -> Path:
        """What the template has: databases and Keystone's keys."""
        return self.folder / "data"

    @property
    def socket(self) -> Path:
        """MariaDB's; it has no port."""
        return self.folder / "mariadb/sock"

    @property
    def compute_state(self) -> Path:
        """One folder for each fake compute: its node's identity and its servers."""
        return self.folder / "computes/state"

    @property
    def migration_seconds(self) -> Path:
        """How long fake computes take for a live migration; read at each."""
        return self.folder / "computes/migration_seconds"

    @property
    def clouds_yaml(self) -> Path:
        return self.etc / "clouds.yaml"

    def root(self, service: str) -> str:
        return f"http://{self.address}:{PORTS[service]}"

    def endpoint(self, service: str) -> str:
        return self.root(service) + PATHS.get(service, "")

    def database(self, name: str) -> str:
        return f"mysql+pymysql://root@localhost/{name}?unix_socket={self.socket}&charset=utf8"

    @property
    def transport(self) -> str:
        return f"rabbit://guest:guest@{self.address}:{PORTS['rabbit']}/"

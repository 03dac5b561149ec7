"""The store as a whole: opens the database, brings its schema up to date, and holds its parts."""

import secrets
from dataclasses import dataclass
from typing import Self

from sqlalchemy import select

from foreshape_controller.errors import ConfigError
from foreshape_controller.model.choice import Terms
from foreshape_controller.store.agents import Agents
from foreshape_controller.store.anomalies import Anomalies
from foreshape_controller.store.archive import Archive
from foreshape_controller.store.audit import Audit
from foreshape_controller.store.caps import Caps
from foreshape_controller.store.choices import Choices
from foreshape_controller.store.cloud_servers import CloudServers
from foreshape_controller.store.decided import Decided
from foreshape_controller.store.engine import Database
from foreshape_controller.store.events import Events
from foreshape_controller.store.forecasts import Forecasts
from foreshape_controller.store.groups import GroupStore
from foreshape_controller.store.halts import Halts
from foreshape_controller.store.headcount import Headcount
from foreshape_controller.store.headroom import Headroom
from foreshape_controller.store.history import HistoryStore
from foreshape_controller.store.inventory import Inventory
from foreshape_controller.store.journal import Journal
from foreshape_controller.store.levers import Levers
from foreshape_controller.store.marks import Marks
from foreshape_controller.store.metering import Metering
from foreshape_controller.store.migrate import upgrade
from foreshape_controller.store.migrating import Migrating
from foreshape_controller.store.modes import Modes
from foreshape_controller.store.needs import Needs
from foreshape_controller.store.notices import Notices
from foreshape_controller.store.policies import Policies
from foreshape_controller.store.pools import Pools
from foreshape_controller.store.profiles import Profiles
from foreshape_controller.store.recent import Recent
from foreshape_controller.store.reclaims import Reclaims
from foreshape_controller.store.replies import Replies
from foreshape_controller.store.requests import Requests
from foreshape_controller.store.reservations import Reservations
from foreshape_controller.store.sales import Sales
from foreshape_controller.store.schema import meta, rate_cards
from foreshape_controller.store.shares import Shares
from foreshape_controller.store.spending import Spending
from foreshape_controller.store.tier_factors import TierFactors
from foreshape_controller.store.transfers import Transfers
from foreshape_wire.order import Mode


@dataclass(frozen=True)
class Beside:
    """What a second process has to know to work like the first."""

    step_s: int
    default_mode: Mode
    synchronous: str
    busy_s: float
    clock_skew_s: float
    raised_floor_s: float
    controller: str
    terms: Terms
    """What operators allow tenants."""
    in_cloud: bool
    """A cloud is configured: nothing may be changed on a server that is not known there."""


class Store:
    """The parts of the controller's memory; each method is a transaction of its own, safe from any thread."""

    def __init__(  # noqa: PLR0915  one part a line
        self, db: Database, step_s: int, default_mode: Mode, clock_skew_s: float, raised_floor_s: float = 86400.0, controller: str = ""
    ) -> None:
        self.db = db
        self.controller = controller
        """Names this controller's things among those of others in the same cloud."""
        self.bus = db.bus
        self.modes = Modes(db, default_mode)
        self.choices = Choices(db)
        self.replies = Replies(db)
        self.inventory = Inventory(db, self.modes)
        self.journal = Journal(db, step_s, raised_floor_s)
        self.history = HistoryStore(db, self.inventory, self.journal, step_s, clock_skew_s=clock_skew_s)
        self.recent = Recent(self.history)
        self.groups = GroupStore(db)
        self.forecasts = Forecasts(db)
        self.agents = Agents(db)
        self.events = Events(db)
        self.caps = Caps(db)
        self.archive = Archive(db)
        self.headroom = Headroom(db)
        self.headcount = Headcount(db)
        self.anomalies = Anomalies(db)
        self.audit = Audit(db)
        self.profiles = Profiles(db)
        self.reclaims = Reclaims(db)
        self.notices = Notices(db)
        self.transfers = Transfers(db)
        self.needs = Needs(db)
        self.shares = Shares(db)
        self.policies = Policies(db)
        self.spending = Spending(db)
        self.halts = Halts(db)
        self.cloud_servers = CloudServers(db)
        self.decided = Decided(db)
        self.levers = Levers(db)
        self.marks = Marks(db)
        self.tier_factors = TierFactors(db)
        self.sales = Sales(db)
        self.pools = Pools(db)
        self.migrating = Migrating(db)
        self.reservations = Reservations(db)
        self.requests = Requests(db)
        self.metering = Metering(db)
        self.rate_cards = Policies(db, rate_cards)

    @classmethod
    def open(  # noqa: PLR0913  each is one option of the file
        cls,
        url: str,
        *,
        step_s: int = 300,
        default_mode: Mode = Mode.ADVISE,
        synchronous: str = "full",
        busy_s: float = 5.0,
        clock_skew_s: float = 600.0,
        raised_floor_s: float = 86400.0,
    ) -> Self:
        """Open ``sqlite:///path`` or ``sqlite://`` (memory), making or migrating what is there.

        Raises ConfigError for a database that cannot serve, Unavailable for one that cannot be reached now.
        """
        db = Database(url, synchronous=synchronous, busy_s=busy_s)
        upgrade(db)
        _keep_step(db, step_s)
        return cls(db, step_s, default_mode, clock_skew_s, raised_floor_s, _name(db))

    @classmethod
    def beside(cls, url: str, settings: "Beside") -> Self:
        """The same database from a second process of this controller, after the first has opened it: nothing is migrated."""
        db = Database(url, synchronous=settings.synchronous, busy_s=settings.busy_s)
        made = cls(db, settings.step_s, settings.default_mode, settings.clock_skew_s, settings.raised_floor_s, settings.controller)
        made.modes.terms, made.inventory.in_cloud = settings.terms, settings.in_cloud
        return made

    @classmethod
    def read_only(cls, url: str, *, step_s: int = 300) -> Self:
        """A second look at a controller's database from another process: nothing can be written through it.

        Raises ConfigError where there is none: it is not made.
        """
        return cls(Database(url, read_only=True), step_s, Mode.OBSERVE, 0.0)

    def ping(self) -> None:
        """Raises Unavailable when the database cannot be read."""
        with self.db.read() as conn:
            conn.execute(select(meta.c.value).limit(1))

    def close(self) -> None:
        """Close all connections; what was acknowledged is on disk already."""
        self.db.close()


def _name(db: Database) -> str:
    """Kept with the database: several controllers on one share it, a new database is another controller, a copy is the same."""
    with db.write() as conn:
        name = conn.execute(select(meta.c.value).where(meta.c.name == "controller")).scalar()
        if name is None:
            name = secrets.token_hex(4)
            conn.execute(meta.insert(), {"name": "controller", "value": name})
    return str(name)


def _keep_step(db: Database, step_s: int) -> None:
    """A database keeps the grid it was made with: bins of two widths would not add up."""
    with db.write() as conn:
        made = conn.execute(select(meta.c.value).where(meta.c.name == "step_s")).scalar()
        if made is None:
            conn.execute(meta.insert(), {"name": "step_s", "value": str(step_s)})
        elif int(made) != step_s:
            raise ConfigError(
                f"[history] step_s is {step_s}, but the database holds bins of {made} s: keep {made}, or begin a new database"
            )

"""Every table of the controller, in words that SQLite and PostgreSQL both understand.

Times are seconds since the epoch (UTC), amounts cores or MiB. Messages are kept as JSON, as they were said.
A change here needs a migration beside it (``migrations/versions``); a test compares the two.
"""

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table, Text, text

metadata = MetaData()

Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only when the type is INTEGER


def _amount(name: str) -> "Column[float]":
    return Column(name, Float, nullable=False, server_default="0")


meta = Table("meta", metadata, Column("name", String(64), primary_key=True), Column("value", Text, nullable=False))

# --- history ---------------------------------------------------------------------------------------------------------

series = Table(
    "series",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("name", String(300), nullable=False, unique=True),  # a server's id, or host:NAME
    Column("first_seen", Float, nullable=False),
)

SUMS = (
    "samples",
    "cpu_s",  # seconds that CPU samples spoke for
    "cpu_sum",  # demand × seconds
    "cpu_used_sum",
    "cpu_alloc_sum",
    "cpu_capped_s",  # seconds censored: use at its cap
    "memory_s",
    "memory_sum",
    "memory_alloc_sum",
    "memory_capped_s",
    "memory_doubt_s",  # seconds whose confidence was below one half
    "io_s",
    "disk_kib",
    "disk_ops",
    "net_kib",
    "disk_read_kib",  # the part of disk_kib that was read
)
MAXIMA = ("cpu_max", "cpu_used_max", "memory_max", "disk_max", "net_max")

# Ordered by time first: all writes of a cycle then land on the same few pages.
bins = Table(
    "bins",
    metadata,
    Column("bin", BigInteger, primary_key=True, autoincrement=False),  # its start
    Column("series", BigInteger, primary_key=True, autoincrement=False),
    *(_amount(name) for name in SUMS + MAXIMA),
    sqlite_with_rowid=False,
)

chunks = Table(
    "chunks",
    metadata,
    Column("series", BigInteger, primary_key=True, autoincrement=False),
    Column("part", String(8), primary_key=True),  # cpu, memory, io
    Column("day", BigInteger, primary_key=True, autoincrement=False),  # number of the 288-bin day since the epoch
    Column("data", LargeBinary, nullable=False),
    Index("chunks_by_day", "day"),
)

seen = Table(
    "seen",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("epoch", String(255), primary_key=True),
    Column("first", BigInteger, primary_key=True, autoincrement=False),  # a contiguous range of sequence numbers
    Column("last", BigInteger, nullable=False),
    Column("at", Float, nullable=False),
    sqlite_with_rowid=False,
)

# --- inventory -------------------------------------------------------------------------------------------------------

hosts = Table(
    "hosts",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("last_seen", Float, nullable=False),  # when its newest samples were taken
    Column("received_at", Float, nullable=False),
    Column("agent_version", String(64), nullable=False, server_default=""),
    Column("safe_mode", Text, nullable=False, server_default=""),
    Column("gap", Text, nullable=False, server_default=""),
    Column("clock_ahead_s", Float, nullable=False, server_default="0"),
    Column("host_sample", LargeBinary),
    Column("samples", LargeBinary),  # of the newest report, as JSON
    Column("cards_digest", String(64), nullable=False, server_default=""),
)

servers = Table(
    "servers",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("host", String(255), nullable=False, index=True),
    Column("owned_since", Float, nullable=False),
    Column("released_at", Float),  # its host's newest report no longer had it
    Column("first_seen", Float, nullable=False),
    Column("last_seen", Float, nullable=False),  # kept up to date when it leaves a host; until then the host's counts
    Column("last_sample", LargeBinary),
    Column("name", String(255), nullable=False, server_default="", index=True),
    Column("project", String(255), nullable=False, server_default="", index=True),
    Column("tier", String(64), nullable=False, server_default="standard"),  # its own, as somebody set it; always written: '' is none
    Column("entitled_cpu", Float),
    Column("entitled_memory", Float),
    Column("floor_cpu", Float),  # of the newest decision
    Column("floor_memory", Float),
    Column("raised_floor", Float),
    Column("raised_until", Float),
    Column("card", LargeBinary),
    Column("card_host", String(255)),  # who sent the card: after a move the old host's card serves until the new one comes
)

modes = Table(
    "modes",
    metadata,
    Column("scope", String(300), primary_key=True),
    Column("mode", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", Float, nullable=False),
    Column("before", String(16)),  # of a stop: the mode that resuming puts back; '' none was set; NULL: no stop
)

# --- agents ----------------------------------------------------------------------------------------------------------

join_tokens = Table(
    "join_tokens",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("host", String(255), nullable=False, index=True),
    Column("expires_at", Float, nullable=False),
)

agent_tokens = Table(
    "agent_tokens",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("host", String(255), nullable=False, index=True),
    Column("issued_at", Float, nullable=False),
    Column("state", String(8), nullable=False),  # current, next
)

# --- journal ---------------------------------------------------------------------------------------------------------

plans = Table(
    "plans",
    metadata,
    Column("plan", String(64), primary_key=True),
    Column("at", Float, nullable=False, index=True),
    Column("notes", LargeBinary, nullable=False),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("plan", String(64), nullable=False, index=True),
    Column("server", String(64), nullable=False),
    Column("at", Float, nullable=False),
    Column("acting", Boolean, nullable=False),  # grows or shrinks something, whatever the mode
    Column("data", LargeBinary, nullable=False),  # JSON, deflated
    Index("decisions_by_server", "server", "at"),
    Index("decisions_by_age", "acting", "at"),
)

orders = Table(
    "orders",
    metadata,
    Column("order", String(64), primary_key=True),
    Column("plan", String(64), nullable=False),
    Column("server", String(64), nullable=False),
    Column("host", String(255), nullable=False),
    Column("status", String(16), nullable=False),
    Column("issued_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("closed_at", Float),
    Column("cpu_verdict", String(16)),
    Column("memory_verdict", String(16)),
    Column("cpu_change", Float),  # target - allocation when it was ordered, cores: what budgets count
    Column("memory_change", Float),  # MiB
    Column("data", LargeBinary, nullable=False),
    Index("orders_by_server", "server", "issued_at"),
    Index("orders_by_host", "host", "status"),
    Index("orders_by_time", "issued_at"),
    # The database itself refuses a second open order for a server.
    Index("one_open_order", "server", unique=True, sqlite_where=text("status = 'open'"), postgresql_where=text("status = 'open'")),
)

outcomes = Table(
    "outcomes",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("order", String(64), nullable=False, index=True),
    Column("server", String(64), nullable=False),
    Column("host", String(255), nullable=False),
    Column("origin", String(16), nullable=False),
    Column("resource", String(16), nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("at", Float, nullable=False),
    Column("stray", Boolean, nullable=False),  # of an order that is unknown, or not this host's
    Column("data", LargeBinary, nullable=False),
    Index("outcomes_by_server", "server", "origin", "at"),
    Index("outcomes_by_time", "at"),
)

counters = Table("counters", metadata, Column("name", String(64), primary_key=True), Column("value", BigInteger, nullable=False))

# --- forecasts -------------------------------------------------------------------------------------------------------

forecasts = Table(
    "forecasts",
    metadata,
    Column("series", String(300), primary_key=True),
    Column("resource", String(16), primary_key=True),
    Column("origin", BigInteger, nullable=False),
    Column("step_s", Integer, nullable=False),
    Column("source", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("age_s", Float, nullable=False),
    Column("data", LargeBinary, nullable=False),  # float32: steps, half hours, peak30m, peak24h
)

archive = Table(
    "archive",  # forecasts waiting for their future, many series in one row
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("resource", String(16), nullable=False),
    Column("origin", BigInteger, nullable=False),
    Column("due", BigInteger, nullable=False, index=True),  # when all of its future is over
    Column("step_s", Integer, nullable=False),
    Column("predictor", String(64), nullable=False),  # the champion then: a model's id, or baseline
    Column("data", LargeBinary, nullable=False),
)

scores = Table(
    "scores",  # what came of them, added up per stratum
    metadata,
    Column("origin", BigInteger, primary_key=True, autoincrement=False),
    Column("resource", String(16), primary_key=True),
    Column("stratum", String(32), primary_key=True),
    Column("head", String(16), primary_key=True),  # steps, half_hours, peak30m, peak24h
    Column("predictor", String(64), primary_key=True),
    Column("data", LargeBinary, nullable=False),  # sums, as JSON
)

headroom = Table(
    "headroom",
    metadata,
    Column("server", String(64), primary_key=True),
    Column("resource", String(16), primary_key=True),
    Column("factor", Float, nullable=False),
    Column("at", Float, nullable=False),
)

# --- what is known of servers beside their demand ----------------------------------------------------------------------

profiles = Table(
    "profiles",  # declared by people
    metadata,
    Column("server", String(64), primary_key=True),
    Column("at", Float, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

classes = Table(
    "classes",  # inferred
    metadata,
    Column("server", String(64), primary_key=True),
    Column("at", Float, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

anomalies = Table(
    "anomalies",
    metadata,
    Column("series", String(300), primary_key=True),
    Column("resource", String(16), primary_key=True),
    Column("since", BigInteger, primary_key=True, autoincrement=False),
    Column("until", BigInteger),  # NULL while it lasts
    Column("data", LargeBinary, nullable=False),
    Index("anomalies_by_end", "until"),
)

events = Table(
    "events",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("scope", String(300), nullable=False, index=True),  # server:ID, project:ID, segment:NAME, zone:NAME, cloud
    Column("source", String(300), nullable=False),  # api, or the calendar it was imported from
    Column("at", Float, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

effects = Table(
    "effects",  # what an event's occurrences did, measured
    metadata,
    Column("event", String(64), primary_key=True),
    Column("resource", String(16), primary_key=True),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("factor", Float, nullable=False),
    Column("weight", Float, nullable=False),
)

# --- deciding ----------------------------------------------------------------------------------------------------------

plan_tables = Table(
    "plan_tables",  # all decisions of one plan as columns, a part per thousand servers
    metadata,
    Column("plan", String(64), primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),  # hash of a server modulo their number
    Column("parts", Integer, nullable=False),
    Column("at", Float, nullable=False, index=True),
    Column("data", LargeBinary, nullable=False),
)

wishes = Table(
    "wishes",  # the largest size that was wanted in five minutes, all servers in one row
    metadata,
    Column("slot", BigInteger, primary_key=True, autoincrement=False),  # its start
    Column("kind", String(8), primary_key=True),  # plan; reflex: what agents gave back by themselves
    Column("data", LargeBinary, nullable=False),
)

caps = Table(
    "caps",  # people's decisions to throttle somebody
    metadata,
    Column("id", String(64), primary_key=True),
    Column("scope", String(300), nullable=False, index=True),
    Column("resource", String(16), nullable=False),
    Column("amount", Float, nullable=False),
    Column("since", Float, nullable=False),
    Column("until", Float, nullable=False, index=True),
    Column("reason", Text, nullable=False),
    Column("by", String(255), nullable=False, server_default=""),
    Column("lifted_at", Float),
    Column("lifted_why", Text, nullable=False, server_default=""),
)

reclaims = Table(
    "reclaims",  # idle and over-sized servers, from the finding to the give-back
    metadata,
    Column("server", String(64), primary_key=True),
    Column("resource", String(16), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("at", Float, nullable=False),  # when it came into this state
    Column("data", LargeBinary, nullable=False),
    Index("reclaims_by_state", "state"),
)

notices = Table(
    "notices",  # what owners are told
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False, index=True),
    Column("project", String(255), nullable=False, index=True),
    Column("server", String(64), nullable=False, server_default=""),
    Column("kind", String(32), nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("answered_at", Float),
)

transfers = Table(
    "transfers",  # who gave and who got on a host that was short
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False, index=True),
    Column("plan", String(64), nullable=False),
    Column("host", String(255), nullable=False),
    Column("resource", String(16), nullable=False),
    Column("giver", String(300), nullable=False),  # a segment's series, or tier:NAME where a server is in no segment
    Column("taker", String(300), nullable=False),
    Column("amount", Float, nullable=False),
)

_OPEN = text("closed_at IS NULL")

needs = Table(
    "needs",  # what no sharing could meet: somebody has to leave the host by then
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("host", String(255), nullable=False),
    Column("resource", String(16), nullable=False),
    Column("since", Float, nullable=False),
    Column("deadline", Float, nullable=False),
    Column("amount", Float, nullable=False),
    Column("closed_at", Float, index=True),
    Column("closed_why", Text, nullable=False, server_default=""),
    Column("data", LargeBinary, nullable=False),
    # The database itself refuses a second open need of a host.
    Index("one_open_need", "host", "resource", unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN),
)

shares = Table(
    "shares",  # CPU of servers on hosts that are short, as the newest plan says: their agents give no more by themselves
    metadata,
    Column("server", String(64), primary_key=True),
    Column("host", String(255), nullable=False, index=True),
    Column("cores", Float, nullable=False),
    Column("until", Float, nullable=False),
)

halts = Table(
    "halts",  # circuit breakers and second controllers: where nothing is ordered now
    metadata,
    Column("scope", String(300), primary_key=True),  # cloud, host:NAME, server:ID
    Column("kind", String(32), primary_key=True),
    Column("since", Float, nullable=False),
    Column("until", Float),
    Column("reason", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

policies = Table(
    "policies",  # every text of tiers.yaml that was in force
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),  # from when on
    Column("hash", String(64), nullable=False),  # SHA-256 of the text
    Column("text", Text, nullable=False),
)

marks = Table(
    "marks",  # how tiers did, added up per slot
    metadata,
    Column("slot", BigInteger, primary_key=True, autoincrement=False),
    Column("tier", String(64), primary_key=True),
    Column("resource", String(16), primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

tier_factors = Table(
    "tier_factors",  # what feedback made of a tier's headroom and hold time
    metadata,
    Column("tier", String(64), primary_key=True),
    Column("resource", String(16), primary_key=True),
    Column("headroom", Float, nullable=False),
    Column("hold", Float, nullable=False),
    Column("at", Float, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
)

# --- migrations ----------------------------------------------------------------------------------------------------------

_NOT_ENDED = text("ended_at IS NULL")

migrations = Table(
    "migrations",  # each migration as it is now; written before anything is done for it
    metadata,
    Column("id", String(64), primary_key=True),
    Column("server", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("created", Float, nullable=False, index=True),
    Column("ordered_at", Float, index=True),
    Column("ended_at", Float, index=True),
    Column("cancel_at", Float),  # somebody does not want it any more
    Column("cancel_why", Text, nullable=False, server_default=""),
    Column("data", LargeBinary, nullable=False),
    # The database itself refuses a second migration of a server at a time.
    Index("one_open_migration", "server", unique=True, sqlite_where=_NOT_ENDED, postgresql_where=_NOT_ENDED),
)

migration_events = Table(
    "migration_events",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("migration", String(64), nullable=False, index=True),
    Column("at", Float, nullable=False),
    Column("what", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("text", Text, nullable=False, server_default=""),
)

proposals = Table(
    "proposals",  # moves that wait for somebody's word
    metadata,
    Column("id", String(64), primary_key=True),
    Column("server", String(64), nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("made", Float, nullable=False, index=True),
    Column("data", LargeBinary, nullable=False),
)

drains = Table(
    "drains",  # hosts that are being emptied, and stay closed
    metadata,
    Column("id", String(64), primary_key=True),
    Column("host", String(255), nullable=False),
    Column("since", Float, nullable=False),
    Column("ended_at", Float, index=True),
    Column("data", LargeBinary, nullable=False),
    Index("one_open_drain", "host", unique=True, sqlite_where=_NOT_ENDED, postgresql_where=_NOT_ENDED),
)

learnt = Table(
    "learnt",  # by migrations: factors of links, dirty rates of servers
    metadata,
    Column("kind", String(16), primary_key=True),  # link, dirty
    Column("name", String(300), primary_key=True),
    Column("value", Float, nullable=False),
    Column("count", Integer, nullable=False),
    Column("at", Float, nullable=False, index=True),
)

# --- reservations ----------------------------------------------------------------------------------------------------

reservations = Table(
    "reservations",  # room in Placement: what is wanted, and what is known of it
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(300), nullable=False, index=True),
    Column("host", String(255), nullable=False, index=True),
    Column("state", String(16), nullable=False),
    Column("open", Boolean, nullable=False),  # not over
    Column("changed", Float, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index("reservations_open", "open", "changed"),
)

reservation_writes = Table(
    "reservation_writes",  # each write to Placement, before it is asked for
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("reservation", String(64), nullable=False, index=True),
    Column("at", Float, nullable=False, index=True),
    Column("host", String(255), nullable=False),
    Column("provider", String(64), nullable=False),
    Column("what", String(16), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("reason", Text, nullable=False),
    Column("cause", String(64), nullable=False, server_default=""),
    Column("undo", Text, nullable=False, server_default=""),
    Column("outcome", String(16), nullable=False),
    Column("known_at", Float),
    Column("said", Text, nullable=False, server_default=""),
)

reservation_locks = Table(
    "reservation_locks",  # traits of ours that keep the scheduler off a host
    metadata,
    Column("provider", String(64), primary_key=True),
    Column("host", String(255), nullable=False),
    Column("reservation", String(64), nullable=False),
    Column("at", Float, nullable=False),
)

# --- the cloud's word ------------------------------------------------------------------------------------------------

cloud_servers = Table(
    "cloud_servers",  # NULL: Nova never had it, and the agent's word holds
    metadata,
    Column("server", String(64), primary_key=True),
    Column("project", String(255), index=True),
    Column("project_name", String(255)),
    Column("name", String(255), index=True),
    Column("flavor", String(255)),
    Column("image", String(255)),
    Column("az", String(255)),
    Column("aggregates", Text, nullable=False, server_default="[]"),  # JSON
    Column("held_code", String(32), nullable=False, server_default=""),  # why nothing may be changed on it
    Column("held", Text, nullable=False, server_default=""),
    Column("gone_at", Float),  # Nova no longer has it
)

# --- pools of shadow VMs ----------------------------------------------------------------------------------------------

_OPEN_POOL = text("deleted_at IS NULL")

pools = Table(
    "pools",  # kinds of shadow VMs, and what the newest look at each decided
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("created", Float, nullable=False),
    Column("deleted_at", Float),
    Column("data", LargeBinary, nullable=False),
    Column("decided", LargeBinary),
    Index("one_open_pool", "name", unique=True, sqlite_where=_OPEN_POOL, postgresql_where=_OPEN_POOL),
)

shadows = Table(
    "shadows",  # every shadow VM, from the plan to the end
    metadata,
    Column("id", String(64), primary_key=True),
    Column("pool", String(64), nullable=False, index=True),
    Column("state", String(16), nullable=False, index=True),
    Column("server", String(64), nullable=False, server_default="", index=True),
    Column("since", Float, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

pool_claims = Table(
    "pool_claims",  # hits and misses: what sizes are learned from
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("pool", String(64), nullable=False),
    Column("at", Float, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index("pool_claims_by_time", "pool", "at"),
)

pool_steps = Table(
    "pool_steps",  # what was done to each shadow VM, written before it was done
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False, index=True),
    Column("pool", String(64), nullable=False, index=True),
    Column("shadow", String(64), nullable=False, index=True),
    Column("state", String(16), nullable=False),
    Column("cause", String(255), nullable=False, server_default=""),
    Column("why", Text, nullable=False, server_default=""),
    Column("undo", Text, nullable=False, server_default=""),
)

# --- sold again --------------------------------------------------------------------------------------------------------

sales = Table(
    "sales",  # allocation ratios of hosts: what was there, what is, what would be
    metadata,
    Column("host", String(255), primary_key=True),
    Column("resource", String(16), primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

sale_moves = Table(
    "sale_moves",  # every write of a ratio, before it is sent
    metadata,
    Column("id", String(64), primary_key=True),
    Column("at", Float, nullable=False, index=True),
    Column("host", String(255), nullable=False, index=True),
    Column("resource", String(16), nullable=False),
    Column("was", Float, nullable=False),
    Column("target", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("settled_at", Float),
)

sale_stops = Table(
    "sale_stops",  # where operators want nothing sold
    metadata,
    Column("scope", String(300), primary_key=True),
    Column("since", Float, nullable=False),
    Column("reason", Text, nullable=False),
)

# --- customers' requests ---------------------------------------------------------------------------------------------

requests = Table(
    "requests",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("project", String(255), nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("open", Boolean, nullable=False),
    Column("tag", Float, nullable=False),  # place in the queue
    Column("changed", Float, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index("requests_open", "open", "project"),
)

request_steps = Table(
    "request_steps",  # what became of each, written before it was done
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("request", String(64), nullable=False, index=True),
    Column("state", String(16), nullable=False),
    Column("said", Text, nullable=False, server_default=""),
    Column("cause", String(255), nullable=False, server_default=""),
    Column("undo", Text, nullable=False, server_default=""),
)

request_clocks = Table(
    "request_clocks",  # how far ahead of the time of day a project's asking has run
    metadata,
    Column("project", String(255), primary_key=True),
    Column("at", Float, nullable=False),
)

webhooks = Table(
    "webhooks",  # where projects want to be told
    metadata,
    Column("id", String(64), primary_key=True),
    Column("project", String(255), nullable=False, index=True),
    Column("data", LargeBinary, nullable=False),
)

webhook_deliveries = Table(
    "webhook_deliveries",  # what they are told, until it was taken or given up
    metadata,
    Column("id", String(64), primary_key=True),
    Column("hook", String(64), nullable=False, index=True),
    Column("created", Float, nullable=False),
    Column("next_try", Float, nullable=False),
    Column("state", String(16), nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index("webhook_deliveries_due", "state", "next_try"),
)

# --- what was used, and what it costs --------------------------------------------------------------------------------

meter_terms = Table(
    "meter_terms",  # who was metered by which terms, from when on
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("server", String(300), nullable=False),
    Column("at", Float, nullable=False, index=True),
    Column("data", LargeBinary, nullable=False),
    Index("meter_terms_by_server", "server", "at"),
)

usage = Table(
    "usage",  # one project on one day; a bin is in it once
    metadata,
    Column("day", BigInteger, primary_key=True, autoincrement=False),  # its start
    Column("project", String(255), primary_key=True),
    Column("booked", String(7), primary_key=True),  # month of the statement that it is in
    Column("data", LargeBinary, nullable=False),
    Index("usage_by_booking", "booked", "project"),
)

statements = Table(
    "statements",  # closed ones, frozen
    metadata,
    Column("period", String(7), primary_key=True),
    Column("project", String(255), primary_key=True),
    Column("closed_at", Float, nullable=False),
    Column("summary", LargeBinary, nullable=False),  # without lines
    Column("data", LargeBinary, nullable=False),
)

rate_cards = Table(
    "rate_cards",  # every text of rates.yaml that was in force
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("hash", String(64), nullable=False, index=True),
    Column("text", Text, nullable=False),
)

published = Table(
    "published",  # what was metered last, for collectors
    metadata,
    Column("project", String(255), primary_key=True),
    Column("tier", String(64), primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

# --- tenants ---------------------------------------------------------------------------------------------------------

choices = Table(
    "choices",  # how far tenants let Foreshape go: beside the operators' modes, never instead of them
    metadata,
    Column("scope", String(300), primary_key=True),  # project:ID, server:ID
    Column("project", String(255), nullable=False, index=True),
    Column("mode", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("by", String(255), nullable=False),
    Column("since", Float, nullable=False),
)

choice_events = Table(
    "choice_events",  # every choice that was made or taken back
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False, index=True),
    Column("scope", String(300), nullable=False, index=True),
    Column("project", String(255), nullable=False),
    Column("mode", String(16), nullable=False),  # '' taken back
    Column("reason", Text, nullable=False),
    Column("by", String(255), nullable=False),
)

tallies = Table(
    "tallies",  # how well declared profiles matched what came
    metadata,
    Column("server", String(64), primary_key=True),
    Column("at", Float, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

replies = Table(
    "replies",  # what repeated writes were answered (Idempotency-Key)
    metadata,
    Column("key", String(64), primary_key=True),  # of who asked and his key
    Column("asked", String(64), nullable=False),  # of what he asked
    Column("process", String(64), nullable=False),  # who works on it
    Column("at", Float, nullable=False, index=True),
    Column("status", Integer),  # NULL: no answer yet
    Column("headers", Text, nullable=False, server_default="{}"),  # JSON
    Column("body", LargeBinary, nullable=False, server_default=text("''")),
)

# --- audit -----------------------------------------------------------------------------------------------------------

audit = Table(
    "audit",  # who wrote what: triggers keep rows as they are (migration 0008)
    metadata,
    Column("id", Id, primary_key=True, autoincrement=False),  # without gaps
    Column("at", Float, nullable=False, index=True),
    Column("request", String(64), nullable=False, index=True),
    Column("stage", String(16), nullable=False),
    Column("method", String(16), nullable=False),
    Column("route", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("project", Text, nullable=False, index=True),
    Column("caller", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("cause", Text, nullable=False, index=True),
    Column("address", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("hash", String(64), nullable=False),  # over the row before it and this one
)

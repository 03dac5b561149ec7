"""Which report numbers have been taken: a few contiguous ranges per (host, epoch) instead of a row per report.

Replays and reordering are safe: a number is taken once, whenever it comes.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from foreshape_controller.store.schema import seen

MAX_RANGES = 1000
"""More holes than this in one epoch are forgotten, oldest first: the agent's spool thinned them away long ago."""


class Range(NamedTuple):
    """Numbers first..last, all taken."""

    first: int
    last: int


def join(touching: Sequence[Range], sequence: int) -> Range | None:
    """The range that holds the number from now on, given those that hold or touch it; None: it was taken before."""
    if any(r.first <= sequence <= r.last for r in touching):
        return None
    return Range(min([sequence, *(r.first for r in touching)]), max([sequence, *(r.last for r in touching)]))


_same = (seen.c.host == bindparam("h"), seen.c.epoch == bindparam("e"))
_touching = select(seen.c.first, seen.c.last).where(*_same, seen.c.first <= bindparam("s") + 1, seen.c.last >= bindparam("s") - 1)
_remove = delete(seen).where(*_same, seen.c.first == bindparam("f"))
_extend = update(seen).where(*_same, seen.c.first == bindparam("f")).values(last=bindparam("l"), at=bindparam("t"))
_count = select(func.count()).where(*_same).select_from(seen)


def mark(conn: Connection, host: str, epoch: str, sequence: int, now: float) -> bool:
    """Take the number, in the caller's transaction. False: it had been taken."""
    name = {"h": host, "e": epoch}
    touching = [Range(*row) for row in conn.execute(_touching, {**name, "s": sequence})]
    joined = join(touching, sequence)
    if joined is None:
        return False
    if len(touching) == 1 and touching[0].first == joined.first:
        conn.execute(_extend, {**name, "f": joined.first, "l": joined.last, "t": now})
        return True
    for old in touching:
        conn.execute(_remove, {**name, "f": old.first})
    conn.execute(insert(seen), {"host": host, "epoch": epoch, "first": joined.first, "last": joined.last, "at": now})
    return True


def tidy(conn: Connection, before: float) -> None:
    """Forget epochs that nobody has reported in since; close the oldest holes of epochs that have too many."""
    per_epoch = select(seen.c.host, seen.c.epoch, func.max(seen.c.at), func.count()).group_by(seen.c.host, seen.c.epoch)
    for host, epoch, newest, count in conn.execute(per_epoch).all():
        mine = (seen.c.host == host, seen.c.epoch == epoch)
        if newest < before:
            conn.execute(delete(seen).where(*mine))
        elif count > MAX_RANGES:
            _close_holes(conn, host, epoch, count - MAX_RANGES // 2)


def _close_holes(conn: Connection, host: str, epoch: str, count: int) -> None:
    mine = (seen.c.host == host, seen.c.epoch == epoch)
    oldest = conn.execute(select(seen.c.first, seen.c.last, seen.c.at).where(*mine).order_by(seen.c.first).limit(count)).all()
    last, at = oldest[-1].last, oldest[-1].at
    conn.execute(delete(seen).where(*mine, seen.c.first <= oldest[-1].first))
    conn.execute(insert(seen), {"host": host, "epoch": epoch, "first": oldest[0].first, "last": last, "at": at})

"""How does one process among many do what only one may do, and how is it seen when it stops?

Work that is due is a row of its room with a time and a lease; a sweep takes such rows with FOR UPDATE SKIP LOCKED. The
sweep itself is started by a beat of which only one runs: the one that holds an advisory lock of PostgreSQL, which ends
by itself with the process that holds it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from enum import IntEnum, unique
from uuid import UUID

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from cesai.db.base import Table
from cesai.kernel.ids import new_id


@unique
class Lock(IntEnum):
    """What only one process does at a time; the numbers are shared by all versions of the hub."""

    BEAT = 7_364_201
    MIGRATION = 7_364_202
    SERVER = 7_364_203
    ROUND = 7_364_204


class HeartbeatRow(Table):
    """When something that must go on was last seen going on."""

    __tablename__ = "heartbeat"

    name: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime]


def beat(db: Session, name: str, *, now: datetime) -> None:
    """Say that this still goes on."""
    added = insert(HeartbeatRow).values(name=name, at=now)
    db.execute(added.on_conflict_do_update(index_elements=[HeartbeatRow.name], set_={"at": now}))


def last_beat(db: Session, name: str) -> datetime | None:
    """When this was last seen going on."""
    return db.scalar(select(HeartbeatRow.at).where(HeartbeatRow.name == name))


class OnlyOne:
    """A lock that at most one process holds, as long as it lives and its connection to the database holds."""

    def __init__(self, engine: Engine, lock: Lock) -> None:
        self._engine = engine
        self._lock = lock
        self._connection: Connection | None = None

    def is_mine(self) -> bool:
        """Whether this process holds the lock now; takes it when it is free."""
        if self._connection is not None and _is_alive(self._connection):
            return True
        self.release()
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        if connection.scalar(select(func.pg_try_advisory_lock(int(self._lock)))):
            self._connection = connection
            return True
        connection.close()
        return False

    def release(self) -> None:
        """Let another have it."""
        if self._connection is not None:
            # The session's end is the lock's end; a pooled connection would keep it.
            self._connection.invalidate()
            self._connection.close()
            self._connection = None


def _is_alive(connection: Connection) -> bool:
    try:
        connection.scalar(select(1))
    except Exception:  # noqa: BLE001  whatever the driver says: the lock's connection is gone
        return False
    return True


@contextmanager
def waiting_for(engine: Engine, lock: Lock) -> Iterator[Connection]:
    """Hold a lock for a while, waiting for it; on a connection of its own."""
    with engine.connect() as connection:
        connection.execute(select(func.pg_advisory_lock(int(lock))))
        connection.commit()
        try:
            yield connection
        finally:
            connection.rollback()
            connection.execute(select(func.pg_advisory_unlock(int(lock))))
            connection.commit()


class Lease:
    """The right to work on one row for a while. Who applies a result shows the token; an old one changes nothing."""

    def __init__(self, *, now: datetime, lasts: timedelta) -> None:
        self.token: UUID = new_id()
        self.until = now + lasts

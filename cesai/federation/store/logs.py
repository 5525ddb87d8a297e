"""Which bytes of logs are kept, and who looks at one?"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from cesai.federation.tables import Attempt, LogRange, LogWish
from cesai.kernel.states import AttemptState


def add_log(db: Session, attempt_id: UUID, offset: int, content: bytes, now: datetime) -> None:
    """Keep the next bytes of a log."""
    db.add(LogRange(attempt_id=attempt_id, offset=offset, content=content, received_at=now))


def log_ranges(db: Session, attempt_id: UUID, start: int, end: int) -> list[LogRange]:
    """The ranges that hold bytes of [start, end), in order."""
    # A range starts at most its own length before the first byte wanted: the newest one at or before it is enough.
    first = (
        select(LogRange.offset)
        .where(LogRange.attempt_id == attempt_id, LogRange.offset <= start)
        .order_by(LogRange.offset.desc())
        .limit(1)
        .scalar_subquery()
    )
    found = select(LogRange).where(LogRange.attempt_id == attempt_id, LogRange.offset >= first, LogRange.offset < end)
    return list(db.scalars(found.order_by(LogRange.offset)))


def wish_log(db: Session, attempt_id: UUID, *, until: datetime, now: datetime) -> bool:
    """Note that somebody looks; False when somebody did already."""
    before = db.scalar(select(LogWish.until).where(LogWish.attempt_id == attempt_id))
    wish = insert(LogWish).values(attempt_id=attempt_id, until=until)
    db.execute(wish.on_conflict_do_update(index_elements=[LogWish.attempt_id], set_={"until": until}))
    return before is None or before <= now


def attempts_with_wanted_logs(
    db: Session, site_id: str, *, now: datetime, ended_since: datetime, limit: int
) -> list[Attempt]:
    """Attempts whose log is not whole and which somebody looks at, or which ended lately."""
    is_looked_at = LogWish.until > now
    has_ended_lately = (Attempt.state == AttemptState.ENDED) & (Attempt.end_known_at > ended_since)
    found = (
        select(Attempt)
        .outerjoin(LogWish, LogWish.attempt_id == Attempt.id)
        .where(
            Attempt.site_id == site_id,
            Attempt.is_log_complete.is_(False),
            Attempt.state.in_([AttemptState.RUNNING, AttemptState.ENDED]),
            or_(is_looked_at, has_ended_lately),
        )
        .order_by(Attempt.id)
        .limit(limit)
    )
    return list(db.scalars(found))


def drop_old_logs(db: Session, before: datetime) -> None:
    """Forget what was kept long enough; such a log is not asked for again."""
    old = select(LogRange.attempt_id).where(LogRange.received_at < before).distinct().limit(100)
    ids = list(db.scalars(old))
    if ids:
        db.execute(update(Attempt).where(Attempt.id.in_(ids)).values(is_log_complete=True))
        db.execute(delete(LogRange).where(LogRange.attempt_id.in_(ids), LogRange.received_at < before))
    db.execute(delete(LogWish).where(LogWish.until < before))

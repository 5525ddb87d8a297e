"""How does an attempt's log come from its site to whoever looks at it?"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from cesai.access.rules import Caller
from cesai.contract.messages import LOG_RANGE_BYTES, LogRange, LogWant
from cesai.federation import store
from cesai.federation.rules import logs
from cesai.federation.service import reading
from cesai.federation.service.hearing import Hearing
from cesai.federation.tables import Attempt
from cesai.kernel.errors import NotFound, Refused
from cesai.sites import service as sites

WANTS = 16  # ranges per answer: what comes back must fit into one request
FETCHED_FOR = timedelta(minutes=10)  # so long after its end a log is fetched without anybody looking


@dataclass(frozen=True, slots=True)
class LogPart:
    """Some bytes of an attempt's log."""

    attempt: int
    offset: int
    content: bytes
    is_end: bool


def read_log(db: Session, job_id: UUID, *, number: int | None, offset: int, by: Caller, now: datetime) -> LogPart:
    """What is here of a log from an offset on; the site is asked for what is not.

    Raises:
        NotFound: there is no such job or attempt that he may see.
        Refused: the job has no attempt yet.
    """
    job = reading.of_member(db, job_id, by=by)
    if job.last_number == 0:
        msg = f"Job {job.id} has not been placed yet, so it has no log; `cesai job why` says what it waits for."
        raise Refused(msg)
    attempt = store.attempt_number(db, job.id, number or job.last_number)
    if attempt is None:
        raise NotFound
    if logs.wanted(have=attempt.log_bytes, is_complete=attempt.is_log_complete):
        _wish(db, attempt, now)
    content = _content(db, attempt, offset)
    # Nothing more where bytes should be: they were kept long enough and dropped.
    is_last = not content or offset + len(content) >= attempt.log_bytes
    is_end = is_last and (attempt.is_log_complete or is_forgettable(attempt, now))
    return LogPart(attempt=attempt.number, offset=offset, content=content, is_end=is_end)


def _wish(db: Session, attempt: Attempt, now: datetime) -> None:
    if store.wish_log(db, attempt.id, until=now + logs.WISH_LASTS, now=now):
        sites.bump_order_revision(db, attempt.site_id)


def _content(db: Session, attempt: Attempt, offset: int) -> bytes:
    end = min(offset + LOG_RANGE_BYTES, attempt.log_bytes)
    if end <= offset:
        return b""
    ranges = store.log_ranges(db, attempt.id, offset, end)
    if not ranges:
        return b""
    whole = b"".join(one.content for one in ranges)
    return whole[offset - ranges[0].offset : end - ranges[0].offset]


def take_logs(db: Session, hearing: Hearing, ranges: Iterable[LogRange]) -> set[UUID]:
    """Keep the bytes that go on where a log ends; the attempts whose log grew or came to its end."""
    grown = set()
    for told in ranges:
        attempt = hearing.attempt(told.attempt_id)
        content = _decoded(told)
        if attempt is None or attempt.is_log_complete or content is None:
            continue
        part = logs.taken(have=attempt.log_bytes, offset=told.offset, length=len(content))
        if part is not None and content[part]:
            store.add_log(db, attempt.id, attempt.log_bytes, content[part], hearing.now)
            attempt.log_bytes += len(content[part])
            grown.add(attempt.id)
        if logs.is_end(have=attempt.log_bytes, offset=told.offset, length=len(content), says_end=told.is_end):
            attempt.is_log_complete = True
            grown.add(attempt.id)
    db.flush()
    return grown


def _decoded(told: LogRange) -> bytes | None:
    try:
        return base64.b64decode(told.base64, validate=True)
    except binascii.Error:
        return None


def wants(db: Session, site_id: str, *, now: datetime) -> tuple[LogWant, ...]:
    """The ranges to ask a site for now."""
    found = store.attempts_with_wanted_logs(db, site_id, now=now, ended_since=now - FETCHED_FOR, limit=WANTS)
    asked = ((one, logs.wanted(have=one.log_bytes, is_complete=one.is_log_complete)) for one in found)
    return tuple(
        LogWant(attempt_id=str(one.id), offset=want[0], limit=want[1]) for one, want in asked if want is not None
    )


def is_forgettable(attempt: Attempt, now: datetime) -> bool:
    """Whether its site may forget an attempt: it is booked, and its log is whole here or was waited for long enough."""
    known_at = attempt.end_known_at or now
    return attempt.is_settled and (attempt.is_log_complete or now - known_at >= FETCHED_FOR)

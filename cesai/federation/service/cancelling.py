"""How is a job cancelled, in whatever state it is?"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from cesai.access.rules import Caller
from cesai.federation import store
from cesai.federation.service import moves, reading, settling
from cesai.federation.store import JobView
from cesai.federation.tables import Attempt, Job
from cesai.kernel.errors import NotFound, Refused
from cesai.kernel.states import JOB_FINAL, AttemptState, JobState
from cesai.sites import service as sites


def cancel(db: Session, job_id: UUID, reason: str | None, *, by: Caller, now: datetime) -> JobView:
    """Record the wish. A job without an attempt ends now, any other when its site has read back a final state.

    Again changes nothing.

    Raises:
        NotFound: there is no such job that he may see.
        Refused: it has ended in another way.
    """
    reading.of_member(db, job_id, by=by)
    job = store.lock_job(db, job_id)
    if job is None:
        raise NotFound
    if job.state in JOB_FINAL and job.state != JobState.CANCELLED:
        msg = f"Job {job.id} has ended already: it is {job.state}."
        raise Refused(msg)
    if job.state not in JOB_FINAL and job.cancel_wished_at is None:
        _wish(db, job, reason, by=by, now=now)
    return reading.view(db, job)


def _wish(db: Session, job: Job, reason: str | None, *, by: Caller, now: datetime) -> None:
    job.cancel_wished_at, job.cancel_wished_by, job.cancel_reason = now, by.username, reason
    db.flush()
    cause = f"Cancelled by {by.username}" + (f": {reason}" if reason else ".")
    moves.note(db, job, "cancel-wished", cause, actor=by.username, now=now)
    attempt = next((one for one in store.attempts_of(db, [job.id]) if one.state != AttemptState.ENDED), None)
    if attempt is None:
        moves.move(db, job, JobState.CANCELLED, cause, actor=by.username, now=now)
    elif moves.withdraw(db, job, attempt, cause, actor=by.username, now=now):
        settling.settle(db, job, attempt, now=now)
    else:
        order_cancel(db, attempt)


def order_cancel(db: Session, attempt: Attempt) -> None:
    """Tell the site to end an attempt; it is told again with every answer until it has told a final state."""
    attempt.is_cancel_ordered = True
    db.flush()
    sites.bump_order_revision(db, attempt.site_id)

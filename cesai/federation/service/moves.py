"""How do a job and its attempts move together, each move with its event?"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from cesai.federation import store
from cesai.federation.rules import endings, patience
from cesai.federation.tables import Attempt, Job
from cesai.kernel.states import JOB_FINAL, NOTHING_RAN, AttemptState, JobState, Outcome

HUB = "hub"
NEXT_ROUND = "It waits for the next placement round."


def note(
    db: Session, job: Job, kind: str, cause: str, *, actor: str, now: datetime, attempt: Attempt | None = None
) -> None:
    """Write down what happened, why and by whom."""
    attempt_id = attempt.id if attempt else None
    store.add_event(db, job_id=job.id, attempt_id=attempt_id, kind=kind, cause=cause, actor=actor, at=now)


def move(db: Session, job: Job, to: JobState, cause: str, *, actor: str, now: datetime) -> bool:
    """Move a job and note it; False when the table of moves forbids it from where the job is now."""
    values: dict[str, Any] = {"cause": cause, "waiting_reason": None}
    if to is JobState.QUEUED:
        values |= {"queued_at": now, "waiting_reason": NEXT_ROUND}
    if to in JOB_FINAL:
        values |= {"ended_at": now}
    if not store.move_job(db, job.id, to, values):
        return False
    note(db, job, to.lower(), cause, actor=actor, now=now)
    return True


def end_of(outcome: Outcome, now: datetime) -> dict[str, Any]:
    """What an attempt's row says from its end on, whoever saw it."""
    log = {"is_log_complete": True} if outcome in NOTHING_RAN else {}
    return {"outcome": outcome, "end_known_at": now, "due_at": patience.next_look_after_end(now), **log}


def follow_end(db: Session, job: Job, attempt: Attempt, *, actor: str, now: datetime) -> None:
    """Let the job follow the end of its newest attempt; the end of an older one changes nothing of it."""
    if attempt.outcome is None or attempt.number != job.last_number:
        return
    retry = job.spec["retry"]
    ended = endings.Ended(
        outcome=Outcome(attempt.outcome),
        causes=frozenset(retry["causes"]),
        limit=retry["limit"],
        earlier=_earlier(db, attempt),
        is_cancel_wished=job.cancel_wished_at is not None,
        is_moved=attempt.is_moved,
        reason=attempt.reason,
    )
    ending = endings.ending(ended)
    move(db, job, ending.state, ending.cause, actor=actor, now=now)


def _earlier(db: Session, attempt: Attempt) -> tuple[Outcome, ...]:
    before = (one for one in store.attempts_of(db, [attempt.job_id]) if one.number < attempt.number)
    return tuple(Outcome(one.outcome) for one in before if one.outcome is not None and not one.is_moved)


def withdraw(db: Session, job: Job, attempt: Attempt, reason: str, *, actor: str, now: datetime) -> bool:
    """End an attempt whose order has never left the hub; False when it has, and the site must confirm its end."""
    values = end_of(Outcome.ABSENT, now) | {"state": AttemptState.ENDED, "is_owed": False, "reason": reason}
    if not store.withdraw(db, attempt.id, values):
        return False
    note(db, job, "withdrawn", reason, actor=actor, now=now, attempt=attempt)
    follow_end(db, job, attempt, actor=actor, now=now)
    return True

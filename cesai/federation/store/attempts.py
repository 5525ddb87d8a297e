"""Which attempts are there, and how do they move?"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from cesai.federation.tables import Attempt, Job
from cesai.kernel.states import AttemptState, may_move


def attempts_of(db: Session, job_ids: Collection[UUID]) -> list[Attempt]:
    """All attempts of these jobs, by number."""
    return list(db.scalars(select(Attempt).where(Attempt.job_id.in_(job_ids)).order_by(Attempt.number)))


def attempt_number(db: Session, job_id: UUID, number: int) -> Attempt | None:
    """One attempt of a job, as it is now."""
    return db.scalar(
        select(Attempt)
        .where(Attempt.job_id == job_id, Attempt.number == number)
        .execution_options(populate_existing=True)
    )


def open_attempts(db: Session) -> list[Attempt]:
    """Every attempt that has not ended."""
    return list(db.scalars(select(Attempt).where(Attempt.state != AttemptState.ENDED).order_by(Attempt.id)))


def ended_among(db: Session, markers: Collection[str]) -> list[Attempt]:
    """Those attempts of these markers that have ended."""
    found = select(Attempt).where(Attempt.marker.in_(markers), Attempt.state == AttemptState.ENDED)
    return list(db.scalars(found)) if markers else []


def jobs_of_attempts(db: Session, site_id: str, attempt_ids: Collection[UUID]) -> list[UUID]:
    """The jobs of these attempts, those of other sites left out."""
    return list(db.scalars(select(Attempt.job_id).where(Attempt.id.in_(attempt_ids), Attempt.site_id == site_id)))


def heard_sequences(
    db: Session, site_id: str, attempt_ids: Collection[UUID]
) -> dict[UUID | None, tuple[str | None, int]]:
    """Up to which instance and sequence each of a site's attempts was heard."""
    columns = select(Attempt.id, Attempt.reported_instance, Attempt.reported_sequence)
    found = db.execute(columns.where(Attempt.id.in_(attempt_ids), Attempt.site_id == site_id))
    return {row.id: (row.reported_instance, row.reported_sequence) for row in found}


def attempts_at(db: Session, site_id: str, attempt_ids: Collection[UUID]) -> dict[UUID, Attempt]:
    """These attempts as they are now, those of other sites left out; in the order in which the ledger is locked."""
    found = db.scalars(
        select(Attempt)
        .where(Attempt.id.in_(attempt_ids), Attempt.site_id == site_id)
        .order_by(Attempt.gpu_class, Attempt.id)
        .execution_options(populate_existing=True)
    )
    return {one.id: one for one in found}


def due_attempts(db: Session, now: datetime, *, limit: int) -> list[Attempt]:
    """Attempts that the sweep should look at; their jobs are locked, those that somebody holds are left for later."""
    due = (
        select(Attempt.id, Attempt.job_id)
        .join(Job, Job.id == Attempt.job_id)
        .where(Attempt.due_at <= now)
        .order_by(Attempt.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True, of=Job)
    )
    ids = [row.id for row in db.execute(due)]
    return list(
        db.scalars(
            select(Attempt)
            .where(Attempt.id.in_(ids), Attempt.due_at <= now)
            .order_by(Attempt.site_id, Attempt.gpu_class, Attempt.id)
            .execution_options(populate_existing=True)
        )
    )


def hand_out(db: Session, site_id: str, now: datetime) -> list[Attempt]:
    """Every attempt that the site should hold. From here on the hub must take it for held.

    The mark is set before the rows are read, so that an attempt is either withdrawn or handed out, never both.
    """
    db.execute(
        update(Attempt)
        .where(Attempt.site_id == site_id, Attempt.is_owed, Attempt.fetched_at.is_(None))
        .values(fetched_at=now)
    )
    found = select(Attempt).where(Attempt.site_id == site_id, Attempt.is_owed, Attempt.fetched_at.is_not(None))
    return list(db.scalars(found.order_by(Attempt.id).execution_options(populate_existing=True)))


def withdraw(db: Session, attempt_id: UUID, values: Mapping[str, Any]) -> bool:
    """Take back an attempt whose order has never left the hub: nothing can have run."""
    taken = db.scalar(
        update(Attempt)
        .where(Attempt.id == attempt_id, Attempt.state == AttemptState.PLANNED, Attempt.fetched_at.is_(None))
        .values(**values)
        .returning(Attempt.id)
    )
    return taken is not None


def move_attempt(db: Session, attempt_id: UUID, to: AttemptState, values: Mapping[str, Any]) -> bool:
    """Move an attempt if the table of moves allows it from where it is now; staying is allowed."""
    sources = [state for state in AttemptState if may_move(state, to)]
    moved = db.scalar(
        update(Attempt)
        .where(Attempt.id == attempt_id, Attempt.state.in_(sources))
        .values(state=to, **values)
        .returning(Attempt.id)
    )
    return moved is not None

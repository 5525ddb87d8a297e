"""Which jobs are there, what happened to them, and how do they move?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, exists, func, insert, or_, select, update
from sqlalchemy.orm import Session

from cesai.db.paging import PageRequest, Slice, page_of
from cesai.federation.tables import Attempt, Job, JobEvent
from cesai.kernel.amounts import GpuMilliseconds
from cesai.kernel.states import JOB_MOVES, JobState


@dataclass(frozen=True, slots=True)
class JobView:
    """A job with everything that people see of it."""

    job: Job
    attempts: tuple[Attempt, ...]
    settled: Mapping[UUID, GpuMilliseconds]


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs are listed; None: all."""

    projects: frozenset[str] | None = None  # that the caller is a member of …
    sites: frozenset[str] = frozenset()  # … or where he is an admin
    project_id: str | None = None
    state: JobState | None = None
    site_id: str | None = None


def job(db: Session, job_id: UUID) -> Job | None:
    """One job."""
    return db.get(Job, job_id)


def lock_job(db: Session, job_id: UUID) -> Job | None:
    """One job, as it is now, until the end of the transaction."""
    return db.get(Job, job_id, with_for_update=True, populate_existing=True)


def lock_jobs(db: Session, job_ids: Collection[UUID]) -> dict[UUID, Job]:
    """These jobs, as they are now, locked in the order of their ids."""
    found = db.scalars(
        select(Job)
        .where(Job.id.in_(job_ids))
        .order_by(Job.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return {one.id: one for one in found}


def lock_free_jobs(db: Session, job_ids: Collection[UUID], state: JobState) -> dict[UUID, Job]:
    """Those of these jobs that are in this state and that nobody else holds now, locked."""
    found = db.scalars(
        select(Job)
        .where(Job.id.in_(job_ids), Job.state == state)
        .order_by(Job.id)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    return {one.id: one for one in found}


def jobs_page(db: Session, page: PageRequest, wanted: JobFilter) -> Slice[Job]:
    """One page of jobs, newest first."""
    found = select(Job)
    if wanted.projects is not None:
        found = found.where(or_(Job.project_id.in_(wanted.projects), _is_at(wanted.sites)))
    if wanted.project_id is not None:
        found = found.where(Job.project_id == wanted.project_id)
    if wanted.state is not None:
        found = found.where(Job.state == wanted.state)
    if wanted.site_id is not None:
        found = found.where(_is_at({wanted.site_id}))
    return page_of(db, found, key=Job.id, page=page, is_newest_first=True)


def _is_at(sites: Collection[str]) -> Any:  # noqa: ANN401  a condition of SQLAlchemy
    return exists().where(Attempt.job_id == Job.id, Attempt.site_id.in_(sites))


def is_at_site(db: Session, job_id: UUID, sites: Collection[str]) -> bool:
    """Whether one of these sites has or had an attempt of the job."""
    return bool(db.scalar(select(exists().where(Attempt.job_id == job_id, Attempt.site_id.in_(sites)))))


def queued_jobs(db: Session) -> list[Job]:
    """Everything that waits for a place, oldest first."""
    return list(
        db.scalars(
            select(Job).where(Job.state == JobState.QUEUED, Job.cancel_wished_at.is_(None)).order_by(Job.created_at)
        )
    )


def move_job(db: Session, job_id: UUID, to: JobState, values: Mapping[str, Any]) -> bool:
    """Move a job if the table of moves allows it from where it is now."""
    sources = [state for state, moves in JOB_MOVES.items() if to in moves]
    moved = db.scalar(
        update(Job).where(Job.id == job_id, Job.state.in_(sources)).values(state=to, **values).returning(Job.id)
    )
    return moved is not None


def set_waiting_reasons(db: Session, reasons: Mapping[UUID, str]) -> None:
    """Why each of these queued jobs waits. One that somebody holds now keeps its older reason till the next round."""
    free = db.scalars(
        select(Job.id)
        .where(Job.id.in_(reasons), Job.state == JobState.QUEUED)
        .order_by(Job.id)
        .with_for_update(skip_locked=True)
    ).all()
    told = [{"waiting_job_id": job_id, "reason": reasons[job_id]} for job_id in free]
    if told:
        named = update(Job).where(Job.id == bindparam("waiting_job_id")).values(waiting_reason=bindparam("reason"))
        db.connection().execute(named, told)


def add_event(
    db: Session, *, job_id: UUID, attempt_id: UUID | None, kind: str, cause: str, actor: str, at: datetime
) -> None:
    """Write down what happened to a job."""
    db.execute(
        insert(JobEvent).values(job_id=job_id, attempt_id=attempt_id, at=at, kind=kind, cause=cause, actor=actor)
    )


def events(db: Session, job_id: UUID) -> Sequence[JobEvent]:
    """What happened to a job, in order."""
    return db.scalars(select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.id)).all()


def count_events(db: Session, attempt_id: UUID, kind: str) -> int:
    """How many events of a kind an attempt has."""
    counted = select(func.count()).where(JobEvent.attempt_id == attempt_id, JobEvent.kind == kind)
    return db.scalar(counted) or 0


def jobs_by_id(db: Session, job_ids: Collection[UUID]) -> dict[UUID, Job]:
    """These jobs."""
    return {one.id: one for one in db.scalars(select(Job).where(Job.id.in_(job_ids)))} if job_ids else {}

"""What may a caller see of jobs, and why does one wait?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from cesai.access.rules import Caller, Forbidden
from cesai.allocations import service as allocations
from cesai.db.paging import PageRequest, Slice
from cesai.federation import store
from cesai.federation.rules import asking
from cesai.federation.service.submitting import room_of
from cesai.federation.store import JobFilter, JobView
from cesai.federation.tables import Attempt, Job, JobEvent
from cesai.kernel.errors import NotFound
from cesai.kernel.states import JOB_FINAL, AttemptState, JobState
from cesai.projects import service as projects
from cesai.sites import service as sites


@dataclass(frozen=True, slots=True)
class Place:
    """A site that could hold the job, and what stands against it now, if anything."""

    site_id: str
    partition: str
    gpu_class: str
    gpus_free: int
    gpus_asked: int
    obstacle: str | None


@dataclass(frozen=True, slots=True)
class Why:
    """Why a job is where it is, and where it could run."""

    state: JobState
    reason: str
    places: tuple[Place, ...] = ()


def job(db: Session, job_id: UUID, *, by: Caller) -> JobView:
    """One job.

    Raises:
        NotFound: there is none that he may see.
    """
    return view(db, visible(db, job_id, by=by))


def jobs(db: Session, page: PageRequest, wanted: JobFilter, *, by: Caller) -> Slice[JobView]:
    """One page of the jobs that he may see, newest first."""
    if not by.is_reader:
        wanted = replace(wanted, projects=by.projects(), sites=by.sites())
    found = store.jobs_page(db, page, wanted)
    attempts = store.attempts_of(db, [one.id for one in found.items])
    settled = allocations.settled(db, [one.id for one in attempts])
    views = (JobView(one, tuple(each for each in attempts if each.job_id == one.id), settled) for one in found.items)
    return Slice(tuple(views), found.next_cursor)


def view(db: Session, job: Job) -> JobView:
    """A job with its attempts and what they cost."""
    attempts = store.attempts_of(db, [job.id])
    return JobView(job, tuple(attempts), allocations.settled(db, [one.id for one in attempts]))


def visible(db: Session, job_id: UUID, *, by: Caller) -> Job:
    """The job's row, for members of its project, readers of all, and admins of the sites where it is or was.

    Raises:
        NotFound: there is none that he may see.
    """
    job = store.job(db, job_id)
    if job is None or not _may_see(db, job, by):
        raise NotFound
    return job


def of_member(db: Session, job_id: UUID, *, by: Caller) -> Job:
    """The job's row, for who may act on it and read what it wrote: its project's members, and operators.

    Raises:
        NotFound: there is none that he may see.
        Forbidden: he may only see it.
    """
    job = visible(db, job_id, by=by)
    if not (by.is_operator or job.project_id in by.projects()):
        msg = f"Only members of {job.project_id} may do this. Its lead can add you."
        raise Forbidden(msg)
    return job


def _may_see(db: Session, job: Job, by: Caller) -> bool:
    if by.is_reader or job.project_id in by.projects():
        return True
    return bool(by.sites()) and store.is_at_site(db, job.id, by.sites())


def events(db: Session, job_id: UUID, *, by: Caller) -> Sequence[JobEvent]:
    """What happened to a job, in order.

    Raises:
        NotFound: there is none that he may see.
    """
    return store.events(db, visible(db, job_id, by=by).id)


def why(db: Session, job_id: UUID, *, by: Caller, now: datetime) -> Why:
    """Why a job waits, or how it came to its end.

    Raises:
        NotFound: there is none that he may see.
    """
    job = visible(db, job_id, by=by)
    state = JobState(job.state)
    if state in JOB_FINAL:
        return Why(state, job.cause or "It has ended.")
    if state is JobState.QUEUED:
        return Why(state, job.waiting_reason or "", _places(db, job, now))
    return Why(state, _at_its_site(db, store.attempts_of(db, [job.id])[-1], now))


def _at_its_site(db: Session, attempt: Attempt, now: datetime) -> str:
    site = sites.site(db, attempt.site_id)
    told = f" The site says: {attempt.reason}" if attempt.reason else ""
    trouble = sites.closed_because(site, now)
    silent = f" {site.id} {trouble}." if trouble else ""
    words = {
        AttemptState.PLANNED: f"It is placed at {site.id}, which has not taken it up yet.",
        AttemptState.SUBMITTING: f"{site.id} is submitting it to its scheduler.",
        AttemptState.UNKNOWN: f"{site.id} submitted it and waits for its scheduler to say what became of it.",
        AttemptState.SUBMITTED: f"It waits in the queue of {site.id} ({attempt.partition}).",
        AttemptState.RUNNING: f"It runs at {site.id} ({attempt.partition}).",
        AttemptState.ENDED: f"Its attempt at {site.id} has ended.",
    }
    wish = " It was asked to end there." if attempt.is_cancel_ordered else ""
    return f"{words[AttemptState(attempt.state)]}{wish}{told}{silent}"


def _places(db: Session, job: Job, now: datetime) -> tuple[Place, ...]:
    wanted = [job.home_site_id] if job.home_site_id else job.spec["sites"]
    classes = tuple(job.spec["gpu_class"])
    asked = asking.Asked(job.nodes, job.gpus_per_node, classes, job.walltime_minutes, tuple(wanted))
    accepted = projects.accepted_sites(db, job.project_id)
    known = {site.id: site for site in sites.sites(db)}
    pools = [pool for pool in sites.pools(db) if pool.gpu_class and pool.site_id in accepted]
    usable = set(asking.usable(asked, [room_of(pool) for pool in pools]))
    return tuple(
        Place(
            site_id=pool.site_id,
            partition=pool.partition,
            gpu_class=pool.gpu_class or "",
            gpus_free=pool.gpus_free,
            gpus_asked=job.nodes * job.gpus_per_node,
            obstacle=sites.closed_because(known[pool.site_id], now),
        )
        for pool in pools
        if room_of(pool) in usable
    )

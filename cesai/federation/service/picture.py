"""What does the hub know, in one picture, when it places jobs?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from cesai.allocations import service as allocations
from cesai.federation import store
from cesai.federation.rules import wire
from cesai.federation.rules.wire import Place, Run, Snapshot, Wait
from cesai.federation.tables import Attempt, Job
from cesai.kernel.ids import read_marker
from cesai.kernel.periods import Period
from cesai.kernel.states import AttemptState
from cesai.projects import service as projects
from cesai.sites import service as sites
from cesai.sites.service import Pool, Queued, Running, Site

_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Picture:
    """A snapshot for the rules, and what its names stand for."""

    snapshot: Snapshot
    pools: Mapping[str, Pool]
    sites: Mapping[str, Site]
    accounts: Mapping[tuple[str, str], str]

    def account(self, project_id: str, site_id: str) -> str:
        """The project's local account at a site that accepted it."""
        return self.accounts[project_id, site_id]


def picture(db: Session, queued: Sequence[Job], now: datetime) -> Picture:
    """Everything that a placement round needs, as one reading."""
    known = {site.id: site for site in sites.sites(db)}
    pools = {name_of(pool): pool for pool in sites.pools(db) if pool.gpu_class}
    attempts = store.open_attempts(db)
    decisions = {one: projects.decisions_of_project(db, one) for one in sorted({job.project_id for job in queued})}
    waiting = store.jobs_by_id(db, [one.job_id for one in attempts if one.state != AttemptState.RUNNING])
    snapshot = Snapshot(
        places=tuple(_places(db, known, pools, attempts, now=now)),
        jobs=tuple(_jobs(queued, waiting, attempts)),
        held=_held(db, attempts),
        acceptance={project_id: {one.site_id: one.refused for one in said} for project_id, said in decisions.items()},
        budgets=_budgets(db, decisions, now),
    )
    accounts = {
        (one.project_id, one.site_id): one.account for said in decisions.values() for one in said if one.account
    }
    return Picture(snapshot=snapshot, pools=pools, sites=known, accounts=accounts)


def name_of(pool: Pool | Attempt) -> str:
    """A pool's name, the same for a pool and an attempt that is placed in it."""
    return f"{pool.site_id}/{pool.cluster}/{pool.partition}/{pool.gres_type or 'gpu'}"


def _places(
    db: Session, known: Mapping[str, Site], pools: Mapping[str, Pool], attempts: Sequence[Attempt], *, now: datetime
) -> Iterable[Place]:
    told = {site_id: sites.running_and_queued(db, site_id) for site_id in known}
    running_markers = {work.marker for running, _ in told.values() for work in running if work.marker}
    queued_markers = {work.marker for _, queued in told.values() for work in queued if work.marker}
    over = store.ended_among(db, running_markers | queued_markers)
    for name, pool in pools.items():
        running, queued = told[pool.site_id]
        mine = [one for one in attempts if name_of(one) == name]
        gone = {one.marker: one.charged_gpus for one in over if name_of(one) == name}
        yield _place(name, pool, known[pool.site_id], told=_Told(running, queued, mine, gone), now=now)


@dataclass(frozen=True, slots=True)
class _Told:
    """What a site last told of all its pools, and what the hub has learned since of its own attempts in one of them."""

    running: tuple[Running, ...]
    queued: tuple[Queued, ...]
    mine: Sequence[Attempt]  # that have not ended
    gone: Mapping[str, int]  # GPUs of those that have, by marker

    def still_running(self, pool: Pool) -> list[Run]:
        """What holds GPUs of the pool now: as told, without what has ended since, with what has begun since."""
        heard = [work for work in self.running if work.partition == pool.partition and work.marker not in self.gone]
        return [
            *(Run(work.gpus, work.ends_by.timestamp(), job=_job_named(work.marker)) for work in heard),
            *(Run(one.charged_gpus, _ends_by(one).timestamp(), job=str(one.job_id)) for one in self.begun_since()),
        ]

    def still_queued(self, pool: Pool) -> list[Wait]:
        """What waits in the pool's queue now."""
        return [
            _wait(work) for work in self.queued if work.partition == pool.partition and work.marker not in self.gone
        ]

    def begun_since(self) -> list[Attempt]:
        """Our attempts that run, but did not when the site told."""
        heard = {work.marker for work in self.running}
        return [one for one in self.mine if one.state == AttemptState.RUNNING and one.marker not in heard]

    def free(self, pool: Pool) -> int:
        """GPUs of the pool that are free now."""
        freed = sum(self.gone.get(work.marker or "", 0) for work in self.running)
        taken = sum(one.charged_gpus for one in self.begun_since())
        return min(max(0, pool.gpus_free + freed - taken), pool.gpus_up)


def _place(name: str, pool: Pool, site: Site, *, told: _Told, now: datetime) -> Place:
    return Place(
        name=name,
        site=site.id,
        gpus=pool.gpus,
        free=told.free(pool),
        up=pool.gpus_up,
        running=tuple(told.still_running(pool)),
        queued=tuple(told.still_queued(pool)),
        gpu_class=pool.gpu_class,
        gpus_per_node=pool.gpus_per_node,
        nodes=pool.nodes_up,
        max_walltime_s=None if pool.max_walltime_minutes is None else pool.max_walltime_minutes * _SECONDS,
        margin_s=site.margin_minutes * _SECONDS,
        is_exclusive=pool.is_exclusive,
        closed=sites.closed_because(site, now),
    )


def _ends_by(attempt: Attempt) -> datetime:
    begun = attempt.running_known_at or attempt.placed_at
    return begun + timedelta(minutes=attempt.walltime_minutes)


def _wait(work: Queued) -> Wait:
    return Wait(_job_named(work.marker), work.gpus, work.walltime_minutes * _SECONDS)


def _job_named(marker: str | None) -> str | None:
    named = read_marker(marker) if marker else None
    return str(named[0]) if named else None


def _jobs(queued: Sequence[Job], waiting: Mapping[UUID, Job], attempts: Sequence[Attempt]) -> Iterable[wire.Job]:
    for job in queued:
        yield _job(job)
    for attempt in attempts:
        if attempt.job_id in waiting:
            yield _job(waiting[attempt.job_id], places=(name_of(attempt),))


def _job(job: Job, *, places: tuple[str, ...] = ()) -> wire.Job:
    # Read from the row, not through the model of job files: there may be very many.
    allowed = [job.home_site_id] if job.home_site_id else job.spec["sites"]
    return wire.Job(
        id=str(job.id),
        gpus=job.nodes * job.gpus_per_node,
        walltime_s=job.walltime_minutes * _SECONDS,
        submit_s=job.created_at.timestamp(),
        project=job.project_id,
        user=job.created_by,
        places=places,
        gpu_classes=tuple(job.spec["gpu_class"]),
        allowed_sites=tuple(allowed),
        nodes=job.nodes,
        gpus_per_node=job.gpus_per_node,
    )


def _held(db: Session, attempts: Sequence[Attempt]) -> Mapping[str, int]:
    """GPUs that each project's running attempts hold now."""
    running = [one for one in attempts if one.state == AttemptState.RUNNING]
    projects_of = store.jobs_by_id(db, [one.job_id for one in running])
    held: dict[str, int] = {}
    for one in running:
        project_id = projects_of[one.job_id].project_id
        held[project_id] = held.get(project_id, 0) + one.charged_gpus
    return held


def _budgets(db: Session, project_ids: Iterable[str], now: datetime) -> Mapping[tuple[str, str, str], tuple[int, ...]]:
    """What each project's lines of this period have left, in the order in which they are used."""
    found: dict[tuple[str, str, str], tuple[int, ...]] = {}
    for project_id in project_ids:
        for line in allocations.lines(db, project_id):
            if line.period == Period.of(now):
                key = (project_id, line.site_id, line.gpu_class)
                found[key] = (*found.get(key, ()), line.left.value)
    return found

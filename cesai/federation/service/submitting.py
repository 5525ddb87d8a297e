"""How does a wish for compute become a job, and when is it refused at once?

Refused here is only what no waiting can mend: everything else queues with a reason that `why` shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from cesai.access.rules import Caller
from cesai.allocations import service as allocations
from cesai.contract.jobs import JobFile
from cesai.federation import store
from cesai.federation.rules import asking, orders, reservation
from cesai.federation.service import moves
from cesai.federation.store import JobView
from cesai.federation.tables import Attempt, Job
from cesai.kernel.errors import Refused
from cesai.kernel.ids import new_id
from cesai.kernel.states import JOB_FINAL, NOTHING_RAN, JobState
from cesai.projects import service as projects
from cesai.sites import service as sites
from cesai.sites.service import Pool, Site


def submit(db: Session, file: JobFile, *, by: Caller, now: datetime) -> JobView:
    """Take a job into the queue. Nothing is booked yet: that happens when it is placed.

    Raises:
        Refused: the job can never run, or is larger than what is left of each award line that could pay for it.
    """
    _check_member(db, file.project, by)
    resumed = _resumed(db, file, by) if file.resume else None
    home, folder = _checkpoints(db, resumed) if resumed else (None, None)
    asked = _asked(db, file, home)
    _check_possible(db, file.project, asked, now=now)
    job = _row(file, by=by, now=now)
    job.home_site_id, job.resume_from = home, folder
    db.add(job)
    db.flush()
    moves.note(db, job, "submitted", f"Submitted as {file.name}.", actor=by.username, now=now)
    return JobView(job, (), {})


def _row(file: JobFile, *, by: Caller, now: datetime) -> Job:
    return Job(
        id=new_id(),
        name=file.name,
        project_id=file.project,
        state=JobState.QUEUED,
        cause=None,
        spec=file.model_dump(mode="json"),
        nodes=file.nodes,
        gpus_per_node=file.gpus_per_node,
        walltime_minutes=file.walltime,
        resume_job_id=file.resume,
        created_at=now,
        created_by_id=by.principal_id,
        created_by=by.username,
        waiting_reason=moves.NEXT_ROUND,
        queued_at=now,
        last_number=0,
    )


def _check_member(db: Session, project_id: str, by: Caller) -> None:
    # One sentence for a project that is not there and for one of others, so that names cannot be tried out.
    if project_id not in by.projects():
        mine = ", ".join(sorted(by.projects())) or "none yet; a project's lead can add you"
        msg = f"You are not a member of a project {project_id}. Yours: {mine}."
        raise Refused(msg)
    projects.project(db, project_id)


def _resumed(db: Session, file: JobFile, by: Caller) -> Job:
    job = store.job(db, file.resume) if file.resume else None
    if job is None or job.project_id not in by.projects():
        msg = f"There is no job {file.resume} of yours to resume; `cesai job list` shows yours."
        raise Refused(msg)
    if job.project_id != file.project:
        msg = f"Job {job.id} belongs to {job.project_id}: its checkpoints are not {file.project}'s to read."
        raise Refused(msg)
    if job.state not in JOB_FINAL:
        msg = f"Job {job.id} is still {job.state}: wait for its end or cancel it, then resume."
        raise Refused(msg)
    return job


def _checkpoints(db: Session, resumed: Job) -> tuple[str, str]:
    """The site and the folder where the checkpoints are: those of the newest attempt that may have run."""
    ran = [one for one in store.attempts_of(db, [resumed.id]) if may_have_run(one)]
    if ran:
        return ran[-1].site_id, orders.checkpoint_folder(resumed.id, resumed.spec["checkpoint"])
    # A job that resumed another and never ran itself passes the other's checkpoints on.
    if resumed.home_site_id and resumed.resume_from:
        return resumed.home_site_id, resumed.resume_from
    msg = f"Job {resumed.id} has never run, so it has no checkpoints: submit without `resume`."
    raise Refused(msg)


def may_have_run(attempt: Attempt) -> bool:
    """Whether the attempt may have written checkpoints."""
    return attempt.outcome not in NOTHING_RAN and attempt.fetched_at is not None


def _asked(db: Session, file: JobFile, home: str | None) -> asking.Asked:
    for gpu_class in file.gpu_class:
        sites.check_gpu_class(db, gpu_class)
    known = {site.id for site in sites.sites(db)} if file.sites else set()
    for site_id in file.sites:
        if sentence := asking.unknown_name(site_id, known, kind="site"):
            raise Refused(sentence)
    if home and file.sites and home not in file.sites:
        msg = f"The checkpoints of the job to resume are at {home}: name that site, or none."
        raise Refused(msg)
    wanted = (home,) if home else file.sites
    return asking.Asked(file.nodes, file.gpus_per_node, file.gpu_class, file.walltime, wanted)


def _check_possible(db: Session, project_id: str, asked: asking.Asked, *, now: datetime) -> None:
    accepted = projects.accepted_sites(db, project_id)
    if not accepted:
        msg = f"No site has accepted {project_id} yet: ask the admin of a site to give it a local account."
        raise Refused(msg)
    pools = [pool for pool in sites.pools(db) if pool.site_id in accepted and pool.gpu_class]
    rooms = [room_of(pool) for pool in pools]
    for sentence in (asking.too_large(asked, rooms), asking.too_long(asked, rooms)):
        if sentence:
            raise Refused(sentence)
    usable = set(asking.usable(asked, rooms))
    _check_award(db, project_id, asked, [pool for pool in pools if room_of(pool) in usable], now=now)


def room_of(pool: Pool) -> asking.Room:
    """A pool as the rules of asking see it."""
    return asking.Room(
        site_id=pool.site_id,
        partition=pool.partition,
        gpu_class=pool.gpu_class or "",
        nodes=pool.nodes,
        gpus_per_node=pool.gpus_per_node,
        max_walltime_minutes=pool.max_walltime_minutes,
    )


def _check_award(db: Session, project_id: str, asked: asking.Asked, pools: Sequence[Pool], *, now: datetime) -> None:
    known: Mapping[str, Site] = {site.id: site for site in sites.sites(db)}
    sentences: list[str] = []
    for pool in pools:
        fit = _fit(db, project_id, asked, pool=pool, site=known[pool.site_id], now=now)
        if fit.ok:
            return
        sentence = f"{pool.gpu_class} at {pool.site_id}: {fit.sentence}"
        if sentence not in sentences:
            sentences.append(sentence)
    raise Refused(" ".join(sentences))


def _fit(
    db: Session, project_id: str, asked: asking.Asked, *, pool: Pool, site: Site, now: datetime
) -> allocations.Fit:
    charged = reservation.charged_gpus(
        nodes=asked.nodes,
        gpus_per_node=asked.gpus_per_node,
        node_gpus=pool.gpus_per_node,
        is_exclusive=pool.is_exclusive,
    )
    return allocations.fits(
        db,
        project_id=project_id,
        site_id=site.id,
        gpu_class=pool.gpu_class or "",
        amount=reservation.reservation(
            charged=charged, walltime_minutes=asked.walltime_minutes, margin_minutes=site.margin_minutes
        ),
        now=now,
        latest_end=reservation.latest_end(
            now,
            patience_minutes=site.patience_minutes,
            walltime_minutes=asked.walltime_minutes,
            margin_minutes=site.margin_minutes,
        ),
    )

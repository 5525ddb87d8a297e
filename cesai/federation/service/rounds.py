"""How do queued jobs get their places?

A round reads everything into one snapshot, lets the rules decide, and applies what they decided: each placed job gets
its attempt and its reservation in the same transaction, before anything leaves the hub.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cesai.allocations import service as allocations
from cesai.contract.jobs import JobFile
from cesai.contract.messages import AttemptOrder, Wish
from cesai.db.due import Lock
from cesai.federation import store
from cesai.federation.rules import orders, patience, plan, reservation
from cesai.federation.rules.wire import Action, Policy
from cesai.federation.service import moves
from cesai.federation.service.picture import Picture, picture
from cesai.federation.tables import Attempt, Job
from cesai.kernel.amounts import GpuMilliseconds
from cesai.kernel.errors import Refused
from cesai.kernel.ids import marker, new_id
from cesai.kernel.states import AttemptState, JobState
from cesai.sites import service as sites
from cesai.sites.service import Pool, Site


def run_round(db: Session, now: datetime) -> int:
    """Place what can be placed, and say of everything else why it waits. One round at a time.

    Returns:
        How many jobs were placed.
    """
    if not db.scalar(select(func.pg_try_advisory_xact_lock(int(Lock.ROUND)))):
        return 0
    queued = store.queued_jobs(db)
    if not queued:
        return 0
    seen = picture(db, queued, now)
    decided = plan(seen.snapshot, Policy(), now.timestamp())
    waiting = {UUID(job_id): reason for job_id, reason in decided.waiting.items()}
    placed = _apply(
        db, seen, [action for action in decided.actions if action.kind == "place"], waiting=waiting, now=now
    )
    store.set_waiting_reasons(db, _changed(queued, waiting))
    for site_id in sorted({attempt.site_id for attempt in placed}):
        sites.bump_order_revision(db, site_id)
    return len(placed)


def _changed(queued: Sequence[Job], waiting: Mapping[UUID, str]) -> dict[UUID, str]:
    return {job.id: waiting[job.id] for job in queued if waiting.get(job.id) not in (None, job.waiting_reason)}


def _apply(
    db: Session, seen: Picture, actions: Sequence[Action], *, waiting: dict[UUID, str], now: datetime
) -> list[Attempt]:
    # A job that is being cancelled right now is left for the next round; waiting for it could end in a deadlock.
    jobs = store.lock_free_jobs(db, [UUID(action.job) for action in actions], JobState.QUEUED)
    placed = []
    # The ledger is locked site by site, in the order of their names like everywhere else.
    for action in sorted(actions, key=lambda one: seen.pools[one.place].site_id):
        job = jobs.get(UUID(action.job))
        if job is None or job.cancel_wished_at is not None:
            continue
        try:
            placed.append(_place(db, job, action, seen=seen, now=now))
        except Refused as refusal:
            waiting[job.id] = refusal.sentence
    return placed


def _place(db: Session, job: Job, action: Action, *, seen: Picture, now: datetime) -> Attempt:
    """Give a job its attempt and book its reservation: both, or neither.

    Raises:
        Refused: the award line does not bear it any more.
    """
    pool = seen.pools[action.place]
    attempt = _attempt(job, pool, seen.sites[pool.site_id], account=seen.account(job.project_id, pool.site_id), now=now)
    with db.begin_nested():
        db.add(attempt)
        store.move_job(db, job.id, JobState.PLACED, _placed_values(attempt, action.reason))
        db.flush()
        allocations.reserve(
            db,
            attempt_id=attempt.id,
            project_id=job.project_id,
            site_id=attempt.site_id,
            gpu_class=attempt.gpu_class,
            gpus=attempt.charged_gpus,
            amount=GpuMilliseconds(attempt.reserved_gpu_ms),
            now=now,
            latest_end=attempt.latest_end,
        )
    where = f"{attempt.site_id}, partition {attempt.partition}"
    sentence = f"Placed at {where}: {action.reason.removesuffix('.')}."
    moves.note(db, job, "placed", sentence, actor=moves.HUB, now=now, attempt=attempt)
    return attempt


def _placed_values(attempt: Attempt, reason: str) -> dict[str, object]:
    return {"cause": reason, "waiting_reason": None, "last_number": attempt.number}


def _attempt(job: Job, pool: Pool, site: Site, *, account: str, now: datetime) -> Attempt:
    number = job.last_number + 1
    attempt = Attempt(
        id=new_id(),
        job_id=job.id,
        number=number,
        site_id=site.id,
        cluster=pool.cluster,
        partition=pool.partition,
        gres_type=pool.gres_type,
        gpu_class=pool.gpu_class,
        account=account,
        marker=marker(job.id, number),
        placed_at=now,
        due_at=now + patience.UNFETCHED_FOR,
        **_cost(job, pool, site, now=now),
        **_BLANK,
    )
    attempt.order = _order(job, attempt)
    return attempt


def _cost(job: Job, pool: Pool, site: Site, *, now: datetime) -> dict[str, object]:
    """What is reserved for the attempt, and until when."""
    charged = reservation.charged_gpus(
        nodes=job.nodes,
        gpus_per_node=job.gpus_per_node,
        node_gpus=pool.gpus_per_node,
        is_exclusive=pool.is_exclusive,
    )
    spans = {"walltime_minutes": job.walltime_minutes, "margin_minutes": site.margin_minutes}
    amount = reservation.reservation(charged=charged, **spans)
    last = reservation.latest_end(now, patience_minutes=site.patience_minutes, **spans)
    return {
        **spans,
        "charged_gpus": charged,
        "reserved_gpu_ms": amount.value,
        "patience_minutes": site.patience_minutes,
        "latest_end": last,
    }


_BLANK = {
    "state": AttemptState.PLANNED,
    "reported_sequence": 0,
    "is_owed": True,
    "is_cancel_ordered": False,
    "is_moved": False,
    "wrapper_duplicates": 0,
    "is_usage_complete": False,
    "is_usage_flagged": False,
    "is_settled": False,
    "log_bytes": 0,
    "is_log_complete": False,
}


def _order(job: Job, attempt: Attempt) -> dict[str, object]:
    """Everything that the site needs to run it. No secret of the hub is in it."""
    file = JobFile.model_validate(job.spec)
    order = AttemptOrder(
        attempt_id=str(attempt.id),
        marker=attempt.marker,
        wish=Wish.RUN,
        project=job.project_id,
        account=attempt.account,
        cluster=attempt.cluster,
        partition=attempt.partition,
        gres_type=attempt.gres_type,
        nodes=job.nodes,
        gpus_per_node=job.gpus_per_node,
        charged_gpus=attempt.charged_gpus,
        walltime_minutes=job.walltime_minutes,
        launcher=file.launcher,
        script=orders.script_text(file.script, file.entrypoint),
        environment=file.environment,
        checkpoint_folder=orders.checkpoint_folder(job.id, file.checkpoint),
        resume_from=job.resume_from,
        ordered_at=attempt.placed_at,
    )
    return order.model_dump(mode="json", exclude={"wish"})

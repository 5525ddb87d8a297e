"""What does one look at the site mean for one attempt?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cesai.agent.rules.held import HeldAttempt, Owner, Patience, Phase, Sighting, Watch, identity, same_launch
from cesai.contract.connector import FINAL, FolderReading, JobRecord, SiteState

# The further a job is, the more it costs to take it back.
_RANK = {SiteState.ENDING: 0, SiteState.RUNNING: 1, SiteState.SUSPENDED: 2, SiteState.PENDING: 3}


@dataclass(frozen=True, slots=True)
class View:
    """A sighting, sorted."""

    now: datetime
    patience: Patience
    queue: bool
    accounting: bool
    keeps_folders: bool
    folder: FolderReading | None
    live: tuple[JobRecord, ...]  # the scheduler itself says that it may still run
    final: tuple[JobRecord, ...]
    ghosts: tuple[JobRecord, ...]  # accounting says alive, the scheduler does not know it

    @property
    def is_healthy(self) -> bool:
        """Queue and accounting both answered: only then does an empty answer say anything."""
        return self.queue and self.accounting

    def passed(self, since: datetime | None, seconds: float) -> bool:
        """Whether so much time has gone by since then."""
        return since is not None and self.now - since >= timedelta(seconds=seconds)


def look(held: HeldAttempt, sighting: Sighting, *, now: datetime, patience: Patience) -> View:
    """The sighting without the copies that were discarded, sorted into live, final and ghosts."""
    jobs = [job for job in sighting.jobs if identity(job) not in held.discarded]
    queued = [job for job in jobs if not job.from_accounting]
    booked = [job for job in jobs if job.from_accounting]
    live = tuple(job for job in queued if job.state not in FINAL)
    live_ids = {job.external_id for job in live}
    queue_ids = {job.external_id for job in queued}
    seen = {identity(job) for job in queued}
    # Accounting keeps the earlier lives of a requeued job: those are no ends as long as the job itself lives.
    ended = [job for job in booked if job.state in FINAL and job.external_id not in live_ids]
    return View(
        now=now,
        patience=patience,
        queue=sighting.queue_answered,
        accounting=sighting.accounting_answered,
        keeps_folders=sighting.keeps_folders,
        folder=sighting.folder,
        live=live,
        final=(
            *(job for job in queued if job.state in FINAL),
            *(job for job in ended if identity(job) not in seen),
        ),
        ghosts=tuple(job for job in booked if job.state not in FINAL and job.external_id not in queue_ids),
    )


def keeper(view: View, owner: Owner | None) -> JobRecord | None:
    """The one live copy to keep: the fence's owner once there is one, else the furthest, else the oldest."""
    own = [job for job in view.live if owner is None or same_launch(job, owner)]
    return min(own, key=_preference, default=None)


def _preference(job: JobRecord) -> tuple[int, str, str]:
    when = job.submit_time.isoformat() if job.submit_time else ""
    return (_RANK.get(job.state, 4), when, job.external_id)


def own_final(view: View, owner: Owner) -> JobRecord | None:
    """The final record of the launch that holds the fence, the scheduler's own before accounting's."""
    found = [job for job in view.final if same_launch(job, owner)]
    return max(found, key=lambda job: (not job.from_accounting, job.restart_count), default=None)


def note(held: HeldAttempt, view: View) -> HeldAttempt:
    """What was seen, written down; nothing decided yet."""
    held = _note_folder(held, view)
    held = replace(
        held,
        is_unanswered=not _is_answered(held, view),
        has_launched=held.has_launched or any(job.started_at is not None for job in (*view.live, *view.final)),
        watch=_watched(held.watch, view),
    )
    kept = keeper(view, held.owner)
    if kept is None:
        return held
    return replace(
        held,
        phase=Phase.SUBMITTED if held.phase is Phase.INTENDED else held.phase,
        external_id=kept.external_id,
        submit_time=kept.submit_time or held.submit_time,
        restart_count=max(held.restart_count, kept.restart_count),
        is_released=held.is_released or kept.state is not SiteState.HELD,
        started_at=kept.started_at or held.started_at,
        reason=held.sentence or _why_waiting(kept),
    )


def _is_answered(held: HeldAttempt, view: View) -> bool:
    if not view.queue:
        return False
    return view.accounting or bool(view.live) or held.tries == 0


def _why_waiting(job: JobRecord) -> str | None:
    if job.state in {SiteState.RUNNING, SiteState.ENDING}:
        return None
    return job.reason or job.native_state


def _note_folder(held: HeldAttempt, view: View) -> HeldAttempt:
    folder = view.folder
    if folder is None:
        return held
    held = replace(
        held,
        is_buried=held.is_buried or folder.is_buried,
        duplicate_ids=folder.duplicate_ids or held.duplicate_ids,
        stamps=folder.stamps or held.stamps,
    )
    if folder.owner is None:
        return held
    owner = Owner(folder.owner, folder.owner_submit_time, folder.owner_restart)
    started = held.started_at or (folder.stamps.started_at if folder.stamps else None)
    return replace(
        held,
        phase=Phase.RUNNING,
        owner=owner,
        external_id=owner.external_id,
        submit_time=owner.submit_time or held.submit_time,
        is_released=True,
        started_at=started,
    )


def _watched(watch: Watch, view: View) -> Watch:
    if not view.queue:
        return replace(watch, absent_since=None, absent_answers=0, ghost_since=None, final_since=None)
    watch = replace(watch, final_since=None if view.live or not view.final else watch.final_since or view.now)
    if view.live or view.ghosts:
        watch = replace(watch, absent_since=None, absent_answers=0)
    elif view.is_healthy:
        watch = replace(watch, absent_since=watch.absent_since or view.now, absent_answers=watch.absent_answers + 1)
    if view.live or not view.ghosts:
        return replace(watch, ghost_since=None)
    return replace(watch, ghost_since=watch.ghost_since or view.now)


def is_absence_proven(held: HeldAttempt, view: View) -> bool:
    """Several healthy answers over some seconds showed nothing that may still run."""
    if view.live or not view.is_healthy:
        return False
    watch, patience = held.watch, view.patience
    if view.ghosts:
        return view.passed(watch.ghost_since, patience.ghost_s)
    return watch.absent_answers >= patience.absent_answers and view.passed(watch.absent_since, patience.absent_s)


def is_gone(held: HeldAttempt, view: View) -> bool:
    """Every copy that was ever sent has a final state, or the absence of the rest is proven."""
    if view.live or not view.queue:
        return False
    if view.final and not view.ghosts and len(view.final) + len(held.discarded) >= held.tries:
        return True
    return is_absence_proven(held, view)

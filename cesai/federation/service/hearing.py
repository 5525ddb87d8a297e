"""What does a site's word about its attempts change?

Reports are hostile and level-triggered: the newest says everything, what is old or of another site is ignored, and what
cannot be is kept as evidence and changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from cesai.allocations import service as allocations
from cesai.contract.messages import AttemptReport
from cesai.federation import store
from cesai.federation.rules import patience, reports, settling
from cesai.federation.rules.reports import Known, Told, Weight
from cesai.federation.service import moves
from cesai.federation.tables import Attempt, Job
from cesai.kernel.states import AttemptState, JobState, Outcome

EVIDENCE = "evidence"
EVIDENCE_LIMIT = 20  # of one attempt; a site that errs in every sync fills no disk

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hearing:
    """One message of a site: who speaks, when, and which of its attempts and their jobs are locked for it."""

    site_id: str
    instance_id: str
    now: datetime
    skew: timedelta  # the site's clock minus the hub's
    jobs: Mapping[UUID, Job]
    attempts: Mapping[UUID, Attempt]

    @property
    def actor(self) -> str:
        """Who speaks."""
        return f"agent of {self.site_id}"

    def attempt(self, attempt_id: str | None) -> Attempt | None:
        """The site's attempt of this id, or None for everything else."""
        read = read_id(attempt_id)
        return self.attempts.get(read) if read else None

    def job(self, attempt: Attempt) -> Job:
        """The attempt's job."""
        return self.jobs[attempt.job_id]


def read_id(text: str | None) -> UUID | None:
    """An id as a site wrote it, or None when it is none."""
    try:
        return UUID(text) if text else None
    except ValueError:
        return None


def clean(text: str | None) -> str | None:
    """Text as PostgreSQL can keep it: without NUL."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}") if text else text


def take_reports(db: Session, hearing: Hearing, told: Iterable[AttemptReport]) -> set[UUID]:
    """Apply reports one by one; the attempts for which something changed."""
    changed = set()
    for report in told:
        attempt = hearing.attempt(report.attempt_id)
        if attempt is None:
            log.warning("%s reports an attempt that is none of its own: %r", hearing.actor, report.attempt_id)
        elif _take(db, hearing, attempt, report):
            changed.add(attempt.id)
    return changed


def _take(db: Session, hearing: Hearing, attempt: Attempt, report: AttemptReport) -> bool:
    outcome = Outcome(attempt.outcome) if attempt.outcome else None
    # A journal that was lost and begun anew counts from 1 again; access lets one instance speak at a time.
    heard = attempt.reported_sequence if attempt.reported_instance == hearing.instance_id else 0
    known = Known(AttemptState(attempt.state), heard, outcome)
    told = Told(report.sequence, report.state, report.outcome, report.exit_code)
    judgement = reports.judge(known, told)
    if judgement.weight is Weight.OLD:
        return False
    if judgement.weight is Weight.IMPOSSIBLE:
        return _keep_evidence(db, hearing, attempt, report, sentence=judgement.sentence)
    _write(db, hearing, attempt, report)
    if attempt.state != known.state:
        _follow(db, hearing, attempt)
    return True


def _write(db: Session, hearing: Hearing, attempt: Attempt, report: AttemptReport) -> None:
    told = Told(report.sequence, report.state, report.outcome, report.exit_code)
    values = _facts(hearing, report)
    if report.state is AttemptState.RUNNING:
        values["running_known_at"] = attempt.running_known_at or hearing.now
    if report.state is AttemptState.ENDED:
        values |= {"is_owed": False}
    if report.state is AttemptState.ENDED and attempt.state != AttemptState.ENDED:
        values |= moves.end_of(reports.outcome_told(told) or Outcome.LOST, hearing.now)
    store.move_attempt(db, attempt.id, report.state, values)
    db.refresh(attempt)


def _facts(hearing: Hearing, report: AttemptReport) -> dict[str, Any]:
    stamps = report.stamps
    return {
        "reported_instance": hearing.instance_id,
        "reported_sequence": report.sequence,
        "reported_at": hearing.now,
        "exit_code": report.exit_code,
        "external_id": clean(report.external_id),
        "submit_time": _instant(report.submit_time),
        "reason": clean(report.reason),
        "started_at": _instant(report.started_at),
        "ended_at": _instant(report.ended_at),
        "wrapper_started_at": _instant(stamps.started_at) if stamps else None,
        "wrapper_ended_at": _instant(stamps.ended_at) if stamps else None,
        "wrapper_exit_code": stamps.exit_code if stamps else None,
        "wrapper_duplicates": stamps.duplicates if stamps else 0,
        "scheduler_gpu_ms": report.scheduler_gpu_ms,
        "is_usage_complete": report.is_usage_complete,
    }


def _instant(told: datetime | None) -> datetime | None:
    return told if told and settling.is_plausible(told) else None


def _follow(db: Session, hearing: Hearing, attempt: Attempt) -> None:
    """Let events, the ledger and the job follow an attempt's new state."""
    job, actor, now = hearing.job(attempt), hearing.actor, hearing.now
    state = AttemptState(attempt.state)
    moves.note(db, job, state.lower(), _words(attempt), actor=actor, now=now, attempt=attempt)
    if state is AttemptState.ENDED:
        moves.follow_end(db, job, attempt, actor=actor, now=now)
        return
    attempt.due_at = patience.next_look(as_open(attempt), now)
    if state is AttemptState.RUNNING:
        _book_start(db, hearing, attempt)
        if attempt.number == job.last_number:
            moves.move(db, job, JobState.RUNNING, f"It runs at {attempt.site_id}.", actor=actor, now=now)


def _book_start(db: Session, hearing: Hearing, attempt: Attempt) -> None:
    # By the hub's clock: a site whose clock is an hour off must not move a reservation into another quarter.
    started = (attempt.started_at or hearing.now) - (hearing.skew if attempt.started_at else timedelta())
    started = min(max(started, attempt.placed_at), hearing.now)
    allocations.started(db, attempt_id=attempt.id, started_at=started, now=hearing.now)


def _words(attempt: Attempt) -> str:
    what = f"{attempt.site_id}: {attempt.state}"
    if attempt.outcome:
        what += f" as {attempt.outcome}"
    if attempt.external_id:
        what += f", there as {attempt.external_id}"
    return f"{what} ({attempt.reason})" if attempt.reason else f"{what}."


def as_open(attempt: Attempt) -> patience.Open:
    """An attempt as the rules of patience see it."""
    return patience.Open(
        state=AttemptState(attempt.state),
        is_fetched=attempt.fetched_at is not None,
        placed_at=attempt.placed_at,
        running_known_at=attempt.running_known_at,
        patience_minutes=attempt.patience_minutes,
        walltime_minutes=attempt.walltime_minutes,
        margin_minutes=attempt.margin_minutes,
    )


def _keep_evidence(db: Session, hearing: Hearing, attempt: Attempt, report: AttemptReport, *, sentence: str) -> bool:
    attempt.reported_instance, attempt.reported_sequence = hearing.instance_id, report.sequence
    is_late_end = attempt.state == AttemptState.ENDED and report.state is AttemptState.ENDED
    if is_late_end:
        # The hub had given the attempt up. Its end stays what it was; what it used is now known all the same.
        for name, value in _facts(hearing, report).items():
            setattr(attempt, name, value)
        attempt.is_owed = False
    db.flush()
    if store.count_events(db, attempt.id, EVIDENCE) < EVIDENCE_LIMIT:
        moves.note(db, hearing.job(attempt), EVIDENCE, sentence, actor=hearing.actor, now=hearing.now, attempt=attempt)
    return is_late_end

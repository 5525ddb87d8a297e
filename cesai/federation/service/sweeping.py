"""What is done about attempts of which nothing was heard when something should have been?"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from cesai.contract.jobs import OnSiteLoss
from cesai.federation import store
from cesai.federation.rules import logs, patience, settling
from cesai.federation.rules.settling import Overdue
from cesai.federation.service import moves, usage
from cesai.federation.service import settling as ledger
from cesai.federation.service.hearing import as_open
from cesai.federation.tables import Attempt, Job
from cesai.kernel.states import AttemptState, Outcome
from cesai.sites import service as sites
from cesai.sites.service import ContactState

BATCH = 100


def sweep(db: Session, now: datetime) -> int:
    """Look at attempts whose time has come. May run at any time, twice, and after any crash.

    Returns:
        How many were looked at.
    """
    due = store.due_attempts(db, now, limit=BATCH)
    for attempt in due:
        job = store.job(db, attempt.job_id)
        if job is None:
            continue
        if attempt.state == AttemptState.ENDED:
            _look_at_ended(db, job, attempt, now=now)
        else:
            _look_at_open(db, job, attempt, now=now)
        db.flush()
    usage.book_strangers(db, store.unbooked_usage(db, limit=usage.BATCH), now=now)
    store.drop_old_logs(db, now - logs.KEPT_FOR)
    for site_id in sorted({one.site_id for one in due if one.is_cancel_ordered and one.is_owed}):
        sites.bump_order_revision(db, site_id)
    return len(due)


def _look_at_open(db: Session, job: Job, attempt: Attempt, *, now: datetime) -> None:
    one = as_open(attempt)
    attempt.due_at = patience.next_look(one, now)
    db.flush()
    if patience.is_unfetched(one, now):
        reason = f"{attempt.site_id} did not fetch it; it goes elsewhere, or there again."
        _take_back(db, job, attempt, reason=reason, now=now)
    elif patience.is_out_of_patience(one, now):
        _move_away(db, job, attempt, now=now)
    elif _is_to_rerun(db, job, attempt, now=now):
        _give_up(db, job, attempt, now=now)


def _take_back(db: Session, job: Job, attempt: Attempt, *, reason: str, now: datetime) -> None:
    attempt.is_moved = True
    db.flush()
    if moves.withdraw(db, job, attempt, reason, actor=moves.HUB, now=now):
        db.refresh(attempt)
        ledger.settle(db, job, attempt, now=now)


def _move_away(db: Session, job: Job, attempt: Attempt, *, now: datetime) -> None:
    """Ask the site to end what waits too long; it is placed anew once its end, or its absence, is read back."""
    if attempt.is_cancel_ordered:
        return
    attempt.is_moved = attempt.is_cancel_ordered = True
    hours = attempt.patience_minutes / 60
    sentence = f"It has waited {hours:.0f} h at {attempt.site_id}; it is cancelled there and placed anew."
    moves.note(db, job, "moved", sentence, actor=moves.HUB, now=now, attempt=attempt)


def _is_to_rerun(db: Session, job: Job, attempt: Attempt, *, now: datetime) -> bool:
    if job.spec["on_site_loss"] != OnSiteLoss.RERUN or not patience.is_surely_over(as_open(attempt), now):
        return False
    return sites.contact_state(sites.site(db, attempt.site_id), now) is ContactState.LOST


def _give_up(db: Session, job: Job, attempt: Attempt, *, now: datetime) -> None:
    """Call a running attempt at a lost site lost: its wall time is over, so it cannot finish unseen.

    Its reservation stays until the site tells what it used; the order to end stays too.
    """
    reason = f"{attempt.site_id} is lost, and the attempt's wall time is over."
    values = moves.end_of(Outcome.LOST, now) | {"reason": reason}
    if store.move_attempt(db, attempt.id, AttemptState.ENDED, values):
        db.refresh(attempt)
        attempt.is_moved = attempt.is_cancel_ordered = True
        db.flush()
        moves.note(db, job, "ended", reason, actor=moves.HUB, now=now, attempt=attempt)
        moves.follow_end(db, job, attempt, actor=moves.HUB, now=now)


def _look_at_ended(db: Session, job: Job, attempt: Attempt, *, now: datetime) -> None:
    if attempt.is_settled or ledger.settle(db, job, attempt, now=now):
        attempt.due_at = None
        return
    known_at = attempt.end_known_at or now
    match settling.overdue(known_at, now):
        case Overdue.NO:
            attempt.due_at = patience.next_look_after_end(known_at)
        case Overdue.FLAG:
            attempt.due_at = patience.last_look_after_end(known_at)
            _flag(db, job, attempt, now=now)
        case Overdue.STAMPS:
            attempt.due_at = now + settling.STAMPS_AFTER
            _flag(db, job, attempt, now=now)
            ledger.stand_in(db, job, attempt, now=now)


def _flag(db: Session, job: Job, attempt: Attempt, *, now: datetime) -> None:
    if attempt.is_usage_flagged:
        return
    attempt.is_usage_flagged = True
    sentence = f"Accounting at {attempt.site_id} has not told what it used; the site is asked again with every sync."
    moves.note(db, job, "usage-missing", sentence, actor=moves.HUB, now=now, attempt=attempt)

"""How does an attempt's use become entries in the ledger?"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from cesai.allocations import service as allocations
from cesai.contract.messages import BY_STAMPS, UsageKind, UsageRecord
from cesai.federation import store, tables
from cesai.federation.rules import settling
from cesai.federation.rules.settling import Step, Witnesses
from cesai.federation.service import moves
from cesai.federation.tables import Attempt, Job
from cesai.kernel import crash
from cesai.kernel.amounts import ZERO, GpuMilliseconds
from cesai.kernel.crash import CrashPoint
from cesai.kernel.states import SITE_FAULTS, AttemptState, Outcome

LEDGER = "ledger"


def settle(db: Session, job: Job, attempt: Attempt, *, now: datetime) -> bool:
    """Book what is known of an attempt's use once it is whole; later records correct it. Repeat-safe.

    Returns:
        Whether the attempt is settled.
    """
    records = store.usage_of(db, attempt.id)
    outcome = Outcome(attempt.outcome) if attempt.outcome else None
    step = settling.step(
        AttemptState(attempt.state),
        outcome,
        is_usage_complete=attempt.is_usage_complete,
        has_usage=bool(counted(records)),
    )
    if step is Step.WAIT:
        return False
    if step is Step.RELEASE:
        allocations.release(db, attempt_id=attempt.id, now=now)
        sentence = "Nothing ran: the whole reservation is free again."
    else:
        sentence = _book(db, job, attempt, records=records, now=now)
    crash.reach(CrashPoint.HUB_SETTLED)
    if not attempt.is_settled:
        moves.note(db, job, "settled", sentence, actor=LEDGER, now=now, attempt=attempt)
    attempt.is_settled, attempt.settled_at, attempt.due_at = True, attempt.settled_at or now, None
    db.flush()
    return True


def _book(db: Session, job: Job, attempt: Attempt, *, records: list[tables.UsageRecord], now: datetime) -> str:
    before = allocations.settled(db, [attempt.id]).get(attempt.id, ZERO)
    booked = allocations.book(
        db,
        attempt_id=attempt.id,
        usage=counted(records),
        is_over=True,
        is_site_fault=attempt.outcome in SITE_FAULTS,
        now=now,
    )
    sentence = f"{booked.own} were used of {GpuMilliseconds(attempt.reserved_gpu_ms)} reserved."
    if booked.overrun:
        sentence += f" {booked.overrun} more were used than reserved; that is shown as an overrun."
    if booked.duplicate:
        sentence += f" {booked.duplicate} went into launches that the fence ended; the site bears them."
    if booked.site_loss:
        sentence += f" {booked.site_loss} were lost by the site's fault; the site bears them."
    if attempt.is_settled and booked.own != before:
        moves.note(db, job, "corrected", sentence, actor=LEDGER, now=now, attempt=attempt)
    _compare_witnesses(db, job, attempt, accounting=booked.own, now=now)
    return sentence


def counted(records: Iterable[tables.UsageRecord]) -> list[allocations.Usage]:
    """The records that count. The wrapper's stand-in counts only while accounting has told nothing."""
    records = list(records)
    has_told = any(not is_stand_in(record) and record.kind == UsageKind.OWN for record in records)
    return [as_usage(record, is_void=has_told and is_stand_in(record)) for record in records]


def as_usage(record: tables.UsageRecord, *, is_void: bool = False) -> allocations.Usage:
    """A record as the ledger takes it; void = it counts nothing any more."""
    told = UsageRecord.model_validate(record.payload)
    kind = told.kind if record.attempt_id else UsageKind.UNATTRIBUTED
    return allocations.Usage(
        key=record.key,
        revision=record.revision + is_void,
        kind=kind,
        started_at=told.started_at,
        ended_at=told.ended_at,
        gpus=told.gpus,
        gpu_ms=ZERO if is_void else GpuMilliseconds(told.gpu_ms),
    )


def _compare_witnesses(db: Session, job: Job, attempt: Attempt, *, accounting: GpuMilliseconds, now: datetime) -> None:
    wrapper = wrapper_amount(attempt)
    scheduler = None if attempt.scheduler_gpu_ms is None else GpuMilliseconds(attempt.scheduler_gpu_ms)
    told = Witnesses(accounting=accounting, scheduler=scheduler, wrapper=wrapper, gpus=attempt.charged_gpus)
    apart = settling.disagreements(told)
    if apart and not attempt.is_usage_flagged:
        attempt.is_usage_flagged = True
        moves.note(db, job, "witnesses-apart", " ".join(apart), actor=LEDGER, now=now, attempt=attempt)


def wrapper_amount(attempt: Attempt) -> GpuMilliseconds | None:
    """What the wrapper's stamps say the attempt used, or None without both of them."""
    if attempt.wrapper_started_at is None or attempt.wrapper_ended_at is None:
        return None
    return settling.by_stamps(attempt.wrapper_started_at, attempt.wrapper_ended_at, gpus=attempt.charged_gpus)


def is_stand_in(record: tables.UsageRecord) -> bool:
    """Whether the hub wrote the record itself, from the wrapper's stamps."""
    return record.key.startswith(_STAND_IN)


def stand_in(db: Session, job: Job, attempt: Attempt, *, now: datetime) -> bool:
    """Let the wrapper's stamps stand in for an accounting that stays silent, flagged; False without stamps."""
    amount = wrapper_amount(attempt)
    if amount is None:
        return False
    store.put_usage(db, _stand_in_values(attempt, amount, now))
    attempt.is_usage_complete = attempt.is_usage_flagged = True
    sentence = (
        f"Accounting at {attempt.site_id} has told nothing for a day: the wrapper's stamps are booked ({amount})."
    )
    moves.note(db, job, "usage-by-stamps", sentence, actor=LEDGER, now=now, attempt=attempt)
    return settle(db, job, attempt, now=now)


_STAND_IN = "wrapper:"


def _stand_in_values(attempt: Attempt, amount: GpuMilliseconds, now: datetime) -> dict[str, Any]:
    key = f"{_STAND_IN}{attempt.marker}"
    payload = {
        "key": key,
        "revision": 1,
        "kind": UsageKind.OWN,
        "attempt_id": str(attempt.id),
        "account": attempt.account,
        "cluster": attempt.cluster,
        "partition": attempt.partition,
        "external_id": attempt.external_id or "",
        "gres_type": attempt.gres_type,
        "state": BY_STAMPS,
        "started_at": attempt.wrapper_started_at.isoformat() if attempt.wrapper_started_at else None,
        "ended_at": attempt.wrapper_ended_at.isoformat() if attempt.wrapper_ended_at else None,
        "gpus": attempt.charged_gpus,
        "gpu_ms": amount.value,
        "is_final": True,
    }
    return {
        "site_id": attempt.site_id,
        "key": key,
        "revision": 1,
        "attempt_id": attempt.id,
        "kind": UsageKind.OWN,
        "payload": payload,
        "doubt": None,
        "is_unbooked": False,
        "received_at": now,
    }

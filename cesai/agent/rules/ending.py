"""How did an attempt end?"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from cesai.agent.rules.held import HeldAttempt, Phase
from cesai.agent.rules.view import View
from cesai.contract.connector import JobRecord, SiteState
from cesai.contract.messages import WrapperStamps
from cesai.kernel.amounts import MS_PER_SECOND
from cesai.kernel.states import Outcome

# States that say more than the script's exit code: a script may catch the signal and still end with 0.
_BY_STATE = {
    SiteState.TIMEOUT: Outcome.TIMEOUT,
    SiteState.CANCELLED: Outcome.CANCELLED,
    SiteState.OUT_OF_MEMORY: Outcome.OUT_OF_MEMORY,
    SiteState.PREEMPTED: Outcome.PREEMPTED,
}

# What a script's shell tells of SIGINT, SIGKILL and SIGTERM.
_STOPPED = frozenset({130, 137, 143})

_END_SLACK = timedelta(seconds=5)  # between the wrapper's last stamp and the scheduler's end of a healthy job


def end_by_record(held: HeldAttempt, view: View, *, record: JobRecord) -> HeldAttempt:
    """Ended as the scheduler says, with what the wrapper wrote beside it."""
    if held.stamps is not None and is_of_another_life(record, held.stamps):
        ended = end_by_stamps(held, view, stamps=held.stamps)
        return replace(ended, scheduler_gpu_ms=scheduler_gpu_ms(record))
    trouble = view.folder.trouble if view.folder else None
    exit_code = _exit_code(record, held.stamps)
    outcome = Outcome.NODE_FAIL if trouble else outcome_of(record, held.stamps)
    if outcome is Outcome.FAILED and _is_requeued(held, record, exit_code=exit_code):
        outcome = Outcome.PREEMPTED
    return replace(
        held,
        phase=Phase.ENDED,
        outcome=outcome,
        exit_code=exit_code,
        external_id=record.external_id,
        submit_time=record.submit_time or held.submit_time,
        restart_count=max(held.restart_count, record.restart_count),
        is_released=True,
        started_at=record.started_at or held.started_at,
        ended_at=record.ended_at or (held.stamps.ended_at if held.stamps else None) or view.now,
        ended_seen_at=view.now,
        scheduler_gpu_ms=scheduler_gpu_ms(record),
        reason=trouble or held.sentence or _how(held, record, outcome=outcome, exit_code=exit_code),
    )


def end_by_stamps(held: HeldAttempt, view: View, *, stamps: WrapperStamps) -> HeldAttempt:
    """Ended as the wrapper wrote it: the scheduler has forgotten the job."""
    otherwise = Outcome.CANCELLED if held.must_go else Outcome.FAILED
    return replace(
        held,
        phase=Phase.ENDED,
        outcome=Outcome.SUCCEEDED if stamps.exit_code == 0 else otherwise,
        exit_code=stamps.exit_code,
        started_at=stamps.started_at,
        ended_at=stamps.ended_at,
        ended_seen_at=view.now,
        reason="The scheduler lost the job's end; it is as the job's wrapper wrote it.",
    )


def is_of_another_life(record: JobRecord, stamps: WrapperStamps) -> bool:
    """Whether the script was over long before the end that the scheduler tells, or before the start of it.

    A controller that is killed forgets the end of a job, shows it running for minutes, starts it again or cancels it:
    none of that is how the script ended.
    """
    if stamps.ended_at is None:
        return False
    if record.started_at is not None and stamps.ended_at < record.started_at:
        return True
    return record.ended_at is not None and record.ended_at - stamps.ended_at > _END_SLACK


def end_lost(held: HeldAttempt, view: View) -> HeldAttempt:
    """Ended without a trace: it started, and nobody knows how it ended."""
    return replace(
        held,
        phase=Phase.ENDED,
        outcome=Outcome.LOST,
        ended_seen_at=view.now,
        ended_at=held.stamps.ended_at if held.stamps else None,
        reason="The scheduler forgot the running job and its wrapper wrote no end within the wall time.",
    )


def end_without_start(held: HeldAttempt, view: View) -> HeldAttempt:
    """Ended before anything ran: taken back, and proven gone."""
    # Copies that were launched and came to nothing cost GPU time: that is the site's loss.
    taken_back = Outcome.NODE_FAIL if held.has_launched else Outcome.REJECTED
    return replace(
        held,
        phase=Phase.ENDED,
        outcome=Outcome.CANCELLED if held.is_cancel_wished else taken_back,
        ended_seen_at=view.now,
        reason=held.sentence or "Cancelled before it started.",
        scheduler_gpu_ms=0,
    )


def lost_at(held: HeldAttempt, *, lost_s: float) -> datetime:
    """When a job that started and vanished can no longer be running, by the site's own limit."""
    stamped = held.stamps.started_at if held.stamps else None
    since = stamped or held.started_at or held.submit_called_at or held.accepted_at
    return since + timedelta(minutes=held.order.walltime_minutes, seconds=lost_s)


def outcome_of(record: JobRecord, stamps: WrapperStamps | None) -> Outcome:
    """The outcome that a final state and the wrapper's stamps make together."""
    by_state = _BY_STATE.get(record.state)
    if by_state is not None:
        return by_state
    stamped = stamps.exit_code if stamps else None
    if record.state is SiteState.NODE_FAIL:
        return Outcome.SUCCEEDED if stamped == 0 else Outcome.NODE_FAIL
    if stamped is not None:
        return Outcome.SUCCEEDED if stamped == 0 else Outcome.FAILED
    return Outcome.SUCCEEDED if record.state is SiteState.COMPLETED else Outcome.FAILED


def scheduler_gpu_ms(record: JobRecord) -> int | None:
    """What the scheduler's own memory says was used; accounting is another witness and is not copied from."""
    if record.from_accounting or record.gpus is None:
        return None
    if record.started_at is None or record.ended_at is None:
        return 0
    seconds = max(0, int((record.ended_at - record.started_at).total_seconds()))
    return record.gpus * seconds * MS_PER_SECOND


def _exit_code(record: JobRecord, stamps: WrapperStamps | None) -> int | None:
    if stamps is not None and stamps.exit_code is not None:
        return stamps.exit_code
    return record.exit_code


def _is_requeued(held: HeldAttempt, record: JobRecord, *, exit_code: int | None) -> bool:
    """The site stopped the launch that ran and started the job once more, which the fence then ended."""
    if held.owner is None:
        return False
    is_launched_again = record.restart_count > (held.owner.restart or 0) or held.owner.external_id in held.duplicate_ids
    return is_launched_again and exit_code in _STOPPED


def _how(held: HeldAttempt, record: JobRecord, *, outcome: Outcome, exit_code: int | None) -> str | None:
    if outcome is Outcome.SUCCEEDED:
        return None
    if outcome is Outcome.CANCELLED and held.is_cancel_wished:
        return "Cancelled while it ran."
    if outcome is Outcome.PREEMPTED and record.state is not SiteState.PREEMPTED:
        return "The site stopped the job to start it once more (requeue); an attempt starts once only."
    if outcome is Outcome.FAILED:
        return f"The script ended with exit code {exit_code}." if exit_code is not None else record.native_state
    extra = f" ({record.reason})" if record.reason and record.reason != "None" else ""
    return f"The site says {record.native_state}{extra}."

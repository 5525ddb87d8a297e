"""What does the hub get to hear of an attempt?"""

from __future__ import annotations

from cesai.agent.rules.held import HeldAttempt, Phase
from cesai.contract.messages import AttemptReport
from cesai.kernel.states import AttemptState

_STATE = {
    Phase.INTENDED: AttemptState.SUBMITTING,
    Phase.SUBMITTED: AttemptState.SUBMITTED,
    Phase.RUNNING: AttemptState.RUNNING,
    Phase.ENDED: AttemptState.ENDED,
}
_LONGEST_REASON = 2_000


def report(held: HeldAttempt, *, sequence: int = 1, is_usage_complete: bool = False) -> AttemptReport:
    """Everything that is held, in the hub's words."""
    state = _STATE[held.phase]
    if held.phase is Phase.INTENDED and held.tries > 0 and held.is_unanswered:
        state = AttemptState.UNKNOWN
    return AttemptReport(
        attempt_id=held.attempt_id,
        sequence=sequence,
        state=state,
        external_id=held.external_id,
        submit_time=held.submit_time,
        is_released=held.is_released,
        reason=held.reason[:_LONGEST_REASON] if held.reason else None,
        outcome=held.outcome,
        exit_code=held.exit_code,
        started_at=held.started_at,
        ended_at=held.ended_at,
        stamps=held.stamps,
        scheduler_gpu_ms=held.scheduler_gpu_ms,
        is_usage_complete=is_usage_complete,
    )

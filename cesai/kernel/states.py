"""In which states can a job and an attempt be, and which moves are allowed?"""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """What a group sees of its job."""

    QUEUED = "QUEUED"
    PLACED = "PLACED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


JOB_MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.PLACED, JobState.FAILED, JobState.CANCELLED}),
    JobState.PLACED: frozenset(
        {JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}
    ),
    JobState.RUNNING: frozenset({JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}
JOB_FINAL = frozenset(state for state, moves in JOB_MOVES.items() if not moves)


class AttemptState(StrEnum):
    """What hub and agent know of one try at one cluster."""

    PLANNED = "PLANNED"  # the hub has booked it, the site has not heard of it
    SUBMITTING = "SUBMITTING"  # the intent is in the agent's journal
    UNKNOWN = "UNKNOWN"  # the site was asked and gave no usable answer
    SUBMITTED = "SUBMITTED"  # its id at the site is journaled
    RUNNING = "RUNNING"  # its start fence was seen
    ENDED = "ENDED"  # a final state was read back, or its absence is proven


ATTEMPT_MOVES: dict[AttemptState, frozenset[AttemptState]] = {
    AttemptState.PLANNED: frozenset(
        {
            AttemptState.SUBMITTING,
            AttemptState.UNKNOWN,
            AttemptState.SUBMITTED,
            AttemptState.RUNNING,
            AttemptState.ENDED,
        }
    ),
    AttemptState.SUBMITTING: frozenset(
        {AttemptState.UNKNOWN, AttemptState.SUBMITTED, AttemptState.RUNNING, AttemptState.ENDED}
    ),
    AttemptState.UNKNOWN: frozenset(
        {AttemptState.SUBMITTING, AttemptState.SUBMITTED, AttemptState.RUNNING, AttemptState.ENDED}
    ),
    # A crashed controller may forget an accepted job: its absence, once proven, sends it back to SUBMITTING.
    AttemptState.SUBMITTED: frozenset(
        {AttemptState.SUBMITTING, AttemptState.UNKNOWN, AttemptState.RUNNING, AttemptState.ENDED}
    ),
    AttemptState.RUNNING: frozenset({AttemptState.ENDED}),
    AttemptState.ENDED: frozenset(),
}


class Outcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"  # the script's own exit code was not 0
    TIMEOUT = "TIMEOUT"
    CANCELLED = "CANCELLED"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    NODE_FAIL = "NODE_FAIL"
    PREEMPTED = "PREEMPTED"
    REJECTED = "REJECTED"  # the site will never run it; nothing ran
    ABSENT = "ABSENT"  # proven not to exist at the site; nothing ran
    LOST = "LOST"  # the site forgot it, and what it did is not known


# The site or the hub failed, not the group: its cost is the site's loss, and another attempt may be made.
SITE_FAULTS = frozenset({Outcome.NODE_FAIL, Outcome.LOST})
NOTHING_RAN = frozenset({Outcome.REJECTED, Outcome.ABSENT})


def may_move(state: AttemptState, to: AttemptState) -> bool:
    """Whether an attempt may go from one state to another; staying is allowed."""
    return state == to or to in ATTEMPT_MOVES[state]

"""What does a site's report change? Reports are hostile: repeated, late, out of order, or impossible."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cesai.kernel.states import AttemptState, JobState, Outcome, may_move

JOB_STATE_OF = {
    AttemptState.PLANNED: JobState.PLACED,
    AttemptState.SUBMITTING: JobState.PLACED,
    AttemptState.UNKNOWN: JobState.PLACED,
    AttemptState.SUBMITTED: JobState.PLACED,
    AttemptState.RUNNING: JobState.RUNNING,
}


@dataclass(frozen=True, slots=True)
class Known:
    """What the hub holds of an attempt."""

    state: AttemptState
    sequence: int = 0  # of the newest report that was heard
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What a report says of it."""

    sequence: int
    state: AttemptState
    outcome: Outcome | None = None
    exit_code: int | None = None


class Weight(StrEnum):
    """What a report is worth."""

    NEWS = "news"
    OLD = "old"
    IMPOSSIBLE = "impossible"


@dataclass(frozen=True, slots=True)
class Judgement:
    """The worth of a report, and why."""

    weight: Weight
    sentence: str = ""


def judge(known: Known, told: Told) -> Judgement:
    """Weigh a report against what is known; final states are sticky, and only a higher sequence is heard."""
    if told.sequence <= known.sequence:
        return Judgement(Weight.OLD, f"report {told.sequence} is not newer than {known.sequence}")
    if not may_move(known.state, told.state):
        return Judgement(Weight.IMPOSSIBLE, f"the site says {told.state}, but the attempt was {known.state}")
    if told.state is AttemptState.ENDED and told.outcome is None:
        return Judgement(Weight.IMPOSSIBLE, "the site says ENDED, but not how")
    if known.state is AttemptState.ENDED and outcome_told(told) != known.outcome:
        return Judgement(Weight.IMPOSSIBLE, f"the site says {told.outcome}, but the attempt ended as {known.outcome}")
    return Judgement(Weight.NEWS)


def outcome_told(told: Told) -> Outcome | None:
    """How the attempt ended; a script's own exit code outweighs a site that calls it a success."""
    if told.state is not AttemptState.ENDED:
        return None
    if told.outcome is Outcome.SUCCEEDED and told.exit_code:
        return Outcome.FAILED
    return told.outcome


def after(known: Known, told: Told) -> Known:
    """What the hub holds once this report was weighed."""
    weight = judge(known, told).weight
    if weight is Weight.OLD:
        return known
    if weight is Weight.IMPOSSIBLE:
        return Known(known.state, told.sequence, known.outcome)
    return Known(told.state, told.sequence, outcome_told(told))

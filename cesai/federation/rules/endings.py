"""What becomes of a job when an attempt has ended?"""

from __future__ import annotations

from dataclasses import dataclass

from cesai.kernel.states import NOTHING_RAN, JobState, Outcome

ABSENCES = 3  # so often may an attempt vanish at its site before the job gives up

_WORDS = {
    Outcome.SUCCEEDED: "The script ended with 0.",
    Outcome.FAILED: "The script ended with an error; its log says more.",
    Outcome.TIMEOUT: "The wall time was over before the script ended; ask for more, or go on with `resume`.",
    Outcome.CANCELLED: "It was cancelled at the site, not through the hub; ask the site's admin why.",
    Outcome.OUT_OF_MEMORY: "The site ended it because its memory was exhausted; ask for more nodes or use less.",
    Outcome.NODE_FAIL: "A node failed under it.",
    Outcome.PREEMPTED: "The site took its GPUs away for other work.",
    Outcome.REJECTED: "The site will never run it.",
    Outcome.ABSENT: "The site does not know it any more, and it never ran.",
    Outcome.LOST: "The site forgot it, and what it did is not known.",
}


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt's end and what its job says about ends."""

    outcome: Outcome
    causes: frozenset[str]  # ends after which the group wants another attempt
    limit: int  # how many further attempts it wants at the most
    earlier: tuple[Outcome, ...] = ()  # how the job's earlier attempts ended, but for those that the hub moved
    is_cancel_wished: bool = False  # by a person, for the job
    is_moved: bool = False  # the hub itself asked for the end, to place the job anew
    reason: str | None = None  # in the site's own words


@dataclass(frozen=True, slots=True)
class Ending:
    """The job's next state, and why in a sentence."""

    state: JobState
    cause: str

    @property
    def is_retried(self) -> bool:
        """The job goes back into the queue."""
        return self.state is JobState.QUEUED


def ending(ended: Ended) -> Ending:
    """What becomes of the job. A success is a success, even when somebody wished to cancel it."""
    outcome = ended.outcome
    if outcome is Outcome.SUCCEEDED:
        return Ending(JobState.SUCCEEDED, _WORDS[outcome])
    if ended.is_cancel_wished and _is_end_by_wish(outcome):
        return Ending(JobState.CANCELLED, "It was cancelled as wished.")
    if ended.is_moved and _is_end_by_wish(outcome):
        return Ending(JobState.QUEUED, "It is placed anew.")
    if outcome is Outcome.ABSENT:
        return _after_absence(ended)
    if outcome in ended.causes:
        return _after_retry_cause(ended)
    return Ending(JobState.CANCELLED if outcome is Outcome.CANCELLED else JobState.FAILED, _said(ended))


def _is_end_by_wish(outcome: Outcome) -> bool:
    # What failed or ran out of time by itself keeps its own end; the rest is how a cancelled job disappears.
    return outcome in NOTHING_RAN | {Outcome.CANCELLED, Outcome.NODE_FAIL, Outcome.PREEMPTED, Outcome.LOST}


def _after_absence(ended: Ended) -> Ending:
    if ended.earlier.count(Outcome.ABSENT) + 1 < ABSENCES:
        return Ending(JobState.QUEUED, f"{_said(ended)} It is placed again.")
    return Ending(JobState.FAILED, f"{_said(ended)} That happened {ABSENCES} times; ask the site's admin.")


def _after_retry_cause(ended: Ended) -> Ending:
    used = sum(outcome in ended.causes for outcome in ended.earlier)
    if used < ended.limit:
        return Ending(JobState.QUEUED, f"{_said(ended)} It is tried again ({used + 1} of {ended.limit}).")
    return Ending(JobState.FAILED, f"{_said(ended)} It was tried again {used} times, which is its limit.")


def _said(ended: Ended) -> str:
    words = _WORDS[ended.outcome]
    return f"{words} The site says: {ended.reason}" if ended.reason else words

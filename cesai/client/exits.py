"""With which number does a command end, and what does a script learn from it?"""

from __future__ import annotations

from enum import IntEnum

from cesai.kernel.errors import CesaiError, NotFound, Refused, Stale
from cesai.kernel.states import JobState


class Exit(IntEnum):
    """Numbers that scripts may rely on; they never change their meaning."""

    OK = 0
    JOB_FAILED = 1
    BAD_INPUT = 2
    REFUSED = 3
    NOT_FOUND = 4
    NO_ACCESS = 5
    NOT_REACHED = 6
    JOB_CANCELLED = 7
    BUG = 70
    INTERRUPTED = 130


MEANING = {
    Exit.OK: "done; with --wait or --follow: the job succeeded",
    Exit.JOB_FAILED: "the job that was waited for failed",
    Exit.BAD_INPUT: "the command line, the job file or a value in it is wrong; nothing was changed",
    Exit.REFUSED: "the hub said no by one of its rules; nothing was changed",
    Exit.NOT_FOUND: "it does not exist, or you may not see it",
    Exit.NO_ACCESS: "not signed in, or signed in without the right to do this",
    Exit.NOT_REACHED: "the hub or the login server gave no usable answer; try again",
    Exit.JOB_CANCELLED: "the job that was waited for was cancelled",
    Exit.BUG: "a fault in cesai itself; CESAI_DEBUG=1 shows where",
    Exit.INTERRUPTED: "stopped by Ctrl-C; a submitted job goes on",
}


class BadInput(CesaiError):
    """What was given cannot be taken; nothing was sent or nothing was changed."""


class NoAccess(CesaiError):
    """Signed in, but without the right to do this."""


class SignInNeeded(NoAccess):
    """Nobody is signed in, or no longer."""


class NotReached(CesaiError):
    """The other side gave no usable answer; what it did is not known."""


_EXITS: tuple[tuple[type[CesaiError], Exit], ...] = (
    (BadInput, Exit.BAD_INPUT),
    (Refused, Exit.REFUSED),
    (Stale, Exit.REFUSED),
    (NotFound, Exit.NOT_FOUND),
    (NoAccess, Exit.NO_ACCESS),
    (NotReached, Exit.NOT_REACHED),
)


def of_error(error: CesaiError) -> Exit:
    """The number that tells this error."""
    return next((number for kind, number in _EXITS if isinstance(error, kind)), Exit.REFUSED)


def of_job(state: str) -> Exit:
    """The number that tells how a job ended."""
    return {JobState.SUCCEEDED: Exit.OK, JobState.CANCELLED: Exit.JOB_CANCELLED}.get(JobState(state), Exit.JOB_FAILED)

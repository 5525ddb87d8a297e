"""What does the agent hold of one attempt, what did it see, and what can it do next?"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from cesai.contract.connector import FolderReading, JobRecord
from cesai.contract.messages import AttemptOrder, WrapperStamps
from cesai.kernel.states import Outcome


class Phase(StrEnum):
    """How far the submit protocol is; only what is journaled counts."""

    INTENDED = "intended"  # to be submitted; submitted already, perhaps, when tries > 0
    SUBMITTED = "submitted"  # a look-up found it at the site
    RUNNING = "running"  # its start fence was seen
    ENDED = "ended"  # sticky


class Revoke(StrEnum):
    """Why the agent itself takes back what it submitted."""

    REJECT = "reject"  # it can never run here as ordered
    AGAIN = "again"  # this copy is stuck: submit another once it is gone


@dataclass(frozen=True, slots=True)
class Owner:
    """The launch that holds the start fence: the one effective run."""

    external_id: str
    submit_time: datetime | None
    restart: int | None


@dataclass(frozen=True, slots=True)
class Watch:
    """What only this process needs to know; a restart counts anew."""

    absent_since: datetime | None = None
    absent_answers: int = 0
    ghost_since: datetime | None = None
    final_since: datetime | None = None
    cancelled_at: datetime | None = None
    released_at: datetime | None = None
    releases: int = 0
    unread: int = 0  # looks at which the queue did not tell what it had accepted


@dataclass(frozen=True, slots=True)
class HeldAttempt:
    """One attempt as the journal has it."""

    order: AttemptOrder
    accepted_at: datetime
    phase: Phase = Phase.INTENDED
    is_cancel_wished: bool = False
    revoke: Revoke | None = None
    sentence: str | None = None  # why it is revoked
    is_buried: bool = False
    tries: int = 0  # how often submit was called, counted before the call
    submit_called_at: datetime | None = None
    is_unanswered: bool = False  # the site gave no usable answer last time
    external_id: str | None = None
    submit_time: datetime | None = None
    restart_count: int = 0
    is_accepted_as_ordered: bool = False  # read back and compared
    is_released: bool = False
    has_launched: bool = False  # some copy got its GPUs, whether or not its script began
    owner: Owner | None = None
    duplicate_ids: tuple[str, ...] = ()
    stamps: WrapperStamps | None = None
    discarded: tuple[str, ...] = ()  # copies that were taken back to make another
    reason: str | None = None
    outcome: Outcome | None = None
    exit_code: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    ended_seen_at: datetime | None = None
    scheduler_gpu_ms: int | None = None
    watch: Watch = field(default=Watch(), compare=False)

    @property
    def attempt_id(self) -> str:
        """The hub's id."""
        return self.order.attempt_id

    @property
    def marker(self) -> str:
        """The site's name for it."""
        return self.order.marker

    @property
    def must_go(self) -> bool:
        """Nothing of it may start any more, or this copy must not."""
        return self.is_cancel_wished or self.revoke is not None


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the agent looks before it believes; seconds where nothing else is said."""

    absent_answers: int = 3
    absent_s: float = 3
    ghost_s: float = 15
    stamps_s: float = 10
    repeat_s: float = 10  # between two releases, or cancels, of the same job
    quick_s: float = 1
    releases: int = 5
    tries: int = 5
    longest_wait_s: float = 120
    lost_s: float = 600  # beyond the wall time


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one look at the site said of one attempt."""

    queue_answered: bool
    accounting_answered: bool
    jobs: tuple[JobRecord, ...] = ()
    keeps_folders: bool = True
    folder: FolderReading | None = None  # None: the file system did not answer, or was not asked


class Action(StrEnum):
    """What can be done at the site."""

    SUBMIT = "submit"
    RELEASE = "release"
    CANCEL = "cancel"
    BURY = "bury"


@dataclass(frozen=True, slots=True)
class Step:
    """What to journal, then what to do, then when to look again."""

    held: HeldAttempt
    action: Action | None = None
    ids: tuple[str, ...] = ()
    again_s: float | None = None  # None: nothing is expected within seconds


def same_launch(record: JobRecord, owner: Owner) -> bool:
    """Whether this job is the launch that holds the fence; an id alone proves nothing, since sites use ids again."""
    if record.external_id != owner.external_id:
        return False
    if record.restart_count > 0 or record.submit_time is None or owner.submit_time is None:
        return True  # a requeue moves the time of submission
    return abs((record.submit_time - owner.submit_time).total_seconds()) <= SAME_INSTANT_S


SAME_INSTANT_S = 2


def identity(record: JobRecord) -> str:
    """A name for one submission, which an id used again does not share."""
    when = record.submit_time.isoformat() if record.submit_time else "?"
    return f"{record.external_id}@{when}"

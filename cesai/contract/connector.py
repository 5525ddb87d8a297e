"""What must a connector be able to do?

A connector speaks to one cluster. Each ability is a small Protocol; the agent asks `isinstance` before it uses one.
Connectors are called from one worker thread each and may block for as long as their own time-outs say. They raise
`SiteUnavailable` when the site gave no usable answer: that proves nothing about what the site did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable

from cesai.contract.messages import AttemptOrder, CapacitySnapshot, WrapperStamps


class SiteUnavailable(Exception):
    """No usable answer: time-out, refusal to talk, an answer that cannot be parsed. Proves nothing."""


class SubmitRefused(Exception):
    """The site said clearly that it will not take this order; the sentence is for the researcher."""


class SiteState(StrEnum):
    """A job's state in words that all schedulers share."""

    HELD = "held"
    PENDING = "pending"
    RUNNING = "running"
    SUSPENDED = "suspended"
    ENDING = "ending"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    OUT_OF_MEMORY = "out_of_memory"
    NODE_FAIL = "node_fail"
    PREEMPTED = "preempted"
    IMPOSSIBLE = "impossible"  # waits for something that can never come (BadConstraints, PartitionTimeLimit …)
    UNKNOWN = "unknown"


FINAL = frozenset(
    {
        SiteState.COMPLETED,
        SiteState.FAILED,
        SiteState.TIMEOUT,
        SiteState.CANCELLED,
        SiteState.OUT_OF_MEMORY,
        SiteState.NODE_FAIL,
        SiteState.PREEMPTED,
    }
)


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job as the site has it now. Its identity is (site epoch, marker, submit time), never the id alone."""

    marker: str
    external_id: str
    submit_time: datetime | None
    restart_count: int
    state: SiteState
    native_state: str
    reason: str
    nodes: int | None
    gpus: int | None  # requested while it waits, allocated once it runs
    walltime_minutes: int | None
    tasks: int  # array tasks that this record stands for; 1 for a plain job
    started_at: datetime | None
    ended_at: datetime | None
    exit_code: int | None
    from_accounting: bool  # False: the scheduler's own memory


@dataclass(frozen=True, slots=True)
class Observation:
    """What one bulk question to queue and accounting answered."""

    taken_at: datetime
    queue_answered: bool
    accounting_answered: bool
    jobs: tuple[JobRecord, ...]

    def of(self, marker: str) -> tuple[JobRecord, ...]:
        """Every job that carries exactly this marker, the scheduler's own record before accounting's."""
        found = [job for job in self.jobs if job.marker == marker]
        return tuple(sorted(found, key=lambda job: job.from_accounting))


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch as accounting has it: half-filled rows are left out by the connector."""

    name: str  # the job's name; our marker when it is ours
    external_id: str
    submit_time: datetime
    account: str
    partition: str
    native_state: str
    gres_type: str | None
    gpus: int  # AllocTRES; 0 when it never started
    started_at: datetime | None
    ended_at: datetime | None
    elapsed_s: int

    @property
    def is_final(self) -> bool:
        """Accounting has seen its end."""
        return self.ended_at is not None


@dataclass(frozen=True, slots=True)
class FolderReading:
    """What an attempt's folder at the site says."""

    is_prepared: bool
    is_buried: bool  # a tombstone is there: this attempt can never start
    owner: str | None  # external id of the launch that holds the fence
    owner_submit_time: datetime | None
    owner_restart: int | None
    stamps: WrapperStamps | None
    duplicate_ids: tuple[str, ...]  # external ids of launches that found the fence taken
    trouble: str | None  # what the wrapper found wrong (no GPUs …)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `cesai-agent doctor`."""

    name: str
    is_ok: bool | None  # None: not checked, the text says why
    text: str
    mend: str | None = None


@runtime_checkable
class RunsJobs(Protocol):
    """Submits, finds, releases, cancels. Every call may be repeated."""

    def prepare(self, order: AttemptOrder) -> None:
        """Write the attempt's folder: the user's script and what the wrapper needs. Repeat-safe.

        Raises:
            SubmitRefused: the order cannot be run here.
            SiteUnavailable: the folder cannot be written.
        """
        ...

    def submit(self, order: AttemptOrder) -> str:
        """Submit, held, under the order's marker; returns the external id that the site told (a claim, not a proof).

        Raises:
            SubmitRefused: the site said clearly no, and nothing was made.
            SiteUnavailable: anything else; it may have been accepted.
        """
        ...

    def observe(self, markers: Sequence[str], since: datetime) -> Observation:
        """Everything the site knows of these markers in one bulk question: queue first, then accounting.

        An empty marker list still asks, to learn whether the site answers. Never raises for an unreachable site: it
        says so in the observation.
        """
        ...

    def release(self, external_ids: Sequence[str]) -> None:
        """Let held jobs run. Not an error when one runs already.

        Raises:
            SiteUnavailable: not proven for all of them.
        """
        ...

    def cancel(self, external_ids: Sequence[str]) -> None:
        """Ask the site to end these jobs; the proof is a final state in a later observation.

        Raises:
            SiteUnavailable: not proven to have been heard.
        """
        ...


@runtime_checkable
class KeepsFolders(Protocol):
    """Knows the attempts' folders on the site's shared file system."""

    def read_folder(self, marker: str) -> FolderReading:
        """Fence, stamps and tombstone of one attempt.

        Raises:
            SiteUnavailable: the file system does not answer.
        """
        ...

    def bury(self, marker: str) -> bool:
        """Set the tombstone, unless a launch already holds the fence; True when the attempt can never start.

        Raises:
            SiteUnavailable: the file system does not answer.
        """
        ...

    def read_log(self, marker: str, *, offset: int, limit: int) -> bytes:
        """Bytes of the attempt's log from an offset on; empty when there are none (yet)."""
        ...


@runtime_checkable
class TellsCapacity(Protocol):
    """Knows what the cluster has."""

    def capacity(self) -> CapacitySnapshot:
        """One snapshot by one bulk question.

        Raises:
            SiteUnavailable: no usable answer.
        """
        ...


@runtime_checkable
class TellsUsage(Protocol):
    """Knows what was used."""

    def usage(self, accounts: Sequence[str], since: datetime) -> tuple[Launch, ...]:
        """Every launch under these accounts that accounting has since then, duplicates and requeues included.

        Raises:
            SiteUnavailable: no usable answer.
        """
        ...


@runtime_checkable
class ExaminesItself(Protocol):
    """Can say what is missing at the site and how to mend it."""

    def examine(self) -> tuple[Finding, ...]:
        """Never raises; what cannot be checked is a finding."""
        ...


@runtime_checkable
class HasEpoch(Protocol):
    """Can tell one life of the scheduler's state from the next."""

    def cluster_identity(self) -> str:
        """Something that stays the same as long as job ids keep their meaning (ClusterID, start of the id sequence).

        Raises:
            SiteUnavailable: no usable answer.
        """
        ...


class Factory(Protocol):
    """What a connector distribution registers under the entry point group `cesai.connectors`."""

    def __call__(self, settings: Mapping[str, object]) -> object:
        """An instance from the `[connector]` table of agent.toml.

        Raises:
            ValueError: a setting is missing, unknown or malformed; the sentence names it.
        """
        ...

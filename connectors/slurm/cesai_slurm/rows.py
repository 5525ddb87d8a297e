"""What do both back ends read from Slurm, in the same words?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Gpus:
    """GPUs as a list of trackable resources tells them."""

    count: int
    gres_type: str | None  # None: untyped, or of several types


NO_GPUS = Gpus(0, None)


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One job in slurmctld's memory."""

    external_id: str
    name: str
    comment: str
    state: str
    reason: str
    account: str
    partition: str
    gpus: Gpus  # requested while it waits, allocated once it runs
    nodes: int | None
    walltime_minutes: int | None  # None: no limit, or one that Slurm cannot read itself
    submit_time: datetime | None
    started_at: datetime | None
    ended_at: datetime | None  # expected while it runs
    restart_count: int
    exit_code: int
    priority: int
    tasks: int


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One launch, or one job that was never launched, in slurmdbd."""

    external_id: str
    name: str
    state: str
    reason: str
    account: str
    partition: str
    gpus: Gpus  # allocated
    nodes: int | None
    walltime_minutes: int | None
    submit_time: datetime
    started_at: datetime | None
    ended_at: datetime | None
    elapsed_s: int
    exit_code: int | None  # None: it is not told


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One node as a member of one partition."""

    node: str
    partition: str
    states: frozenset[str]  # upper case: IDLE, MIXED, DRAIN …
    gpus: tuple[Gpus, ...]
    used: tuple[Gpus, ...]
    features: frozenset[str]
    max_walltime_minutes: int | None
    is_exclusive: bool
    is_open: bool  # the partition takes jobs and starts them


@dataclass(frozen=True, slots=True)
class Question:
    """Which rows of accounting?"""

    since: datetime
    until: datetime
    names: Sequence[str] = ()
    accounts: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Submission:
    """Everything that a job is submitted with; no word of the user's is in it."""

    marker: str
    account: str
    partition: str
    nodes: int
    tasks_per_node: int
    gres: str
    walltime_minutes: int
    folder: str
    output: str
    wrapper: str  # the text that the batch step runs: it only names paths


@dataclass(frozen=True, slots=True)
class About:
    """Who answers?"""

    version: str
    cluster: str | None  # None: it does not tell
    dialect: str | None

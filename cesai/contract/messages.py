"""What do hub and agent say to each other?

Fields are only ever added, and each side ignores those it does not know: an old agent works with a newer hub.
Amounts are integers with their unit in the name; instants are UTC with zone.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from cesai.kernel.states import AttemptState, Outcome

PROTOCOL = 1
LOG_RANGE_BYTES = 256 * 1024
POLL_SECONDS = 25

Marker = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{26,40}$")]
Short = Annotated[str, StringConstraints(max_length=256)]
Sentence = Annotated[str, StringConstraints(max_length=2_000)]
Count = Annotated[int, Field(ge=0, le=10_000_000)]
Milliseconds = Annotated[int, Field(ge=0, lt=2**62)]


class Message(BaseModel):
    """Frozen once read; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Launcher(StrEnum):
    """How a job's program is started inside its allocation."""

    PLAIN = "plain"
    SRUN = "srun"


class PoolReport(Message):
    """GPUs of one kind in one partition, as the scheduler tells it."""

    cluster: Short
    partition: Short
    gres_type: Short | None  # None: the site counts GPUs without a type
    features: tuple[Short, ...] = ()
    nodes: Count
    nodes_up: Count
    gpus_per_node: Count
    gpus: Count
    gpus_up: Count
    gpus_free: Count
    max_walltime_minutes: Count | None  # None: no limit
    is_exclusive: bool = False  # whole nodes are charged


class RunningWork(Message):
    """Something that holds GPUs of a partition until its wall time ends; whose it is does not matter."""

    partition: Short
    gpus: Count
    ends_by: AwareDatetime
    marker: Marker | None = None


class QueuedWork(Message):
    """Something that waits in the partition's own order."""

    partition: Short
    gpus: Count
    walltime_minutes: Count
    marker: Marker | None = None


class CapacitySnapshot(Message):
    """What a site has and what it is doing, at one instant."""

    taken_at: AwareDatetime
    kind: Literal["slurm", "ray"]
    backend: Short  # cli, rest, jobs-rest …
    dialect: Short | None = None  # the protocol version that the back end chose by asking
    scheduler_version: Short
    pools: tuple[PoolReport, ...]
    running: tuple[RunningWork, ...] = ()
    queued: tuple[QueuedWork, ...] = ()


class Wish(StrEnum):
    """What should become of an attempt."""

    RUN = "run"
    CANCEL = "cancel"


class AttemptOrder(Message):
    """One attempt that the site should hold, whole: nothing else is needed to run it."""

    attempt_id: Short
    marker: Marker
    wish: Wish
    project: Short
    account: Short  # the project's local account at this site
    cluster: Short
    partition: Short
    gres_type: Short | None
    nodes: Annotated[int, Field(ge=1)]
    gpus_per_node: Annotated[int, Field(ge=1)]
    charged_gpus: Annotated[int, Field(ge=1)]  # whole nodes where the partition is exclusive
    walltime_minutes: Annotated[int, Field(ge=1)]
    launcher: Launcher
    script: str  # the user's script, whole text; the wrapper starts it from a file of its own
    environment: dict[str, str]
    checkpoint_folder: str | None  # relative to the project's folder at the site; every attempt of the job has the same
    resume_from: str | None  # the checkpoint folder of the job that this one resumes
    ordered_at: AwareDatetime


class WrapperStamps(Message):
    """What the job's wrapper wrote down at the site, by the site's own clock."""

    started_at: AwareDatetime
    ended_at: AwareDatetime | None = None
    exit_code: int | None = None
    duplicates: Count = 0  # launches that found the fence taken and ended quietly


class AttemptReport(Message):
    """What the agent knows of one attempt. Level-triggered: the newest one says everything."""

    attempt_id: Short
    sequence: Annotated[int, Field(ge=1)]  # grows with every change the agent journals for this attempt
    state: AttemptState
    external_id: Short | None = None
    submit_time: AwareDatetime | None = None
    is_released: bool = False
    reason: Sentence | None = None  # why it waits or how it ended, in the site's own words
    outcome: Outcome | None = None  # only with ENDED
    exit_code: int | None = None
    started_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None
    stamps: WrapperStamps | None = None
    scheduler_gpu_ms: Milliseconds | None = None  # slurmctld's own record: allocated GPUs x (end - start)
    is_usage_complete: bool = False  # accounting has told the whole of it


class UsageKind(StrEnum):
    """Whose cost a launch is."""

    OWN = "own"
    DUPLICATE = "duplicate"  # the fence ended it
    UNATTRIBUTED = "unattributed"  # a stranger's job under one of the hub's accounts


BY_STAMPS = "BY-STAMPS"  # a record's state when accounting never told the end and the wrapper's stamps stand in


class UsageRecord(Message):
    """One launch as the site's accounting has it. The highest revision of a key is what counts."""

    key: Annotated[str, StringConstraints(max_length=200)]  # site epoch, external id, submit time, start time
    revision: Annotated[int, Field(ge=1)]  # the agent raises it when accounting changed its mind
    kind: UsageKind
    attempt_id: Short | None  # None: unattributed
    account: Short
    cluster: Short
    partition: Short
    external_id: Short
    gres_type: Short | None = None
    state: Short  # the site's own word
    started_at: AwareDatetime
    ended_at: AwareDatetime | None
    gpus: Count
    gpu_ms: Milliseconds
    is_final: bool


class LogWant(Message):
    """A range of a log that somebody at the hub is waiting for."""

    attempt_id: Short
    offset: Annotated[int, Field(ge=0)]
    limit: Annotated[int, Field(ge=1, le=LOG_RANGE_BYTES)]


class LogRange(Message):
    """Bytes of a log, from an offset on; empty with is_end when the attempt has ended and there is no more."""

    attempt_id: Short
    offset: Annotated[int, Field(ge=0)]
    base64: Annotated[str, StringConstraints(max_length=LOG_RANGE_BYTES * 4 // 3 + 4)]
    is_end: bool = False


class SyncRequest(Message):
    """Everything the agent holds; sent again whole when an answer was lost."""

    protocol: int = PROTOCOL
    agent_version: Short
    instance_id: Short  # from the journal; a second one is a cloned agent
    sequence: Annotated[int, Field(ge=1)]  # increases with every request of this instance
    site_epoch: Short  # changes when the site's scheduler lost its state
    clock: AwareDatetime
    is_reachable: bool  # whether the scheduler answered lately
    trouble: Sentence | None = None  # what keeps the agent from working, for the site's admin
    seen_revision: int = 0  # the hub's revision that the agent acts on
    wait_seconds: Annotated[int, Field(ge=0, le=POLL_SECONDS)] = 0
    capacity: CapacitySnapshot | None = None
    attempts: tuple[AttemptReport, ...] = ()
    usage: tuple[UsageRecord, ...] = ()
    logs: tuple[LogRange, ...] = ()


class SyncReply(Message):
    """Everything the agent should hold."""

    protocol: int = PROTOCOL
    hub_time: AwareDatetime
    revision: int  # changes whenever anything below does
    orders: tuple[AttemptOrder, ...]
    # Attempts whose end and usage the hub has booked: the agent may forget them.
    settled: tuple[Short, ...] = ()
    usage_booked: tuple[tuple[str, int], ...] = ()  # (key, revision) of this request's records that are stored
    log_wants: tuple[LogWant, ...] = ()
    accounts: tuple[Short, ...] = ()  # the hub's accounts at this site: their strangers' jobs are told too


class EnrolRequest(Message):
    """An agent's first word."""

    token: Annotated[str, StringConstraints(min_length=16, max_length=256)]
    instance_id: Short
    agent_version: Short
    public_key: dict[str, Any]  # a public JWK


class EnrolReply(Message):
    """Who the agent is from now on."""

    site_id: Short
    agent_id: Short
    audience: Short  # the aud of the tokens that it signs

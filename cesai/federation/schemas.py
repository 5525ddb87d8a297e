"""How do jobs look from outside?"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, StringConstraints

from cesai.federation.rules import settling
from cesai.federation.store import JobView
from cesai.federation.tables import Attempt, JobEvent
from cesai.kernel.amounts import GpuMilliseconds
from cesai.kernel.states import AttemptState, JobState, Outcome

Sentence = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]


class CancelIn(BaseModel):
    """A wish to cancel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Sentence | None = None


class AttemptOut(BaseModel):
    """One try at one cluster."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    number: int
    site: str
    cluster: str
    partition: str
    gpu_class: str
    state: AttemptState
    outcome: Outcome | None
    exit_code: int | None
    external_id: str | None
    submit_time: datetime | None
    placed_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    reason: str | None
    is_cancel_ordered: bool
    is_settled: bool
    gpus: int
    gpu_ms_reserved: int
    gpu_ms_settled: int | None
    gpu_ms_scheduler: int | None
    gpu_ms_wrapper: int | None

    @classmethod
    def of(cls, attempt: Attempt, settled: GpuMilliseconds | None) -> AttemptOut:
        """The attempt as people see it, with what each witness says it used."""
        return cls(
            id=attempt.id,
            number=attempt.number,
            site=attempt.site_id,
            cluster=attempt.cluster,
            partition=attempt.partition,
            gpu_class=attempt.gpu_class,
            state=AttemptState(attempt.state),
            outcome=Outcome(attempt.outcome) if attempt.outcome else None,
            exit_code=attempt.exit_code,
            external_id=attempt.external_id,
            submit_time=attempt.submit_time,
            placed_at=attempt.placed_at,
            started_at=attempt.started_at,
            ended_at=attempt.ended_at,
            reason=attempt.reason,
            is_cancel_ordered=attempt.is_cancel_ordered,
            is_settled=attempt.is_settled,
            gpus=attempt.charged_gpus,
            gpu_ms_reserved=attempt.reserved_gpu_ms,
            gpu_ms_settled=(settled.value if settled else 0) if attempt.is_settled else None,
            gpu_ms_scheduler=attempt.scheduler_gpu_ms,
            gpu_ms_wrapper=_wrapper_ms(attempt),
        )


def _wrapper_ms(attempt: Attempt) -> int | None:
    if attempt.wrapper_started_at is None or attempt.wrapper_ended_at is None:
        return None
    return settling.by_stamps(attempt.wrapper_started_at, attempt.wrapper_ended_at, gpus=attempt.charged_gpus).value


class JobOut(BaseModel):
    """A job, with every attempt at it."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    name: str
    project: str
    state: JobState
    cause: str | None
    waiting_reason: str | None
    created_at: datetime
    created_by: str
    ended_at: datetime | None
    nodes: int
    gpus_per_node: int
    gpu_class: list[str]
    walltime_minutes: int
    launcher: str
    resume: UUID | None
    cancel_wished_at: datetime | None
    cancel_wished_by: str | None
    attempts: list[AttemptOut]

    @classmethod
    def of(cls, view: JobView) -> JobOut:
        """The job as people see it. Its script and environment are not shown: others may read this."""
        job = view.job
        return cls(
            id=job.id,
            name=job.name,
            project=job.project_id,
            state=JobState(job.state),
            cause=job.cause,
            waiting_reason=job.waiting_reason,
            created_at=job.created_at,
            created_by=job.created_by,
            ended_at=job.ended_at,
            nodes=job.nodes,
            gpus_per_node=job.gpus_per_node,
            gpu_class=list(job.spec["gpu_class"]),
            walltime_minutes=job.walltime_minutes,
            launcher=job.spec["launcher"],
            resume=job.resume_job_id,
            cancel_wished_at=job.cancel_wished_at,
            cancel_wished_by=job.cancel_wished_by,
            attempts=[AttemptOut.of(attempt, view.settled.get(attempt.id)) for attempt in view.attempts],
        )


class EventOut(BaseModel):
    """Something that happened to a job."""

    model_config = ConfigDict(frozen=True)

    number: int
    at: datetime
    kind: str
    cause: str
    actor: str
    attempt_id: UUID | None

    @classmethod
    def of(cls, event: JobEvent) -> EventOut:
        """The event as people see it."""
        return cls(
            number=event.id,
            at=event.at,
            kind=event.kind,
            cause=event.cause,
            actor=event.actor,
            attempt_id=event.attempt_id,
        )


class PlaceOut(BaseModel):
    """Where a job could run, and what stands against it now."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    site_id: str
    partition: str
    gpu_class: str
    gpus_free: int
    gpus_asked: int
    obstacle: str | None


class WhyOut(BaseModel):
    """Why a job is where it is."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    state: JobState
    reason: str
    places: list[PlaceOut]


class LogOut(BaseModel):
    """Some bytes of a log; ask again from next_offset until is_end."""

    model_config = ConfigDict(frozen=True)

    attempt: int
    offset: int
    base64: str
    next_offset: int
    is_end: bool

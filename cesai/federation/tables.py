"""Which rows does the room `federation` keep? Jobs, their attempts, and what sites told about them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from cesai.db.base import Table
from cesai.kernel.states import JOB_FINAL, AttemptState, JobState, Outcome


def _one_of(column: str, words: Iterable[str]) -> str:
    return f"{column} IN ({_quoted(words)})"


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)


class Job(Table):
    """What a group asks for."""

    __tablename__ = "job"
    __table_args__ = (
        CheckConstraint(_one_of("state", JobState), name="state"),
        Index("ix_job_project_id_id", "project_id", "id"),
        Index("ix_job_open", "state", postgresql_where=text(f"state NOT IN ({_quoted(sorted(JOB_FINAL))})")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id"))
    state: Mapped[str]
    cause: Mapped[str | None]  # why it is in this state, for people
    spec: Mapped[dict[str, Any]]  # the job file as it was read
    nodes: Mapped[int]
    gpus_per_node: Mapped[int]
    walltime_minutes: Mapped[int]
    resume_job_id: Mapped[UUID | None] = mapped_column(ForeignKey("job.id"))
    home_site_id: Mapped[str | None] = mapped_column(
        ForeignKey("site.id")
    )  # the only site that will do: where the checkpoints of the resumed job are
    resume_from: Mapped[str | None]  # the checkpoint folder of the resumed job
    created_at: Mapped[datetime]
    created_by_id: Mapped[UUID]
    created_by: Mapped[str]
    cancel_wished_at: Mapped[datetime | None]
    cancel_wished_by: Mapped[str | None]
    cancel_reason: Mapped[str | None]
    waiting_reason: Mapped[str | None]  # of the newest placement round
    queued_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    last_number: Mapped[int]  # of its newest attempt; 0 before the first


class Attempt(Table):
    """One try at one cluster. The reservation in the ledger belongs to it."""

    __tablename__ = "attempt"
    __table_args__ = (
        CheckConstraint(_one_of("state", AttemptState), name="state"),
        CheckConstraint(_one_of("outcome", Outcome), name="outcome"),
        CheckConstraint("(state = 'ENDED') = (outcome IS NOT NULL)", name="ended_with_outcome"),
        CheckConstraint("reserved_gpu_ms > 0 AND charged_gpus > 0", name="reserves"),
        UniqueConstraint("job_id", "number"),
        UniqueConstraint("marker"),
        # Exactly one effective run begins here: a job has one open attempt at any time.
        Index("uq_attempt_one_open", "job_id", unique=True, postgresql_where=text("state <> 'ENDED'")),
        Index("ix_attempt_owed", "site_id", postgresql_where=text("is_owed")),
        Index("ix_attempt_log", "site_id", postgresql_where=text("NOT is_log_complete")),
        Index("ix_attempt_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("job.id"))
    number: Mapped[int]
    site_id: Mapped[str] = mapped_column(ForeignKey("site.id"))
    cluster: Mapped[str]
    partition: Mapped[str]
    gres_type: Mapped[str | None]
    gpu_class: Mapped[str]
    account: Mapped[str]
    marker: Mapped[str]
    order: Mapped[dict[str, Any]]  # AttemptOrder without its wish
    state: Mapped[str]
    outcome: Mapped[str | None]
    exit_code: Mapped[int | None]
    external_id: Mapped[str | None]
    submit_time: Mapped[datetime | None]
    reason: Mapped[str | None]  # in the site's own words
    reported_instance: Mapped[str | None]  # of the agent's journal that counts the sequence
    reported_sequence: Mapped[int]  # 0: never reported
    reported_at: Mapped[datetime | None]
    fetched_at: Mapped[datetime | None]  # the order left the hub; before that, nothing can have run
    is_owed: Mapped[bool]  # the site has not told its final state
    is_cancel_ordered: Mapped[bool]
    is_moved: Mapped[bool]  # cancelled by the hub, to place the job anew
    charged_gpus: Mapped[int]
    walltime_minutes: Mapped[int]
    margin_minutes: Mapped[int]
    patience_minutes: Mapped[int]
    reserved_gpu_ms: Mapped[int]
    placed_at: Mapped[datetime]
    latest_end: Mapped[datetime]
    running_known_at: Mapped[datetime | None]  # by the hub's clock, so never before the start
    started_at: Mapped[datetime | None]  # by the site's own clock
    ended_at: Mapped[datetime | None]  # the same
    end_known_at: Mapped[datetime | None]  # by the hub's
    wrapper_started_at: Mapped[datetime | None]
    wrapper_ended_at: Mapped[datetime | None]
    wrapper_exit_code: Mapped[int | None]
    wrapper_duplicates: Mapped[int]
    scheduler_gpu_ms: Mapped[int | None]
    is_usage_complete: Mapped[bool]
    is_usage_flagged: Mapped[bool]
    is_settled: Mapped[bool]
    settled_at: Mapped[datetime | None]
    log_bytes: Mapped[int]  # stored without a gap
    is_log_complete: Mapped[bool]
    due_at: Mapped[datetime | None]  # when the sweep looks at it again; None: nothing is left to do


class JobEvent(Table):
    """What happened to a job, in order, why and by whom. Only ever added."""

    __tablename__ = "job_event"
    __table_args__ = (Index("ix_job_event_job_id", "job_id", "id"),)

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("job.id"))
    attempt_id: Mapped[UUID | None] = mapped_column(ForeignKey("attempt.id"))
    at: Mapped[datetime]
    kind: Mapped[str]
    cause: Mapped[str]
    actor: Mapped[str]


class UsageRecord(Table):
    """One launch as a site's accounting told it; every revision is kept, the highest of a key counts."""

    __tablename__ = "usage_record"
    __table_args__ = (
        Index("ix_usage_record_attempt_id", "attempt_id"),
        Index("ix_usage_record_unbooked", "site_id", postgresql_where=text("is_unbooked")),
    )

    site_id: Mapped[str] = mapped_column(ForeignKey("site.id"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    attempt_id: Mapped[UUID | None] = mapped_column(ForeignKey("attempt.id"))  # None: none of this site's attempts
    kind: Mapped[str]
    payload: Mapped[dict[str, Any]]
    doubt: Mapped[str | None]  # why it does not count
    is_unbooked: Mapped[bool]  # a stranger's job whose project or class is not known yet
    received_at: Mapped[datetime]


class LogRange(Table):
    """Bytes of an attempt's log."""

    __tablename__ = "log_range"

    attempt_id: Mapped[UUID] = mapped_column(ForeignKey("attempt.id"), primary_key=True)
    offset: Mapped[int] = mapped_column(primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)
    received_at: Mapped[datetime]


class LogWish(Table):
    """Somebody looks at this attempt's log."""

    __tablename__ = "log_wish"

    attempt_id: Mapped[UUID] = mapped_column(ForeignKey("attempt.id"), primary_key=True)
    until: Mapped[datetime]

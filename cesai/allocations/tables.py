"""Which rows does the room `allocations` keep?

The journal (`ledger_transfer`) and the usage it rests on (`usage_version`) are only ever added to: triggers refuse
anything else. The counters of an account follow from the journal; they exist because only a counter can be checked
against a bound in the statement that raises it.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Identity, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from cesai.db.base import Table


class Account(Table):
    """Where GPU time of one class is, comes from or goes to."""

    __tablename__ = "ledger_account"
    __table_args__ = (
        CheckConstraint(
            "debits_pending >= 0 AND debits_posted >= 0 AND credits_pending >= 0 AND credits_posted >= 0",
            name="counters_not_negative",
        ),
        CheckConstraint("NOT is_bounded OR debits_pending + debits_posted <= credits_posted", name="within_bound"),
        UniqueConstraint(
            "kind",
            "site_id",
            "gpu_class",
            "period",
            "project_id",
            "stream",
            "grant_id",
            postgresql_nulls_not_distinct=True,
            name="uq_ledger_account_key",
        ),
        Index(None, "project_id", "site_id", "gpu_class"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    site_id: Mapped[str]
    gpu_class: Mapped[str]
    period: Mapped[str | None]
    project_id: Mapped[str | None]
    stream: Mapped[str | None]
    grant_id: Mapped[str | None]
    number: Mapped[int] = mapped_column(Identity(always=True))  # lines of a period are drawn from in this order
    is_bounded: Mapped[bool]
    debits_pending: Mapped[int] = mapped_column(server_default="0")
    debits_posted: Mapped[int] = mapped_column(server_default="0")
    credits_pending: Mapped[int] = mapped_column(server_default="0")
    credits_posted: Mapped[int] = mapped_column(server_default="0")
    opened_at: Mapped[datetime]


class Award(Table):
    """One decision to give a project compute; its lines are entries of the journal."""

    __tablename__ = "award"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id"), index=True)
    reason: Mapped[str | None]
    awarded_by: Mapped[str]
    awarded_at: Mapped[datetime]


class Reservation(Table):
    """What was set aside for an attempt, and whether the attempt is over."""

    __tablename__ = "attempt_reservation"
    __table_args__ = (
        CheckConstraint("reserved_gpu_ms > 0", name="amount_is_positive"),
        CheckConstraint("gpus > 0", name="gpus_are_positive"),
    )

    attempt_id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[str]
    site_id: Mapped[str]
    gpu_class: Mapped[str]
    gpus: Mapped[int]
    reserved_gpu_ms: Mapped[int]
    is_over: Mapped[bool]
    is_site_fault: Mapped[bool]  # found once, it stays: the reports' order must not matter
    reserved_at: Mapped[datetime]
    over_at: Mapped[datetime | None]


class UsageVersion(Table):
    """What a site's accounting said of one launch, at each revision. The highest one counts."""

    __tablename__ = "usage_version"
    __table_args__ = (
        CheckConstraint("gpu_ms >= 0", name="amount_not_negative"),
        CheckConstraint("(kind = 'unattributed') = (attempt_id IS NULL)", name="attempt_unless_unattributed"),
    )

    site_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    attempt_id: Mapped[UUID | None] = mapped_column(ForeignKey("attempt_reservation.attempt_id"), index=True)
    project_id: Mapped[str]
    gpu_class: Mapped[str]
    kind: Mapped[str]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    gpus: Mapped[int]
    gpu_ms: Mapped[int]
    recorded_at: Mapped[datetime]


class Transfer(Table):
    """One entry of the journal."""

    __tablename__ = "ledger_transfer"
    __table_args__ = (
        CheckConstraint("amount_gpu_ms > 0", name="amount_is_positive"),
        CheckConstraint("debit_account_id <> credit_account_id", name="two_accounts"),
        CheckConstraint("(phase = 'resolution') = (pending_id IS NOT NULL)", name="resolution_names_pending"),
        CheckConstraint("(kind = 'reversal') = (reverses_id IS NOT NULL)", name="reversal_names_entry"),
        ForeignKeyConstraint(
            ("site_id", "source_key", "source_revision"),
            ("usage_version.site_id", "usage_version.key", "usage_version.revision"),
            name="fk_ledger_transfer_usage_version",
        ),
        Index(None, "site_id", "source_key"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(Identity(always=True), unique=True)
    kind: Mapped[str]
    phase: Mapped[str]
    debit_account_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_account.id"), index=True)
    credit_account_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_account.id"), index=True)
    amount_gpu_ms: Mapped[int]
    site_id: Mapped[str]
    period: Mapped[str] = mapped_column(index=True)
    corrects_period: Mapped[str | None]
    attempt_id: Mapped[UUID | None] = mapped_column(ForeignKey("attempt_reservation.attempt_id"), index=True)
    source_key: Mapped[str | None]
    source_revision: Mapped[int | None]
    pending_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transfer.id"), unique=True)
    reverses_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transfer.id"), unique=True)
    award_id: Mapped[UUID | None] = mapped_column(ForeignKey("award.id"), index=True)
    at: Mapped[datetime]
    actor: Mapped[str]


class ClosedPeriod(Table):
    """A period in which nothing is booked any more."""

    __tablename__ = "closed_period"

    period: Mapped[str] = mapped_column(primary_key=True)
    last_number: Mapped[int]  # of the journal when it was closed
    closed_by: Mapped[str]
    closed_at: Mapped[datetime]

"""What do people send and get about pledges, awards and the ledger?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, StringConstraints, WithJsonSchema

from cesai.allocations import service
from cesai.allocations.rules import DEFAULT
from cesai.kernel.amounts import GpuMilliseconds
from cesai.kernel.ids import SLUG
from cesai.kernel.periods import Period
from cesai.sites.service import NewPledge
from cesai.sites.service import Pledge as SitePledge

MOST_HOURS = Decimal(100_000_000)
LAST_YEAR = 2199

Slug = Annotated[str, StringConstraints(pattern=f"^{SLUG.pattern}$")]
GpuClassId = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9-]{1,15}$")]
# What accounts' names are made of; the query of a list may hold nothing else.
AccountName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_:.-]{1,300}$")]
Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1_000, pattern=r"^[^\p{C}\p{Zl}\p{Zp}]+$")
]


def _period(value: object) -> Period:
    period = value if isinstance(value, Period) else Period.parse(str(value))
    if not 2000 <= period.year <= LAST_YEAR:  # noqa: PLR2004  the years that this ledger can hold
        msg = f"{period} lies outside the years that the ledger holds"
        raise ValueError(msg)
    return period


PeriodName = Annotated[
    Period,
    BeforeValidator(_period),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d{4}-Q[1-4]$", "examples": ["2026-Q4"]}),
]


def _hours(value: object) -> GpuMilliseconds:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        msg = "write GPU-hours as a number, like 1000 or 0.5"
        raise ValueError(msg)  # noqa: TRY004  pydantic turns only a ValueError into an error of the field
    try:
        hours = Decimal(str(value))
    except ArithmeticError as error:
        msg = "write GPU-hours as a number, like 1000 or 0.5"
        raise ValueError(msg) from error
    if not (hours.is_finite() and 0 < hours <= MOST_HOURS):
        msg = f"must be more than 0 and at most {MOST_HOURS:,} GPU-hours"
        raise ValueError(msg)
    return GpuMilliseconds.of_hours(hours)


GpuHours = Annotated[
    GpuMilliseconds,
    BeforeValidator(_hours),
    WithJsonSchema(
        {
            "anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": r"^\d+(\.\d+)?$"}],
            "examples": [1000],
        }
    ),
]


def hours_text(amount: GpuMilliseconds) -> str:
    """GPU-hours for people, two places."""
    return f"{amount.hours:.2f}"


class In(BaseModel):
    """Input: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Out(BaseModel):
    """Output: every field is told."""

    model_config = ConfigDict(frozen=True)


class PledgeIn(In):
    """What a site promises for a period, beside what it has promised before."""

    gpu_class: GpuClassId
    period: PeriodName
    gpu_hours: GpuHours

    def to_rule(self, site_id: str) -> NewPledge:
        """As the rules know it."""
        return NewPledge(site_id=site_id, gpu_class=self.gpu_class, period=self.period, amount=self.gpu_hours)


class PledgeOut(Out):
    """A site's promise."""

    id: UUID
    site_id: str
    gpu_class: str
    period: PeriodName
    gpu_ms: int
    gpu_hours: str
    pledged_at: datetime

    @classmethod
    def of(cls, pledge: SitePledge) -> Self:
        """As the rules know it."""
        return cls(
            id=pledge.id,
            site_id=pledge.site_id,
            gpu_class=pledge.gpu_class,
            period=pledge.period,
            gpu_ms=pledge.amount.value,
            gpu_hours=hours_text(pledge.amount),
            pledged_at=pledge.pledged_at,
        )


class AwardLineIn(In):
    """So much for the project at a site."""

    site_id: Slug
    gpu_class: GpuClassId
    period: PeriodName
    gpu_hours: GpuHours
    stream: Slug = DEFAULT

    def to_rule(self) -> service.AwardLine:
        """As the rules know it."""
        return service.AwardLine(
            site_id=self.site_id,
            gpu_class=self.gpu_class,
            period=self.period,
            amount=self.gpu_hours,
            stream=self.stream,
        )


class AwardIn(In):
    """What a project is to get; the order of the lines is the order in which streams are drawn from."""

    lines: Annotated[tuple[AwardLineIn, ...], Field(min_length=1, max_length=200)]
    reason: Reason | None = None


class AwardLineOut(Out):
    """One line of an award."""

    site_id: str
    gpu_class: str
    period: PeriodName
    stream: str
    gpu_ms: int
    gpu_hours: str

    @classmethod
    def of(cls, line: service.AwardLine) -> Self:
        """As the rules know it."""
        return cls(
            site_id=line.site_id,
            gpu_class=line.gpu_class,
            period=line.period,
            stream=line.stream,
            gpu_ms=line.amount.value,
            gpu_hours=hours_text(line.amount),
        )


class AwardOut(Out):
    """What a project was given by one decision."""

    id: UUID
    project_id: str
    reason: str | None
    awarded_at: datetime
    lines: list[AwardLineOut]

    @classmethod
    def of(cls, award: service.Award) -> Self:
        """As the rules know it."""
        return cls(
            id=award.id,
            project_id=award.project_id,
            reason=award.reason,
            awarded_at=award.awarded_at,
            lines=[AwardLineOut.of(line) for line in award.lines],
        )


class LineOut(Out):
    """What a project has on one award line."""

    account: str
    site_id: str
    gpu_class: str
    period: PeriodName
    stream: str
    awarded_gpu_ms: int
    pending_gpu_ms: int
    used_gpu_ms: int
    left_gpu_ms: int
    awarded_gpu_hours: str
    pending_gpu_hours: str
    used_gpu_hours: str
    left_gpu_hours: str

    @classmethod
    def of(cls, line: service.Line) -> Self:
        """As the rules know it."""
        return cls(
            account=line.key.name,
            site_id=line.site_id,
            gpu_class=line.gpu_class,
            period=line.period,
            stream=line.stream,
            awarded_gpu_ms=line.awarded.value,
            pending_gpu_ms=line.pending.value,
            used_gpu_ms=line.posted.value,
            left_gpu_ms=line.left.value,
            awarded_gpu_hours=hours_text(line.awarded),
            pending_gpu_hours=hours_text(line.pending),
            used_gpu_hours=hours_text(line.posted),
            left_gpu_hours=hours_text(line.left),
        )


class ProjectBalanceOut(Out):
    """All award lines of a project, the earliest period first."""

    project_id: str
    lines: list[LineOut]

    @classmethod
    def of(cls, project_id: str, lines: Sequence[service.Line]) -> Self:
        """As the rules know it."""
        return cls(project_id=project_id, lines=[LineOut.of(line) for line in lines])


class BalanceOut(Out):
    """What is on an account; of a source (SUPPLY, OVERRUN, DUPLICATE, UNATTRIBUTED, SITE_LOSS), what it gave."""

    account: str
    kind: str
    gpu_ms: int
    gpu_hours: str
    pending_gpu_ms: int

    @classmethod
    def of(cls, balance: service.Balance) -> Self:
        """As the ledger has it."""
        return cls(
            account=balance.account,
            kind=balance.kind,
            gpu_ms=balance.balance.value,
            gpu_hours=hours_text(balance.balance),
            pending_gpu_ms=balance.pending.value,
        )


class EntryOut(Out):
    """One row of the journal."""

    id: UUID
    number: int
    kind: str
    phase: str
    debit: str
    credit: str
    gpu_ms: int
    gpu_hours: str
    period: str
    corrects_period: str | None
    attempt_id: UUID | None
    source_key: str | None
    source_revision: int | None
    pending_id: UUID | None
    reverses_id: UUID | None
    award_id: UUID | None
    at: datetime
    actor: str

    @classmethod
    def of(cls, entry: service.Listed) -> Self:
        """As the ledger has it."""
        told = {name: getattr(entry, name) for name in cls.model_fields if not name.startswith("gpu_")}
        return cls(gpu_ms=entry.amount.value, gpu_hours=hours_text(entry.amount), **told)


class CheckOut(Out):
    """One sentence that must always be true of the ledger."""

    name: str
    holds: bool
    detail: str


class VerifyOut(Out):
    """Whether the ledger holds."""

    invariants_hold: bool
    checks: list[CheckOut]

    @classmethod
    def of(cls, checks: Sequence[service.Check]) -> Self:
        """As the database says."""
        return cls(
            invariants_hold=all(check.holds for check in checks),
            checks=[CheckOut(name=check.name, holds=check.holds, detail=check.detail) for check in checks],
        )

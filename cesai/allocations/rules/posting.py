"""Which entries lead from what stands in the journal to what should stand there?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from cesai.allocations.rules.accounts import AccountKey, AccountKind, Entry, EntryKind, entry_id
from cesai.allocations.rules.usage import Part, Posted, booking_period, corrections
from cesai.kernel.periods import Period

_SOURCES = {
    EntryKind.OVERRUN: AccountKind.OVERRUN,
    EntryKind.DUPLICATE: AccountKind.DUPLICATE,
    EntryKind.UNATTRIBUTED: AccountKind.UNATTRIBUTED,
    EntryKind.SITE_LOSS: AccountKind.SITE_LOSS,
}
_OF_THE_SITE = frozenset({EntryKind.DUPLICATE, EntryKind.SITE_LOSS})


@dataclass(frozen=True, slots=True)
class Payer:
    """Whose use it is, and from which line each period of its reservation draws."""

    project_id: str
    site_id: str
    gpu_class: str
    attempt_id: UUID | None = None
    lines: Mapping[Period, AccountKey] = field(default_factory=dict)


def lead_to(
    wished: Sequence[Part], posted: Sequence[Posted], *, payer: Payer, closed: Collection[Period]
) -> list[Entry]:
    """The reversals of what no longer holds, then what is new.

    In a closed period nothing is booked: the entries go to the next open one and name the period that they correct.
    """
    back, new = corrections(posted, wished)
    count: dict[tuple[str, Period, EntryKind], int] = {}
    for row in posted:
        series = (row.part.key, row.part.period, row.part.kind)
        count[series] = count.get(series, 0) + 1
    entries = [_reversal(row, payer, closed) for row in back]
    for part in new:
        number = count.get((part.key, part.period, part.kind), 0)
        entries.append(_posting(part, number, payer=payer, closed=closed))
    return entries


def _reversal(row: Posted, payer: Payer, closed: Collection[Period]) -> Entry:
    period = booking_period(_period(row.credit), closed)
    return Entry(
        id=entry_id("reversal", row.id),
        kind=EntryKind.REVERSAL,
        debit=_in(row.credit, period),
        credit=_in(row.debit, period),
        amount=row.part.amount,
        period=period,
        attempt_id=payer.attempt_id if row.part.kind is not EntryKind.UNATTRIBUTED else None,
        source_key=row.part.key,
        source_revision=row.part.revision,
        corrects=row.part.period if row.part.period != period else None,
        reverses_id=row.id,
    )


def _posting(part: Part, number: int, *, payer: Payer, closed: Collection[Period]) -> Entry:
    period = booking_period(part.period, closed)
    return Entry(
        id=entry_id(part.kind, payer.site_id, part.key, part.period, number),
        kind=part.kind,
        debit=_source(part, period, payer),
        credit=AccountKey(AccountKind.CONSUMED, payer.site_id, payer.gpu_class, period),
        amount=part.amount,
        period=period,
        attempt_id=payer.attempt_id,
        source_key=part.key,
        source_revision=part.revision,
        corrects=part.period if part.period != period else None,
    )


def _source(part: Part, period: Period, payer: Payer) -> AccountKey:
    if part.kind is EntryKind.SETTLE:
        return _in(payer.lines[part.period], period)
    project_id = None if part.kind in _OF_THE_SITE else payer.project_id
    return AccountKey(_SOURCES[part.kind], payer.site_id, payer.gpu_class, project_id=project_id)


def _in(key: AccountKey, period: Period) -> AccountKey:
    return replace(key, period=period) if key.period else key


def _period(key: AccountKey) -> Period:
    if key.period is None:
        msg = f"{key.name} has no period"
        raise ValueError(msg)
    return key.period

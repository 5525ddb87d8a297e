"""Who bears what a site says it has run, and which entries lead there?

Nothing here depends on the order in which the site's records came: the latest revisions alone decide what should be
booked, and the difference to what is booked becomes new entries.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from cesai.allocations.rules.accounts import AccountKey, EntryKind
from cesai.allocations.rules.reservations import shares
from cesai.kernel.amounts import ZERO, GpuMilliseconds
from cesai.kernel.errors import Refused
from cesai.kernel.periods import Period

LONGEST = timedelta(days=400)
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
MOST = GpuMilliseconds(10**15)


class UsageFor(StrEnum):
    """Whose a launch is."""

    OWN = "own"
    DUPLICATE = "duplicate"
    UNATTRIBUTED = "unattributed"


@dataclass(frozen=True, slots=True)
class Usage:
    """One launch, as the site's accounting had it at one revision."""

    key: str
    revision: int
    kind: str  # a UsageFor
    started_at: datetime
    ended_at: datetime | None
    gpus: int
    gpu_ms: GpuMilliseconds


@dataclass(frozen=True, slots=True)
class Part:
    """What should be posted for one launch in one period, and as what."""

    key: str
    revision: int
    period: Period  # in which the use was
    kind: EntryKind
    amount: GpuMilliseconds


@dataclass(frozen=True, slots=True)
class Posted:
    """What the journal holds for a launch."""

    id: UUID
    part: Part
    debit: AccountKey
    credit: AccountKey
    is_reversed: bool


@dataclass(frozen=True, slots=True)
class Booked:
    """What was posted for an attempt, by who bears it."""

    settled: GpuMilliseconds = ZERO
    overrun: GpuMilliseconds = ZERO
    duplicate: GpuMilliseconds = ZERO
    site_loss: GpuMilliseconds = ZERO

    @property
    def own(self) -> GpuMilliseconds:
        """All that the attempt's own launches used, whoever bears it."""
        return self.settled + self.overrun + self.site_loss


def plausible(usage: Usage) -> None:
    """A site's report is a stranger's word: what no calendar or machine can hold is not booked.

    Raises:
        Refused: the record cannot be true.
    """
    end = usage.ended_at or usage.started_at
    if not (EARLIEST <= usage.started_at < LATEST and EARLIEST <= end < LATEST):
        msg = f"The site reports a launch {usage.key} at {usage.started_at:%Y}: correct the site's clock or accounting."
        raise Refused(msg)
    if end - usage.started_at > LONGEST:
        msg = f"The site reports that launch {usage.key} ran for more than {LONGEST.days} days: correct its accounting."
        raise Refused(msg)
    if not (ZERO <= usage.gpu_ms <= MOST and usage.gpus >= 0):
        msg = f"The site reports {usage.gpu_ms} for launch {usage.key}: correct its accounting."
        raise Refused(msg)


def in_order(launches: Iterable[Usage]) -> tuple[Usage, ...]:
    """Launches in the order in which a reservation pays for them: that in which they started."""
    return tuple(sorted(launches, key=lambda usage: (usage.started_at, usage.key)))


def split_launch(usage: Usage) -> dict[Period, GpuMilliseconds]:
    """What a launch used in each period; the parts add up to its use exactly.

    A launch without an end, or with one before its start (both occur in accounting), is taken to have used its GPUs
    from the start on without a break.
    """
    end = usage.ended_at
    if end is None or end < usage.started_at:
        end = usage.started_at + timedelta(milliseconds=usage.gpu_ms.value // max(usage.gpus, 1))
        end = min(end, usage.started_at + LONGEST)
    return {period: amount for period, amount in shares(usage.gpu_ms, usage.started_at, end).items() if amount}


def targets(
    launches: Sequence[Usage],
    *,
    reserved: GpuMilliseconds,
    room: Mapping[Period, GpuMilliseconds],
    is_site_fault: bool,
) -> tuple[Part, ...]:
    """What should be posted for the latest revisions of an attempt's launches.

    The lines bear the use in the order of time, up to the reservation in all and up to the room that each has for this
    attempt; what goes beyond is an overrun, flagged by its own account and never cut off.
    """
    parts: list[Part] = []
    unspent, rooms = reserved, dict(room)
    for usage in in_order(launches):
        for period, amount in split_launch(usage).items():
            whole = _borne_by_the_site(usage, is_site_fault=is_site_fault)
            if whole:
                parts.append(Part(usage.key, usage.revision, period, whole, amount))
                continue
            settled = max(min(amount, unspent, rooms.get(period, ZERO)), ZERO)
            unspent -= settled
            rooms[period] = rooms.get(period, ZERO) - settled
            parts.append(Part(usage.key, usage.revision, period, EntryKind.SETTLE, settled))
            parts.append(Part(usage.key, usage.revision, period, EntryKind.OVERRUN, amount - settled))
    return tuple(part for part in parts if part.amount)


def _borne_by_the_site(usage: Usage, *, is_site_fault: bool) -> EntryKind | None:
    if usage.kind == UsageFor.UNATTRIBUTED:
        return EntryKind.UNATTRIBUTED
    if usage.kind == UsageFor.DUPLICATE:
        return EntryKind.DUPLICATE
    return EntryKind.SITE_LOSS if is_site_fault else None


def corrections(posted: Sequence[Posted], wished: Sequence[Part]) -> tuple[tuple[Posted, ...], tuple[Part, ...]]:
    """What to take back and what to post, so that what stands in the journal is what was wished.

    An entry that says the same of the same launch stays, whatever revision it came with.
    """
    standing = {_says(row.part): row for row in posted if not row.is_reversed}
    asked = {_says(part): part for part in wished}
    back = tuple(row for says, row in standing.items() if says not in asked)
    new = tuple(part for says, part in asked.items() if says not in standing)
    return back, new


def _says(part: Part) -> tuple[str, Period, EntryKind, GpuMilliseconds]:
    return part.key, part.period, part.kind, part.amount


def booking_period(period: Period, closed: Collection[Period]) -> Period:
    """Where use of this period is booked: in itself, or, once it is closed, in the first one after it that is open."""
    while period in closed:
        period = period.next()
    return period


def booked(posted: Iterable[Posted]) -> Booked:
    """The sums of what stands."""
    sums = dict.fromkeys(EntryKind, ZERO)
    for row in posted:
        if not row.is_reversed:
            sums[row.part.kind] += row.part.amount
    return Booked(
        settled=sums[EntryKind.SETTLE],
        overrun=sums[EntryKind.OVERRUN],
        duplicate=sums[EntryKind.DUPLICATE],
        site_loss=sums[EntryKind.SITE_LOSS],
    )

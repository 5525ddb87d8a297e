"""What was set aside for an attempt, what did its site report, and what was posted for it?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, and_, false, func, or_, select
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.orm import Session, aliased

from cesai.allocations import rules
from cesai.allocations.store.reading import account_key
from cesai.allocations.tables import Account, Reservation, Transfer, UsageVersion
from cesai.kernel.amounts import GpuMilliseconds
from cesai.kernel.errors import Refused
from cesai.kernel.periods import Period

_SAID = ("kind", "started_at", "ended_at", "gpus", "gpu_ms")


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a launch is: an attempt's, or, without one, a project's at large."""

    site_id: str
    project_id: str
    gpu_class: str
    attempt_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """One pending of an attempt, open or resolved."""

    id: UUID
    line: rules.AccountKey
    period: Period
    amount: GpuMilliseconds
    is_open: bool


def reservation(db: Session, attempt_id: UUID) -> Reservation | None:
    """What was set aside for an attempt, as it is now and stays until this transaction ends."""
    query = select(Reservation).where(Reservation.attempt_id == attempt_id).with_for_update()
    return db.scalars(query.execution_options(populate_existing=True)).one_or_none()


def site_of(db: Session, attempt_id: UUID) -> str | None:
    """Where something was set aside for this attempt."""
    return db.scalar(select(Reservation.site_id).where(Reservation.attempt_id == attempt_id))


def reserved(db: Session, attempt_ids: Collection[UUID]) -> dict[UUID, GpuMilliseconds]:
    """The reservation of each attempt that has one."""
    query = select(Reservation.attempt_id, Reservation.reserved_gpu_ms).where(Reservation.attempt_id.in_(attempt_ids))
    return {row.attempt_id: GpuMilliseconds(row.reserved_gpu_ms) for row in db.execute(query)}


def pendings(db: Session, attempt_id: UUID) -> tuple[Pending, ...]:
    """All pendings of an attempt, in the order in which they were made."""
    resolution = aliased(Transfer)
    query = (
        select(Transfer, Account, resolution.id)
        .join(Account, Account.id == Transfer.debit_account_id)
        .outerjoin(resolution, resolution.pending_id == Transfer.id)
        .where(Transfer.attempt_id == attempt_id, Transfer.phase == rules.Phase.PENDING)
        .order_by(Transfer.number)
    )
    return tuple(
        Pending(
            id=row.id,
            line=account_key(line),
            period=Period.parse(row.period),
            amount=GpuMilliseconds(row.amount_gpu_ms),
            is_open=resolved_by is None,
        )
        for row, line, resolved_by in db.execute(query)
    )


def record(db: Session, owner: Owner, usage: Sequence[rules.Usage], *, at: datetime) -> bool:
    """Note what a site reported; whether any of it is new.

    Raises:
        Refused: a launch belongs to another attempt, or a revision says something else than before.
    """
    if not usage:
        return False
    before = latest_versions(db, owner.site_id, {each.key for each in usage})
    rows = [_version_row(each, _owner(each, owner, before.get(each.key))) | {"recorded_at": at} for each in usage]
    columns = (UsageVersion.site_id, UsageVersion.key, UsageVersion.revision)
    statement = insert(UsageVersion).on_conflict_do_nothing(index_elements=columns).returning(*columns)
    new = {(row.key, row.revision) for row in db.execute(statement, _once(rows))}
    for row in rows:
        _compare(db, row)
    return bool(new)


def latest_versions(db: Session, site_id: str, keys: Collection[str]) -> dict[str, UsageVersion]:
    """The highest revision of each of these launches that was ever reported."""
    query = (
        select(UsageVersion)
        .where(UsageVersion.site_id == site_id, UsageVersion.key.in_(keys))
        .ext(distinct_on(UsageVersion.key))
        .order_by(UsageVersion.key, UsageVersion.revision.desc())
    )
    return {row.key: row for row in db.scalars(query)}


def launches(db: Session, site_id: str, attempt_id: UUID) -> tuple[rules.Usage, ...]:
    """What counts of an attempt's launches: those whose highest revision is this attempt's."""
    keys = set(db.scalars(select(UsageVersion.key).where(UsageVersion.attempt_id == attempt_id)))
    rows = latest_versions(db, site_id, keys).values()
    return tuple(usage(row) for row in rows if row.attempt_id == attempt_id)


def usage(row: UsageVersion) -> rules.Usage:
    """The value of a row."""
    return rules.Usage(
        key=row.key,
        revision=row.revision,
        kind=row.kind,
        started_at=row.started_at,
        ended_at=row.ended_at,
        gpus=row.gpus,
        gpu_ms=GpuMilliseconds(row.gpu_ms),
    )


def posted(db: Session, site_id: str, *, attempt_id: UUID | None, keys: Collection[str]) -> tuple[rules.Posted, ...]:
    """What was ever posted for an attempt, and for these launches while they were nobody's."""
    query = _postings().where(
        or_(
            Transfer.attempt_id == attempt_id if attempt_id else false(),
            and_(Transfer.site_id == site_id, Transfer.source_key.in_(keys), Transfer.attempt_id.is_(None)),
        )
    )
    return tuple(_posted(*row) for row in db.execute(query.order_by(Transfer.number)))


def booked(db: Session, attempt_ids: Collection[UUID]) -> dict[UUID, rules.Booked]:
    """What stands for each of these attempts."""
    found: dict[UUID, list[rules.Posted]] = {attempt_id: [] for attempt_id in attempt_ids}
    for row in db.execute(_postings().where(Transfer.attempt_id.in_(attempt_ids))):
        attempt_id = row[0].attempt_id
        if attempt_id:
            found[attempt_id].append(_posted(*row))
    return {attempt_id: rules.booked(rows) for attempt_id, rows in found.items()}


def open_in(db: Session, period: Period) -> int:
    """How many pendings of a period nothing has resolved."""
    resolution = aliased(Transfer)
    query = (
        select(func.count())
        .select_from(Transfer)
        .outerjoin(resolution, resolution.pending_id == Transfer.id)
        .where(Transfer.period == str(period), Transfer.phase == rules.Phase.PENDING, resolution.id.is_(None))
    )
    return db.scalar(query) or 0


def _owner(each: rules.Usage, owner: Owner, before: UsageVersion | None) -> Owner:
    if before is None or before.attempt_id == owner.attempt_id is not None:
        return owner
    is_older = each.revision <= before.revision
    if before.attempt_id is not None and not (owner.attempt_id is None and is_older):
        msg = f"The site reports launch {each.key} for somebody else than before. Look at its job comments."
        raise Refused(msg)
    # Whoever a stranger's job was put down to, it stays there: the mapping of accounts may have changed since.
    stranger = Owner(before.site_id, before.project_id, before.gpu_class)
    return owner if owner.attempt_id or before.attempt_id else stranger


def _version_row(each: rules.Usage, owner: Owner) -> dict[str, Any]:
    return {
        "site_id": owner.site_id,
        "key": each.key,
        "revision": each.revision,
        "attempt_id": owner.attempt_id,
        "project_id": owner.project_id,
        "gpu_class": owner.gpu_class,
        "kind": each.kind if owner.attempt_id else rules.UsageFor.UNATTRIBUTED,
        "started_at": each.started_at,
        "ended_at": each.ended_at,
        "gpus": each.gpus,
        "gpu_ms": each.gpu_ms.value,
    }


def _once(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({(row["key"], row["revision"]): row for row in reversed(rows)}.values())


def _compare(db: Session, row: Mapping[str, Any]) -> None:
    there = db.get_one(UsageVersion, (row["site_id"], row["key"], row["revision"]))
    if any(getattr(there, name) != row[name] for name in _SAID):
        msg = f"The site reports two different things as revision {row['revision']} of launch {row['key']}."
        raise Refused(msg)


def _postings() -> Select[Transfer, Account, Account, UUID]:
    debit, credit, reversal = aliased(Account), aliased(Account), aliased(Transfer)
    return (
        select(Transfer, debit, credit, reversal.id)
        .join(debit, debit.id == Transfer.debit_account_id)
        .join(credit, credit.id == Transfer.credit_account_id)
        .outerjoin(reversal, reversal.reverses_id == Transfer.id)
        .where(Transfer.source_key.is_not(None), Transfer.kind != rules.EntryKind.REVERSAL)
    )


def _posted(row: Transfer, debit: Account, credit: Account, reversed_by: UUID | None) -> rules.Posted:
    part = rules.Part(
        key=row.source_key or "",
        revision=row.source_revision or 0,
        period=Period.parse(row.corrects_period or row.period),
        kind=rules.EntryKind(row.kind),
        amount=GpuMilliseconds(row.amount_gpu_ms),
    )
    return rules.Posted(row.id, part, account_key(debit), account_key(credit), reversed_by is not None)

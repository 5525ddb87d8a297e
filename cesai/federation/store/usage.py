"""What did sites' accounting tell?"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, tuple_, update
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.orm import Session

from cesai.federation.tables import UsageRecord


def put_usage(db: Session, values: dict[str, Any]) -> bool:
    """Keep one revision of a record; False when it was there. What a revision said first, it said."""
    stored = db.scalar(insert(UsageRecord).values(**values).on_conflict_do_nothing().returning(UsageRecord.key))
    return stored is not None


def owners(db: Session, site_id: str, keys: Collection[str]) -> dict[str, UUID | None]:
    """For whom each of these launches was told first."""
    found = db.execute(
        select(UsageRecord.key, UsageRecord.attempt_id)
        .where(UsageRecord.site_id == site_id, UsageRecord.key.in_(keys))
        .distinct()
    )
    return {row.key: row.attempt_id for row in found}


def usage_of(db: Session, attempt_id: UUID) -> list[UsageRecord]:
    """The highest sound revision of each launch of an attempt; what is doubted never stands before what is not."""
    return list(
        db.scalars(
            select(UsageRecord)
            .where(UsageRecord.attempt_id == attempt_id, UsageRecord.doubt.is_(None))
            .ext(distinct_on(UsageRecord.site_id, UsageRecord.key))
            .order_by(UsageRecord.site_id, UsageRecord.key, UsageRecord.revision.desc())
        )
    )


def stored_usage(db: Session, site_id: str, keys: Collection[tuple[str, int]]) -> list[tuple[str, int]]:
    """Which of these (key, revision) are kept."""
    named = tuple_(UsageRecord.key, UsageRecord.revision).in_(keys)
    found = db.execute(select(UsageRecord.key, UsageRecord.revision).where(UsageRecord.site_id == site_id, named))
    return [(row.key, row.revision) for row in found]


def unbooked_usage(db: Session, *, limit: int) -> list[UsageRecord]:
    """Some of the strangers' launches that could not be booked yet, locked."""
    # At random: launches that can never be booked must not stand before those that can.
    found = select(UsageRecord).where(UsageRecord.is_unbooked).order_by(func.random())
    return list(db.scalars(found.limit(limit).with_for_update(skip_locked=True)))


def unbooked_usage_at(db: Session, site_id: str, keys: Collection[str]) -> list[UsageRecord]:
    """Those of these launches that are strangers' and not booked yet, locked."""
    found = select(UsageRecord).where(
        UsageRecord.is_unbooked, UsageRecord.site_id == site_id, UsageRecord.key.in_(keys)
    )
    return list(db.scalars(found.with_for_update(skip_locked=True)))


def mark_booked(db: Session, record: UsageRecord) -> None:
    """Note that a stranger's launch is in the ledger."""
    db.execute(
        update(UsageRecord)
        .where(
            UsageRecord.site_id == record.site_id,
            UsageRecord.key == record.key,
            UsageRecord.revision == record.revision,
        )
        .values(is_unbooked=False)
    )

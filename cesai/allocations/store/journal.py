"""How does an entry get into the ledger?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from cesai.allocations import rules
from cesai.allocations.store.reading import left
from cesai.allocations.tables import Account, Transfer
from cesai.kernel.amounts import GpuMilliseconds
from cesai.kernel.errors import Refused, Stale

CLOSING = "ledger: closing a period"
COUNTERS = ("debits_pending", "debits_posted", "credits_pending", "credits_posted")


def lock_site(db: Session, site_id: str) -> None:
    """Let other bookings of this site wait until this transaction ends, and the closing of periods too.

    All accounts belong to a site, and each booking writes the one that counts its whole use. Without this a transaction
    that books several attempts could hold what another waits for, and the other way round.
    """
    db.execute(
        select(
            func.pg_advisory_xact_lock_shared(func.hashtextextended(CLOSING, 0)),
            func.pg_advisory_xact_lock(func.hashtextextended("ledger: site " + site_id, 0)),
        )
    )


def lock_periods(db: Session) -> None:
    """Let all bookings wait until this transaction ends."""
    db.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(CLOSING, 0))))


def post(db: Session, entries: Sequence[rules.Entry], *, at: datetime, actor: str) -> None:
    """Write entries into the journal and move the counters; all of them or none.

    An entry that is there already, equal in everything, is left as it is.

    Raises:
        Refused: an account would give more than it has.
        Stale: an id is taken by another entry.
    """
    if not entries:
        return
    # In a savepoint, so that a caller may hear the refusal and go on with other work.
    with db.begin_nested():
        _open_accounts(db, entries, at)
        new = _add(db, entries, at=at, actor=actor)
        _move(db, [entry for entry in entries if entry.id in new])


def _open_accounts(db: Session, entries: Sequence[rules.Entry], at: datetime) -> None:
    keys = dict.fromkeys(key for entry in entries for key in (entry.debit, entry.credit))
    known = set(db.scalars(select(Account.id).where(Account.id.in_([key.id for key in keys]))))
    rows = [_account_row(key, at) for key in keys if key.id not in known]
    if rows:
        db.execute(insert(Account).on_conflict_do_nothing(), rows)


def _account_row(key: rules.AccountKey, at: datetime) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "kind": key.kind,
        "site_id": key.site_id,
        "gpu_class": key.gpu_class,
        "period": str(key.period) if key.period else None,
        "project_id": key.project_id,
        "stream": key.stream,
        "grant_id": key.grant,
        "is_bounded": key.is_bounded,
        "opened_at": at,
    }


def _add(db: Session, entries: Sequence[rules.Entry], *, at: datetime, actor: str) -> set[UUID]:
    rows = [_transfer_row(entry) | {"at": at, "actor": actor} for entry in entries]
    statement = insert(Transfer).on_conflict_do_nothing(index_elements=[Transfer.id]).returning(Transfer.id)
    new = set(db.scalars(statement, rows))
    for row in rows:
        if row["id"] not in new:
            _compare(db, row)
    return new


def _transfer_row(entry: rules.Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "kind": entry.kind,
        "phase": entry.phase,
        "debit_account_id": entry.debit.id,
        "credit_account_id": entry.credit.id,
        "amount_gpu_ms": entry.amount.value,
        "site_id": entry.debit.site_id,
        "period": str(entry.period),
        "corrects_period": str(entry.corrects) if entry.corrects else None,
        "attempt_id": entry.attempt_id,
        "source_key": entry.source_key,
        "source_revision": entry.source_revision,
        "pending_id": entry.pending_id,
        "reverses_id": entry.reverses_id,
        "award_id": entry.award_id,
    }


def _compare(db: Session, row: Mapping[str, Any]) -> None:
    there = db.execute(select(Transfer.__table__).where(Transfer.id == row["id"])).mappings().one()
    different = [name for name, value in row.items() if name not in {"at", "actor"} and there[name] != value]
    if different:
        msg = f"The ledger has another entry under the id {row['id']} (it differs in {', '.join(different)})."
        raise Stale(msg)


def _move(db: Session, entries: Sequence[rules.Entry]) -> None:
    rises: dict[rules.AccountKey, dict[str, int]] = {}
    for entry in entries:
        counter = "posted" if entry.phase is rules.Phase.POSTED else "pending"
        amount = -entry.amount.value if entry.phase is rules.Phase.RESOLUTION else entry.amount.value
        for key, side in ((entry.debit, "debits"), (entry.credit, "credits")):
            rise = rises.setdefault(key, dict.fromkeys(COUNTERS, 0))
            rise[f"{side}_{counter}"] += amount
    for key in sorted(rises, key=lambda key: key.lock_order):
        _raise_counters(db, key, rises[key])


def _raise_counters(db: Session, key: rules.AccountKey, rise: Mapping[str, int]) -> None:
    # The condition stands in the statement that raises: it sees what others have committed while this one waited.
    new = {name: getattr(Account, name) + rise[name] for name in COUNTERS}
    within = new["debits_pending"] + new["debits_posted"] <= new["credits_posted"]
    statement = update(Account).where(Account.id == key.id, or_(~Account.is_bounded, within)).values(new)
    moved = db.execute(
        statement.returning(Account.id).execution_options(synchronize_session=False)
    ).scalar_one_or_none()
    if moved is None:
        asked = GpuMilliseconds(rise["debits_pending"] + rise["debits_posted"] - rise["credits_posted"])
        msg = f"{key.name} has {left(db, key)} left; {asked} would be needed."
        raise Refused(msg)

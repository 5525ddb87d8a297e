"""What does the ledger say, does it hold, and when is a period closed?"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from cesai.access import service as access
from cesai.access.rules import Caller
from cesai.allocations import rules, store
from cesai.allocations.tables import ClosedPeriod
from cesai.db.paging import PageRequest, Slice
from cesai.kernel.errors import Refused
from cesai.kernel.periods import Period


def verify(db: Session) -> tuple[rules.Check, ...]:
    """Every sentence that must be true of the ledger, and whether it is."""
    return store.invariants(db)


def broken(db: Session) -> tuple[rules.Check, ...]:
    """The sentences that are not true."""
    return tuple(check for check in verify(db) if not check.holds)


def balances(db: Session, page: PageRequest, *, account: str | None = None) -> Slice[store.Balance]:
    """What is on all accounts, or on those of this name or of names that begin with it and a colon."""
    return store.balances(db, page, account=account)


def entries(
    db: Session, page: PageRequest, *, account: str | None = None, attempt_id: UUID | None = None
) -> Slice[store.Listed]:
    """The journal, the newest entry first."""
    return store.entries(db, page, account=account, attempt_id=attempt_id)


def close_period(db: Session, period: Period, *, by: Caller, now: datetime) -> None:
    """Book nothing in a period any more; what is told of it later is booked in the next open one.

    Raises:
        Refused: it is not over, or something is still set aside in it.
    """
    if period.end > now:
        msg = f"{period} ends on {period.end:%d.%m.%Y}. Close it afterwards."
        raise Refused(msg)
    store.lock_periods(db)
    if period in store.closed_periods(db):
        return
    waiting = store.open_in(db, period)
    if waiting:
        msg = f"{waiting} reservations are open in {period}. Close it when their attempts are over."
        raise Refused(msg)
    db.add(ClosedPeriod(period=str(period), last_number=store.last_number(db), closed_by=by.username, closed_at=now))
    db.flush()
    access.audit(db, actor=by, action="ledger.close", subject=str(period), details={}, now=now)

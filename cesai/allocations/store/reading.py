"""How are accounts and entries of the ledger read?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, Text, bindparam, column, func, or_, select, table
from sqlalchemy.orm import Session, aliased

from cesai.allocations import rules
from cesai.allocations.tables import Account, Award, ClosedPeriod, Transfer
from cesai.db.paging import PageRequest, Slice, page_of
from cesai.kernel.amounts import GpuMilliseconds
from cesai.kernel.periods import Period

INVARIANTS = table("ledger_invariant", column("name", Text), column("holds"), column("detail", Text))


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry as people read it."""

    id: UUID
    number: int
    kind: str
    phase: str
    debit: str
    credit: str
    amount: GpuMilliseconds
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


@dataclass(frozen=True, slots=True)
class Balance:
    """What is on an account."""

    account: str
    kind: rules.AccountKind
    debits_pending: int
    debits_posted: int
    credits_pending: int
    credits_posted: int

    @property
    def balance(self) -> GpuMilliseconds:
        """What it has, or, for an account that others draw from without a bound, what it has given."""
        net = self.credits_posted - self.debits_posted
        return GpuMilliseconds(net if self.kind in rules.HOLDERS else -net)

    @property
    def pending(self) -> GpuMilliseconds:
        """What is set aside from it, or for it."""
        return GpuMilliseconds(self.debits_pending + self.credits_pending)


def left(db: Session, key: rules.AccountKey) -> GpuMilliseconds:
    """What an account that has a bound can still give."""
    balance = Account.credits_posted - Account.debits_pending - Account.debits_posted
    return GpuMilliseconds(db.scalar(select(balance).where(Account.id == key.id)) or 0)


def account_key(row: Account) -> rules.AccountKey:
    """The key of a row."""
    return rules.AccountKey(
        kind=rules.AccountKind(row.kind),
        site_id=row.site_id,
        gpu_class=row.gpu_class,
        period=Period.parse(row.period) if row.period else None,
        project_id=row.project_id,
        stream=row.stream,
        grant=row.grant_id,
    )


def lines(
    db: Session, project_id: str, *, site_id: str | None = None, gpu_class: str | None = None
) -> tuple[rules.Line, ...]:
    """A project's award lines, the earliest period first, in the order in which they were opened."""
    wanted = {"project_id": project_id, "site_id": site_id, "gpu_class": gpu_class}
    return tuple(_line(row) for row in db.execute(_LINES, wanted))


def _lines() -> Select[Any]:
    awarded = (
        select(func.coalesce(func.sum(Transfer.amount_gpu_ms), 0))
        .where(Transfer.credit_account_id == Account.id, Transfer.kind == rules.EntryKind.AWARD)
        .scalar_subquery()
    )
    site_id, gpu_class = bindparam("site_id", type_=Text), bindparam("gpu_class", type_=Text)
    return (
        select(Account.__table__, awarded.label("awarded"))
        .where(
            Account.project_id == bindparam("project_id"),
            Account.kind == rules.AccountKind.LINE,
            or_(site_id.is_(None), Account.site_id == site_id),
            or_(gpu_class.is_(None), Account.gpu_class == gpu_class),
        )
        .order_by(Account.period, Account.number)
    )


# Every submission asks for it: built once, since building costs as much as asking.
_LINES = _lines()


def _line(row: Row[Any]) -> rules.Line:
    awarded = int(row.awarded)
    return rules.Line(
        id=row.id,
        project_id=row.project_id,
        site_id=row.site_id,
        gpu_class=row.gpu_class,
        period=Period.parse(row.period),
        stream=row.stream,
        grant=row.grant_id,
        position=row.number,
        awarded=GpuMilliseconds(awarded),
        pending=GpuMilliseconds(row.debits_pending),
        # Reversals give back to the line what it was charged: they are no award.
        posted=GpuMilliseconds(row.debits_posted - (row.credits_posted - awarded)),
    )


def balances(db: Session, page: PageRequest, *, account: str | None) -> Slice[Balance]:
    """All accounts by name, or the one of that name and those whose names begin with it and a colon."""
    query = select(Account)
    if account is not None:
        query = query.where(_is_called(Account, account))
    # Counters move past the session: an account that it has read before is read anew.
    found = page_of(db, query.execution_options(populate_existing=True), key=Account.name, page=page)
    return Slice(items=tuple(_balance(row) for row in found.items), next_cursor=found.next_cursor)


def _balance(row: Account) -> Balance:
    return Balance(
        account=row.name,
        kind=rules.AccountKind(row.kind),
        debits_pending=row.debits_pending,
        debits_posted=row.debits_posted,
        credits_pending=row.credits_pending,
        credits_posted=row.credits_posted,
    )


def entries(
    db: Session, page: PageRequest, *, account: str | None = None, attempt_id: UUID | None = None
) -> Slice[Listed]:
    """The journal, the newest entry first."""
    query, debit, credit = _journal()
    if account is not None:
        query = query.where(or_(_is_called(debit, account), _is_called(credit, account)))
    if attempt_id is not None:
        query = query.where(Transfer.attempt_id == attempt_id)
    found = page_of(db, query, key=Transfer.number, page=page, is_newest_first=True)
    return Slice(items=tuple(_listed(*row) for row in found.items), next_cursor=found.next_cursor)


def awards(db: Session, project_id: str, page: PageRequest) -> Slice[Award]:
    """What a project was awarded, the newest first."""
    return page_of(
        db, select(Award).where(Award.project_id == project_id), key=Award.id, page=page, is_newest_first=True
    )


def award_lines(db: Session, award_ids: Sequence[UUID]) -> list[tuple[UUID, rules.AccountKey, GpuMilliseconds]]:
    """The lines of awards, in the order in which they were given."""
    query = (
        select(Transfer.award_id, Transfer.amount_gpu_ms, Account)
        .join(Account, Account.id == Transfer.credit_account_id)
        .where(Transfer.award_id.in_(award_ids))
        .order_by(Transfer.number)
    )
    rows = db.execute(query)
    return [(award_id, account_key(line), GpuMilliseconds(amount)) for award_id, amount, line in rows if award_id]


def _journal() -> tuple[Select[Transfer, str, str], type[Account], type[Account]]:
    debit, credit = aliased(Account), aliased(Account)
    query = (
        select(Transfer, debit.name, credit.name)
        .join(debit, debit.id == Transfer.debit_account_id)
        .join(credit, credit.id == Transfer.credit_account_id)
    )
    return query, debit, credit


def _is_called(account: type[Account], name: str) -> Any:  # noqa: ANN401  a condition
    return or_(account.name == name, account.name.startswith(f"{name}:", autoescape=True))


def _listed(row: Transfer, debit: str, credit: str) -> Listed:
    return Listed(
        id=row.id,
        number=row.number,
        kind=row.kind,
        phase=row.phase,
        debit=debit,
        credit=credit,
        amount=GpuMilliseconds(row.amount_gpu_ms),
        period=row.period,
        corrects_period=row.corrects_period,
        attempt_id=row.attempt_id,
        source_key=row.source_key,
        source_revision=row.source_revision,
        pending_id=row.pending_id,
        reverses_id=row.reverses_id,
        award_id=row.award_id,
        at=row.at,
        actor=row.actor,
    )


def closed_periods(db: Session) -> frozenset[Period]:
    """Where nothing is booked any more."""
    return frozenset(Period.parse(name) for name in db.scalars(select(ClosedPeriod.period)))


def last_number(db: Session) -> int:
    """The number of the newest entry."""
    return db.scalar(select(func.coalesce(func.max(Transfer.number), 0))) or 0


def invariants(db: Session) -> tuple[rules.Check, ...]:
    """What the database says of its own ledger."""
    rows = db.execute(select(INVARIANTS).order_by(INVARIANTS.c.name))
    return tuple(rules.Check(row.name, row.holds, row.detail) for row in rows)

"""What did sites pledge, what were projects awarded, what is left?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from cesai.access import service as access
from cesai.access.rules import Caller
from cesai.allocations import rules, store
from cesai.allocations.tables import Award as AwardRow
from cesai.db.paging import PageRequest, Slice
from cesai.kernel.amounts import GpuMilliseconds
from cesai.kernel.ids import new_id
from cesai.kernel.periods import Period
from cesai.projects import service as projects
from cesai.sites import service as sites


@dataclass(frozen=True, slots=True)
class Award:
    """One decision to give a project compute."""

    id: UUID
    project_id: str
    reason: str | None
    awarded_by: str
    awarded_at: datetime
    lines: tuple[rules.AwardLine, ...]


def pledge(db: Session, new: sites.NewPledge, *, by: Caller, now: datetime) -> sites.Pledge:
    """Take a site's promise, if its GPUs can keep it, and put it into its pool. Each pledge adds to those before.

    Raises:
        NotFound: there is no such site.
        Refused: the site cannot give so much; the sentence has the numbers.
    """
    promised = sites.record_pledge(db, new, by=by, now=now)
    store.lock_site(db, new.site_id)
    entry = rules.Entry(
        id=rules.entry_id("supply", promised.id),
        kind=rules.EntryKind.SUPPLY,
        debit=rules.AccountKey(rules.AccountKind.SUPPLY, new.site_id, new.gpu_class),
        credit=rules.AccountKey(rules.AccountKind.POOL, new.site_id, new.gpu_class, new.period),
        amount=new.amount,
        period=new.period,
    )
    store.post(db, [entry], at=now, actor=str(by.principal_id))
    return promised


def award(
    db: Session,
    project_id: str,
    lines: Sequence[rules.AwardLine],
    *,
    reason: str | None,
    by: Caller,
    now: datetime,
) -> Award:
    """Give a project compute out of the sites' pools; it need not be accepted there yet. All lines or none.

    The order of the lines is the order in which their streams are drawn from.

    Raises:
        NotFound: there is no such project.
        Refused: a pool has less left, or a line makes no sense; the sentence has the numbers.
    """
    projects.project(db, project_id)
    rules.check_award(lines, now=now)
    _check_pools(db, lines)
    row = AwardRow(id=new_id(), project_id=project_id, reason=reason, awarded_by=by.username, awarded_at=now)
    db.add(row)
    db.flush()
    entries = [_entry(row, number, line) for number, line in enumerate(lines)]
    store.post(db, entries, at=now, actor=str(by.principal_id))
    details = {"lines": [{"account": entry.credit.name, "gpu_ms": entry.amount.value} for entry in entries]}
    access.audit(db, actor=by, action="project.award", subject=project_id, details=details, now=now)
    return Award(row.id, project_id, reason, by.username, now, tuple(lines))


def _check_pools(db: Session, lines: Sequence[rules.AwardLine]) -> None:
    for site_id in sorted({line.site_id for line in lines}):
        sites.site(db, site_id)
        store.lock_site(db, site_id)
    rules.check_pools(lines, {line.pool: store.left(db, line.pool) for line in lines})


def _entry(row: AwardRow, number: int, line: rules.AwardLine) -> rules.Entry:
    return rules.Entry(
        id=rules.entry_id("award", row.id, number),
        kind=rules.EntryKind.AWARD,
        debit=line.pool,
        credit=line.key(row.project_id),
        amount=line.amount,
        period=line.period,
        award_id=row.id,
    )


def awards(db: Session, project_id: str, page: PageRequest) -> Slice[Award]:
    """What a project was awarded, the newest first."""
    rows = store.awards(db, project_id, page)
    lines: dict[UUID, list[rules.AwardLine]] = {row.id: [] for row in rows.items}
    for award_id, key, amount in store.award_lines(db, list(lines)):
        lines[award_id].append(rules.AwardLine.of(key, amount))
    found = tuple(
        Award(row.id, row.project_id, row.reason, row.awarded_by, row.awarded_at, tuple(lines[row.id]))
        for row in rows.items
    )
    return Slice(items=found, next_cursor=rows.next_cursor)


def lines(db: Session, project_id: str) -> tuple[rules.Line, ...]:
    """A project's award lines, the earliest period first."""
    return store.lines(db, project_id)


def pool_left(db: Session, *, site_id: str, gpu_class: str, period: Period) -> GpuMilliseconds:
    """What of a site's pledge nobody was awarded yet."""
    return store.left(db, rules.AccountKey(rules.AccountKind.POOL, site_id, gpu_class, period))

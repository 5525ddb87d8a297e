"""How are pledges, awards and the ledger reached over HTTP?"""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from cesai.access.callers import Funder, Operator, ProjectMember, SignedIn, SiteAdmin, guarded_router
from cesai.allocations import service
from cesai.allocations.schemas import (
    AccountName,
    AwardIn,
    AwardOut,
    BalanceOut,
    EntryOut,
    PledgeIn,
    PledgeOut,
    ProjectBalanceOut,
    VerifyOut,
)
from cesai.db.idempotency import Once
from cesai.db.paging import Page, PageParams
from cesai.db.session import Db, Now
from cesai.projects import service as projects
from cesai.sites import service as sites

router = guarded_router(tags=["allocations"])

Account = Annotated[AccountName | None, Query(description="Its name, or the beginning of names up to a colon")]


@router.post("/sites/{site_id}/pledges", status_code=201, response_model=PledgeOut)
def pledge(site_id: str, body: PledgeIn, caller: SiteAdmin, db: Db, once: Once, now: Now) -> Response:
    """Promise GPU-hours of a site for a period, beside what it has promised before."""
    return once(lambda: PledgeOut.of(service.pledge(db, body.to_rule(site_id), by=caller, now=now)))


@router.get("/sites/{site_id}/pledges")
def list_pledges(site_id: str, caller: SignedIn, db: Db) -> Page[PledgeOut]:
    """List what a site has promised, the oldest first; all on one page."""
    return Page[PledgeOut](items=[PledgeOut.of(each) for each in sites.pledges(db, site_id)], next_cursor=None)


@router.post("/projects/{project_id}/awards", status_code=201, response_model=AwardOut)
def award(project_id: str, body: AwardIn, caller: Operator, db: Db, once: Once, now: Now) -> Response:
    """Give a project compute out of what sites have pledged; all lines or none."""
    lines = [line.to_rule() for line in body.lines]
    return once(
        lambda: AwardOut.of(service.award(db, project_id, lines, reason=body.reason, by=caller, now=now)),
    )


@router.get("/projects/{project_id}/awards")
def list_awards(project_id: str, caller: ProjectMember, db: Db, page: PageParams) -> Page[AwardOut]:
    """List what a project was awarded, the newest first."""
    projects.visible(db, caller, project_id)
    return Page[AwardOut].of(service.awards(db, project_id, page), AwardOut.of)


@router.get("/projects/{project_id}/balance")
def show_balance(project_id: str, caller: ProjectMember, db: Db) -> ProjectBalanceOut:
    """Show what a project has: awarded, set aside, used and left on each line."""
    projects.visible(db, caller, project_id)
    return ProjectBalanceOut.of(project_id, service.lines(db, project_id))


@router.get("/ledger/balances")
def list_balances(caller: Funder, db: Db, page: PageParams, account: Account = None) -> Page[BalanceOut]:
    """List what is on the accounts, by name."""
    return Page[BalanceOut].of(service.balances(db, page, account=account), BalanceOut.of)


@router.get("/ledger/entries")
def list_entries(
    caller: Funder, db: Db, page: PageParams, account: Account = None, attempt_id: UUID | None = None
) -> Page[EntryOut]:
    """List the journal, the newest entry first."""
    return Page[EntryOut].of(service.entries(db, page, account=account, attempt_id=attempt_id), EntryOut.of)


@router.get("/ledger/verify")
def verify(caller: Funder, db: Db) -> VerifyOut:
    """Check every sentence that must be true of the ledger."""
    return VerifyOut.of(service.verify(db))

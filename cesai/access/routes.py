"""Who am I, and who is what?"""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from cesai.access import service
from cesai.access.callers import Operator, SignedIn, guarded_router
from cesai.access.schemas import MembershipIn, MembershipOut, MeOut
from cesai.db.idempotency import Once
from cesai.db.paging import Page, PageParams
from cesai.db.session import Db, Now

router = guarded_router(tags=["access"])


@router.get("/me")
def me(caller: SignedIn) -> MeOut:
    """Tell who the caller is and what he may do."""
    return MeOut.of(caller)


@router.get("/memberships")
def list_memberships(
    caller: Operator,
    db: Db,
    page: PageParams,
    username: Annotated[str | None, Query(max_length=128)] = None,
    scope: Annotated[str | None, Query(max_length=64)] = None,
) -> Page[MembershipOut]:
    """List who is what, newest first."""
    return Page[MembershipOut].of(service.memberships(db, page, username=username, scope=scope), MembershipOut.of)


@router.post("/memberships", status_code=201, response_model=MembershipOut)
def grant(body: MembershipIn, caller: Operator, db: Db, once: Once, now: Now) -> Response:
    """Make somebody something, also before his first login."""
    return once(
        lambda: MembershipOut.of(
            service.grant(db, username=body.username, role=body.role, scope=body.scope, by=caller, now=now)
        )
    )


@router.delete("/memberships/{membership_id}", status_code=204)
def revoke(membership_id: UUID, caller: Operator, db: Db, now: Now) -> None:
    """Take a membership away; it ends at once."""
    service.revoke(db, membership_id, by=caller, now=now)
